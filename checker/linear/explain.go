package linear

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// explainAny explains a violation that an engine without evidence found: the
// register engine's own explanation where it applies, else the search's.
func (p *plan) explainAny(pt part, d *decision) {
	if d2, err := p.byFast(pt); err == nil && d2.verdict == checker.Invalid && d2.anomaly != nil {
		d.anomaly = d2.anomaly
		return
	}
	d2 := p.bySearch(pt, nil)
	d.anomaly = d2.anomaly
}

// explainSearch makes the anomaly of a violation that was searched for: bad is the
// operation whose return was the first that could not be explained, or -1.
func (p *plan) explainSearch(pt part, bad int32, d *decision) {
	h := pt.v.h
	if bad < 0 || slices.Contains(h.Fs(), "append") || p.o.Model.Name == "queue" {
		bad = p.bisect(pt.v, bad)
	}
	i := int(bad)
	v := pt.v.until(lastAt(pt.v, i))
	a := &checker.Anomaly{Name: anomalyName(p.o.Model.Name, h, i), Time: h.Done(i)}
	var written func(history.Value) bool
	if p.keyed(v) {
		written = writtenIn(v)
		a.Name = readName(pt.v, i)
	}
	ops := p.window(v, bad, written)
	for _, o := range ops {
		a.Ops = append(a.Ops, h.Index(int(o)))
	}
	a.Explain = fmt.Sprintf("%s at %s%s, asked at %s; but no order of the operations up to then explains that%s.",
		sentence(h, i), ms(h.Done(i)), node(h, i), ms(h.Invoke(i)), others(h, ops, i))
	d.anomaly = a
	if len(ops) <= 24 && !p.confirmed(v.only(ops), written) {
		d.verdict, d.anomaly = checker.Unknown, nil
		d.reason = "internal error: porcupine finds the witness of the search possible"
	}
}

// bisect finds the first return that cannot be explained where the search looks
// ahead and gives up early: no sooner than at operation bad, and mostly there, so it
// looks there first and then ever further; anywhere where bad is -1. Where time is up
// it returns one by which there is a violation. O(log n) searches.
func (p *plan) bisect(v view, bad int32) int32 {
	h := v.h
	var ops []int32
	for k := range v.len() {
		if i := v.at(k); v.typ(i) != history.Info && (bad < 0 || h.Done(i) >= h.Done(int(bad))) {
			ops = append(ops, int32(i)) //nolint:gosec // an op number
		}
	}
	slices.SortFunc(ops, func(a, b int32) int { return cmp.Compare(h.Done(int(a)), h.Done(int(b))) })
	lo, hi, step := 0, len(ops)-1, 0 // the first that violates is in [lo, hi]
	if bad < 0 {
		step = len(ops)
	}
	for lo < hi {
		m := min(lo+step, (lo+hi)/2)
		pr, err := newProblem(v.until(lastAt(v, int(ops[m]))), p.o.Model)
		if err != nil {
			break
		}
		out, _, err := p.decide(pr)
		if err != nil {
			break
		}
		if out.valid {
			lo, step = m+1, 2*step+1
		} else {
			hi = m
		}
	}
	if len(ops) == 0 {
		return bad
	}
	return ops[hi]
}

// lastAt is the index of the last completion in v at the moment when operation i
// returned.
func lastAt(v view, i int) int {
	h, cut := v.h, v.h.Ret(i)
	if cut < 0 {
		return v.cut
	}
	for k := range v.len() {
		if j := v.at(k); h.Done(j) == h.Done(i) {
			cut = max(cut, h.Ret(j))
		}
	}
	return cut
}

// anomalyName is the name for a violation of an object without a finer one.
func anomalyName(spec string, h *history.History, i int) string {
	switch {
	case spec == "queue" && h.F(i) == "dequeue":
		return "reordered"
	case spec == "counter":
		return "out-of-bounds"
	case strings.HasSuffix(spec, "mutex"):
		return "double-hold"
	}
	return "nonlinearizable"
}

