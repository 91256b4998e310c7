package linear

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// Fast engines of objects other than registers.

// byObject asks the near-linear engine of the model. Some can only refute: where
// they find nothing, they do not apply.
func (p *plan) byObject(pt part) (decision, error) {
	check := p.objectCheck()
	if check == nil {
		return decision{}, inapplicable{"there is none for this model"}
	}
	f, only, err := check(pt.v)
	switch {
	case err != nil:
		return decision{}, err
	case f == nil && only != "":
		return decision{}, inapplicable{only}
	case f == nil:
		return decision{verdict: checker.Valid, engine: Fast}, nil
	}
	d := decision{verdict: checker.Invalid, engine: Fast}
	if int(p.found.Add(1)) <= p.o.MaxAnomalies {
		p.explainFlaw(pt, f, check, &d)
	}
	return d, nil
}

// objectCheck is the check of the model, nil for none. It also says why finding
// nothing proves nothing, where that is so.
func (p *plan) objectCheck() func(view) (f *flaw, only string, err error) {
	switch p.o.Model.Name {
	case "owner-mutex":
		return checkHolds
	case "queue":
		return checkQueue
	case "counter":
		return checkCounter
	case "set":
		if p.elements {
			return checkElement
		}
		return checkWholeSet
	}
	return nil
}

// splitElements makes a part of every element of every key: adding, removing and
// asking for one says nothing of the others.
func (p *plan) splitElements(whole view) error {
	h := p.h
	p.elements = true
	if err := p.b.grow(int64(h.Len()) * 16); err != nil {
		return errors.New(p.b.describe(err, p.o))
	}
	type elem struct {
		key int
		v   uint64
	}
	at := map[elem]int{}
	for i := range h.Len() {
		e := elem{h.KeyID(i), model.HashValue(h, h.In(i))}
		n, ok := at[e]
		if !ok {
			n = len(p.parts)
			at[e] = n
			v := whole
			v.ops = []int32{}
			p.parts = append(p.parts, part{v: v, name: h.Keys()[e.key]})
		}
		p.parts[n].v.ops = append(p.parts[n].v.ops, int32(i)) //nolint:gosec // an op number
	}
	return nil
}

// hold is a lock held by one owner. In every legal order its acquire and its
// release are adjacent, so holds are zones without a backward kind (see the
// register engine): [f, g] is from the least return to the largest invocation,
// and a history is legal iff no two of them conflict.
type hold struct {
	acq, rel int // operation numbers, -1 for none
	f, g     time.Duration
}

// checkHolds decides a mutex whose operations name their owners. An acquire of
// unknown fate is kept iff its owner's next definite operation is a release; a
// release of unknown fate is kept unless a definite one of the same hold follows.
// Proof: an acquire that no kept release needs can be left out of any legal
// order, together with the release that an unknown one may have been; one that a
// definite release needs must have happened. O(n log n).
func checkHolds(v view) (f *flaw, only string, err error) {
	h := v.h
	byOwner := map[string][]int{}
	for k := range v.len() {
		i := v.at(k)
		if h.Type(i) == history.Fail {
			continue
		}
		o := model.Owner(h, i)
		if prev := byOwner[o]; len(prev) > 0 {
			if last := prev[len(prev)-1]; v.typ(last) != history.Info && h.Done(last) >= h.Invoke(i) {
				return nil, "", inapplicable{"an owner has two operations open at a time"}
			}
		}
		byOwner[o] = append(byOwner[o], i)
	}
	var holds []hold
	for _, ops := range byOwner {
		hs, f, err := holdsOf(v, ops)
		if f != nil || err != nil {
			return f, "", err
		}
		holds = append(holds, hs...)
	}
	slices.SortFunc(holds, func(a, b hold) int { return cmp.Compare(a.g, b.g) })
	return overlap(v, holds), "", nil
}

