package linear

import "slices"

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
// Stamps are places in the order of events, so chains come in the order of g by
// one pass over an array of positions, and everything is O(n). Writers and
// readers of a block are told apart only where a violation is explained.
//
// Indeterminate writes and compare-and-sets are in the history iff something
// that is kept read their value (see problem.shrink); then they never return.

// zones is the engine's working memory.
type zones struct {
	v   view
	b   *budget
	n   int
	col columns

	table values
	// blocks: 0 is the initial value's, others in the order of their writers.
	blocks []block
	ends   []int32 // by position where a chain ends, its first block + 1
	swaps  bool    // there are compare-and-sets
	mays   bool    // there are writers of unknown fate
	fails  int     // operations that exclude a value
	bytes  int64
	found  []conflict // reads of what nobody had written
	// clashing are the first blocks of the chains that violate rule 3, in pairs, and
	// of those that violate rule 2, each with itself; not all once they are maxPairs.
	clashing [][2]int32
}

// block is the operations on one value.
type block struct {
	writer      int32 // position, -1 for the initial value
	minRet      int32 // the least return
	first, last int32 // positions: all of the block lie between
	next, prev  int32 // the block of the compare-and-set from this one, or 0; what this one's expects, else -1
	flags       uint8
}

const blockBytes = 28

const (
	flagRead  = 1 << iota // somebody read it
	flagMay               // the writer's fate is unknown
	flagKept              // and it was observed, or it is definite
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

// checkZones decides the operations of v, whose columns are col. It returns an
// inapplicable error where a value is written twice or is an array. The zones
// come with a conflict, to explain it.
func checkZones(v view, col columns, b *budget) (*zones, conflict, error) {
	z := &zones{v: v, b: b, n: len(col.code), col: col}
	defer z.release()
	if err := z.number(); err != nil {
		return z, conflict{}, err
	}
	c, err := z.decide()
	if err == nil && c.kind == kindNone && z.fails > 0 {
		err = z.schedule()
	}
	return z, c, err
}

func (z *zones) reserve(n int64) error {
	z.bytes += n
	return z.b.grow(n)
}

func (z *zones) release() {
	_ = z.b.grow(-z.bytes) // giving back never fails
	z.bytes = 0
}

// decide judges what was loaded.
func (z *zones) decide() (conflict, error) {
	if err := z.b.spent(); err != nil {
		return conflict{}, err
	}
	z.fill()
	if c := z.link(); c.kind != kindNone {
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

// judge tests the chains, each on its own and then against each other.
func (z *zones) judge() (conflict, error) {
	if z.ends == nil {
		if err := z.reserve(int64(z.n) * 4); err != nil {
			return conflict{}, err
		}
		z.ends = make([]int32, z.n)
	}
	ends := z.ends
	clear(ends)
	var broken conflict // of the first chain that is wrong by itself
	seen, kept := 0, 0
	for i := range z.blocks {
		b := &z.blocks[i]
		if b.flags&flagKept == 0 {
			continue
		}
		kept++
		if b.prev >= 0 {
			continue
		}
		g := b.last
		if z.swaps {
			var n int
			var c conflict
			// A chain's f takes the place of its first block's.
			if b.minRet, g, n, c = z.chain(int32(i)); c.kind != kindNone { //nolint:gosec // a block
				z.clashing = append(z.clashing, [2]int32{int32(i), int32(i)}) //nolint:gosec // a block
				if broken.kind == kindNone {
					broken = c
				}
			}
			seen += n - 1
		}
		seen++
		if g >= 0 {
			ends[g] = int32(i) + 1 //nolint:gosec // a block
		}
	}
	if seen < kept {
		return z.cycle(), nil
	}
	pairs := z.sweep(ends)
	z.clashing = append(z.clashing, pairs...)
	if broken.kind != kindNone {
		return broken, nil
	}
	return z.earliest(pairs), nil
}

// chain walks the chain that starts with block b: its f and g, its length, and the
// first violation of rule 2 inside it.
func (z *zones) chain(b int32) (f, g int32, n int, c conflict) {
	first := b
	f, g = never, -1
	after := int32(-1) // the stamp of g
	for {
		x := &z.blocks[b]
		if x.minRet < after && c.kind == kindNone {
			c = z.inChain(first, b)
		}
		f = min(f, x.minRet)
		if x.last > g {
			g, after = x.last, z.col.inv[x.last]
		}
		n++
		if x.next == 0 {
			return f, g, n, c
		}
		b = x.next
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
	blocks, inv := z.blocks, z.col.inv
	for p, end := range slices.Backward(ends) {
		b := end - 1
		if b < 0 {
			continue
		}
		f, g := blocks[b].minRet, inv[p]
		n := 0
		for _, o := range beside {
			if o.f >= g {
				continue
			}
			beside[n] = o
			n++
			if f < o.g {
				if pairs = append(pairs, [2]int32{b, o.b}); len(pairs) == maxPairs {
					return pairs
				}
			}
		}
		beside = beside[:n]
		if f < g {
			beside = append(beside, zone{b, f, g})
		}
	}
	return pairs
}
