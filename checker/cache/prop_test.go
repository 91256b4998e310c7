package cache_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/cache"
	"github.com/faultline-dev/faultline/history"
)

type stamped struct {
	at int
	op history.Op
}

// random draws a few concurrent operations on one key. Times to live are longer
// than any operation takes, since an expiry may come before its own set for the
// search, and then takes nothing away.
func random(rng *rand.Rand) []history.Op {
	var events []stamped
	v := int64(0)
	for p := range 2 + rng.IntN(5) {
		inv := rng.IntN(24)
		done := inv + 1 + rng.IntN(3)
		op := history.Op{Process: history.Process(p), F: cache.Get, Key: "x"}
		typ := history.OK
		var got any
		switch rng.IntN(5) {
		case 0, 1:
			v++
			ttl := []int64{0, 6, 9}[rng.IntN(3)]
			op.F, op.Value = cache.Set, map[string]any{"v": v, "ttl_ns": ttl * int64(time.Millisecond)}
			got = op.Value
		case 2:
			op.F = cache.Delete
		default:
			if n := rng.IntN(4); n > 0 {
				got = int64(n)
			}
		}
		if op.F != cache.Get && rng.IntN(6) == 0 {
			typ = []history.Type{history.Fail, history.Info}[rng.IntN(2)]
		}
		events = append(events, stamped{inv, op})
		op.Type, op.Value = typ, got
		events = append(events, stamped{done, op})
	}
	slices.SortStableFunc(events, func(a, b stamped) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(min(a.op.Type, 1), min(b.op.Type, 1)))
	})
	ops := make([]history.Op, len(events))
	for i, e := range events {
		e.op.Time = time.Duration(e.at) * time.Millisecond
		ops[i] = e.op
	}
	return ops
}

// Whatever the rules over windows call wrong no order explains: they raise no false
// alarm, and what they miss the search finds.
func TestWindowsAreSound(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	found := map[string]int{}
	missed := 0
	for range 8000 {
		h, err := history.Of(random(rng)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []cache.Options{
			{Earliest: true, Latest: true, Tolerance: time.Millisecond, WindowsOnly: true},
			{Earliest: true, WindowsOnly: true},
		} {
			got := cache.New(o).Check(context.Background(), h)
			exact := cache.Exact(context.Background(), h, o)
			if got.Verdict == checker.Invalid && exact.Verdict == checker.Valid && !expiredAlone(got) {
				t.Fatalf("%v\nbut the search explains\n%s", got.Anomalies, lines(h))
			}
			if got.Verdict == checker.Valid && exact.Verdict == checker.Invalid {
				missed++
			}
			for _, a := range got.Anomalies {
				found[a.Name]++
			}
		}
	}
	for _, name := range []string{cache.PhantomRead, cache.FutureRead, cache.ExpiredRead, cache.Resurrected, cache.StaleRead, cache.EarlyEviction} {
		if found[name] < 100 {
			t.Errorf("%s was found only %d times", name, found[name])
		}
	}
	if missed == 0 {
		t.Error("the search never found anything that the rules had missed")
	}
}

// expiredAlone says that all that was found are reads after expiry of a set of
// unknown fate, which a get showed so late that its window of expiry had begun:
// there the search is the weaker of the two.
func expiredAlone(r checker.Result) bool {
	return !slices.ContainsFunc(r.Anomalies, func(a checker.Anomaly) bool {
		return a.Name != cache.ExpiredRead || len(a.Ops) < 3
	})
}

func lines(h *history.History) string {
	text := ""
	for i := range h.Len() {
		o := h.Op(i)
		text += fmt.Sprintf("%d: %s %v -> %v, %v to %v: %v\n", o.Index, o.F, o.In, o.Out, o.Invoke, o.Done, o.Type)
	}
	return text
}
