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
	for _, l := range t.orders() {
		if l.fitsAll() {
			return Rung{Verdict: checker.Valid}
		}
	}
	return t.searchSequential(ctx)
}

// orders are likely orders of the writes, laid out once.
func (t *table) orders() []*layout {
	if t.layouts == nil {
		for _, r := range t.ranks() {
			t.layouts = append(t.layouts, t.lay(r))
		}
	}
	return t.layouts
}

// ranks are likely orders of the writes, as a number a write.
func (t *table) ranks() [][]int64 {
	h := t.h
	n := len(t.kind)
	sure, done, asked, late := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	versions := h.HasVersions()
	for i := range n {
		sure[i], done[i], asked[i], late[i] = int64(h.Return(i)), int64(h.Return(i)), int64(h.Invoke(i)), int64(h.Invoke(i))
	}
	for i := range n {
		if t.reads(int32(i)) && t.from[i] >= 0 { //nolint:gosec // an op number
			w := t.from[i]
			sure[w] = min(sure[w], int64(h.Return(i)))
			late[w] = max(late[w], int64(h.Invoke(i)))
		}
		if t.writes(int32(i)) && h.Version(i) == 0 { //nolint:gosec // an op number
			versions = false
		}
	}
	ranks := [][]int64{t.zones(sure, late), sure, done, asked}
	if versions {
		claimed := make([]int64, n)
		for i := range n {
			claimed[i] = h.Version(i)
		}
		ranks = append([][]int64{claimed}, ranks...)
	}
	return ranks
}

// zones are ranks by the left ends of the zones of values, with chains of
// compare-and-sets in one piece: where a key is linearizable, that is an order of its
// writes (see the register engine of package linear). Each start is moved behind the
// last invocation on the values before it, as far as its own first return allows: their
// reads have to fit in between, also with what the same processes did on other keys.
func (t *table) zones(sure, late []int64) []int64 {
	writes := t.chained(sure, late)
	t.fresh(writes, sure, late)
	writes = t.chained(sure, late)
	zone := make([]int64, len(t.kind))
	most, last := make([]int64, len(t.h.Keys())), make([]int64, len(t.h.Keys()))
	for _, w := range writes {
		k := t.h.KeyID(int(w))
		start := max(min(sure[w], late[w]), most[k])
		zone[w] = max(min(start, sure[w]), last[k])
		most[k], last[k] = max(most[k], late[w]), zone[w]
	}
	slices.SortStableFunc(writes, func(a, b int32) int { return cmp.Compare(zone[a], zone[b]) })
	for n, w := range writes {
		zone[w] = int64(n)
	}
	return zone
}

// chained are the writes by the zones of their chains, each chain in its order.
func (t *table) chained(sure, late []int64) []int32 {
	writes := t.byRank(late)
	head, place := make([]int32, len(t.kind)), make([]int32, len(t.kind))
	for _, w := range writes {
		head[w] = initial
	}
	var chain []int32
	for _, w := range writes {
		chain = chain[:0]
		for u := w; head[u] == initial; u = t.from[u] { // back to what is known, or to the beginning
			chain = append(chain, u)
			head[u] = u // until it is known, and for good where compare-and-sets wait for each other
			if t.kind[u] != both || t.from[u] == initial {
				break
			}
		}
		for _, u := range slices.Backward(chain) {
			if s := t.from[u]; t.kind[u] == both && s != initial {
				head[u], place[u] = head[s], place[s]+1
			}
		}
	}
	first, last := slices.Clone(sure), slices.Clone(late) // of chains, by their heads
	for _, w := range writes {
		first[head[w]], last[head[w]] = min(first[head[w]], sure[w]), max(last[head[w]], late[w])
	}
	slices.SortFunc(writes, func(a, b int32) int {
		x, y := head[a], head[b]
		return cmp.Or(cmp.Compare(min(first[x], last[x]), min(first[y], last[y])), cmp.Compare(x, y), cmp.Compare(place[a], place[b]), cmp.Compare(a, b))
	})
	return writes
}

