package queue_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/queue"
	"github.com/faultline-dev/faultline/history"
)

// fifo is what a queue does; a dequeue whose answer is not known takes what is there.
func fifo(state string, s checkertest.Step) (next string, ok bool) {
	all := strings.Fields(state)
	switch {
	case s.F == queue.Enqueue:
		return strings.Join(append(all, fmt.Sprint(s.In)), " "), true
	case s.Type == history.Info:
		return strings.Join(all[min(len(all), 1):], " "), true
	case s.Out == nil:
		return state, len(all) == 0
	}
	return strings.Join(all[min(len(all), 1):], " "), len(all) > 0 && all[0] == fmt.Sprint(s.Out)
}

func random(rng *rand.Rand) []checkertest.Step {
	var all []checkertest.Step
	n := int64(0)
	for range 2 + rng.IntN(6) {
		inv := time.Duration(rng.IntN(12))
		s := checkertest.Step{F: queue.Dequeue, Type: history.OK, Inv: inv, Ret: inv + 1 + time.Duration(rng.IntN(4))}
		switch rng.IntN(10) {
		case 0:
			s.Type = history.Info
		case 1:
			s.Type = history.Fail
		}
		if rng.IntN(2) == 0 {
			n++
			s.F, s.In, s.Out = queue.Enqueue, n, n
		}
		all = append(all, s)
	}
	for i := range all {
		if v := rng.Int64N(n + 1); all[i].F == queue.Dequeue && v > 0 {
			all[i].Out = v
		}
	}
	return all
}

// What the checker calls impossible is: no order explains it. It need not find all.
func TestNoFalseAlarm(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rounds := 100_000
	if testing.Short() {
		rounds = 5_000
	}
	wrong, found := 0, 0
	for range rounds {
		steps := random(rng)
		r := queue.New(queue.Options{}).Check(t.Context(), checkertest.HistoryOf(t, steps))
		possible := checkertest.Ordered(steps, "", fifo)
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
	if found < wrong*9/10 || found == 0 {
		t.Errorf("only %d of %d impossible histories were found", found, wrong)
	}
	t.Logf("%d of %d impossible histories were found", found, wrong)
}
