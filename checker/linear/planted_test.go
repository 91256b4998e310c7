package linear

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/synth"
	"github.com/faultline-dev/faultline/history"
)

// TestPlanted: every anomaly that can be planted is found by its name, with a
// witness of a median of at most 5 operations that a second engine finds
// impossible too, and with the earliest moment: the history up to it is
// impossible, and possible up to any moment before.
func TestPlanted(t *testing.T) {
	t.Parallel()
	seeds := uint64(10)
	if !testing.Short() {
		seeds = 60
	}
	var all []int
	for _, name := range synth.Models() {
		for _, anomaly := range synth.Anomalies(name) {
			var sizes []int
			found, named := 0, 0
			for seed := range seeds {
				h, err := synth.History(synth.Options{
					Model: name, Ops: 200, Processes: 5, Keys: 2, Info: 0.05 * float64(seed%2), Anomaly: anomaly, At: 0.5, Seed: seed, Observe: seed%3 == 0,
				})
				if err != nil {
					t.Fatal(err)
				}
				spec, err := model.Named(name)
				if err != nil {
					t.Fatal(err)
				}
				r := Check(t.Context(), h, Options{Model: spec, Timeout: time.Second})
				if r.Verdict == checker.Unknown && !strings.Contains(r.Reason, "limit") {
					t.Fatalf("%s of %s, seed %d: %s", anomaly, name, seed, r.Reason)
				}
				if r.Verdict != checker.Invalid {
					continue // nothing could be planted, it could have been so, or nobody can tell
				}
				found++
				for _, a := range r.Anomalies {
					sizes = append(sizes, len(a.Ops))
					wellFounded(t, h, spec, a, fmt.Sprintf("%s of %s, seed %d", anomaly, name, seed))
				}
				if slices.ContainsFunc(r.Anomalies, func(a checker.Anomaly) bool { return a.Name == anomaly }) {
					named++
				}
			}
			if found == 0 {
				t.Errorf("%s of %s was never found", anomaly, name)
				continue
			}
			slices.Sort(sizes)
			t.Logf("%-13s %-14s found with %d of %d seeds, by its name %d; witnesses: median %d, largest %d", name, anomaly, found, seeds, named, sizes[len(sizes)/2], sizes[len(sizes)-1])
			all = append(all, sizes...)
		}
	}
	slices.Sort(all)
	if all[len(all)/2] > 5 {
		t.Error("a median of more than 5 operations")
	}
	t.Logf("%d witnesses, each verified: median %d operations, 90 %% at most %d, largest %d", len(all), all[len(all)/2], all[len(all)*9/10], all[len(all)-1])
}

// TestEarliest: of registers in which several things are wrong, too, an anomaly is
// well founded and of the earliest moment.
func TestEarliest(t *testing.T) {
	t.Parallel()
	n := uint64(1000)
	if !testing.Short() {
		n = 10_000
	}
	for _, name := range []string{"register", "cas-register"} {
		spec, err := model.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]int{}
		for seed := range n {
			r := rand.New(rand.NewPCG(seed, 3))
			rows := checkertest.Random(r, checkertest.Config{
				Model: name, Ops: 10 + r.IntN(60), Processes: 2 + r.IntN(4), Info: 0.1 * float64(r.IntN(2)), Observe: r.IntN(2) == 0, Ties: r.IntN(3) == 0,
			})
			for range 1 + r.IntN(5) {
				checkertest.Mutate(r, rows)
			}
			h := checkertest.History(rows)
			got := engine(h, spec, Fast)
			if strings.Contains(got.Reason, "disagree") {
				t.Fatalf("%s, seed %d: %s\n%s", name, seed, got.Reason, text(h))
			}
			for _, a := range got.Anomalies {
				kinds[a.Name]++
				wellFounded(t, h, spec, a, fmt.Sprintf("%s, seed %d", name, seed))
			}
		}
		t.Logf("%s: %v", name, kinds)
	}
}

// wellFounded verifies an anomaly: by Porcupine, which had no part in finding it,
// on the witness, and by the search on the history up to its time and up to just
// before.
func wellFounded(t *testing.T, h *history.History, spec model.Spec, a checker.Anomaly, what string) {
	t.Helper()
	checkWitness(t, h, a)
	ops := make([]int32, len(a.Ops))
	for n, index := range a.Ops {
		ops[n] = int32(h.At(index)) //nolint:gosec // an op number
	}
	whole := keyView(h, a.Key)
	pr, err := newProblem(whole.only(ops), spec)
	if err != nil {
		t.Fatal(err)
	}
	pr.weaken(writtenIn(whole))
	if porcupineVerdict(pr, 5*time.Second) == checker.Valid {
		t.Errorf("%s: the witness is possible: %+v\n%s", what, a, text(h))
	}
	if spec.Name == "queue" {
		return // a dequeue of unknown fate may have taken anything, until it is known what it took
	}
	first, cut := -1, -1 // the first event at the anomaly's time, and the last
	for op := range h.Ops() {
		if op.Time == a.Time && first < 0 {
			first = op.Index
		}
		if op.Time <= a.Time {
			cut = op.Index
		}
	}
	for _, c := range []struct {
		cut int
		bad bool
	}{{cut, true}, {first - 1, false}} {
		got, err := violates(whole.until(c.cut), spec, nil)
		if err == nil && got != c.bad {
			t.Errorf("%s: up to event %d it is violated: %v, though the anomaly is of %v: %s\n%s", what, c.cut, got, a.Time, a.Explain, text(h))
		}
	}
}

// keyView is the view of one key.
func keyView(h *history.History, key string) view {
	v := view{h: h, cut: h.Events(), ops: []int32{}}
	for i := range h.Len() {
		if h.Keys()[h.KeyID(i)] == key {
			v.ops = append(v.ops, int32(i)) //nolint:gosec // an op number
		}
	}
	return v
}