// byRank are the writes in the order of a rank.
func (t *table) byRank(rank []int64) []int32 {
	var writes []int32
	for i := range t.kind {
		if t.writes(int32(i)) { //nolint:gosec // an op number
			writes = append(writes, int32(i)) //nolint:gosec // an op number
		}
	}
	slices.SortStableFunc(writes, func(a, b int32) int { return cmp.Compare(rank[a], rank[b]) })
	return writes
}

// fresh makes late the last invocation on each value that is not stale: of none that
// began when the key's next value was certain.
func (t *table) fresh(writes []int32, sure, late []int64) {
	h := t.h
	next := make([]int32, len(t.kind)) // of a write, the key's next one, or 0
	last := make([]int32, len(h.Keys()))
	for k := range last {
		last[k] = initial
	}
	for _, w := range writes {
		k := h.KeyID(int(w))
		if last[k] >= 0 {
			next[last[k]] = w
		}
		last[k] = w
		late[w] = int64(h.Invoke(int(w)))
	}
	for i := range t.kind {
		if w := t.from[i]; t.reads(int32(i)) && w >= 0 { //nolint:gosec // an op number
			if at := int64(h.Invoke(i)); next[w] == 0 || at < sure[next[w]] {
				late[w] = max(late[w], at)
			}
		}
	}
}

// layout is all writes in one order. A place is the number of writes before it.
type layout struct {
	t      *table
	place  []int  // of a write, from 1
	until  []int  // of a write, the place of the key's next one
	behind []bool // a compare-and-set lies right behind its source
	first  []int  // of a key, the place of its first write
	causal bool   // the order contains causal order
}

func (t *table) lay(rank []int64) *layout {
	order := t.byRank(rank)
	n := len(t.kind)
	l := &layout{t: t, place: make([]int, n), until: make([]int, n), behind: make([]bool, n), first: make([]int, len(t.h.Keys()))}
	last := make([]int32, len(t.h.Keys())) // of a key, its last write so far
	for k := range last {
		l.first[k], last[k] = len(order)+1, initial
	}
	for n, w := range order {
		k := t.h.KeyID(int(w))
		l.place[w], l.until[w] = n+1, len(order)+1
		if o := last[k]; o >= 0 {
			l.until[o] = n + 1
		} else {
			l.first[k] = n + 1
		}
		l.behind[w] = t.reads(w) && t.from[w] == last[k]
		last[k] = w
	}
	l.causal = l.isCausal()
	return l
}

// isCausal says whether the order of the writes contains causal order: every
// write lies behind all that its process had written and read before.
func (l *layout) isCausal() bool {
	for _, ops := range l.t.sessions {
		most := 0
		for _, i := range ops {
			if w := l.t.from[i]; l.t.reads(i) && w >= 0 {
				most = max(most, l.place[w])
			}
			if l.t.writes(i) {
				if l.place[i] <= most {
					return false
				}
				most = l.place[i]
			}
		}
	}
	return true
}

func (l *layout) fitsAll() bool {
	for _, ops := range l.t.sessions {
		if !l.fits(ops) {
			return false
		}
	}
	return true
}

// fits says whether a process' operations find places in their order: each goes
// to the first place not before the one of the operation before it. The earliest
// place is never worse, so the pass is exact for the order. O(n).
func (l *layout) fits(ops []int32) bool {
	t, at := l.t, 0
	for _, i := range ops {
		switch {
		case t.writes(i):
			if l.place[i] <= at || t.reads(i) && !l.behind[i] {
				return false
			}
			at = l.place[i]
		default:
			end := l.first[t.h.KeyID(int(i))]
			if w := t.from[i]; w >= 0 {
				at, end = max(at, l.place[w]), l.until[w]
			}
			if at >= end {
				return false
			}
		}
	}
	return true
}

// fitsCausal says whether a process' operations fit into an order of the writes
// that contains causal order. Then that order, with the process' reads at their
// places, is a legal view for every rung from causal down.
func (t *table) fitsCausal(ops []int32) bool {
	for _, l := range t.orders() {
		if l.causal && l.fits(ops) {
			return true
		}
	}
	return false
}

// Bounds of the search.
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
