package checkertest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// Step is an operation for the slow twins of checkers.
type Step struct {
	F        string
	In, Out  any // what was asked, what came back
	Type     history.Type
	Inv, Ret time.Duration
}

// Ordered says whether the steps have an order that their object allows: each goes
// when nobody who is left was over before it began. Those of unknown fate need not
// take part, those that failed do not. apply does a step to a state, or says that it
// cannot be. That is all there is to a slow twin; it takes time that is exponential.
func Ordered(left []Step, state string, apply func(state string, s Step) (next string, ok bool)) bool {
	over, needed := history.Forever, false
	for _, s := range left {
		if s.Type == history.OK {
			over, needed = min(over, s.Ret), true
		}
	}
	if !needed {
		return true
	}
	for i, s := range left {
		if s.Type == history.Fail || s.Inv > over {
			continue
		}
		next, ok := apply(state, s)
		if ok && Ordered(slices.Delete(slices.Clone(left), i, i+1), next, apply) {
			return true
		}
	}
	return false
}

// HistoryOf is the steps as a history of one key, each by a process of its own.
func HistoryOf(tb testing.TB, steps []Step) *history.History {
	tb.Helper()
	var ops []history.Op
	for p, s := range steps {
		inv := history.Op{Process: history.Process(p), Type: history.Invoke, F: s.F, Key: "k", Time: s.Inv, Value: s.In}
		done := inv
		done.Type, done.Time, done.Value = s.Type, s.Ret, s.Out
		ops = append(ops, inv, done)
	}
	slices.SortStableFunc(ops, func(a, b history.Op) int { return cmp.Compare(a.Time, b.Time) })
	h, err := history.Of(ops...)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}
