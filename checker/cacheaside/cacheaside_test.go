package cacheaside_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/cacheaside"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/history"
)

func TestHistories(t *testing.T) {
	checkertest.Run(t, "testdata", func(command string) checker.Checker {
		if command != "check" {
			return nil
		}
		return cacheaside.New(cacheaside.Options{})
	})
}

// register is what the store does.
func register(state string, s checkertest.Step) (next string, ok bool) {
	if s.F == cacheaside.Write {
		return fmt.Sprint(s.In), true
	}
	return state, fmt.Sprint(s.Out) == state
}

// nothing is the state of a key that nobody wrote.
const nothing = "<nil>"

// twin judges what the store did with one read added to it, where the store alone
// has an order; each write is over at the latest when somebody saw its value.
func twin(all []checkertest.Step, read checkertest.Step) (stale, sane bool) {
	var store []checkertest.Step
	for _, s := range all {
		if s.F == cacheaside.Read {
			continue
		}
		if s.F == cacheaside.Write {
			for _, q := range all {
				if q.F == cacheaside.Write || q.Out != s.In {
					continue
				}
				if s.Type == history.Info {
					s.Type, s.Ret = history.OK, q.Ret
				}
				s.Ret = min(s.Ret, q.Ret)
			}
		}
		store = append(store, s)
	}
	return !checkertest.Ordered(append(slices.Clone(store), read), nothing, register), checkertest.Ordered(store, nothing, register)
}

// random is a history of one key. Times repeat.
func random(rng *rand.Rand) []checkertest.Step {
	var all []checkertest.Step
	writes := int64(0)
	for range 2 + rng.IntN(6) {
		inv := time.Duration(rng.IntN(10))
		s := checkertest.Step{Type: history.OK, Inv: inv, Ret: inv + 1 + time.Duration(rng.IntN(5))}
		switch n := rng.IntN(8); {
		case n < 3:
			writes++
			s.F, s.In, s.Out = cacheaside.Write, writes, writes
			if rng.IntN(4) == 0 {
				s.Type = history.Info
			}
		case n < 5:
			s.F = cacheaside.Load
		default:
			s.F = cacheaside.Read
		}
		all = append(all, s)
	}
	for i := range all {
		if v := rng.Int64N(writes + 1); all[i].F != cacheaside.Write && v > 0 {
			all[i].Out = v
		}
	}
	return all
}

// Read by read the checker and its slow twin agree.
func TestAgreesWithSlowTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	stale, fresh, rounds := 0, 0, 200_000
	if testing.Short() {
		rounds = 5_000
	}
	for range rounds {
		all := random(rng)
		var reads []int
		for i, s := range all {
			if s.F == cacheaside.Read {
				reads = append(reads, i)
			}
		}
		if len(reads) == 0 {
			continue
		}
		r := cacheaside.New(cacheaside.Options{MaxAnomalies: 1000}).Check(t.Context(), checkertest.HistoryOf(t, all))
		if slices.ContainsFunc(r.Anomalies, func(a checker.Anomaly) bool { return a.Name == cacheaside.FutureRead }) {
			continue // of which the zones say nothing
		}
		want := 0
		for _, i := range reads {
			bad, sane := twin(all, all[i])
			if !sane {
				want = -1
				break
			}
			if bad {
				want++
			}
		}
		if want < 0 {
			continue
		}
		if got := int(r.Figures["stale_reads"]); got != want {
			t.Fatalf("%d stale reads, the twin has %d, in\n%s%+v", got, want, checkertest.Format(nil, r), all)
		}
		if want > 0 {
			stale++
		} else {
			fresh++
		}
	}
	if stale < rounds/20 || fresh < rounds/20 {
		t.Errorf("only %d histories with stale reads and %d without", stale, fresh)
	}
}
