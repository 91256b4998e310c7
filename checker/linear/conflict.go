package linear

import "slices"

// This file turns a violation that the zones found into the few operations that
// prove it. It runs once per violation, in O(n).

// member is an operation of a chain: its position, its stamps and its block's
// place in the chain.
type member struct{ pos, inv, ret, block int32 }

func (z *zones) member(k, block int32) member { return member{k, z.col.inv[k], z.col.ret[k], block} }

// inChain is the conflict of rule 2: the writer of block b, or its first reader,
// returned before an operation of an earlier block was invoked.
func (z *zones) inChain(first, b int32) conflict {
	c := conflict{kind: kindChain, a: z.blocks[b].writer}
	if c.a < 0 || !z.lateBefore(first, b, z.col.ret[c.a]) {
		c.a = z.earliestReader(b)
	}
	for u := b; u != first || u == b; {
		x := &z.blocks[u]
		c.with = append(c.with, x.writer)
		if u != b && z.after(x.last, z.col.ret[c.a]) {
			c.c = x.last
			return c
		}
		u = x.prev
	}
	c.with = append(c.with, z.blocks[first].writer)
	c.c = z.blocks[first].last
	return c
}

// lateBefore says whether a block of the chain before block b has an operation
// that was invoked after ret.
func (z *zones) lateBefore(first, b, ret int32) bool {
	for b != first {
		b = z.blocks[b].prev
		if z.after(z.blocks[b].last, ret) {
			return true
		}
	}
	return false
}

// after says whether the operation at position k, if any, was invoked after ret.
func (z *zones) after(k, ret int32) bool { return k >= 0 && z.col.inv[k] > ret }

// earliest is the reader of block b with the least return.
func (z *zones) earliestReader(b int32) int32 {
	best := int32(-1)
	z.readers(b, func(k int32) {
		if best < 0 || z.col.ret[k] < z.col.ret[best] {
			best = k
		}
	})
	return best
}

// readers visits the readers in block b.
func (z *zones) readers(b int32, visit func(k int32)) {
	x := &z.blocks[b]
	for k := x.first; k <= x.last; k++ {
		if z.reads(k, b) {
			visit(k)
		}
	}
}

// reads says whether the operation at position k is a reader in block b.
func (z *zones) reads(k, b int32) bool {
	if z.col.code[k] != reading {
		return false
	}
	u, ok := z.block(z.col.value(int(k)))
	w := z.blocks[b].writer
	return ok && u == b && (w < 0 || z.col.ret[k] > z.col.inv[w])
}

// cycle finds compare-and-sets that wait for each other's values.
func (z *zones) cycle() conflict {
	seen := make([]int32, len(z.blocks)) // 0 not seen, else the walk + 1
	for b := range z.blocks {
		if z.blocks[b].flags&flagKept == 0 || seen[b] != 0 {
			continue
		}
		u := int32(b) //nolint:gosec // a block
		for u >= 0 && seen[u] == 0 {
			seen[u] = int32(b) + 1 //nolint:gosec // a block
			u = z.blocks[u].prev
		}
		if u < 0 || seen[u] != int32(b)+1 { //nolint:gosec // a block
			continue
		}
		c := conflict{kind: kindCycle, a: z.blocks[u].writer, b: z.blocks[z.blocks[u].prev].writer}
		for w := u; ; {
			c.with = append(c.with, z.blocks[w].writer)
			if w = z.blocks[w].prev; w == u {
				return c
			}
		}
	}
	return conflict{kind: kindCycle}
}

// members are the operations of the chain that starts with block first, by
// position.
func (z *zones) members(first int32) []member {
	place := map[int32]int32{}
	lo, hi := int32(z.n), int32(-1) //nolint:gosec // bounded by events
	var ms []member
	for b, n := first, int32(0); ; n++ {
		place[b] = n
		lo, hi = min(lo, z.blocks[b].first), max(hi, z.blocks[b].last)
		if w := z.blocks[b].writer; w >= 0 {
			ms = append(ms, z.member(w, n))
		}
		if z.blocks[b].next == 0 {
			break
		}
		b = z.blocks[b].next
	}
	for k := lo; k <= hi; k++ {
		b, _ := z.block(z.col.value(int(k)))
		if n, in := place[b]; in && z.reads(k, b) {
			ms = append(ms, z.member(k, n))
		}
	}
	slices.SortFunc(ms, func(a, b member) int { return int(a.pos - b.pos) })
	return ms
}

