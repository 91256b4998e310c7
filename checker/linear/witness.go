package linear

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
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
		z.v.cut = needs(z, c)
	}
	e := explainer{p: p, z: z, whole: &whole, v: z.v, full: full, c: c}
	a, ops := e.anomaly()
	if c.kind != kindPhantom && !p.impossible(z.v.only(ops), z.written) {
		d.verdict, d.reason = checker.Unknown, "internal error: the engines disagree about the witness "+fmt.Sprint(ops)
		return
	}
	d.anomaly = a
}

// maxAmong bounds the operations of the chains that conflict that are looked at again.
const maxAmong = 10_000

// among are the zones of the conflicting chains alone. What contradicts each other in
// a prefix does in the whole, since a chain's f and g only grow apart, and chains of
// the prefix begin chains of the whole; so these hold the earliest moment, unless reads
// are wrong by themselves, which where there are chains may have been so before.
func among(z *zones, full view, c conflict) (*zones, conflict, bool) {
	if c.kind != kindZones && c.kind != kindChain || len(z.clashing) >= maxPairs || z.swaps && len(z.found) > 0 {
		return nil, c, false
	}
	in := make([]bool, len(z.blocks))
	lo, hi := int32(z.n), int32(-1) //nolint:gosec // bounded by events
	for _, pair := range z.clashing {
		for _, b := range pair {
			for more := !in[b]; more; b = z.blocks[b].next {
				x := &z.blocks[b]
				in[b], more = true, x.next != 0
				lo, hi = min(lo, x.first), max(hi, x.last)
			}
		}
	}
	var ops []int32
	var col columns
	for k := lo; k <= hi; k++ {
		code := z.col.code[k]
		if code&(reading|writing|swapping) == 0 {
			continue
		}
		if b, ok := z.block(z.col.value(int(k))); !ok || !in[b] {
			continue
		}
		ops = append(ops, int32(full.at(int(k)))) //nolint:gosec // an op number
		col.inv, col.ret, col.code, col.read = append(col.inv, z.col.inv[k]), append(col.ret, z.col.ret[k]), append(col.code, code), append(col.read, z.col.value(int(k)))
		if z.swaps {
			col.from = append(col.from, z.col.from[k])
		}
	}
	if len(ops) > maxAmong {
		return nil, c, false
	}
	col.written = col.read
	small, k, err := checkZones(full.only(ops), col, newBudget(context.Background(), 0))
	return small, k, err == nil && (k.kind == kindZones || k.kind == kindChain)
}

// earliest looks for a conflict in ever shorter prefixes: each is cut just
// before the completion without which the last conflict would not exist. After a
// few rounds it bisects. A prefix of a linearizable history is linearizable, so
// what remains is the earliest moment. Where the last conflict is the earliest,
// as it mostly is, that takes one more check.
func earliest(whole, z *zones, c conflict) (*zones, conflict) {
	z.v = z.v.until(needs(z, c))
	lo := 0 // a prefix known to be right
	for round := 0; ; round++ {
		cut := z.v.cut - 1
		if round > 3 {
			cut = (lo + z.v.cut) / 2
		}
		if cut <= lo {
			return z, c
		}
		got, k, err := whole.prefix(cut)
		switch {
		case err != nil:
			return z, c
		case k.kind != kindNone:
			z, c = got, k
			z.v = z.v.until(needs(z, c))
		case round <= 3:
			return z, c
		default:
			lo = cut
		}
	}
}

// needs is the index of the last event that conflict c rests on.
func needs(z *zones, c conflict) int {
	v, h := z.v, z.v.h
	last := 0
	add := func(k int32, returned bool) {
		if k < 0 {
			return
		}
		i := v.at(int(k))
		last = max(last, h.Index(i))
		if returned && v.typ(i) != history.Info {
			last = max(last, h.Ret(i))
		}
	}
	late := func(k int32) { // an operation that must be known to have happened
		if k < 0 {
			return
		}
		code := z.col.code[k] &^ open
		add(k, code == reading)
		if code == writing || code == swapping {
			last = max(last, z.certain(k))
		}
	}
	switch c.kind {
	case kindPhantom, kindFuture:
		add(c.a, true)
		add(c.b, false)
	case kindChain:
		add(c.a, true)
		late(c.c)
	case kindZones:
		add(c.a, true)
		add(c.d, true)
		late(c.b)
		late(c.c)
	case kindTwice:
		late(c.a)
		late(c.b)
	case kindCycle: // all are among those that connect them
	case kindNone:
		return v.cut
	}
	for _, k := range c.with {
		late(k)
	}
	return min(last, v.cut)
}

