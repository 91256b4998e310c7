package linear

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// explainZones makes the anomaly of a conflict: it goes back to the earliest
// moment at which there is one, minimises, and verifies with the search.
func (p *plan) explainZones(pt part, z *zones, c conflict, d *decision) {
	whole, full := *z, pt.v
	switch small, k, ok := among(z, full, c); {
	case ok:
		full = small.v
		base := *small
		z, c = earliest(&base, small, k)
	case z.swaps || len(z.clashing) >= maxPairs:
		z, c = earliest(&whole, z, c)
	default: // nothing else is wrong sooner
		z.v.cut = momentsOf(pt.v.h).last(needs(z, c))
	}
	e := explainer{p: p, z: z, whole: &whole, v: z.v, full: full, c: c}
	a, ops := e.anomaly()
	if !p.impossible(z.v.only(ops), z.written) {
		d.verdict, d.reason = checker.Unknown, "internal error: the engines disagree about the witness "+fmt.Sprint(ops)
		return
	}
	d.anomaly = a
}

// impossible says whether the search finds a few operations impossible.
func (p *plan) impossible(w view, written func(history.Value) bool) bool {
	bad, err := violates(w, p.o.Model, written)
	return err == nil && bad
}

// written says whether somebody writes v.
func (z *zones) written(v history.Value) bool {
	_, ok := z.block(v)
	return ok
}

// violates asks the search about a few operations, within a bound of its own.
// Values that somebody wrote in the whole, but nobody in w, are taken for granted
// (see problem.weaken).
func violates(w view, spec model.Spec, written func(history.Value) bool) (bool, error) {
	pr, err := newProblem(w, spec)
	if err != nil {
		return false, err
	}
	pr.weaken(written)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	out, err := runSearch(pr, newBudget(ctx, 64<<20))
	return err == nil && !out.valid, err
}

// explainer says a zones conflict in words.
type explainer struct {
	p *plan
	z *zones
	// whole is the zones of full, as far as they were made.
	whole *zones
	v     view // as it stood when the conflict arose
	full  view
	c     conflict
}

// op is the operation at position k; prefixes have the positions of the whole.
func (e *explainer) op(k int32) int { return e.full.at(int(k)) }

// anomaly is the finished anomaly, and its witness as operation numbers.
func (e *explainer) anomaly() (*checker.Anomaly, []int32) {
	a := &checker.Anomaly{Name: "nonlinearizable"}
	var ops []int32
	switch c := e.c; c.kind {
	case kindPhantom:
		ops = e.phantom(a)
	case kindFuture:
		ops = e.future(a, c.a, c.b)
	case kindTwice:
		ops = append([]int32{c.a, c.b}, c.with...)
		a.Explain = fmt.Sprintf("%s, and %s; but a value can be changed only once, as it is written only once.",
			e.did(e.op(c.a)), e.did(e.op(c.b)))
	case kindCycle:
		ops = slices.Clone(c.with)
		a.Explain = fmt.Sprintf("%s, and %s: each needs the other, or one in between, to have come first.", e.did(e.op(c.a)), e.did(e.op(c.b)))
	case kindChain:
		ops = append([]int32{c.a, c.c}, c.with...)
		e.stale(a, c.a, c.c)
		a.Forces = e.forces([2]int32{c.a, c.c})
	case kindZones:
		ops = append([]int32{c.a, c.b, c.c, c.d}, c.with...)
		e.stale(a, c.d, c.c)
		a.Forces = e.forces([2]int32{c.d, c.c}, [2]int32{c.a, c.b})
	case kindNone:
	}
	ops = e.writers(ops)
	ops = e.minimise(ops)
	for _, i := range ops {
		a.Ops = append(a.Ops, e.v.h.Index(int(i)))
	}
	a.Time = e.v.last()
	a.Forces = slices.DeleteFunc(a.Forces, func(f [2]int) bool { return !slices.Contains(a.Ops, f[0]) || !slices.Contains(a.Ops, f[1]) })
	return a, ops
}

// writers adds to positions those of the writes of what they read, and makes
// them operation numbers, sorted. Numbers below -1 stand for operations that are
// not in the view.
func (e *explainer) writers(at []int32) []int32 {
	set := map[int32]bool{}
	for _, k := range at {
		switch {
		case k < -1:
			set[-k-2] = true
		case k >= 0:
			set[int32(e.op(k))] = true //nolint:gosec // an op number
			if int(k) >= e.z.n || e.z.col.code[k]&^open != reading {
				continue
			}
			if b, ok := e.z.block(e.z.col.value(int(k))); ok && b > 0 {
				set[int32(e.op(e.z.blocks[b].writer))] = true //nolint:gosec // an op number
			}
		}
	}
	e.observers(set)
	return sortedOps(set)
}

