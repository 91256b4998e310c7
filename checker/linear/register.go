package linear

import (
	"github.com/faultline-dev/faultline/history"
)

// The register engine: zones (Gibbons & Korach, "Testing shared memories", SIAM
// J. Comput. 26(4), 1997, §4) with chains of compare-and-sets.
//
// The block of a value is its writer and its readers; the initial value's has a
// writer that returned at -∞. A compare-and-set u→v writes v directly behind u,
// so blocks form chains that are contiguous in every legal order. Let inv and
// ret be an operation's stamps, f(C) the least ret and g(C) the largest inv of
// the operations of chain C. The history is linearizable iff
//
//  1. every value read was written, and chains are chains: no two definite
//     compare-and-sets from one value, and no cycle;
//  2. within a chain, in the order writer, readers, next writer, …, no operation
//     returned before one that stands earlier was invoked;
//  3. no two chains C ≠ D have f(C) < g(D) and f(D) < g(C).
//
// Necessary: operations of C and D do not interleave, and f(C) < g(D) means that
// an operation of C precedes one of D. Sufficient: by 2 each chain can be laid
// out on its own; chains must then be ordered by the relation f(C) < g(D). If it
// had a cycle, let m have the least f on it, p come before m and q before p:
// f(m) ≤ f(q) < g(p), and f(p) < g(m), so m and p violate 3. Hence it has none,
// and any topological order is legal.
//
// To test 3 call C forward if f(C) < g(C), else backward. Two backward chains
// cannot violate it: f(C) < g(D) ≤ f(D) < g(C) ≤ f(C). Two forward ones do iff
// the open intervals (f, g) overlap; a backward one and a forward F do iff
// f(F) < g and f < g(F), that is [g, f] lies within F.
//
// Stamps are positions: g is an operation's number k in the view, f the number
// of operations invoked at or before its return, so that ret(a) < inv(b) iff
// rank(a) ≤ b. Then chains come in the order of g by one pass over an array, and
// everything is O(n) for a bounded number of open operations (a rank is found by
// galloping from its operation: O(log c) for c operations invoked meanwhile).
//
// Indeterminate writes and compare-and-sets are in the history iff something
// that is kept read their value (see problem.shrink); then they never return.

// Codes of operations as the engine sees them.
const (
	dropped uint8 = iota
	reading
	writing
	swapping
)

// zones is the engine's working memory.
type zones struct {
	v view
	b *budget
	n int
	// inv are the invocations, by position.
	inv []int64
	fs  []uint8 // by F, what it is

	table values
	// Blocks: 0 is the initial value's, others in the order of their writers.
	writer []int32 // position, -1 for the initial value
	minRet []int32 // least rank of the readers
	maxInv []int32 // largest position in the block
	next   []int32 // the block of the compare-and-set from this one, 0 for none
	prev   []int32 // the block that this one's compare-and-set expects, else -1
	flags  []uint8
	bytes  int64
}

const (
	flagMay   = 1 << iota // the writer's fate is unknown
	flagKept              // and it was observed, or it is definite
	flagRead              // somebody read it
	flagEaten             // a kept compare-and-set expects it
)

// conflict is what the engine found: positions of operations that cannot all be
// right.
type conflict struct {
	kind conflictKind
	// at are the positions of the operations at fault; their meaning depends on
	// kind. For kindZones: a and b say that chain C comes before D, d and c that
	// D comes before C.
	a, b, d, c int32
	// with are the positions of operations that connect them: writers, and the
	// compare-and-sets between two blocks of one chain.
	with []int32
}

type conflictKind uint8

const (
	kindNone    conflictKind = iota
	kindPhantom              // a reads a value that nobody wrote
	kindFuture               // a returned before b, the write of what it read, was invoked
	kindTwice                // a and b both changed one value
	kindCycle                // compare-and-sets that expect each other's values
	kindChain                // a, later in the chain, returned before c was invoked
	kindZones
)

// inapplicable says why an engine cannot decide a history.
type inapplicable struct{ why string }

func (e inapplicable) Error() string { return e.why }

// checkZones decides the view. It returns an inapplicable error where a value is
// written twice or is an array.
func checkZones(v view, b *budget) (conflict, error) {
	z := &zones{v: v, b: b, n: v.len()}
	defer func() { _ = b.grow(-z.bytes) }()
	if err := z.load(); err != nil {
		return conflict{}, err
	}
	if c, err := z.fill(); err != nil || c.kind != kindNone {
		return c, err
	}
	if c := z.promote(); c.kind != kindNone {
		return c, nil
	}
	if err := b.spent(); err != nil {
		return conflict{}, err
	}
	return z.judge()
}

func (z *zones) reserve(n int64) error {
	z.bytes += n
	return z.b.grow(n)
}

