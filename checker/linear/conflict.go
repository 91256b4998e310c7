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
		c.a = z.earliest(b)
	}
	rank := z.rankOf(c.a)
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

func (z *zones) rankOf(k int32) int32 {
	i := z.v.at(int(k))
	return z.rank(int(k), int64(z.v.ret(i)))
}

// earliest is the reader of block b with the least return.
func (z *zones) earliest(b int32) int32 {
	best, rank := int32(-1), int32(z.n)+1 //nolint:gosec // bounded by events
	for k := range z.maxInv[b] + 1 {
		code, from, _ := z.code(z.v.at(int(k)))
		if code != reading {
			continue
		}
		if u, _ := z.block(from); u == b {
			if r := z.rankOf(k); r < rank {
				best, rank = k, r
			}
		}
	}
	return best
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

// members are the operations of the chain that starts with block first.
func (z *zones) members(first int32) []member {
	place := map[int32]int32{}
	for b, n := first, int32(0); ; n++ {
		place[b] = n
		if b = z.next[b]; b == 0 {
			break
		}
	}
	var ms []member
	own := int32(0)
	for k := range z.n {
		code, from, _ := z.code(z.v.at(k))
		b := int32(-1)
		switch code {
		case reading:
			b, _ = z.block(from)
		case writing, swapping:
			own++
			b = own
		}
		if n, ok := place[b]; ok && b >= 0 && z.flags[b]&flagKept != 0 {
			ms = append(ms, member{int32(k), z.rankOf(int32(k)), n}) //nolint:gosec // bounded by events
		}
	}
	return ms
}

// clash is the conflict of rule 3 between the chains that start with blocks c
// and d.
func (z *zones) clash(c, d int32) conflict {
	cs, ds := z.members(c), z.members(d)
	last := func(ms []member) int32 { return ms[len(ms)-1].pos }
	first := func(ms []member) int32 {
		r := int32(z.n) //nolint:gosec // bounded by events
		for _, m := range ms {
			r = min(r, m.rank)
		}
		return r
	}
	fD, gD := first(ds), last(ds)
	if d == 0 {
		fD = 0
	}
	a, cc := nearest(cs, gD, fD, c == 0)
	fC, gC := z.rankOr(a), cc.pos
	b, dd := nearestLate(ds, fC, gC, d == 0)
	k := conflict{kind: kindZones, a: a.pos, c: cc.pos, b: b.pos, d: dd.pos}
	k.with = append(z.path(c, a.block, cc.block), z.path(d, dd.block, b.block)...)
	if k.d < 0 || k.a >= 0 && k.b > k.c { // the later one is the stale one
		k.a, k.c, k.b, k.d = k.d, k.b, k.c, k.a
	}
	return k
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
	for b, n := first, int32(0); n <= j; b, n = z.next[b], n+1 {
		if n >= i {
			ws = append(ws, z.writer[b])
		}
	}
	return ws
}
