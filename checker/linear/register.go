package linear

import (
	"slices"
	"sort"

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
	open = 4 // or it: its fate is unknown
)

// zones is the engine's working memory.
type zones struct {
	v   view
	b   *budget
	n   int
	fs  []uint8 // by F, what it is
	col columns

	table values
	// Blocks: 0 is the initial value's, others in the order of their writers.
	writer []int32 // position, -1 for the initial value
	minRet []int32 // least rank of the readers
	maxInv []int32 // largest position in the block
	minInv []int32 // least position in the block
	next   []int32 // the block of the compare-and-set from this one, 0 for none
	prev   []int32 // the block that this one's compare-and-set expects, else -1
	flags  []uint8
	swaps  bool // there are compare-and-sets
	bytes  int64
	found  []conflict // reads of what nobody had written
}

// columns are the operations of a view, by position.
type columns struct {
	inv  []int64 // invocations
	rank []int32 // how many were invoked at or before its return
	code []uint8
	// val is the value read or written, or the pair of a compare-and-set.
	val []history.Value
}

const columnBytes = 8 + 4 + 1 + 8

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
// written twice or is an array. The zones come with a conflict, to explain it.
func checkZones(v view, b *budget) (*zones, conflict, error) {
	z := &zones{v: v, b: b, n: v.len()}
	c, err := z.check()
	z.release()
	return z, c, err
}

func (z *zones) check() (conflict, error) {
	if err := z.load(); err != nil {
		return conflict{}, err
	}
	if err := z.blocks(); err != nil {
		return conflict{}, err
	}
	if err := z.b.spent(); err != nil {
		return conflict{}, err
	}
	return z.decide()
}

// decide judges what was loaded.
func (z *zones) decide() (conflict, error) {
	if c := z.fill(); c.kind != kindNone {
		return c, nil
	}
	if c := z.promote(); c.kind != kindNone {
		return c, nil
	}
	if err := z.b.spent(); err != nil {
		return conflict{}, err
	}
	return z.judge()
}

func (z *zones) reserve(n int64) error {
	z.bytes += n
	return z.b.grow(n)
}

func (z *zones) release() {
	_ = z.b.grow(-z.bytes) // giving back never fails
	z.bytes = 0
}

// load reads the view into columns.
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
	if err := z.reserve(int64(z.n) * columnBytes); err != nil {
		return err
	}
	z.col = columns{make([]int64, z.n), make([]int32, z.n), make([]uint8, z.n), make([]history.Value, z.n)}
	all := z.v.cut >= h.Events()
	for k := range z.n {
		i := z.v.at(k)
		z.col.inv[k] = int64(h.Invoke(i))
		t := h.Type(i)
		if !all && h.Ret(i) > z.v.cut && t != history.Fail {
			t = history.Info
		}
		var code uint8
		var val history.Value
		switch z.fs[h.FID(i)] {
		case reading:
			if t == history.OK {
				code, val = reading, h.Out(i)
			}
		case writing:
			if t != history.Fail {
				code, val = writing, h.In(i)
			}
		case swapping:
			code, val = z.swap(i, t)
			if val.IsPair() {
				z.swaps = true
			} else if code == swapping {
				return inapplicable{"a cas without [old,new]"}
			}
		}
		if t == history.Info {
			code |= open
		}
		z.col.code[k], z.col.val[k] = code, val
	}
	return z.ranks(all)
}

// swap reads a compare-and-set: what it is, and its value.
func (z *zones) swap(i int, t history.Type) (uint8, history.Value) {
	h := z.v.h
	if t != history.Fail {
		return swapping, h.In(i)
	}
	if o := h.Observed(i); o != history.None && h.Ret(i) <= z.v.cut {
		return reading, o
	}
	return dropped, 0
}

// ranks finds how many operations were invoked at or before each return. In a
// whole history of one key it counts along the events; else it gallops.
func (z *zones) ranks(all bool) error {
	h, n := z.v.h, int32(z.n) //nolint:gosec // bounded by events
	if z.v.ops != nil || !all {
		for k := range z.n {
			z.col.rank[k] = n
			if c := z.col.code[k]; c&open == 0 && c != dropped {
				z.col.rank[k] = z.gallop(k, int64(h.Done(z.v.at(k))))
			}
		}
		return nil
	}
	bytes := int64(h.Events()) * 4
	if err := z.reserve(bytes); err != nil {
		return err
	}
	before := make([]int32, h.Events()) // by event, the operations invoked before it
	e := 0
	for k := range z.n {
		for i := h.Index(k); e <= i; e++ {
			before[e] = int32(k) //nolint:gosec // bounded by events
		}
	}
	for ; e < len(before); e++ {
		before[e] = n
	}
	for k := range z.n {
		if c := z.col.code[k]; c&open != 0 || c == dropped {
			z.col.rank[k] = n
			continue
		}
		r := before[h.Ret(k)]
		for t := int64(h.Done(k)); r < n && z.col.inv[r] <= t; r++ { // equal stamps
		}
		z.col.rank[k] = r
	}
	return z.reserve(-bytes)
}