// code reads operation i: what it is, and its argument and result.
func (z *zones) code(i int) (code uint8, from, to history.Value) {
	h := z.v.h
	t := z.v.typ(i)
	switch c := z.fs[h.FID(i)]; c {
	case reading:
		if t == history.OK {
			return reading, h.Out(i), 0
		}
	case writing:
		if h.Type(i) != history.Fail {
			return writing, 0, h.In(i)
		}
	case swapping:
		if h.Type(i) == history.Fail {
			if o := h.Observed(i); o != history.None && t == history.Fail {
				return reading, o, 0
			}
			return dropped, 0, 0
		}
		u, w := h.Pair(h.In(i))
		return swapping, u, w
	}
	return dropped, 0, 0
}

// load reads the invocations and gives every writer a block.
func (z *zones) load() error {
	h := z.v.h
	z.fs = make([]uint8, len(h.Fs()))
	for i, f := range h.Fs() {
		switch f {
		case "read":
			z.fs[i] = reading
		case "write":
			z.fs[i] = writing
		case "cas":
			z.fs[i] = swapping
		default:
			return inapplicable{"it has operations " + f}
		}
	}
	if err := z.reserve(int64(z.n) * 8); err != nil {
		return err
	}
	z.inv = make([]int64, z.n)
	writers, least, most, tags := 0, int64(1<<62), int64(-1<<62), 0
	for k := range z.n {
		i := z.v.at(k)
		z.inv[k] = int64(h.Invoke(i))
		if z.fs[h.FID(i)] == swapping && !h.In(i).IsPair() {
			return inapplicable{"a cas without [old,new]"}
		}
		code, _, to := z.code(i)
		if code != writing && code != swapping {
			continue
		}
		if to.IsPair() {
			return inapplicable{"values are arrays"}
		}
		writers++
		tags |= 1 << (to & 3)
		least, most = min(least, int64(to>>2)), max(most, int64(to>>2))
	}
	if err := z.table.init(writers, least, most, tags, z); err != nil {
		return err
	}
	return z.blocks(writers)
}

func (z *zones) blocks(writers int) error {
	if err := z.reserve(int64(writers+1) * 21); err != nil {
		return err
	}
	z.writer = append(make([]int32, 0, writers+1), -1)
	z.minRet, z.maxInv = make([]int32, writers+1), make([]int32, writers+1)
	z.next, z.prev = make([]int32, writers+1), make([]int32, writers+1)
	z.flags = make([]uint8, writers+1)
	z.flags[0], z.maxInv[0], z.prev[0], z.minRet[0] = flagKept, -1, -1, int32(z.n) //nolint:gosec // bounded by events
	for k := range z.n {
		i := z.v.at(k)
		code, _, to := z.code(i)
		if code != writing && code != swapping {
			continue
		}
		b := int32(len(z.writer)) //nolint:gosec // bounded by events
		if to == history.Nil || !z.table.put(to, b) {
			return inapplicable{"a value is written twice"}
		}
		z.writer = append(z.writer, int32(k))                          //nolint:gosec // bounded by events
		z.maxInv[b], z.minRet[b], z.prev[b] = int32(k), int32(z.n), -1 //nolint:gosec // bounded by events
		if z.v.typ(i) == history.Info {
			z.flags[b] = flagMay
		} else {
			z.flags[b] = flagKept
		}
	}
	return nil
}

// rank is the number of operations invoked at or before ret; k was one of them.
func (z *zones) rank(k int, ret int64) int32 {
	inv := z.inv
	if ret == forever {
		return int32(len(inv)) //nolint:gosec // bounded by events
	}
	lo, step := k, 1 // inv[lo] <= ret
	for lo+step < len(inv) && inv[lo+step] <= ret {
		lo += step
		step *= 2
	}
	hi := min(lo+step, len(inv)) // inv[hi] > ret, or the end
	for lo+1 < hi {
		if m := int(uint(lo+hi) / 2); inv[m] <= ret { //nolint:gosec // two positions
			lo = m
		} else {
			hi = m
		}
	}
	return int32(lo + 1) //nolint:gosec // bounded by events
}

// fill puts the readers into their blocks and links the chains. It finds values
// never written, reads from the future and values changed twice.
func (z *zones) fill() (conflict, error) {
	own := int32(0) // the block of the next writer
	for k := range z.n {
		if k&0xfffff == 0xfffff {
			if err := z.b.spent(); err != nil {
				return conflict{}, err
			}
		}
		i := z.v.at(k)
		code, from, _ := z.code(i)
		switch code {
		case reading:
			if c := z.read(k, i, from); c.kind != kindNone {
				return c, nil
			}
		case writing:
			own++
		case swapping:
			own++
			b, ok := z.block(from)
			if !ok {
				z.prev[own] = phantomBlock
				if z.flags[own]&flagKept != 0 {
					return conflict{kind: kindPhantom, a: int32(k)}, nil //nolint:gosec // bounded by events
				}
				continue
			}
			z.prev[own] = b
			if z.flags[own]&flagKept != 0 {
				if c := z.eat(b, own); c.kind != kindNone {
					return c, nil
				}
			}
		}
	}
	return conflict{}, nil
}