// holdsOf pairs one owner's operations.
func holdsOf(v view, ops []int) ([]hold, *flaw, error) {
	h := v.h
	var holds []hold
	open := -1 // the acquire that is held
	for n, i := range ops {
		info := v.typ(i) == history.Info
		if info && n+1 < len(ops) {
			// Its effect may come at any time, also in the middle of what follows.
			return nil, nil, inapplicable{"an owner goes on after an operation of unknown fate"}
		}
		switch {
		case h.F(i) == "acquire" && info: // the owner's last: left out
		case h.F(i) == "acquire":
			if open >= 0 {
				return nil, &flaw{
					name: "double-hold", ops: []int{open, i},
					explain: fmt.Sprintf("%s at %s, though it had acquired the lock at %s and not released it.", sentence(h, i), ms(h.Done(i)), ms(h.Done(open))),
				}, nil
			}
			open = i
		case open < 0 && info: // an unheld release that need not have happened
		case open < 0:
			return nil, &flaw{
				name: "double-hold", ops: []int{i},
				explain: fmt.Sprintf("%s at %s, but did not hold the lock.", sentence(h, i), ms(h.Done(i))),
			}, nil
		default:
			holds = append(holds, hold{acq: open, rel: i, f: h.Done(open), g: h.Invoke(i)})
			open = -1
		}
	}
	if open >= 0 {
		holds = append(holds, hold{acq: open, rel: -1, f: h.Done(open), g: history.Forever})
	}
	return holds, nil, nil
}

// overlap finds two holds that conflict, given in the order of g.
func overlap(v view, holds []hold) *flaw {
	h := v.h
	last := -1
	for n, b := range holds {
		if last >= 0 {
			a := holds[last]
			if b.f < a.g && a.f < b.g {
				if a.f > b.f {
					a, b = b, a
				}
				until := "never released it"
				if a.rel >= 0 {
					until = "asked to release it only at " + ms(h.Invoke(a.rel))
				}
				f := &flaw{name: "double-hold", ops: []int{a.acq, b.acq}}
				if a.rel >= 0 {
					f.ops = append(f.ops, a.rel)
				}
				if b.rel >= 0 && h.Invoke(b.rel) < h.Done(b.acq) {
					f.ops = append(f.ops, b.rel)
				}
				f.explain = fmt.Sprintf("%s at %s%s and %s; but %s at %s%s, in the meantime.", sentence(h, a.acq), ms(h.Done(a.acq)), node(h, a.acq), until,
					sentence(h, b.acq), ms(h.Done(b.acq)), node(h, b.acq))
				return f
			}
		}
		if last < 0 || holds[last].g <= b.g {
			last = n
		}
	}
	return nil
}

// item is one element of a queue: its enqueue and its dequeue.
type item struct{ enq, deq int } // operation numbers, -1 for none

// checkQueue decides a FIFO queue whose elements are all different, after
// Henzinger, Sezgin and Vafeiadis ("Aspect-oriented linearizability proofs",
// CONCUR 2013): it is linearizable iff nothing is dequeued that was not
// enqueued, or twice, or before it was enqueued, and there are no a and b with
// the enqueue of a before that of b, b dequeued, and a dequeued only after that
// dequeue had returned, or never. With dequeues of unknown result, or that found
// the queue empty, these conditions are only necessary. O(n log n).
func checkQueue(v view) (f *flaw, only string, err error) {
	h := v.h
	items := map[uint64]*item{}
	var deqs []int
	for k := range v.len() {
		i := v.at(k)
		switch {
		case h.Type(i) == history.Fail:
		case h.F(i) == "enqueue":
			x := model.HashValue(h, h.In(i))
			if items[x] != nil {
				return nil, "", inapplicable{"an element is enqueued twice"}
			}
			items[x] = &item{i, -1}
		case v.typ(i) == history.Info:
			only = "a dequeue of unknown fate may have taken any element"
		case h.Out(i) == history.Nil:
			only = "dequeues found the queue empty"
		default:
			deqs = append(deqs, i)
		}
	}
	for _, i := range deqs {
		x := items[model.HashValue(h, h.Out(i))]
		switch {
		case x == nil:
			return &flaw{"phantom", fmt.Sprintf("%s at %s; but nobody ever enqueued that.", sentence(h, i), ms(h.Done(i))), []int{i}}, "", nil
		case x.deq >= 0:
			return &flaw{"duplicated", fmt.Sprintf("%s at %s, and %s at %s; but it was enqueued once.", sentence(h, x.deq), ms(h.Done(x.deq)),
				sentence(h, i), ms(h.Done(i))), []int{x.enq, x.deq, i}}, "", nil
		case h.Done(i) < h.Invoke(x.enq):
			return &flaw{
				"phantom", fmt.Sprintf("%s at %s; but it was only asked to be enqueued at %s.", sentence(h, i), ms(h.Done(i)), ms(h.Invoke(x.enq))),
				[]int{x.enq, i},
			}, "", nil
		}
		x.deq = i
	}
	unknown := only != "" && slices.ContainsFunc(deqsOf(v), func(i int) bool { return v.typ(i) == history.Info })
	return misordered(v, items, unknown), only, nil
}