// certain is the index of an event that proves the write or the compare-and-set
// at position k: its completion, or the first of a read of it; the view's cut
// where only another compare-and-set does.
func (z *zones) certain(k int32) int {
	h := z.v.h
	at := int(^uint(0) >> 1)
	if z.col.code[k]&open == 0 {
		at = h.Ret(z.v.at(int(k)))
	}
	if b, ok := z.block(z.col.value(int(k))); ok {
		z.readers(b, func(k int32) { at = min(at, h.Ret(z.v.at(int(k)))) })
	}
	return min(at, z.v.cut)
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

// who is "process 4", what it did, where and when.
func (e *explainer) who(i int) string { return fmt.Sprintf("process %d", e.v.h.Process(i)) }

func (e *explainer) did(i int) string {
	h := e.v.h
	s := e.who(i) + " " + model.Describe(h, i)
	if n := h.Nodes()[h.NodeID(i)]; n != "" {
		s += map[bool]string{true: " from ", false: " at "}[h.F(i) == "read"] + n
	}
	return s
}

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
	until := history.Forever // what was seen before anybody wrote it is wrong already
	if e.c.kind == kindPhantom || e.c.kind == kindFuture {
		until = e.v.h.Return(e.op(e.c.a))
	}
	for _, i := range ops {
		a.Ops = append(a.Ops, e.v.h.Index(int(i)))
		if e.v.h.Invoke(int(i)) > until {
			continue
		}
		if t := e.v.h.Invoke(int(i)); t > a.Time {
			a.Time = t
		}
		if r := e.v.h.Ret(int(i)); r >= 0 && r <= e.v.cut {
			a.Time = max(a.Time, e.v.h.Done(int(i)))
		}
	}
	a.Forces = slices.DeleteFunc(a.Forces, func(f [2]int) bool { return !slices.Contains(a.Ops, f[0]) || !slices.Contains(a.Ops, f[1]) })
	return a, ops
}

func (e *explainer) forces(pairs ...[2]int32) [][2]int {
	var fs [][2]int
	for _, p := range pairs {
		if p[0] >= 0 && p[1] >= 0 {
			fs = append(fs, [2]int{e.v.h.Index(e.op(p[0])), e.v.h.Index(e.op(p[1]))})
		}
	}
	return fs
}

func (e *explainer) future(a *checker.Anomaly, r, w int32) []int32 {
	i, j := e.op(r), e.op(w)
	a.Name = "future-read"
	a.Explain = fmt.Sprintf("%s, told at %s; but that value was only asked to be written by %s at %s.",
		e.did(i), ms(e.v.h.Done(i)), e.who(j), ms(e.v.h.Invoke(j)))
	a.Forces = e.forces([2]int32{r, w})
	return []int32{r, w}
}

// phantom is a value that nobody wrote, or whose write failed.
func (e *explainer) phantom(a *checker.Anomaly) []int32 {
	h := e.v.h
	for k := range e.z.n { // who saw it first
		if e.z.col.code[k] == reading && e.z.col.value(k) == e.z.col.value(int(e.c.a)) && h.Ret(e.op(int32(k))) < h.Ret(e.op(e.c.a)) { //nolint:gosec // a position
			e.c.a = int32(k) //nolint:gosec // a position
		}
	}
	r := e.op(e.c.a)
	v := e.saw(r)
	a.Name = "phantom-read"
	a.Explain = fmt.Sprintf("%s, told at %s; but nobody ever asked for %s to be written.", e.did(r), ms(h.Done(r)), model.Text(h, v))
	if h.Type(r) == history.Info {
		a.Explain = fmt.Sprintf("Somebody read what %s; but nobody ever asked for the expected %s to be written.", e.did(r), model.Text(h, v))
	}
	for k := range e.full.len() {
		i := e.full.at(k)
		if v == history.None || gives(h, i) != v {
			continue
		}
		if h.Type(i) != history.Fail { // written later than the prefix goes
			return e.future(a, e.c.a, int32(k)) //nolint:gosec // a position
		}
		if h.F(i) != "read" {
			a.Name = "aborted-read"
			a.Explain = fmt.Sprintf("%s, told at %s; but %s, who asked for %s to be written, had it refused: it certainly did not happen.",
				e.did(r), ms(h.Done(r)), e.who(i), model.Text(h, v))
			return []int32{e.c.a, -int32(i) - 2} //nolint:gosec // an op number
		}
	}
	return []int32{e.c.a}
}

// saw is the value that operation i saw: read, or expected by a compare-and-set.
func (e *explainer) saw(i int) history.Value {
	h := e.v.h
	if h.F(i) == "cas" {
		if o := h.Observed(i); h.Type(i) == history.Fail && o != history.None {
			return o
		}
		u, _ := h.Pair(h.In(i))
		return u
	}
	return h.Out(i)
}

// gives is the value that operation i writes, None if it doesn't.
func gives(h *history.History, i int) history.Value {
	switch h.F(i) {
	case "write":
		return h.In(i)
	case "cas":
		if h.In(i).IsPair() {
			_, w := h.Pair(h.In(i))
			return w
		}
	}
	return history.None
}