// gallop is the number of operations invoked at or before ret, from its
// invocation at position k on.
func (z *zones) gallop(k int, ret int64) int32 {
	inv := z.col.inv
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

// to is the value that the operation at position k writes.
func (z *zones) to(k int, code uint8) history.Value {
	v := z.col.val[k]
	if code == swapping {
		_, v = z.v.h.Pair(v)
	}
	return v
}

// blocks gives every writer a block.
func (z *zones) blocks() error {
	writers, least, most, tags := 0, int64(1<<62), int64(-1<<62), 0
	for k, c := range z.col.code {
		c &^= open
		if c != writing && c != swapping {
			continue
		}
		to := z.to(k, c)
		if to.IsPair() {
			return inapplicable{"values are arrays"}
		}
		if to == history.Nil {
			return inapplicable{"a value is written twice"}
		}
		writers++
		tags |= 1 << (to & 3)
		least, most = min(least, int64(to>>2)), max(most, int64(to>>2))
	}
	if err := z.table.init(writers, least, most, tags, z); err != nil {
		return err
	}
	if err := z.makeBlocks(writers + 1); err != nil {
		return err
	}
	for k, c := range z.col.code {
		code := c &^ open
		if code != writing && code != swapping {
			continue
		}
		if !z.table.put(z.to(k, code), z.addBlock(int32(k))) { //nolint:gosec // bounded by events
			return inapplicable{"a value is written twice"}
		}
	}
	return nil
}

// makeBlocks makes room for w blocks, and the initial value's.
func (z *zones) makeBlocks(w int) error {
	if err := z.reserve(int64(w) * 25); err != nil {
		return err
	}
	z.writer, z.minRet, z.maxInv, z.minInv = make([]int32, 1, w), make([]int32, w), make([]int32, w), make([]int32, w)
	z.flags = make([]uint8, w)
	if z.swaps {
		z.next, z.prev = make([]int32, w), make([]int32, w)
		z.prev[0] = -1
	}
	n := int32(z.n) //nolint:gosec // bounded by events
	z.writer[0], z.flags[0], z.maxInv[0], z.minRet[0], z.minInv[0] = -1, flagKept, -1, n, n
	return nil
}

// addBlock makes a block for the writer at position pos.
func (z *zones) addBlock(pos int32) int32 {
	b := int32(len(z.writer)) //nolint:gosec // bounded by events
	z.writer = append(z.writer, pos)
	z.maxInv[b], z.minInv[b], z.minRet[b] = pos, pos, int32(z.n) //nolint:gosec // bounded by events
	if z.swaps {
		z.prev[b] = -1
	}
	z.flags[b] = flagKept
	if z.col.code[pos]&open != 0 {
		z.flags[b] = flagMay
	}
	return b
}

// prefix checks the history as it stood after event cut, with the columns and the
// table of z, which has loaded a longer one. Operations have the same positions
// and blocks in both; those that had not returned are of unknown fate, and none
// outranks the last.
func (z *zones) prefix(cut int) (*zones, conflict, error) {
	v := z.v.until(cut)
	n := v.len()
	p := &zones{v: v, b: z.b, n: n, fs: z.fs, table: z.table, swaps: z.swaps}
	defer p.release()
	if err := p.reserve(int64(n) * (4 + 1)); err != nil {
		return nil, conflict{}, err
	}
	p.col = columns{z.col.inv[:n], slices.Clone(z.col.rank[:n]), slices.Clone(z.col.code[:n]), z.col.val[:n]}
	for k := range n {
		if r := &p.col.rank[k]; *r > int32(n) { //nolint:gosec // bounded by events
			*r = int32(n) //nolint:gosec // bounded by events
		}
		i := v.at(k)
		if v.h.Ret(i) <= cut {
			continue
		}
		p.col.rank[k] = int32(n) //nolint:gosec // bounded by events
		if c := p.col.code[k]; c == writing || c == swapping {
			p.col.code[k] = c | open
		} else if c == reading {
			p.col.code[k] = dropped
		}
	}
	w := sort.Search(len(z.writer), func(b int) bool { return int(z.writer[b]) >= n })
	if err := p.makeBlocks(w); err != nil {
		return nil, conflict{}, err
	}
	for _, k := range z.writer[1:w] {
		p.addBlock(k)
	}
	c, err := p.decide()
	return p, c, err
}

// fill puts the readers into their blocks and links the chains. It finds values
// never written, reads from the future and values changed twice.
func (z *zones) fill() conflict {
	own := int32(0) // the block of the last writer passed
	for k, c := range z.col.code {
		switch c &^ open {
		case reading:
			z.read(int32(k), z.col.val[k]) //nolint:gosec // bounded by events
		case writing:
			own++
		case swapping:
			own++
			from, _ := z.v.h.Pair(z.col.val[k])
			b, ok := z.block(from)
			if !ok {
				z.prev[own] = phantomBlock
				if z.flags[own]&flagKept != 0 {
					return conflict{kind: kindPhantom, a: int32(k)} //nolint:gosec // bounded by events
				}
				continue
			}
			z.prev[own] = b
			if z.flags[own]&flagKept != 0 {
				if c := z.eat(b, own); c.kind != kindNone {
					return c
				}
			}
		}
	}
	return conflict{}
}

// phantomBlock is what an indeterminate compare-and-set expects that nobody
// wrote: it cannot have happened.
const phantomBlock = -2

func (z *zones) block(v history.Value) (int32, bool) {
	if v == history.Nil {
		return 0, true
	}
	b := z.table.get(v)
	return b, b > 0 && int(b) < len(z.writer) // the table may be that of a longer history
}

// read puts the reader at position k into its block. One that is wrong by itself
// is noted and left out: another conflict may be earlier.
func (z *zones) read(k int32, v history.Value) {
	b, ok := z.block(v)
	if !ok {
		z.found = append(z.found, conflict{kind: kindPhantom, a: k})
		return
	}
	r := z.col.rank[k]
	if r <= z.writer[b] {
		z.found = append(z.found, conflict{kind: kindFuture, a: k, b: z.writer[b]})
		return
	}
	z.flags[b] |= flagRead
	z.minRet[b] = min(z.minRet[b], r)
	z.maxInv[b] = max(z.maxInv[b], k)
	z.minInv[b] = min(z.minInv[b], k)
}

// eat links the kept compare-and-set of block own behind block b.
func (z *zones) eat(b, own int32) conflict {
	if o := z.next[b]; o != 0 {
		return conflict{kind: kindTwice, a: z.writer[o], b: z.writer[own], with: []int32{z.writer[b]}}
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
			if !z.swaps {
				break
			}
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
		if z.flags[b]&flagKept == 0 {
			continue
		}
		kept++
		if !z.swaps { // every block is a chain
			seen++
			f := z.minRet[b]
			if w := z.writer[b]; w < 0 {
				f = 0
			} else {
				f = min(f, z.col.rank[w])
			}
			z.minRet[b] = f
			if g := z.maxInv[b]; g >= 0 {
				ends[g] = int32(b) + 1 //nolint:gosec // a block
			}
			continue
		}
		if z.prev[b] >= 0 {
			continue
		}
		f, g, n, c := z.chain(int32(b)) //nolint:gosec // a block
		if c.kind != kindNone {
			return c, nil
		}
		seen += n
		// A chain's f takes the place of its first block's least reader.
		z.minRet[b] = f
		if g >= 0 {
			ends[g] = int32(b) + 1 //nolint:gosec // a block
		}
	}
	if seen < kept {
		return z.cycle(), nil
	}
	return z.earliest(z.sweep(ends)), nil
}

// chain walks the chain that starts with block b: its f and g, its length, and a
// violation of rule 2 inside it.
func (z *zones) chain(b int32) (f, g int32, n int, c conflict) {
	first := b
	f, g = int32(z.n), -1 //nolint:gosec // bounded by events
	for {
		wr := int32(0) // the initial value was written before everything
		if w := z.writer[b]; w >= 0 {
			wr = z.col.rank[w]
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

// maxPairs bounds how many conflicting pairs are looked at for the earliest.
const maxPairs = 256

// sweep tests rule 3: chains from the largest g down, with the forward ones whose
// interval [f, g] holds the present g beside them. It returns pairs of chains
// that conflict. Where none do, at most one chain is ever beside.
func (z *zones) sweep(ends []int32) [][2]int32 {
	var pairs [][2]int32
	type zone struct{ b, f, g int32 }
	var beside []zone
	for g, end := range slices.Backward(ends) {
		b := end - 1
		if b < 0 {
			continue
		}
		g := int32(g) //nolint:gosec // a position
		f := z.minRet[b]
		kept := beside[:0]
		for _, o := range beside {
			if o.f > g {
				continue
			}
			kept = append(kept, o)
			if f <= o.g {
				if pairs = append(pairs, [2]int32{b, o.b}); len(pairs) == maxPairs {
					return pairs
				}
			}
		}
		beside = kept
		if f <= g {
			beside = append(beside, zone{b, f, g})
		}
	}
	return pairs
}