func deqsOf(v view) []int {
	var ds []int
	for k := range v.len() {
		if i := v.at(k); v.h.F(i) == "dequeue" && v.h.Type(i) != history.Fail {
			ds = append(ds, i)
		}
	}
	return ds
}

// misordered looks for the pair a, b. Elements that were never seen dequeued may
// have been taken by a dequeue of unknown fate, if there is one.
func misordered(v view, items map[uint64]*item, unknown bool) *flaw {
	h := v.h
	var as, bs []*item
	for _, x := range items {
		if x.deq >= 0 {
			bs = append(bs, x)
		}
		if v.typ(x.enq) != history.Info && (x.deq >= 0 || !unknown) {
			as = append(as, x)
		}
	}
	gone := func(x *item) time.Duration { // when its dequeue was asked for
		if x.deq < 0 {
			return math.MaxInt64
		}
		return h.Invoke(x.deq)
	}
	slices.SortFunc(as, func(x, y *item) int { return cmp.Compare(h.Done(x.enq), h.Done(y.enq)) })
	slices.SortFunc(bs, func(x, y *item) int { return cmp.Compare(h.Invoke(x.enq), h.Invoke(y.enq)) })
	next := 0
	var latest *item
	for _, b := range bs {
		for next < len(as) && h.Done(as[next].enq) < h.Invoke(b.enq) {
			if latest == nil || gone(as[next]) > gone(latest) {
				latest = as[next]
			}
			next++
		}
		if latest != nil && gone(latest) > h.Done(b.deq) {
			return queueFlaw(h, latest, b)
		}
	}
	return nil
}

func queueFlaw(h *history.History, a, b *item) *flaw {
	f := &flaw{name: "lost", ops: []int{a.enq, b.enq, b.deq}}
	how := "was never dequeued"
	if a.deq >= 0 {
		f.name = "reordered"
		f.ops = append(f.ops, a.deq)
		how = fmt.Sprintf("was dequeued by process %d only from %s on", h.Process(a.deq), ms(h.Invoke(a.deq)))
	}
	f.explain = fmt.Sprintf("%s by %s, before process %d asked for %s to be enqueued at %s; but %s at %s, while the first %s.",
		sentence(h, a.enq), ms(h.Done(a.enq)), h.Process(b.enq), model.Text(h, h.In(b.enq)), ms(h.Invoke(b.enq)), sentence(h, b.deq), ms(h.Done(b.deq)), how)
	return f
}

