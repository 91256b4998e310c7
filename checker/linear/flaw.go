package linear

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// flaw is what a fast engine found wrong: operation numbers and a sentence.
type flaw struct {
	name, explain string
	ops           []int
}

// explainFlaw makes the anomaly of a flaw: it goes back to the earliest moment at
// which there is one, and has the search verify the witness.
func (p *plan) explainFlaw(pt part, f *flaw, check func(view) (*flaw, string, error), d *decision) {
	f, since := firstFlaw(pt.v, p.o.Model, f, check)
	h := pt.v.h
	a := &checker.Anomaly{Name: f.name, Explain: f.explain}
	for _, i := range f.sorted() {
		a.Ops = append(a.Ops, h.Index(int(i)))
	}
	if since.index < 0 {
		d.verdict, d.reason = checker.Unknown, "internal error: the engines disagree about the witness "+fmt.Sprint(a.Ops)
		return
	}
	a.Time = since.at
	d.anomaly = a
}

func (f *flaw) sorted() []int32 {
	ops := make([]int32, 0, len(f.ops))
	for _, i := range f.ops {
		ops = append(ops, int32(i)) //nolint:gosec // an op number
	}
	slices.Sort(ops)
	return slices.Compact(ops)
}

// event is one of a history's.
type event struct {
	index int
	at    time.Duration
}

// firstFlaw looks for flaws in ever shorter prefixes, as the register engine does
// (see earliest), and says at which event the first of them is one; its index is
// -1 where the search finds the witness possible.
func firstFlaw(v view, spec model.Spec, f *flaw, check func(view) (*flaw, string, error)) (*flaw, event) {
	last, lo := since(v, spec, f.sorted()), 0 // up to lo it is right
	for round := 0; last.index > 0; round++ {
		cut := v.before(last.at)
		if round > 3 {
			cut = (lo + cut) / 2
		}
		if cut <= lo {
			break
		}
		g, _, err := check(v.until(cut))
		if g == nil && round <= 3 || err != nil {
			break
		}
		if g == nil {
			lo = cut
			continue
		}
		s := since(v.until(cut), spec, g.sorted())
		if s.index < 0 {
			break
		}
		f, last = g, s
	}
	return f, last
}

// before is the index of the last event before those of the given time.
func (v view) before(at time.Duration) int {
	first := v.cut
	for k := range v.len() {
		i := v.at(k)
		if v.h.Invoke(i) == at {
			first = min(first, v.h.Index(i))
		}
		if v.h.Ret(i) >= 0 && v.h.Done(i) == at {
			first = min(first, v.h.Ret(i))
		}
	}
	return first - 1
}

// since is the event from which on the given few operations are impossible; its
// index is -1 where they are possible.
func since(v view, spec model.Spec, ops []int32) event {
	var events []event
	for _, o := range ops {
		i := int(o)
		events = append(events, event{v.h.Index(i), v.h.Invoke(i)})
		if v.typ(i) != history.Info {
			events = append(events, event{v.h.Ret(i), v.h.Done(i)})
		}
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.index, b.index) })
	for n, e := range events {
		if n+1 < len(events) && events[n+1].at == e.at {
			continue // equal stamps are concurrent
		}
		if bad, err := violates(v.only(ops).until(e.index), spec, nil); err == nil && bad {
			return e
		}
	}
	return event{index: -1}
}
