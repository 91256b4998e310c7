package linear

import (
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// element is what a view says of one element of a set: operation numbers, -1 for
// none.
type element struct {
	v        view
	add, rem int
	trues    []int // contains that saw it
	falses   []int // contains that did not
}

// checkElement decides one element of a set that is added and removed at most
// once. A legal order is one of these:
//
//	falses                         it was never added
//	falses, add, trues             it was not removed, or only before
//	falses, add, trues, remove, falses
//
// An order of groups agrees with time iff no operation of a later group returned
// before one of an earlier group was invoked, which the extremes of each group
// tell. So the element is linearizable iff one of them fits. O(n).
func checkElement(v view) (f *flaw, only string, err error) {
	e := element{v: v, add: -1, rem: -1}
	if err := e.read(); err != nil {
		return nil, "", err
	}
	var witness []int
	for _, fits := range []func() []int{e.never, e.kept, e.removed} {
		bad := fits()
		if bad == nil {
			return nil, "", nil
		}
		witness = append(witness, bad...)
	}
	return e.flaw(witness), "", nil
}

func (e *element) read() error {
	h := e.v.h
	for k := range e.v.len() {
		i := e.v.at(k)
		place := &e.rem
		switch f := h.F(i); {
		case h.Type(i) == history.Fail:
			continue
		case f == "contains" && e.v.typ(i) == history.Info:
			continue
		case f == "contains" && h.Out(i) == history.True:
			e.trues = append(e.trues, i)
			continue
		case f == "contains":
			e.falses = append(e.falses, i)
			continue
		case f == "add":
			place = &e.add
		}
		if *place >= 0 {
			return inapplicable{"an element is added or removed twice"}
		}
		*place = i
	}
	return nil
}

func (e *element) inv(i int) time.Duration { return e.v.h.Invoke(i) }
func (e *element) ret(i int) time.Duration { return e.v.ret(i) }

// certain says whether operation i is there and took effect.
func (e *element) certain(i int) bool { return i >= 0 && e.v.typ(i) != history.Info }

// never, kept and removed are the three orders: nil where the operations fit,
// else some that do not, with at least one of them.
func (e *element) never() []int {
	switch {
	case len(e.trues) > 0:
		return []int{e.first(e.trues)}
	case e.certain(e.add):
		return []int{e.add}
	}
	return nil
}

func (e *element) kept() []int {
	if e.add < 0 {
		return []int{e.first(e.trues)} // never fits otherwise
	}
	if t := e.first(e.trues); t >= 0 && e.ret(t) < e.inv(e.add) {
		return []int{e.add, t}
	}
	up, before := e.first(append(e.trues, e.add)), e.falses
	if e.certain(e.rem) {
		before = append([]int{e.rem}, before...)
	}
	if f := e.last(before); f >= 0 && e.inv(f) > e.ret(up) {
		return []int{e.add, up, f}
	}
	return nil
}

func (e *element) removed() []int {
	if e.add < 0 || e.rem < 0 {
		return []int{}
	}
	if first := e.first(append(e.trues, e.rem)); e.ret(first) < e.inv(e.add) {
		return []int{e.add, first}
	}
	if t := e.last(e.trues); t >= 0 && e.inv(t) > e.ret(e.rem) {
		return []int{e.add, e.rem, t}
	}
	there := append([]int{e.add, e.rem}, e.trues...)
	up, down := e.first(there), e.last(there)
	for _, f := range e.falses { // before it was there, or after
		if e.inv(f) > e.ret(up) && e.ret(f) < e.inv(down) {
			return []int{e.add, e.rem, up, f, down}
		}
	}
	return nil
}

// first is the operation that returned first, -1 for none.
func (e *element) first(ops []int) int {
	least := -1
	for _, i := range ops {
		if least < 0 || e.ret(i) < e.ret(least) {
			least = i
		}
	}
	return least
}

// last is the operation that was invoked last, -1 for none.
func (e *element) last(ops []int) int {
	most := -1
	for _, i := range ops {
		if most < 0 || e.inv(i) > e.inv(most) {
			most = i
		}
	}
	return most
}

// flaw names what is wrong after the last operation in the way: it was seen, or
// it was not.
func (e *element) flaw(witness []int) *flaw {
	h := e.v.h
	for _, i := range []int{e.add, e.rem} { // whatever fits or not depends on these
		if i >= 0 {
			witness = append(witness, i)
		}
	}
	f := &flaw{name: "lost", ops: witness}
	bad := -1
	for _, i := range witness {
		if h.F(i) == "contains" && (bad < 0 || e.ret(i) > e.ret(bad)) {
			bad = i
		}
	}
	if bad < 0 {
		bad = e.last(witness)
	}
	if h.F(bad) == "contains" && h.Out(bad) == history.True {
		f.name = "phantom"
	}
	told := map[int]bool{bad: true}
	f.explain = fmt.Sprintf("%s, asked at %s and told at %s", sentence(h, bad)+node(h, bad), ms(e.inv(bad)), ms(h.Done(bad)))
	if e.add < 0 {
		f.explain += fmt.Sprintf("; but nobody whose request was not refused ever asked for %s to be added", model.Text(h, h.In(bad)))
	}
	join := "; but "
	for _, i := range witness {
		if !told[i] {
			told[i] = true
			f.explain += fmt.Sprintf("%s%s from %s%s", join, sentence(h, i), ms(e.inv(i)), e.until(i))
			join = ", "
		}
	}
	f.explain += "."
	return f
}

func (e *element) until(i int) string {
	if !e.certain(i) {
		return " on, with an unknown fate"
	}
	return " to " + ms(e.v.h.Done(i))
}
