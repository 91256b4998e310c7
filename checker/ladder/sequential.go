package ladder

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
)

// sequential looks for one legal order of everything. Finding one proves it, and
// a search through all orders refutes it; since that is NP-hard it is bounded.
// First, likely orders of the writes are tried, each in O(n): by the system's
// versions, by when each value was first certain, by completion, by invocation.
func (t *table) sequential(ctx context.Context) Rung {
	for _, rank := range t.ranks() {
		if t.fits(rank) {
			return Rung{Verdict: checker.Valid}
		}
		if ctx.Err() != nil {
			return Rung{Reason: "the time limit was reached"}
		}
	}
	return t.searchSequential(ctx)
}

// ranks are likely orders of the writes, as a number a write.
func (t *table) ranks() [][]int64 {
	h := t.h
	n := len(t.kind)
	sure, done, asked := make([]int64, n), make([]int64, n), make([]int64, n)
	versions := h.HasVersions()
	for i := range n {
		sure[i], done[i], asked[i] = int64(h.Return(i)), int64(h.Return(i)), int64(h.Invoke(i))
	}
	for i := range n {
		if t.reads(int32(i)) && t.from[i] >= 0 { //nolint:gosec // an op number
			w := t.from[i]
			sure[w] = min(sure[w], int64(h.Return(i)))
		}
		if t.writes(int32(i)) && h.Version(i) == 0 { //nolint:gosec // an op number
			versions = false
		}
	}
	ranks := [][]int64{sure, done, asked}
	if versions {
		claimed := make([]int64, n)
		for i := range n {
			claimed[i] = h.Version(i)
		}
		ranks = append([][]int64{claimed}, ranks...)
	}
	return ranks
}

// fits says whether with the writes in that order each process' operations find
// places: each goes to the first place not before the one of the operation
// before it. A place is the number of writes before it. The earliest place is
// never worse, so the pass is exact for the order. O(n log n).
func (t *table) fits(rank []int64) bool {
	var order []int32
	for i := range t.kind {
		if t.writes(int32(i)) { //nolint:gosec // an op number
			order = append(order, int32(i)) //nolint:gosec // an op number
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(rank[a], rank[b]) })
	place := make([]int, len(t.kind))      // of a write, from 1
	until := make([]int, len(t.kind))      // of a write, the place of the key's next one
	first := make([]int, len(t.h.Keys()))  // of a key, the place of its first write
	last := make([]int32, len(t.h.Keys())) // of a key, its last write so far
	for k := range first {
		first[k], last[k] = len(order)+1, initial
	}
	for n, w := range order {
		k := t.h.KeyID(int(w))
		place[w], until[w] = n+1, len(order)+1
		if l := last[k]; l >= 0 {
			until[l] = n + 1
		} else {
			first[k] = n + 1
		}
		if t.reads(w) && t.from[w] != last[k] {
			return false
		}
		last[k] = w
	}
	for _, ops := range t.sessions {
		at := 0
		for _, i := range ops {
			switch {
			case t.writes(i):
				if place[i] <= at {
					return false
				}
				at = place[i]
			default:
				end := first[t.h.KeyID(int(i))]
				if w := t.from[i]; w >= 0 {
					at, end = max(at, place[w]), until[w]
				}
				if at >= end {
					return false
				}
			}
		}
	}
	return true
}

// maxStates bounds the search.
const (
	maxStates  = 50_000
	searchTime = 500 * time.Millisecond
)

// searchSequential tries all orders, remembering how far each process had come
// and what the keys held.
func (t *table) searchSequential(ctx context.Context) Rung {
	if len(t.sessions) > 64 || len(t.h.Keys()) > 64 {
		return Rung{Reason: "not in the order of the versions, completions or invocations; too large to try all orders"}
	}
	s := seqSearch{t: t, ctx: ctx, at: make([]int, len(t.sessions)), held: make([]int32, len(t.h.Keys())), seen: map[string]bool{}, until: time.Now().Add(searchTime)}
	for k := range s.held {
		s.held[k] = initial
	}
	for _, ops := range t.sessions {
		s.left += len(ops)
	}
	if s.left > 5000 {
		return Rung{Reason: "not in the order of the versions, completions or invocations; too large to try all orders"}
	}
	switch {
	case s.try():
		return Rung{Verdict: checker.Valid}
	case s.over:
		return Rung{Reason: "not in the order of the versions, completions or invocations; too many others to try all"}
	}
	var ops []int
	for _, list := range t.sessions {
		if n := min(len(list)-1, s.best); n >= 0 {
			ops = append(ops, int(list[n]))
		}
	}
	return t.anomaly(Sequential, "no single order of all operations, each process' in its own order, explains all reads (all were tried).", ops...)
}

type seqSearch struct {
	t     *table
	ctx   context.Context //nolint:containedctx // lives as long as one search
	at    []int
	held  []int32
	seen  map[string]bool
	left  int
	best  int
	over  bool
	until time.Time
}

func (s *seqSearch) key() string {
	b := make([]byte, 0, 4*(len(s.at)+len(s.held)))
	for _, a := range s.at {
		b = binary.LittleEndian.AppendUint32(b, uint32(a)) //nolint:gosec // bounded by events
	}
	for _, w := range s.held {
		b = binary.LittleEndian.AppendUint32(b, uint32(w)) //nolint:gosec // bits
	}
	return string(b)
}

func (s *seqSearch) try() bool {
	if s.left == 0 {
		return true
	}
	if len(s.seen) > maxStates || len(s.seen)&0xff == 0 && (s.ctx.Err() != nil || time.Now().After(s.until)) {
		s.over = true
		return false
	}
	// A read that may go now changes nothing: it goes without alternative.
	for p, ops := range s.t.sessions {
		if s.at[p] < len(ops) && s.t.kind[ops[s.at[p]]] == reader && s.can(ops[s.at[p]]) {
			return s.step(p, ops[s.at[p]])
		}
	}
	k := s.key()
	if s.seen[k] {
		return false
	}
	s.seen[k] = true
	for p, ops := range s.t.sessions {
		if s.at[p] < len(ops) && s.t.kind[ops[s.at[p]]] != reader && s.can(ops[s.at[p]]) && s.step(p, ops[s.at[p]]) {
			return true
		}
		if s.over {
			return false
		}
	}
	return false
}

func (s *seqSearch) can(i int32) bool {
	return !s.t.reads(i) || s.held[s.t.h.KeyID(int(i))] == s.t.from[i]
}

func (s *seqSearch) step(p int, i int32) bool {
	k := s.t.h.KeyID(int(i))
	held := s.held[k]
	if s.t.writes(i) {
		s.held[k] = i
	}
	s.at[p]++
	s.left--
	s.best = max(s.best, s.at[p])
	if s.try() {
		return true
	}
	s.at[p]--
	s.left++
	s.held[k] = held
	return false
}