// observers adds to every operation of unknown fate somebody who saw its value:
// the proof that it happened. One of unknown fate proves nothing, unless somebody
// saw its value in turn.
func (e *explainer) observers(set map[int32]bool) {
	for again := true; again; {
		again = false
		proven := e.proven(set)
		for _, i := range sortedOps(set) {
			w := wrote(e.v.h, int(i))
			if w == history.None || proven[i] {
				continue
			}
			if j := e.observer(w); j >= 0 && !set[j] {
				set[j], again = true, true
			}
		}
	}
}

// proven are the operations of set that are certain to have happened, going by
// what the set holds.
func (e *explainer) proven(set map[int32]bool) map[int32]bool {
	proven := map[int32]bool{}
	for i := range set {
		proven[i] = e.v.typ(int(i)) != history.Info
	}
	for again := true; again; {
		again = false
		seen := map[history.Value]bool{}
		for i := range set {
			if proven[i] {
				for _, s := range e.seesAtCut(int(i)) {
					seen[s] = true
				}
			}
		}
		for i := range set {
			if !proven[i] && seen[wrote(e.v.h, int(i))] {
				proven[i], again = true, true
			}
		}
	}
	return proven
}

// seesAtCut is sees, for what is known at the view's cut.
func (e *explainer) seesAtCut(i int) []history.Value {
	if e.v.typ(i) == history.Info && e.v.h.F(i) == "read" {
		return nil
	}
	return sees(e.v.h, i)
}

// observer is the read of w that returned first, or else the compare-and-set that
// expects it: the conflict may be from before other reads returned.
func (e *explainer) observer(w history.Value) int32 {
	b, ok := e.z.block(w)
	if !ok || b == 0 {
		return -1
	}
	found := int32(-1)
	e.z.readers(b, func(k int32) {
		if found < 0 || e.v.h.Ret(e.op(k)) < e.v.h.Ret(e.op(found)) {
			found = k
		}
	})
	if n := e.z.blocks[b].next; found < 0 && n > 0 && n != b {
		found = e.z.blocks[n].writer
	}
	if found < 0 {
		return -1
	}
	return int32(e.op(found)) //nolint:gosec // an op number
}

func sortedOps(set map[int32]bool) []int32 {
	ops := make([]int32, 0, len(set))
	for i := range set {
		ops = append(ops, i)
	}
	slices.Sort(ops)
	return ops
}

// minimise drops operations while what remains still violates. An operation
// goes together with all that saw what it wrote, so that what remains is a
// proof: in a register an operation that nobody sees may be left out of any
// legal order, hence if the rest has no legal order, the whole has none.
func (e *explainer) minimise(ops []int32) []int32 {
	if e.c.kind == kindPhantom || e.c.kind == kindFuture || len(ops) > 256 {
		return ops
	}
	return shrinkWitness(e.v, e.p.o.Model, ops, e.z.written)
}

// shrinkWitness is minimise for any register history.
func shrinkWitness(v view, spec model.Spec, ops []int32, written func(history.Value) bool) []int32 {
	for size := len(ops) / 2; size > 1; size /= 2 { // large steps first
		for from := 0; from+size <= len(ops); {
			rest := ops
			for _, i := range ops[from : from+size] {
				if slices.Contains(rest, i) {
					rest = without(v.h, rest, i)
				}
			}
			if bad, err := violates(v.only(rest), spec, written); len(rest) > 0 && err == nil && bad {
				ops = rest
				continue
			}
			from += size
		}
	}
	for changed := true; changed; {
		changed = false
		for _, i := range slices.Clone(ops) {
			if !slices.Contains(ops, i) {
				continue
			}
			rest := without(v.h, ops, i)
			if len(rest) == 0 {
				continue
			}
			if bad, err := violates(v.only(rest), spec, written); err == nil && bad {
				ops, changed = rest, true
			}
		}
	}
	return ops
}

// without drops operation i, and all that saw what only i wrote.
func without(h *history.History, ops []int32, i int32) []int32 {
	gone := map[int32]bool{i: true}
	for again := true; again; {
		again = false
		dropped := map[history.Value]bool{}
		for j := range gone {
			dropped[wrote(h, int(j))] = true
		}
		for _, j := range ops {
			if wrote(h, int(j)) != history.None {
				continue // a compare-and-set without its source counts as a write
			}
			for _, s := range sees(h, int(j)) {
				if !gone[j] && dropped[s] {
					gone[j], again = true, true
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(ops), func(j int32) bool { return gone[j] })
}