// readName is the name for operation i of a register or a key, which nothing
// explains: by what became of the value that it saw.
func readName(v view, i int) string {
	h := v.h
	saw := sees(h, i)
	if len(saw) == 0 {
		return "nonlinearizable"
	}
	wrote, refused, later := 0, 0, 0 // by whom it was written
	last := time.Duration(-1)        // when the last of them was certainly over
	for k := range v.len() {
		j := v.at(k)
		switch {
		case gave(h, j) != saw[0]:
		case h.Type(j) == history.Fail:
			refused++
		case h.Invoke(j) > h.Done(i):
			later++
		default:
			wrote++
			last = max(last, h.Return(j))
		}
	}
	switch {
	case wrote > 0 || saw[0] == history.Nil:
		return overwritten(v, i, last)
	case later > 0:
		return "future-read"
	case refused > 0:
		return "aborted-read"
	}
	return "phantom-read"
}

// overwritten is the name for a read of a value that was last written for certain
// by the given time: stale-read where another value was written for certain after
// that and before the read, and it, or a later one, is seen again; lost-write
// where not.
func overwritten(v view, read int, by time.Duration) string {
	h, over := v.h, history.Forever // when the first such write was over
	other := func(i int) bool { return gave(h, i) != history.None && gave(h, i) != sees(h, read)[0] }
	for k := range v.len() {
		if w := v.at(k); other(w) && h.Type(w) == history.OK && h.Invoke(w) > by && h.Done(w) < h.Invoke(read) {
			over = min(over, h.Done(w))
		}
	}
	if over == history.Forever {
		return "nonlinearizable"
	}
	newer := map[history.Value]bool{}
	for k := range v.len() {
		if w := v.at(k); other(w) && (h.Done(w) == over || h.Invoke(w) > over) {
			newer[gave(h, w)] = true
		}
	}
	for k := range v.len() {
		r := v.at(k)
		if h.Type(r) == history.OK && h.Invoke(r) > h.Done(read) && slices.ContainsFunc(sees(h, r), func(x history.Value) bool { return newer[x] }) {
			return "stale-read"
		}
	}
	return "lost-write"
}

// gave is the value that operation i leaves behind or, if it failed, would have.
func gave(h *history.History, i int) history.Value {
	if h.F(i) == "cas" {
		return gives(h, i)
	}
	return wrote(h, i)
}

func sentence(h *history.History, i int) string {
	return fmt.Sprintf("process %d %s", h.Process(i), model.Describe(h, i))
}

func node(h *history.History, i int) string {
	if n := h.Nodes()[h.NodeID(i)]; n != "" {
		return " at " + n
	}
	return ""
}

// others lists the rest of a small witness in words.
func others(h *history.History, ops []int32, bad int) string {
	if len(ops) > 8 {
		return fmt.Sprintf(" (%d operations matter)", len(ops))
	}
	var list []string
	for _, o := range ops {
		i := int(o)
		if i == bad {
			continue
		}
		end := "fate unknown"
		if h.Type(i) == history.OK {
			end = "till " + ms(h.Done(i))
		}
		list = append(list, fmt.Sprintf("%s (from %s, %s)", sentence(h, i), ms(h.Invoke(i)), end))
	}
	if len(list) == 0 {
		return ""
	}
	return ": " + strings.Join(list, ", ")
}

// window finds a small part of v that still violates: it doubles a window of
// the last operations, with what they depend on, and minimises it.
func (p *plan) window(v view, bad int32, written func(history.Value) bool) []int32 {
	n := v.len()
	keyed := p.keyed(v)
	for w := 8; ; w *= 2 {
		ops := tail(v, w, bad, keyed)
		if keyed {
			if p.impossible(v.only(ops), written) {
				return shrinkWitness(v, p.o.Model, ops, written)
			}
		}
		if w >= n || w > 4096 {
			break
		}
	}
	if p.o.Model.Name == "mutex" {
		if late := sinceFree(v); p.impossible(late, nil) {
			v = late
		}
	}
	if !keyed && v.len() <= 2000 {
		return p.dropPure(v)
	}
	ops := tail(v, 8, bad, false)
	return ops
}

