package linear

import (
	"context"
	"time"

	"github.com/faultline-dev/faultline/history"
)

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
	m := momentsOf(z.v.h)
	z.v = z.v.until(m.last(needs(z, c)))
	lo := -1 // a prefix known to be right
	for round := 0; ; round++ {
		cut := m.first(z.v.cut) - 1
		if mid := m.last((lo + z.v.cut) / 2); round > 3 && mid < cut {
			cut = mid
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
			z.v = z.v.until(m.last(needs(z, c)))
		case round <= 3:
			return z, c
		default:
			lo = cut
		}
	}
}

// moments are the times of events, to see which are of one; nil where all differ.
type moments []time.Duration

func momentsOf(h *history.History) moments {
	if !h.Tied() {
		return nil
	}
	m := make(moments, h.Events())
	for i := range h.Len() {
		m[h.Index(i)] = h.Invoke(i)
		if r := h.Ret(i); r >= 0 {
			m[r] = h.Done(i)
		}
	}
	for e := 1; e < len(m); e++ {
		m[e] = max(m[e], m[e-1]) // lines of the nemesis have none of their own here
	}
	return m
}

// last is the last event of the moment of event e, first the first one.
func (m moments) last(e int) int {
	for e >= 0 && e+1 < len(m) && m[e+1] == m[e] {
		e++
	}
	return e
}

func (m moments) first(e int) int {
	for e > 0 && e < len(m) && m[e-1] == m[e] {
		e--
	}
	return e
}

// needs is the index of the last event that conflict c rests on.
func needs(z *zones, c conflict) int {
	v, h := z.v, z.v.h
	last := 0
	add := func(k int32) { // an operation that must have returned
		if k >= 0 {
			i := v.at(int(k))
			if last = max(last, h.Index(i)); v.typ(i) != history.Info {
				last = max(last, h.Ret(i))
			}
		}
	}
	late := func(k int32) { // one that must be known to have happened
		switch {
		case k < 0:
		case z.col.code[k] == reading:
			add(k)
		default:
			last = max(last, h.Index(v.at(int(k))), z.certain(k))
		}
	}
	switch c.kind {
	case kindPhantom:
		late(c.a)
	case kindFuture: // nobody had written it then
		add(c.a)
	case kindChain:
		add(c.a)
		late(c.c)
	case kindZones:
		add(c.a)
		add(c.d)
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
