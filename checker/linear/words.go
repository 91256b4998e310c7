package linear

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

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

// told is what operation i did, and how that is known.
func (e *explainer) told(i int) string {
	if e.v.h.Type(i) == history.Info {
		return e.did(i) + ", and somebody saw that it did"
	}
	return e.did(i) + ", told at " + ms(e.v.h.Done(i))
}

// seen names the value that operation i saw.
func (e *explainer) seen(i int) string {
	what := model.Text(e.v.h, e.saw(i))
	if e.v.h.F(i) == "cas" && e.v.h.Type(i) != history.Fail {
		what = "the expected " + what
	}
	return what
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
	a.Explain = fmt.Sprintf("%s; but %s was only asked to be written by %s at %s.", e.told(i), e.seen(i), e.who(j), ms(e.v.h.Invoke(j)))
	a.Forces = e.forces([2]int32{r, w})
	return []int32{r, w}
}

// phantom is a value that nobody wrote, or whose write failed.
func (e *explainer) phantom(a *checker.Anomaly) []int32 {
	h := e.v.h
	for k := range e.z.n { // who saw it first
		if e.z.col.code[e.c.a] == reading && e.z.col.code[k] == reading && e.z.col.value(k) == e.z.col.value(int(e.c.a)) && h.Ret(e.op(int32(k))) < h.Ret(e.op(e.c.a)) { //nolint:gosec // a position
			e.c.a = int32(k) //nolint:gosec // a position
		}
	}
	r := e.op(e.c.a)
	v := e.saw(r)
	a.Name = "phantom-read"
	a.Explain = fmt.Sprintf("%s; but nobody ever asked for %s to be written.", e.told(r), e.seen(r))
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
			a.Explain = fmt.Sprintf("%s; but %s, who asked for %s to be written, had it refused: it certainly did not happen.", e.told(r), e.who(i), e.seen(r))
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
