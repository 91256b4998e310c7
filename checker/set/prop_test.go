package set_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/set"
	"github.com/faultline-dev/faultline/history"
)

// elements is what a set does; its state are its elements in order.
func elements(state string, s checkertest.Step) (next string, ok bool) {
	all := strings.Fields(state)
	e := fmt.Sprint(s.In)
	at, has := slices.BinarySearch(all, e)
	switch {
	case s.F == set.Add && !has:
		return strings.Join(slices.Insert(all, at, e), " "), true
	case s.F == set.Remove && has:
		return strings.Join(slices.Delete(all, at, at+1), " "), true
	case s.F == set.Contains:
		return state, s.Type != history.OK || s.Out == has
	case s.F == set.Read && s.Type == history.OK:
		list, _ := s.Out.([]any)
		return state, fmt.Sprint(list...) == fmt.Sprint(anys(all)...)
	}
	return state, true
}

func anys(words []string) []any {
	out := []any{}
	for _, w := range words {
		var n int64
		_, _ = fmt.Sscan(w, &n)
		out = append(out, n)
	}
	return out
}

// random is a history of few elements, each added and removed at most once, with
// whole reads if lists is set.
func random(rng *rand.Rand, lists bool) []checkertest.Step {
	var all []checkertest.Step
	used := map[string]bool{}
	for range 2 + rng.IntN(6) {
		inv := time.Duration(rng.IntN(12))
		e := 1 + rng.Int64N(2)
		s := checkertest.Step{F: set.Contains, In: e, Out: rng.IntN(2) == 0, Type: history.OK, Inv: inv, Ret: inv + 1 + time.Duration(rng.IntN(5))}
		kind := []string{set.Add, set.Remove, set.Contains, set.Contains}[rng.IntN(4)]
		switch id := fmt.Sprint(kind, e); {
		case kind == set.Contains && lists && rng.IntN(2) == 0:
			s.F, s.In, s.Out = set.Read, nil, [][]any{{}, {int64(1)}, {int64(2)}, {int64(1), int64(2)}}[rng.IntN(4)]
		case kind != set.Contains && !used[id]:
			used[id] = true
			s.F, s.Out = kind, e
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

// Element by element the checker and brute force agree; with whole reads what it
// calls impossible is.
func TestAgreesWithBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rounds := 100_000
	if testing.Short() {
		rounds = 5_000
	}
	wrong, found := 0, 0
	for i := range rounds {
		lists := i%2 == 1
		steps := random(rng, lists)
		r := set.New(set.Options{}).Check(t.Context(), checkertest.HistoryOf(t, steps))
		possible := checkertest.Ordered(steps, "", elements)
		if possible && r.Verdict == checker.Invalid {
			t.Fatalf("a false alarm: %s%+v", checkertest.Format(nil, r), steps)
		}
		if !possible && r.Verdict != checker.Invalid && !lists {
			t.Fatalf("missed: %+v", steps)
		}
		if !possible {
			wrong++
			if r.Verdict == checker.Invalid {
				found++
			}
		}
	}
	if found < wrong*8/10 || found == 0 {
		t.Errorf("only %d of %d impossible histories were found", found, wrong)
	}
	t.Logf("%d of %d impossible histories were found", found, wrong)
}
