package linear

// This file is what the search remembers of the nodes it has exhausted.

// key is the present node: the operations placed and the state.
func (s *search) key() key {
	x := mix(uint64(s.state) ^ 0x510e527fade682d1) //nolint:gosec // bits
	return key{s.h1 ^ x, s.h2 ^ mix(x)}
}

// pruned says whether an exhausted node covers this one.
func (s *search) pruned() bool {
	if len(s.dead.entries) == 0 {
		return false
	}
	k := s.key()
	e := s.dead.find(k)
	if e < 0 {
		return false
	}
	if s.subset(s.dead.entries[e].used) {
		return true
	}
	for i := s.dead.entries[e].next; i >= 0; i = s.dead.more[i].next {
		if s.subset(s.dead.more[i].used) {
			return true
		}
	}
	return false
}

// subset says whether the operations used at arena node a are among those used
// now. Both lists grew from a common one, usually not long ago: only what lies
// before the fork is compared, and no further than a bound, which costs pruning,
// never soundness.
func (s *search) subset(a int32) bool {
	b := s.used
	if a == b || a == 0 {
		return true
	}
	if s.arena[a].depth > s.arena[b].depth {
		return false
	}
	var left, right [64]int32
	nl, nr := 0, 0
	for a != b {
		if nl == len(left) || nr == len(right) {
			return false
		}
		if s.arena[a].depth >= s.arena[b].depth {
			left[nl] = s.arena[a].id
			nl++
			a = s.arena[a].parent
		} else {
			right[nr] = s.arena[b].id
			nr++
			b = s.arena[b].parent
		}
	}
next:
	for _, x := range left[:nl] {
		for _, y := range right[:nr] {
			if x == y {
				continue next
			}
		}
		return false
	}
	return true
}

// key is a 128-bit hash.
type key struct{ a, b uint64 }

// table maps keys to lists of arena nodes: open addressing, grown by doubling.
type table struct {
	slots   []int32 // index of an entry + 1
	entries []deadEntry
	more    []deadMore
}

type deadEntry struct {
	k          key
	used, next int32 // next is an index of more, or -1
}

type deadMore struct{ used, next int32 }

// bytes is what the table holds; a part that grows is there twice meanwhile.
func (t *table) bytes() int64 {
	slots, entries, more := int64(cap(t.slots))*4, int64(cap(t.entries))*24, int64(cap(t.more))*8
	return slots + entries + more + max(slots, entries, more)
}

func (t *table) find(k key) int32 {
	if len(t.slots) == 0 {
		return -1
	}
	mask := uint64(len(t.slots) - 1) //nolint:gosec // a length
	for i := k.a & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if e := t.slots[i] - 1; t.entries[e].k == k {
			return e
		}
	}
	return -1
}

func (t *table) add(k key, used int32) {
	if e := t.find(k); e >= 0 {
		t.more = append(t.more, deadMore{used, t.entries[e].next})
		t.entries[e].next = int32(len(t.more) - 1) //nolint:gosec // bounded by the budget
		return
	}
	t.entries = append(t.entries, deadEntry{k, used, -1})
	if 2*len(t.entries) > len(t.slots) {
		t.slots = make([]int32, max(64, 2*len(t.slots)))
		for e := range t.entries {
			t.put(e)
		}
		return
	}
	t.put(len(t.entries) - 1)
}

func (t *table) put(e int) {
	mask := uint64(len(t.slots) - 1) //nolint:gosec // a length
	i := t.entries[e].k.a & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = int32(e + 1) //nolint:gosec // bounded by the budget
}
