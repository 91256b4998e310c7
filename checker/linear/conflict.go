package linear

import "slices"

// This file turns a violation that the zones found into the few operations that
// prove it. It runs once per violation, in O(n).

// member is an operation of a chain: its position, its rank and its block's
// place in the chain.
type member struct{ pos, rank, block int32 }

// inChain is the conflict of rule 2: the writer of block b, or its first reader,
// returned before an operation of an earlier block was invoked.
func (z *zones) inChain(first, b int32, writer bool) conflict {
	c := conflict{kind: kindChain}
	if writer {
		c.a = z.writer[b]
	} else {
		c.a = z.earliestReader(b)
	}
	rank := z.col.rank[c.a]
	for u := b; u != first || u == b; {
		c.with = append(c.with, z.writer[u])
		if u != b && z.maxInv[u] >= rank {
			c.c = z.maxInv[u]
			return c
		}
		u = z.prev[u]
	}
	c.with = append(c.with, z.writer[first])
	c.c = z.maxInv[first]
	return c
}

// earliest is the reader of block b with the least return.
func (z *zones) earliestReader(b int32) int32 {
	best := int32(-1)
	z.readers(b, func(k int32) {
		if best < 0 || z.col.rank[k] < z.col.rank[best] {
			best = k
		}
	})
	return best
}

// readers visits the readers in block b.
func (z *zones) readers(b int32, visit func(k int32)) {
	for k := max(0, z.minInv[b]); k <= z.maxInv[b]; k++ {
		if z.col.code[k]&^open != reading {
			continue
		}
		if u, ok := z.block(z.col.val[k]); ok && u == b && z.col.rank[k] > z.writer[b] {
			visit(k)
		}
	}
}

// cycle finds compare-and-sets that wait for each other's values.
func (z *zones) cycle() conflict {
	seen := make([]int32, len(z.writer)) // 0 not seen, else the walk + 1
	for b := range z.writer {
		if z.flags[b]&flagKept == 0 || seen[b] != 0 {
			continue
		}
		u := int32(b) //nolint:gosec // a block
		for u >= 0 && seen[u] == 0 {
			seen[u] = int32(b) + 1 //nolint:gosec // a block
			u = z.prev[u]
		}
		if u < 0 || seen[u] != int32(b)+1 { //nolint:gosec // a block
			continue
		}
		c := conflict{kind: kindCycle, a: z.writer[u], b: z.writer[z.prev[u]]}
		for w := u; ; {
			c.with = append(c.with, z.writer[w])
			if w = z.prev[w]; w == u {
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
		lo, hi = min(lo, z.minInv[b]), max(hi, z.maxInv[b])
		if w := z.writer[b]; w >= 0 {
			ms = append(ms, member{w, z.col.rank[w], n})
		}
		if !z.swaps || z.next[b] == 0 {
			break
		}
		b = z.next[b]
	}
	for k := max(0, lo); k <= hi; k++ {
		if z.col.code[k]&^open != reading {
			continue
		}
		b, ok := z.block(z.col.val[k])
		if n, in := place[b]; ok && in && z.col.rank[k] > z.writer[b] {
			ms = append(ms, member{k, z.col.rank[k], n})
		}
	}
	slices.SortFunc(ms, func(a, b member) int { return int(a.pos - b.pos) })
	return ms
}

// known is by when position k's operation is certain to have happened: its
// return, or for a writer the first return of a reader, as a rank.
func (z *zones) known(k int32) int32 {
	r := z.col.rank[k]
	if c := z.col.code[k] &^ open; c == writing || c == swapping {
		if b, ok := z.block(z.to(int(k), c)); ok {
			z.readers(b, func(k int32) { r = min(r, z.col.rank[k]) })
		}
	}
	return r
}

// earliest picks, of the pairs of chains that conflict and of the reads that are
// wrong by themselves, what was certain first.
func (z *zones) earliest(pairs [][2]int32) conflict {
	var best conflict
	when := int32(1<<31 - 1)
	for _, c := range z.found {
		if r := z.col.rank[c.a]; r < when {
			best, when = c, r
		}
	}
	for _, p := range pairs {
		c := z.clash(p[0], p[1])
		if r := max(z.known(c.b), z.known(c.c)); r < when {
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
		cc, b = firstAfter(cs, dd.rank), firstAfter(ds, a.rank)
	} else {
		fD, gD := z.firstOf(ds, d).rank, ds[len(ds)-1].pos
		a, cc = nearest(cs, gD, fD, c == 0)
		b, dd = nearestLate(ds, z.rankOr(a), cc.pos, d == 0)
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
		return member{pos: -1}
	}
	best := ms[0]
	for _, m := range ms {
		if m.rank < best.rank {
			best = m
		}
	}
	return best
}

// firstAfter is the member invoked at or after position at that returned first.
func firstAfter(ms []member, at int32) member {
	best := member{pos: -1, rank: 1<<31 - 1}
	for _, m := range ms {
		if m.pos >= at && (best.pos < 0 || m.rank < best.rank) {
			best = m
		}
	}
	return best
}

func (z *zones) rankOr(m member) int32 {
	if m.pos < 0 {
		return 0
	}
	return m.rank
}

// nearest picks of a chain an operation that returned before position before was
// invoked, and one invoked after rank after, as close in the chain as possible.
// Where initial, the write of the initial value serves as the first.
func nearest(ms []member, before, after int32, initial bool) (a, c member) {
	return closest(ms, func(m member) bool { return m.rank <= before }, func(m member) bool { return m.pos >= after }, initial)
}

func nearestLate(ms []member, after, before int32, initial bool) (b, d member) {
	d, b = closest(ms, func(m member) bool { return m.rank <= before }, func(m member) bool { return m.pos >= after }, initial)
	return b, d
}

func closest(ms []member, early, late func(member) bool, initial bool) (a, c member) {
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
		x = &member{pos: -1}
	}
	for i := range sorted {
		m := &sorted[i]
		if early(*m) {
			x = m
			if y != nil {
				consider(*x, *y)
			}
		}
		if late(*m) {
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
			ws = append(ws, z.writer[b])
		}
		if z.swaps {
			b = z.next[b]
		}
	}
	return ws
}