// known is by when position k's operation is certain to have happened: its
// return, or for a writer the first return of a reader.
func (z *zones) known(k int32) int32 {
	r := z.col.ret[k]
	if z.col.code[k]&(writing|swapping) != 0 {
		if b, ok := z.block(z.col.value(int(k))); ok {
			z.readers(b, func(k int32) { r = min(r, z.col.ret[k]) })
		}
	}
	return r
}

// earliest picks, of the pairs of chains that conflict and of the reads that are
// wrong by themselves, what was certain first.
func (z *zones) earliest(pairs [][2]int32) conflict {
	var best conflict
	when := int32(never)
	for _, c := range z.found {
		if r := z.col.ret[c.a]; best.kind == kindNone || r < when {
			best, when = c, r
		}
	}
	for _, p := range pairs {
		c := z.clash(p[0], p[1])
		if r := max(z.known(c.b), z.known(c.c)); best.kind == kindNone || r < when {
			best, when = c, r
		}
	}
	return best
}

// clash is the conflict of rule 3 between the chains that start with blocks c
// and d. Where every chain is one block it is the earliest that there is: the
// operations that returned first leave the others the most room, and of those the
// first to return are taken.
func (z *zones) clash(c, d int32) conflict {
	cs, ds := z.members(c), z.members(d)
	var a, cc, b, dd member
	if !z.swaps {
		a, dd = z.firstOf(cs, c), z.firstOf(ds, d)
		cc, b = firstAfter(cs, dd.ret), firstAfter(ds, a.ret)
	} else {
		fD, gD := z.firstOf(ds, d).ret, ds[len(ds)-1].inv
		a, cc = closest(cs, gD, fD, c == 0)
		dd, b = closest(ds, cc.inv, a.ret, d == 0)
	}
	k := conflict{kind: kindZones, a: a.pos, c: cc.pos, b: b.pos, d: dd.pos}
	k.with = append(z.path(c, a.block, cc.block), z.path(d, dd.block, b.block)...)
	if k.d < 0 || k.a >= 0 && k.b > k.c { // the later one is the stale one
		k.a, k.c, k.b, k.d = k.d, k.b, k.c, k.a
	}
	return k
}

// firstOf is the member that returned first; the initial value's write did
// before everything.
func (z *zones) firstOf(ms []member, chain int32) member {
	if chain == 0 {
		return member{pos: -1, inv: -1, ret: -1}
	}
	best := ms[0]
	for _, m := range ms {
		if m.ret < best.ret {
			best = m
		}
	}
	return best
}

// firstAfter is the member invoked after the stamp at that returned first.
func firstAfter(ms []member, at int32) member {
	best := member{pos: -1, ret: never}
	for _, m := range ms {
		if m.inv > at && (best.pos < 0 || m.ret < best.ret) {
			best = m
		}
	}
	return best
}

// closest picks of a chain an operation that returned before the stamp before,
// and one invoked after the stamp after, as close in the chain as possible. Where
// initial, the write of the initial value serves as the first.
func closest(ms []member, before, after int32, initial bool) (a, c member) {
	sorted := slices.Clone(ms)
	slices.SortStableFunc(sorted, func(x, y member) int { return int(x.block - y.block) })
	best := int32(-1)
	consider := func(x, y member) {
		dist := max(x.block, y.block) - min(x.block, y.block)
		if best < 0 || dist < best {
			best, a, c = dist, x, y
		}
	}
	var x, y *member // the last early and the last late one passed
	if initial {
		x = &member{pos: -1, inv: -1, ret: -1}
	}
	for i := range sorted {
		m := &sorted[i]
		if m.ret < before {
			x = m
			if y != nil {
				consider(*x, *y)
			}
		}
		if m.inv > after {
			y = m
			if x != nil {
				consider(*x, *y)
			}
		}
	}
	return a, c
}

// path are the writers of a chain from the i-th to the j-th block.
func (z *zones) path(first, i, j int32) []int32 {
	if i > j {
		i, j = j, i
	}
	var ws []int32
	for b, n := first, int32(0); n <= j; n++ {
		if n >= i {
			ws = append(ws, z.blocks[b].writer)
		}
		b = z.blocks[b].next
	}
	return ws
}