// checkCounter tests every read against its bounds: at least what had certainly
// been added when it began, at most what may have been when it ended. O(n log n).
func checkCounter(v view) (f *flaw, only string, err error) {
	h := v.h
	type step struct {
		at       time.Duration
		low, top int64
	}
	var ups, downs []step // by when they may count, and by when they must
	var readers []int
	for k := range v.len() {
		i := v.at(k)
		switch {
		case h.Type(i) == history.Fail:
		case h.F(i) == "add":
			n, _ := h.In(i).IsInt()
			ups = append(ups, step{h.Invoke(i), min(n, 0), max(n, 0)})
			if v.typ(i) == history.OK {
				downs = append(downs, step{h.Done(i), max(n, 0), min(n, 0)})
			}
		case v.typ(i) == history.OK:
			readers = append(readers, i)
		}
	}
	sorted := func(ss []step) ([]time.Duration, []step) {
		slices.SortFunc(ss, func(a, b step) int { return cmp.Compare(a.at, b.at) })
		sums, at := make([]step, len(ss)+1), make([]time.Duration, len(ss))
		for i, s := range ss {
			at[i] = s.at
			sums[i+1] = step{0, sums[i].low + s.low, sums[i].top + s.top}
		}
		return at, sums
	}
	upAt, up := sorted(ups)
	downAt, down := sorted(downs)
	for _, i := range readers {
		begun, _ := slices.BinarySearch(upAt, h.Done(i)+1)
		done, _ := slices.BinarySearch(downAt, h.Invoke(i))
		low := down[done].low + up[begun].low
		top := up[begun].top + down[done].top
		n, _ := h.Out(i).IsInt()
		if n < low || n > top {
			return &flaw{"out-of-bounds", fmt.Sprintf("%s at %s, asked at %s; but by what had been added and what may have been, it had to lie from %d to %d.",
				sentence(h, i), ms(h.Done(i)), ms(h.Invoke(i)), low, top), counted(v, i, n)}, "", nil
		}
	}
	return nil, "bounds can only refute a counter", nil
}

// counted is the witness of a read of n out of its bounds: itself, and where it
// shows the initial 0, an add that was over before, as proof that there was one.
func counted(v view, read int, n int64) []int {
	h, ops := v.h, []int{read}
	if n != 0 {
		return ops
	}
	for k := range v.len() {
		i := v.at(k)
		if m, _ := h.In(i).IsInt(); h.F(i) == "add" && m != 0 && v.typ(i) == history.OK && h.Done(i) < h.Invoke(read) {
			return append(ops, i)
		}
	}
	return ops
}

// checkWholeSet tests every read of a whole set element by element: none that
// nobody could have added by then, all that were added for good before.
func checkWholeSet(v view) (f *flaw, only string, err error) {
	h := v.h
	type elem struct {
		add     int // the first add by invocation, and by return
		done    int
		removed bool
	}
	elems := map[uint64]*elem{}
	for k := range v.len() {
		i := v.at(k)
		if h.Type(i) == history.Fail || h.F(i) != "add" && h.F(i) != "remove" {
			continue
		}
		x := model.HashValue(h, h.In(i))
		e := elems[x]
		if e == nil {
			e = &elem{-1, -1, false}
			elems[x] = e
		}
		switch {
		case h.F(i) == "remove":
			e.removed = true
		case e.add < 0:
			e.add = i
		}
		if h.F(i) == "add" && v.typ(i) == history.OK && (e.done < 0 || h.Done(i) < h.Done(e.done)) {
			e.done = i
		}
	}
	var kept []int // adds of what nobody removes, by return
	for _, e := range elems {
		if e.done >= 0 && !e.removed {
			kept = append(kept, e.done)
		}
	}
	slices.SortFunc(kept, func(a, b int) int { return cmp.Compare(h.Done(a), h.Done(b)) })
	for k := range v.len() {
		i := v.at(k)
		if h.F(i) != "read" || v.typ(i) != history.OK {
			continue
		}
		list, _ := h.Go(h.Out(i)).([]any)
		have := make(map[uint64]bool, len(list))
		for _, x := range list {
			hash := model.HashAny(x)
			have[hash] = true
			if e := elems[hash]; e == nil || e.add < 0 || h.Invoke(e.add) > h.Done(i) {
				return &flaw{"phantom", fmt.Sprintf("%s at %s, with %v in it; but nobody had asked for that to be added.", sentence(h, i), ms(h.Done(i)), x), []int{i}}, "", nil
			}
		}
		for _, a := range kept {
			if h.Done(a) >= h.Invoke(i) {
				break
			}
			if !have[model.HashValue(h, h.In(a))] {
				return &flaw{"lost", fmt.Sprintf("%s by %s; but process %d read the set from %s to %s without it, and nobody removed it.", sentence(h, a), ms(h.Done(a)),
					h.Process(i), ms(h.Invoke(i)), ms(h.Done(i))), []int{a, i}}, "", nil
			}
		}
	}
	return nil, "elements one by one can only refute a set that is read as a whole", nil
}