// sinceFree is what a mutex without owners did since the last moment at which, as
// far as is certain, it was free and nobody was at it, and what of unknown fate it
// did before.
//
// Proof that leaving out the rest is sound: in a legal order of all, the mutex was
// free at that moment, or held by what had an unknown fate. Either way the rest of
// that order, with those operations only now where need be, is legal from the
// beginning.
func sinceFree(v view) view {
	h, held, from := v.h, 0, 0
	until := time.Duration(-1) // the latest return so far
	for k := range v.len() {
		i := v.at(k)
		if v.typ(i) == history.Fail || v.typ(i) == history.Info {
			continue
		}
		if held == 0 && until < h.Invoke(i) {
			from = k
		}
		if until = max(until, h.Done(i)); h.F(i) == "acquire" {
			held++
		} else {
			held--
		}
	}
	var ops []int32
	for k := range v.len() {
		if i := v.at(k); k >= from || v.typ(i) == history.Info {
			ops = append(ops, int32(i)) //nolint:gosec // an op number
		}
	}
	return v.only(ops)
}

// writtenIn says of values whether an operation of v writes them.
func writtenIn(v view) func(history.Value) bool {
	all := map[history.Value]bool{history.Nil: true}
	for k := range v.len() {
		all[wrote(v.h, v.at(k))] = true
	}
	delete(all, history.None)
	return func(x history.Value) bool { return all[x] }
}

// keyed says whether operations of v depend on each other by value alone, so
// that some may be left out together with what saw them (see
// explainer.minimise). Appends and assertions of absence don't.
func (p *plan) keyed(v view) bool {
	switch p.o.Model.Name {
	case "register", "cas-register":
		return true
	case "kv":
		return !slices.Contains(v.h.Fs(), "append")
	}
	return false
}

// tail is the last w operations of v, with bad and, if closed, every writer of a
// value that one of them needs.
func tail(v view, w int, bad int32, closed bool) []int32 {
	set := map[int32]bool{bad: true}
	n := v.len()
	for k := max(0, n-w); k < n; k++ {
		set[int32(v.at(k))] = true //nolint:gosec // an op number
	}
	if !closed {
		return sortedOps(set)
	}
	need := map[history.Value]bool{}
	for i := range set {
		for _, s := range sees(v.h, int(i)) {
			need[s] = true
		}
	}
	for again := true; again; {
		again = false
		for k := range n {
			i := int32(v.at(k)) //nolint:gosec // an op number
			if set[i] || !need[wrote(v.h, int(i))] || wrote(v.h, int(i)) == history.None {
				continue
			}
			set[i], again = true, true
			for _, s := range sees(v.h, int(i)) {
				need[s] = true
			}
		}
	}
	return sortedOps(set)
}

// dropPure leaves out operations that change nothing, which is always sound: many
// at a time first, then one by one.
func (p *plan) dropPure(v view) []int32 {
	var ops, pure []int32
	m := p.o.Model.New(v.h)
	for k := range v.len() {
		i := v.at(k)
		op, f, err := v.decode(m, i)
		if err != nil || f == model.Drop {
			continue
		}
		ops = append(ops, int32(i)) //nolint:gosec // an op number
		if op.Pure {
			pure = append(pure, int32(i)) //nolint:gosec // an op number
		}
	}
	until := time.Now().Add(500 * time.Millisecond)
	for size := (len(pure) + 1) / 2; size > 0; size /= 2 {
		for to := len(pure); to > 0 && time.Now().Before(until); to -= size {
			from := max(0, to-size)
			drop := pure[from:to]
			rest := slices.DeleteFunc(slices.Clone(ops), func(j int32) bool { return slices.Contains(drop, j) })
			if p.impossible(v.only(rest), nil) {
				ops, pure = rest, slices.Delete(pure, from, to)
			}
		}
	}
	return ops
}

// confirmed asks Porcupine about a witness that the search found. Only a clear
// no counts against it.
func (p *plan) confirmed(w view, written func(history.Value) bool) bool {
	pr, err := newProblem(w, p.o.Model)
	if err != nil {
		return true
	}
	pr.weaken(written)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	t, _ := ctx.Deadline()
	return porcupineVerdict(pr, time.Until(t)) != checker.Valid
}
