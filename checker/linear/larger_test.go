package linear

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/synth"
	"github.com/faultline-dev/faultline/history"
)

// TestAgreeWithPorcupine compares the planner, every fast engine and the search
// with Porcupine on larger random histories: right ones, ones with a planted
// anomaly, and both perturbed. It goes on until Porcupine has decided so many of
// them; FAULTLINE_HISTORIES sets how many, for long runs.
func TestAgreeWithPorcupine(t *testing.T) {
	n := int64(2_000)
	if testing.Short() {
		n = 300
	}
	if s, err := strconv.ParseInt(os.Getenv("FAULTLINE_HISTORIES"), 10, 64); err == nil {
		n = s
	}
	var seed, decided atomic.Int64
	var wg sync.WaitGroup
	total := tally{}
	var mu sync.Mutex
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			mine := tally{}
			for decided.Load() < n && !t.Failed() {
				if agree(t, uint64(seed.Add(1)), mine) { //nolint:gosec // counts up from 1
					decided.Add(1)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for k, v := range mine {
				total[k] += v
			}
		})
	}
	wg.Wait()
	t.Logf("%d histories that Porcupine decided, of %d:\n%s", decided.Load(), seed.Load(), total)
	if total.sum(checker.Valid) == 0 || total.sum(checker.Invalid) == 0 {
		t.Error("all have the same verdict")
	}
}

// cell counts histories of a model: by verdict, and by which of our engines
// decided them too.
type cell struct {
	model   string
	verdict checker.Verdict
	ours    string
}

type tally map[cell]int

func (c tally) sum(v checker.Verdict) int {
	n := 0
	for k, m := range c {
		if k.verdict == v {
			n += m
		}
	}
	return n
}

func (c tally) String() string {
	var lines []string
	for k := range maps.Keys(c) {
		lines = append(lines, fmt.Sprintf("%-20s %-8v %7d  %s", k.model, k.verdict, c[k], k.ours))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// agree compares the engines on the history of a seed, and says whether Porcupine
// decided it. What it decides within 50 ms, the others must decide within a second:
// all but a few, which are counted.
func agree(t *testing.T, seed uint64, counts tally) bool {
	t.Helper()
	spec, h := larger(rand.New(rand.NewPCG(seed, 5)))
	want := Check(t.Context(), h, Options{Model: spec, Engine: Porcupine, Timeout: 50 * time.Millisecond, MaxAnomalies: -1, Workers: 1})
	k := cell{model: spec.Name, verdict: want.Verdict}
	if want.Verdict == checker.Unknown {
		k.ours = "not compared"
		counts[k]++
		return false
	}
	for _, name := range []string{Auto, Search, Fast} {
		o := Options{Model: spec, Engine: name, MaxAnomalies: -1, Workers: 1, Timeout: time.Second}
		if name == Auto {
			o.Porcupine = inside
		}
		got := Check(t.Context(), h, o)
		switch {
		case got.Verdict == want.Verdict:
			k.ours += " " + name
		case got.Verdict == checker.Unknown && name == Fast:
		case got.Verdict == checker.Unknown && strings.Contains(got.Reason, "limit"):
			k.ours += " " + name + "-gave-up"
		default:
			t.Errorf("seed %d: %s of %s says %v (%s), porcupine %v (%s):\n%s", seed, name, spec.Name, got.Verdict, got.Reason, want.Verdict, want.Reason, text(h))
		}
	}
	counts[k]++
	return !strings.Contains(k.ours, "gave-up")
}

// larger draws a history of mostly 12 to 60 operations, some of a few hundred.
func larger(r *rand.Rand) (model.Spec, *history.History) {
	specs := []model.Spec{model.Register(), model.CASRegister(), model.CASRegister(), model.ExcludingRegister(), model.OwnerMutex(), model.Mutex(), model.Queue(), model.KV(), model.Set(), model.Counter()}
	spec := specs[r.IntN(len(specs))]
	ops := 12 + r.IntN(49)
	if r.IntN(20) == 0 {
		ops = 100 + r.IntN(300)
	}
	var rows []checkertest.Row
	if r.IntN(3) == 0 && spec.Name != "excluding-register" {
		rows = planted(r, spec.Name, ops)
	} else {
		rows = checkertest.Random(r, checkertest.Config{
			Model: spec.Name, Ops: ops, Processes: 2 + r.IntN(4), Ties: r.IntN(2) == 0, Observe: r.IntN(2) == 0,
			Values: r.IntN(3) / 2 * 3, Info: 0.1 * float64(r.IntN(3)),
		})
	}
	for range r.IntN(3) {
		checkertest.Mutate(r, rows)
	}
	return spec, checkertest.History(rows)
}

// planted draws a synthetic history with an anomaly in it, as rows.
func planted(r *rand.Rand, of string, ops int) []checkertest.Row {
	names := synth.Anomalies(of)
	h, err := synth.History(synth.Options{
		Model: of, Ops: ops, Processes: 2 + r.IntN(4), Keys: 1, Info: 0.1 * float64(r.IntN(2)), Anomaly: names[r.IntN(len(names))],
		At: r.Float64(), Seed: r.Uint64(), Observe: r.IntN(2) == 0,
	})
	if err != nil {
		panic(err) // a bug of this function
	}
	return checkertest.Rows(h)
}
