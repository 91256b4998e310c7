package lock_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/lock"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// stamped is an event before it has its place.
type stamped struct {
	at int
	op history.Op
}

// random draws a history of holds, each by an owner and a process of its own: an
// acquire, and perhaps releases, the last of which may be of unknown fate. Stamps
// are few, so that many are equal.
func random(rng *rand.Rand) []history.Op {
	var events []stamped
	for p := range 2 + rng.IntN(4) {
		owner := map[string]any{"owner": fmt.Sprint("o", p)}
		now := rng.IntN(12)
		add := func(f string, typ history.Type) {
			inv := now + rng.IntN(2)
			now = inv + 1 + rng.IntN(3)
			op := history.Op{Process: history.Process(p), F: f, Key: "x", Value: owner}
			events = append(events, stamped{inv, op})
			op.Type = typ
			events = append(events, stamped{now, op})
			now++
		}
		add(lock.Acquire, []history.Type{history.OK, history.OK, history.OK, history.Fail, history.Info}[rng.IntN(5)])
		if events[len(events)-1].op.Type != history.OK {
			continue
		}
		now += rng.IntN(4)
		last := []history.Type{history.OK, history.OK, history.Info}[rng.IntN(3)]
		if last == history.OK && rng.IntN(4) == 0 {
			add(lock.Release, history.Fail)
		}
		add(lock.Release, last)
	}
	return ordered(events)
}

// ordered are the events in time.
func ordered(events []stamped) []history.Op {
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

// The twin is the exact search on the sequential specification of a mutex with
// owners: where every hold is released in the end, and once unless that succeeds, an overlap of certain holds is
// all that can be wrong.
func TestAgreesWithSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	invalid := 0
	for range 20000 {
		h, err := history.Of(random(rng)...)
		if err != nil {
			t.Fatal(err)
		}
		got := lock.New(lock.Options{}).Check(context.Background(), h)
		want := linear.Check(context.Background(), h, linear.Options{Model: model.OwnerMutex(), Engine: linear.Search})
		if (got.Verdict == checker.Invalid) != (want.Verdict == checker.Invalid) {
			t.Fatalf("%v, the search says %v, of\n%s", got.Verdict, want.Verdict, lines(h))
		}
		for _, a := range got.Anomalies {
			invalid++
			if r := lock.New(lock.Options{}).Check(context.Background(), only(t, h, a.Ops)); r.Verdict != checker.Invalid {
				t.Fatalf("the witness %v is %v, of\n%s", a.Ops, r.Verdict, lines(h))
			}
		}
	}
	if invalid < 1000 {
		t.Errorf("only %d anomalies among 20,000 histories", invalid)
	}
}

// leased draws a history of holds with leases, in which owners update the data, learn
// of losses, and ask more than once to release the lock.
func leased(rng *rand.Rand) []history.Op {
	var events []stamped
	for p := range 2 + rng.IntN(2) {
		now := rng.IntN(8)
		asked := map[string]any{"owner": fmt.Sprint("o", p)}
		granted := map[string]any{"owner": fmt.Sprint("o", p), "lease_ns": int64(rng.IntN(8)) * int64(time.Millisecond)}
		for i, f := range append([]string{lock.Acquire}, []string{lock.Update, lock.Update, lock.Lost, lock.Release, lock.Release, lock.Release}[rng.IntN(4):][:rng.IntN(4)]...) {
			op := history.Op{Process: history.Process(p), F: f, Key: "x", Value: asked}
			events = append(events, stamped{now, op})
			now += 1 + rng.IntN(4)
			op.Type = history.OK
			switch {
			case f == lock.Acquire:
				op.Value = granted
			case f != lock.Lost && i > 0:
				op.Type = []history.Type{history.OK, history.Fail, history.Fail, history.Info}[rng.IntN(4)]
				if op.Type == history.Fail && rng.IntN(2) == 0 {
					op.Observed = &history.Seen{Value: "other"}
				}
			}
			events = append(events, stamped{now, op})
			now += 1 + rng.IntN(4)
			if op.Type == history.Info {
				break
			}
		}
	}
	return ordered(events)
}

// A run may end at any moment, before a holder comes to say that it has heeded its
// lease: what is right to its end was right until then.
func TestCutShort(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	check := func(ops []history.Op, p lock.Promise) (checker.Verdict, *history.History) {
		h, err := history.Of(ops...)
		if err != nil {
			t.Fatal(err)
		}
		return lock.New(lock.Options{Promise: p}).Check(context.Background(), h).Verdict, h
	}
	valid := 0
	for range 5000 {
		ops := leased(rng)
		for _, p := range []lock.Promise{lock.Exclusion, lock.WithinLease} {
			v, h := check(ops, p)
			if v != checker.Valid {
				continue
			}
			valid++
			for n := 1; n < len(ops); n++ {
				if v, _ := check(ops[:n], p); v == checker.Invalid {
					t.Fatalf("%s: valid, but its first %d events are invalid:\n%s", p, n, lines(h))
				}
			}
		}
	}
	if valid < 1000 || valid > 9000 {
		t.Errorf("%d of 10,000 histories are valid", valid)
	}
}

func lines(h *history.History) string {
	text := ""
	for i := range h.Len() {
		o := h.Op(i)
		text += fmt.Sprintf("%d: process %d %s %v, %v to %v: %v\n", o.Index, o.Process, o.F, o.In, o.Invoke, o.Done, o.Type)
	}
	return text
}

// only is the part of h with the given operations.
func only(t *testing.T, h *history.History, ops []int) *history.History {
	t.Helper()
	type placed struct {
		at int
		op history.Op
	}
	var events []placed
	for _, index := range ops {
		o := h.Op(h.At(index))
		op := history.Op{Time: o.Invoke, Process: o.Process, Type: history.Invoke, F: o.F, Key: o.Key, Value: o.In}
		events = append(events, placed{o.Index, op})
		if o.Ret >= 0 {
			op.Time, op.Type, op.Value, op.Observed = o.Done, o.Type, o.Out, o.Observed
			events = append(events, placed{o.Ret, op})
		}
	}
	slices.SortFunc(events, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	list := make([]history.Op, len(events))
	for i, e := range events {
		list[i] = e.op
	}
	part, err := history.Of(list...)
	if err != nil {
		t.Fatal(err)
	}
	return part
}