// value is what operation i shows the register to hold.
func (e *explainer) value(i int) history.Value {
	if w := gives(e.v.h, i); w != history.None && e.v.h.Type(i) != history.Fail {
		return w
	}
	return e.saw(i)
}

// stale says that the operation at position c came after the one at d, which
// shows that c's value was overwritten.
func (e *explainer) stale(a *checker.Anomaly, d, c int32) {
	h := e.v.h
	r := e.op(c)
	var s strings.Builder
	old, now := e.value(r), history.None
	fmt.Fprintf(&s, "%s, asked at %s", e.did(r), ms(h.Invoke(r)))
	if e.v.typ(r) != history.Info {
		fmt.Fprintf(&s, " and told at %s", ms(h.Done(r)))
	}
	if d >= 0 {
		i := e.op(d)
		now = e.value(i)
		fmt.Fprintf(&s, "; but before that, at %s, %s", ms(h.Done(i)), e.who(i))
		if h.F(i) == "read" {
			fmt.Fprintf(&s, " had already read %s", model.Text(h, now))
		} else {
			fmt.Fprintf(&s, " had already been told that it %s", model.Describe(h, i))
		}
	}
	s.WriteString(e.older(old, now))
	s.WriteString(".")
	a.Explain = s.String()
	a.Name = e.staleName(c, d)
}

// older says why the one value was there before the other.
func (e *explainer) older(old, now history.Value) string {
	h, c := e.v.h, e.c
	if c.kind == kindChain {
		return fmt.Sprintf(", and %s came out of %s by compare-and-set", model.Text(h, now), model.Text(h, old))
	}
	if c.a < 0 {
		return ", and the register held nothing only at the very start"
	}
	x, y := e.op(c.a), e.op(c.b)
	how := e.who(x) + " had written it"
	if h.F(x) == "read" {
		how = e.who(x) + " had read it"
	}
	did := "asked for " + model.Text(h, e.value(y)) + " to be written"
	if h.F(y) == "read" {
		did = "began the read that saw " + model.Text(h, e.value(y))
	}
	of := ""
	if v := e.value(x); v != old {
		of = fmt.Sprintf(" (as %s, which it became by compare-and-set)", model.Text(h, v))
	}
	return fmt.Sprintf(", and %s is older%s: %s by %s, before %s %s at %s",
		model.Text(h, old), of, how, ms(h.Done(x)), e.who(y), did, ms(h.Invoke(y)))
}

// staleName tells a stale read from a lost write: whether the value that
// overwrote it, or one that came certainly later, was ever seen again.
func (e *explainer) staleName(c, d int32) string {
	h := e.v.h
	r := e.op(c)
	if h.F(r) == "write" || d < 0 {
		return "nonlinearizable"
	}
	x := e.op(d)
	now, told := e.value(x), h.Done(x)
	heal := lastHeal(h)
	z := e.whole // the zones of a prefix do not know what came later
	after := sort.Search(z.n, func(k int) bool { at := h.Invoke(z.v.at(k)); return at > h.Done(r) || at >= heal })
	for k := after; k < z.n; k++ {
		if z.col.code[k]&^open == dropped {
			continue
		}
		v, ok := z.sawAt(k)
		b, written := z.block(v)
		if ok && written && b > 0 && v != e.value(r) && (v == now || h.Invoke(z.v.at(int(z.blocks[b].writer))) > told) {
			return "stale-read"
		}
	}
	if b, ok := z.block(now); ok && b > 0 && z.col.code[z.blocks[b].writer]&open == 0 {
		return "lost-write"
	}
	return "nonlinearizable"
}

// sawAt is the value that the operation at position k certainly saw.
func (z *zones) sawAt(k int) (history.Value, bool) {
	switch z.col.code[k] {
	case reading:
		return z.col.value(k), true
	case swapping:
		return z.col.from[k], true
	}
	return history.None, false
}

// lastHeal is when the last fault was healed, Forever if none was.
func lastHeal(h *history.History) time.Duration {
	for _, v := range slices.Backward(h.Faults) {
		if m, ok := v.Value.(map[string]any); ok && (m["phase"] == "heal" || m["phase"] == "gone") {
			return v.Time
		}
	}
	return history.Forever
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

// wrote is the value operation i leaves behind, None for none.
func wrote(h *history.History, i int) history.Value {
	switch h.F(i) {
	case "write", "put":
		return h.In(i)
	case "delete":
		return history.Nil
	case "cas":
		if h.Type(i) != history.Fail {
			return gives(h, i)
		}
	}
	return history.None
}

// sees are the values that operation i needs to have been there.
func sees(h *history.History, i int) []history.Value {
	switch h.F(i) {
	case "read", "get":
		return []history.Value{h.Out(i)}
	case "cas":
		if o := h.Observed(i); o != history.None {
			return []history.Value{o}
		}
		if h.In(i).IsPair() {
			u, _ := h.Pair(h.In(i))
			return []history.Value{u}
		}
	}
	return nil
}
