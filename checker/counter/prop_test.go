package counter_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/counter"
	"github.com/faultline-dev/faultline/history"
)

// count is what a counter does.
func count(state string, s checkertest.Step) (next string, ok bool) {
	n, _ := strconv.ParseInt(state, 10, 64)
	if s.F == counter.Add {
		d, _ := s.In.(int64)
		return fmt.Sprint(n + d), true
	}
	return state, s.Type != history.OK || fmt.Sprint(s.Out) == state
}

func random(rng *rand.Rand) []checkertest.Step {
	var all []checkertest.Step
	for range 2 + rng.IntN(6) {
		inv := time.Duration(rng.IntN(12))
		s := checkertest.Step{F: counter.Read, Out: rng.Int64N(6) - 1, Type: history.OK, Inv: inv, Ret: inv + 1 + time.Duration(rng.IntN(5))}
		if rng.IntN(2) == 0 {
			n := rng.Int64N(5) - 1
			s.F, s.In, s.Out = counter.Add, n, n
			switch rng.IntN(6) {
			case 0:
				s.Type = history.Info
			case 1:
				s.Type = history.Fail
			}
		}
		all = append(all, s)
	}
	return all
}

// What the checker calls impossible is: no order explains it. Of histories with one
// read it finds every one that its bounds can tell.
func TestNoFalseAlarm(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rounds := 100_000
	if testing.Short() {
		rounds = 5_000
	}
	wrong, found := 0, 0
	for range rounds {
		steps := random(rng)
		r := counter.New(counter.Options{}).Check(t.Context(), checkertest.HistoryOf(t, steps))
		possible := checkertest.Ordered(steps, "0", count)
		if possible && r.Verdict == checker.Invalid {
			t.Fatalf("a false alarm: %s%+v", checkertest.Format(nil, r), steps)
		}
		if !possible {
			wrong++
			if r.Verdict == checker.Invalid {
				found++
			}
		}
	}
	if found < wrong/2 || found == 0 {
		t.Errorf("only %d of %d impossible histories were found", found, wrong)
	}
	t.Logf("%d of %d impossible histories were found", found, wrong)
}
