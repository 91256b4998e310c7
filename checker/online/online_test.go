package online_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/lock"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/online"
	"github.com/faultline-dev/faultline/checker/synth"
	"github.com/faultline-dev/faultline/history"
)

func judges() map[string]func() *online.Judge {
	return map[string]func() *online.Judge{
		"counter": online.Counter, "set": online.Set, "queue": online.Queue,
		"owner-mutex": func() *online.Judge { return online.Lock(lock.Options{Promise: lock.Exclusion}) },
	}
}

// objects says whether the judge objects to h at some time.
func objects(j *online.Judge, h *history.History) error {
	for op := range h.Ops() {
		if err := j.Add(op); err != nil {
			return err
		}
	}
	return j.Flush()
}

// TestSound: whatever is objected to, no order explains. It is compared with the
// exact search, on right histories and on perturbed ones.
func TestSound(t *testing.T) {
	t.Parallel()
	n := uint64(20_000)
	if testing.Short() {
		n = 3_000
	}
	for name, judge := range judges() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, err := model.Named(name)
			if err != nil {
				t.Fatal(err)
			}
			wrong, caught := 0, 0
			for seed := range n {
				r := rand.New(rand.NewPCG(seed, 9))
				c := checkertest.Config{
					Model: name, Ops: 3 + r.IntN(12), Processes: 1 + r.IntN(4), Ties: r.IntN(2) == 0, Info: 0.2 * float64(r.IntN(2)),
				}
				rows := checkertest.Random(r, c)
				for range r.IntN(3) {
					checkertest.Mutate(r, rows)
				}
				h := checkertest.History(rows)
				err := objects(judge(), h)
				got := linear.Check(context.Background(), h, linear.Options{Model: spec, Engine: linear.Search, MaxAnomalies: -1, Workers: 1})
				if got.Verdict == checker.Invalid {
					wrong++
				}
				if err == nil {
					continue
				}
				caught++
				if got.Verdict != checker.Invalid {
					t.Fatalf("seed %d: %v, but the history is %v", seed, err, got.Verdict)
				}
			}
			t.Logf("%d of %d violations caught while they happen", caught, wrong)
			if caught == 0 {
				t.Error("nothing was ever caught")
			}
		})
	}
}

// TestPlanted: planted anomalies end the run, soon; right histories do not.
func TestPlanted(t *testing.T) {
	t.Parallel()
	for name, judge := range judges() {
		for _, anomaly := range append(synth.Anomalies(name), "") {
			caught := 0
			for seed := range uint64(20) {
				h, err := synth.History(synth.Options{Model: name, Ops: 2000, Processes: 6, Keys: 2, Info: 0.01, Anomaly: anomaly, At: 0.3, Seed: seed})
				if err != nil {
					t.Fatal(err)
				}
				if err := objects(judge(), h); err != nil {
					caught++
				}
			}
			t.Logf("%-12s %-14s %d of 20 seeds", name, anomaly, caught)
			if anomaly == "" && caught > 0 || anomaly != "" && caught == 0 {
				t.Errorf("%s with %q: caught %d of 20", name, anomaly, caught)
			}
		}
	}
}

// TestMemory: what is kept follows the open operations and what the objects hold,
// not the length of the run.
func TestMemory(t *testing.T) {
	t.Parallel()
	for name, judge := range judges() {
		events, err := synth.Events(synth.Options{Model: name, Ops: 40_000, Processes: 6, Keys: 3, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		j, n, half, end := judge(), 0, 0, 0
		for op := range events {
			if err := j.Add(op); err != nil {
				t.Fatal(err)
			}
			if n++; n < 40_000 {
				half = max(half, j.Size())
			} else {
				end = max(end, j.Size())
			}
		}
		t.Logf("%-12s at most %d records in the first half, %d in the second", name, half, end)
		if name != "set" && name != "queue" && end > 2*half { // those hold more and more
			t.Errorf("%s: %d records, then %d", name, half, end)
		}
	}
}
