package linear

import (
	"errors"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// view is some operations of a history, in the order of their invocations, as
// they stood after its first events.
type view struct {
	h *history.History
	// ops are the operations' numbers, ascending; nil stands for all of them.
	ops []int32
	// cut is the index of the last event that has happened: completions after it
	// are unknown, and operations invoked after it are not in the view.
	cut int
}

func (v view) len() int {
	if v.ops != nil {
		return len(v.ops)
	}
	return v.h.Len()
}

func (v view) at(k int) int {
	if v.ops != nil {
		return int(v.ops[k])
	}
	return k
}

// typ is how operation number i ended, as far as the view knows.
func (v view) typ(i int) history.Type {
	if v.h.Ret(i) > v.cut {
		return history.Info
	}
	return v.h.Type(i)
}

func (v view) ret(i int) time.Duration {
	if v.typ(i) == history.Info {
		return history.Forever
	}
	return v.h.Done(i)
}

// until is the view as it stood after event cut.
func (v view) until(cut int) view {
	n := v.len()
	k := sort.Search(n, func(k int) bool { return v.h.Index(v.at(k)) > cut })
	w := view{h: v.h, ops: v.ops, cut: cut}
	if k < n {
		if v.ops == nil {
			w.ops = make([]int32, k)
			for j := range w.ops {
				w.ops[j] = int32(j) //nolint:gosec // an op number
			}
		} else {
			w.ops = v.ops[:k]
		}
	}
	return w
}

// last is the time of the view's last event of an operation: mostly of one of the
// last operations, else O(n).
func (v view) last() time.Duration {
	at, last := -1, time.Duration(0)
	for k := v.len() - 1; k >= 0 && at < v.cut; k-- {
		i := v.at(k)
		if e := v.h.Index(i); e > at && e <= v.cut {
			at, last = e, v.h.Invoke(i)
		}
		if e := v.h.Ret(i); e > at && e <= v.cut {
			at, last = e, v.h.Done(i)
		}
	}
	return last
}

// only is the view of some of its operations.
func (v view) only(ops []int32) view { return view{h: v.h, ops: ops, cut: v.cut} }

const forever = int64(math.MaxInt64)

// entry is an operation that a search has to place.
type entry struct {
	inv, ret int64 // ret is forever where the fate is unknown
	op       model.Op
	id       int32 // its number in the history
}

// problem is a view, decoded and shrunk: what the exact engines decide.
type problem struct {
	v    view
	m    model.Machine
	must []entry // took effect, by invocation
	may  []entry // may have, by invocation
}

// decoder overlays a view's cut on a machine's reading of the whole history.
func (v view) decode(m model.Machine, i int) (model.Op, model.Fate, error) {
	op, f, err := m.Decode(i)
	if f == model.Must && v.typ(i) == history.Info {
		// Not yet completed at the cut: an effect may have happened, a pure
		// operation's result is not known.
		if op.Pure {
			f = model.Drop
		} else {
			f = model.May
		}
	}
	return op, f, err
}

const entryBytes = 48

// newProblem decodes the view for spec. O(n).
func newProblem(v view, spec model.Spec) (*problem, error) {
	p := &problem{v: v, m: spec.New(v.h)}
	n := 0
	for k := range v.len() {
		if v.h.Type(v.at(k)) != history.Fail {
			n++
		}
	}
	p.must = make([]entry, 0, n)
	for k := range v.len() {
		if err := p.add(v.at(k)); err != nil {
			return nil, err
		}
	}
	p.shrink()
	return p, nil
}

// add decodes operation i.
func (p *problem) add(i int) error {
	op, fate, err := p.v.decode(p.m, i)
	if err != nil || fate == model.Drop {
		return err
	}
	inv := int64(p.v.h.Invoke(i))
	if fate == model.May {
		p.may = append(p.may, entry{inv, forever, op, int32(i)}) //nolint:gosec // an op number
	} else {
		p.must = append(p.must, entry{inv, int64(p.v.h.Done(i)), op, int32(i)}) //nolint:gosec // an op number
	}
	return nil
}

// problems decodes all operations of h into a problem for each of its keys, in
// one pass of each worker over all of them: reading the columns key by key would miss
// the processor's caches at every operation. They are yet to be shrunk.
func problems(h *history.History, parts []part, spec model.Spec, workers int) ([]*problem, error) {
	ps := make([]*problem, len(parts))
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			mine := make([]bool, len(parts)) // asking for k%workers at every operation would take longer
			for k := w; k < len(parts); k += workers {
				mine[k] = true
				ps[k] = &problem{v: parts[k].v, m: spec.New(h), must: make([]entry, 0, parts[k].v.len())}
			}
			for i := 0; i < h.Len() && errs[w] == nil; i++ {
				if k := h.KeyID(i); mine[k] {
					errs[w] = ps[k].add(i)
				}
			}
		})
	}
	wg.Wait()
	return ps, errors.Join(errs...)
}