// phantomBlock is what an indeterminate compare-and-set expects that nobody
// wrote: it cannot have happened.
const phantomBlock = -2

func (z *zones) block(v history.Value) (int32, bool) {
	if v == history.Nil {
		return 0, true
	}
	b := z.table.get(v)
	return b, b > 0
}

func (z *zones) read(k, i int, v history.Value) conflict {
	b, ok := z.block(v)
	if !ok {
		return conflict{kind: kindPhantom, a: int32(k)} //nolint:gosec // bounded by events
	}
	r := z.rank(k, int64(z.v.h.Done(i)))
	if r <= z.writer[b] {
		return conflict{kind: kindFuture, a: int32(k), b: z.writer[b]} //nolint:gosec // bounded by events
	}
	z.flags[b] |= flagRead
	z.minRet[b] = min(z.minRet[b], r)
	z.maxInv[b] = max(z.maxInv[b], int32(k)) //nolint:gosec // bounded by events
	return conflict{}
}

// eat links the kept compare-and-set of block own behind block b.
func (z *zones) eat(b, own int32) conflict {
	if o := z.next[b]; o != 0 {
		return conflict{kind: kindTwice, a: z.writer[o], b: z.writer[own]}
	}
	z.next[b] = own
	z.flags[b] |= flagEaten
	return conflict{}
}

// promote keeps the indeterminate writers whose value was seen, back along the
// chains to a fixpoint.
func (z *zones) promote() conflict {
	for b := range z.writer {
		for b := int32(b); z.flags[b]&flagKept == 0 && z.flags[b]&(flagRead|flagEaten) != 0; { //nolint:gosec // a block
			z.flags[b] |= flagKept
			u := z.prev[b]
			if u == phantomBlock {
				return conflict{kind: kindPhantom, a: z.writer[b], b: -1}
			}
			if u < 0 {
				break
			}
			if c := z.eat(u, b); c.kind != kindNone {
				return c
			}
			b = u
		}
	}
	return conflict{}
}

// judge tests the chains, each on its own and then against each other.
func (z *zones) judge() (conflict, error) {
	if err := z.reserve(int64(z.n) * 4); err != nil {
		return conflict{}, err
	}
	ends := make([]int32, z.n) // by g, the first block of the chain + 1
	seen, kept := 0, 0
	for b := range z.writer {
		if z.flags[b]&flagKept != 0 {
			kept++
		}
	}
	// A chain's f takes the place of its first block's least reader.
	for b := range z.writer {
		if z.flags[b]&flagKept == 0 || z.prev[b] >= 0 {
			continue
		}
		f, g, n, c := z.chain(int32(b)) //nolint:gosec // a block
		if c.kind != kindNone {
			return c, nil
		}
		seen += n
		z.minRet[b] = f
		if g >= 0 {
			ends[g] = int32(b) + 1 //nolint:gosec // a block
		}
	}
	if seen < kept {
		return z.cycle(), nil
	}
	return z.sweep(ends), nil
}

// chain walks the chain that starts with block b: its f and g, its length, and a
// violation of rule 2 inside it.
func (z *zones) chain(b int32) (f, g int32, n int, c conflict) {
	first := b
	f, g = int32(z.n), -1 //nolint:gosec // bounded by events
	for {
		w := z.writer[b]
		wr := int32(0) // the initial value was written before everything
		if w >= 0 {
			i := z.v.at(int(w))
			wr = z.rank(int(w), int64(z.v.ret(i)))
			if wr <= g {
				return f, g, n, z.inChain(first, b, true)
			}
		}
		f = min(f, wr, z.minRet[b])
		if z.minRet[b] <= g {
			return f, g, n, z.inChain(first, b, false)
		}
		g = max(g, z.maxInv[b])
		n++
		if z.next[b] == 0 {
			return f, g, n, conflict{}
		}
		b = z.next[b]
	}
}

// sweep tests rule 3: chains from the largest g down. Forward chains must not
// overlap; then the one with the least g not yet passed is the only one that a
// backward chain can lie in.
func (z *zones) sweep(ends []int32) conflict {
	last := int32(-1) // the forward chain passed last
	var lastG, lastF int32
	for g := len(ends) - 1; g >= 0; g-- {
		b := ends[g] - 1
		if b < 0 {
			continue
		}
		g := int32(g) //nolint:gosec // a position
		f := z.minRet[b]
		if last >= 0 && lastF <= g && f <= lastG {
			return z.clash(b, last)
		}
		if f <= g {
			last, lastF, lastG = b, f, g
		}
	}
	return conflict{}
}
