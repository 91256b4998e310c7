// Package counter judges the histories of counters: add n, where n may be
// negative, and read.
//
// Every read must lie within bounds: at least all increments that were over
// before it was invoked and all decrements invoked before it returned, at most the
// reverse; an add of unknown fate may have happened at any time from its
// invocation on. That is necessary, not sufficient (reads of 1 and then 0 pass
// while one increment is pending), hence the checker's name: counter-bounds.
package counter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// The kinds of operation.
const (
	Add  = "add"
	Read = "read"
)

// OutOfBounds is the anomaly.
const OutOfBounds = "out-of-bounds"

// Options of a check.
type Options struct {
	MaxAnomalies int // how many are told; 16 unless set
}

// New is the checker "counter-bounds".
func New(o Options) checker.Checker {
	return checker.Func("counter-bounds", func(_ context.Context, h *history.History) checker.Result { return judge(h, o) })
}

// change is an add.
type change struct {
	op       int
	n        int64
	inv, ret time.Duration
}

// look is a read.
type look struct {
	op        int
	n         int64
	inv, ret  time.Duration
	low, high int64
}

type object struct {
	name    string
	changes []change
	looks   []look
}

func judge(h *history.History, o Options) checker.Result {
	found, ok := checker.Find(h, "bounds", o.MaxAnomalies, "out_of_bounds", "missing_most", "extra_most")
	if !ok {
		return found.Done()
	}
	keys, err := read(h)
	if err != nil {
		found.Unknown(err.Error())
		return found.Done()
	}
	f := found.Figures
	for _, k := range keys {
		k.bounds()
		for _, l := range k.looks {
			if l.n >= l.low && l.n <= l.high {
				continue
			}
			f["out_of_bounds"]++
			f["missing_most"] = max(f["missing_most"], float64(l.low-l.n))
			f["extra_most"] = max(f["extra_most"], float64(l.n-l.high))
			a, ops := k.anomaly(l)
			found.Add(a, ops...)
		}
	}
	return found.Done()
}

func read(h *history.History) ([]*object, error) {
	keys := make([]*object, len(h.Keys()))
	for i, name := range h.Keys() {
		keys[i] = &object{name: name}
	}
	for i := range h.Len() {
		k := keys[h.KeyID(i)]
		switch f := h.F(i); f {
		case Add:
			n, ok := h.In(i).IsInt()
			if !ok {
				return nil, fmt.Errorf("event %d: an add needs a whole number", h.Index(i))
			}
			if h.Type(i) != history.Fail {
				k.changes = append(k.changes, change{i, n, h.Invoke(i), h.Return(i)})
			}
		case Read:
			n, ok := h.Out(i).IsInt()
			if h.Type(i) != history.OK {
				continue
			}
			if !ok && h.Out(i) != history.Nil {
				return nil, fmt.Errorf("event %d: a read of a counter is a whole number, or nothing for 0", h.Index(i))
			}
			k.looks = append(k.looks, look{op: i, n: n, inv: h.Invoke(i), ret: h.Return(i)})
		default:
			return nil, fmt.Errorf("a counter knows no operation %q", f)
		}
	}
	return keys, nil
}

// bounds finds what each read may have seen: two sweeps over time.
func (k *object) bounds() {
	byInv, byRet := slices.Clone(k.changes), slices.Clone(k.changes)
	slices.SortFunc(byInv, func(a, b change) int { return cmp.Compare(a.inv, b.inv) })
	slices.SortFunc(byRet, func(a, b change) int { return cmp.Compare(a.ret, b.ret) })
	order := make([]int, len(k.looks))
	for i := range order {
		order[i] = i
	}
	// What was certainly over before a read, in the order of the reads' invocations.
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(k.looks[a].inv, k.looks[b].inv) })
	var plus, minus int64
	next := 0
	for _, i := range order {
		for ; next < len(byRet) && byRet[next].ret < k.looks[i].inv; next++ {
			plus, minus = plus+max(byRet[next].n, 0), minus+min(byRet[next].n, 0)
		}
		k.looks[i].low, k.looks[i].high = plus, minus
	}
	// What may have begun before it was over. Equal stamps are concurrent.
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(k.looks[a].ret, k.looks[b].ret) })
	plus, minus, next = 0, 0, 0
	for _, i := range order {
		for ; next < len(byInv) && byInv[next].inv <= k.looks[i].ret; next++ {
			plus, minus = plus+max(byInv[next].n, 0), minus+min(byInv[next].n, 0)
		}
		k.looks[i].low += minus
		k.looks[i].high += plus
	}
}

// most bounds the operations that an anomaly lists.
const most = 32

// anomaly tells of a read out of bounds. Its witness is the read and what bounds
// it, as far as that can be listed.
func (k *object) anomaly(l look) (a checker.Anomaly, ops []int) {
	a, ops = checker.Anomaly{Name: OutOfBounds, Key: k.name, Time: l.ret}, []int{l.op}
	side, bound := "more", l.high
	if l.n < l.low {
		side, bound = "less", l.low
	}
	a.Explain = fmt.Sprintf("the read from %s to %s returned %d, %s than the %d that the adds before it allow (between %d and %d).",
		checker.At(l.inv), checker.At(l.ret), l.n, side, bound, l.low, l.high)
	for _, c := range k.changes {
		certain := c.ret < l.inv
		counts := certain && (c.n > 0) == (l.n < l.low) || c.inv <= l.ret && (c.n > 0) != (l.n < l.low)
		if counts && len(ops) < most {
			ops = append(ops, c.op)
		}
	}
	return a, ops
}