// shrink drops indeterminate operations that leave a value that nobody saw.
//
// Proof, for machines that hold one value at a time: let p be indeterminate and
// give v, and let no operation that is kept want v (nor any that wants merely
// "another value"). If there is a legal order with p in it, the operation after
// p neither sees v nor depends on it: it is a write, or p is the last. So the
// order without p is legal as well. Indeterminate operations that want v count
// as wanting it only if they are kept themselves, hence the fixpoint, which
// starts from the definite ones.
func (p *problem) shrink() {
	if len(p.may) == 0 {
		return
	}
	p.shrinkLine()
	k, ok := p.m.(model.Keyed)
	if !ok {
		return
	}
	wanted := map[history.Value]bool{}
	want := func(e entry) bool {
		v, some, _ := k.Wants(p.m.Init(), e.op)
		if some {
			wanted[v] = true
		}
		return e.op.Code == model.CodeNot
	}
	if slices.ContainsFunc(p.must, want) {
		return // something asserts "not u": any write may be what ended u
	}
	gives := map[history.Value][]int{}
	for i, e := range p.may {
		if v, ok := k.Gives(e.op); ok {
			gives[v] = append(gives[v], i)
		}
	}
	queue := make([]history.Value, 0, len(wanted))
	for v := range wanted {
		queue = append(queue, v)
	}
	keep := make([]bool, len(p.may))
	for len(queue) > 0 {
		v := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, i := range gives[v] {
			keep[i] = true
			if u, some, _ := k.Wants(p.m.Init(), p.may[i].op); some && !wanted[u] {
				wanted[u] = true
				queue = append(queue, u)
			}
		}
	}
	kept := p.may[:0]
	for i, e := range p.may {
		if _, gives := k.Gives(e.op); keep[i] || !gives {
			kept = append(kept, e)
		}
	}
	p.may = kept
}

// weaken makes a compare-and-set whose expected value was written, but by nobody in
// the problem, a plain write: then what is impossible without its source is impossible with
// it. For witnesses, which leave operations out.
func (p *problem) weaken(written func(history.Value) bool) {
	k, ok := p.m.(model.Keyed)
	if !ok || written == nil {
		return
	}
	given := map[history.Value]bool{history.Nil: true}
	for _, es := range [][]entry{p.must, p.may} {
		for _, e := range es {
			if v, ok := k.Gives(e.op); ok {
				given[v] = true
			}
		}
	}
	for _, es := range [][]entry{p.must, p.may} {
		for i, e := range es {
			if e.op.Code == model.CodeCAS && !given[e.op.A] && written(e.op.A) {
				es[i].op = model.Op{Code: model.CodeWrite, A: e.op.B}
			}
		}
	}
}

// indexed is events by the history's own order; false where that is another, or mostly
// of other keys' operations.
func (p *problem) indexed(visit func(node int32)) bool {
	h := p.v.h
	if _, lined := p.m.(model.Lined); lined || h.Tied() || h.Events() > 4*len(p.must) { // see shrinkLine
		return false
	}
	nodes := make([]int32, h.Events()) // from 1
	for k, e := range p.must {
		call, ret := h.Index(int(e.id)), h.Ret(int(e.id))
		if ret < 0 {
			return false
		}
		nodes[call], nodes[ret] = int32(2*k+1), int32(2*k+2) //nolint:gosec // bounded by events
	}
	for _, n := range nodes {
		if n > 0 {
			visit(n - 1)
		}
	}
	return true
}

// events is the order of the calls (2k) and returns (2k+1) of the definite
// operations in time, calls first where stamps are equal: those operations are
// concurrent. O(n) where the history's own order
// will do, else O(n log c) for c open operations: returns wait in a heap.
func (p *problem) events(visit func(node int32)) {
	if p.indexed(visit) {
		return
	}
	var open []int32
	less := func(a, b int32) bool { return p.must[a].ret < p.must[b].ret }
	pop := func() int32 {
		top := open[0]
		last := len(open) - 1
		open[0] = open[last]
		open = open[:last]
		for i := 0; ; {
			c := 2*i + 1
			if c >= last {
				break
			}
			if c+1 < last && less(open[c+1], open[c]) {
				c++
			}
			if !less(open[c], open[i]) {
				break
			}
			open[c], open[i] = open[i], open[c]
			i = c
		}
		return top
	}
	for k := range p.must {
		for len(open) > 0 && p.must[open[0]].ret < p.must[k].inv {
			visit(2*pop() + 1)
		}
		visit(int32(2 * k))           //nolint:gosec // bounded by events
		open = append(open, int32(k)) //nolint:gosec // bounded by events
		for i := len(open) - 1; i > 0 && less(open[i], open[(i-1)/2]); i = (i - 1) / 2 {
			open[i], open[(i-1)/2] = open[(i-1)/2], open[i]
		}
	}
	for len(open) > 0 {
		visit(2*pop() + 1)
	}
}
