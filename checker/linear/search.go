package linear

import (
	"slices"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// outcome is what an engine found.
type outcome struct {
	valid bool
	// order is a linearization, if valid: entries by number, those of may after
	// those of must.
	order []int32
	// event is the number of the first completion that cannot be explained (an
	// operation of the history), if not valid.
	bad int32
	// passed is how many operations had returned without a violation.
	passed int
	// exhausted is how many nodes were left again; 0 means that it never went back.
	exhausted int
}

// search decides a problem exactly: depth-first over the orders that precedence
// allows, in the manner of Wing & Gong (1993) and Lowe (2017).
//
// What keeps it fast, and why each is sound:
//   - Only operations invoked before the first pending return can be next; they
//     are the head of a linked list of calls and returns (Lowe, §3).
//   - A pure operation that may go in the current state goes now: any order in
//     which it comes later stays legal when it is moved here, since it changes
//     no state and precedence allows it to be first.
//   - The one with the earliest return is tried first; it has to go soonest.
//   - Exhausted nodes are remembered by a 128-bit hash of (definite operations
//     placed, state). With N nodes two of them collide with probability below
//     N²/2^129; a valid answer is replayed, an invalid one is verified again on
//     its witness.
//   - Indeterminate operations come last, as they need not happen at all. A node
//     that has used a superset of those of an exhausted one with the same set
//     and state is exhausted too: what it can still do, the other could do.
//     Equal ones (same code and arguments) are interchangeable once invoked, so
//     the earliest goes first. For machines of one value only those are tried
//     whose value some operation at the head wants, directly or through another
//     indeterminate compare-and-set: one that nobody sees can be left out.
//
// Memory is linear in the operations plus the exhausted nodes; time is
// exponential in concurrency at worst.
type search struct {
	p    *problem
	b    *budget
	next []int32 // linked list over nodes 2k and 2k+1; head is the last element
	prev []int32
	head int32

	state  model.State
	hashed bool // h1 and h2 are kept, as they are from the first exhausted node on
	h1, h2 uint64
	used   int32 // arena index of the indeterminate operations used
	stack  []frame

	classes  []class
	byValue  map[history.Value][]int32 // classes that give a value
	keyed    model.Keyed
	growing  model.Growing
	line     *line
	arena    []usedNode
	dead     table
	steps    int
	reserved int64

	pure    bool // some operations are
	left    int  // definite operations not yet placed
	passed  int  // returns passed, at most
	bad     int32
	cand    []candidate
	retRank []int32 // position of each operation's return among the returns
}

type frame struct {
	entry  int32 // what was placed: a must entry, or len(must)+class of a may
	cursor int32 // which alternative it was; forced has none
	used   int32
	state  model.State
}

const forced = -1

type usedNode struct{ id, parent, depth int32 }

// class is interchangeable indeterminate operations, by invocation.
type class struct {
	op    model.Op
	items []int32
	taken int
}

type candidate struct {
	entry int32
	ret   int64
	state model.State
}

// bytes is what the search holds, about.
func (s *search) bytes() int64 {
	each := int64(searchBytes + entryBytes)
	if s.line != nil {
		each += spanBytes
	}
	return int64(len(s.p.must)+len(s.p.may))*each + int64(cap(s.arena))*12 + s.dead.bytes() + s.p.m.Bytes()
}

const searchBytes = 16 + 4 + 24 // links, rank and frame of one operation

func runSearch(p *problem, b *budget) (outcome, error) {
	s := &search{p: p, b: b, arena: make([]usedNode, 1), bad: -1}
	defer func() { _ = b.grow(-s.reserved) }()
	if err := s.reserve(s.bytes()); err != nil {
		return outcome{}, err
	}
	s.init()
	ok, err := s.run()
	out := outcome{valid: ok && err == nil, passed: s.passed, exhausted: len(s.dead.entries)}
	if out.valid {
		out.order = s.order()
	} else if err == nil {
		out.bad = s.bad
	}
	return out, err
}

func (s *search) reserve(n int64) error {
	s.reserved += n
	return s.b.grow(n)
}

func (s *search) init() {
	n := len(s.p.must)
	s.next, s.prev = make([]int32, 2*n+1), make([]int32, 2*n+1)
	s.retRank = make([]int32, n)
	s.head = int32(2 * n) //nolint:gosec // bounded by events
	last, rank := s.head, int32(0)
	s.p.events(func(node int32) {
		s.next[last], s.prev[node] = node, last
		last = node
		if node&1 == 1 {
			s.retRank[node/2] = rank
			rank++
		}
	})
	s.next[last], s.prev[s.head] = s.head, last
	s.left = n
	s.state = s.p.m.Init()
	s.stack = make([]frame, 0, n)
	s.pure = slices.ContainsFunc(s.p.must, func(e entry) bool { return e.op.Pure })
	s.keyed, _ = s.p.m.(model.Keyed)
	s.growing, _ = s.p.m.(model.Growing)
	if m, ok := s.p.m.(model.Lined); ok {
		s.line = newLine(s.p, m)
	}
	s.byValue = map[history.Value][]int32{}
	index := map[model.Op]int32{}
	for i, e := range s.p.may {
		c, ok := index[e.op]
		if !ok {
			c = int32(len(s.classes)) //nolint:gosec // bounded by events
			index[e.op] = c
			s.classes = append(s.classes, class{op: e.op})
			if s.keyed != nil {
				if v, ok := s.keyed.Gives(e.op); ok {
					s.byValue[v] = append(s.byValue[v], c)
				}
			}
		}
		s.classes[c].items = append(s.classes[c].items, int32(i)) //nolint:gosec // bounded by events
	}
}

// unlink takes entry k's call and return out of the list; relink undoes it, in
// reverse order (Knuth's dancing links).
func (s *search) unlink(node int32) {
	s.next[s.prev[node]], s.prev[s.next[node]] = s.next[node], s.prev[node]
}

func (s *search) relink(node int32) {
	s.next[s.prev[node]], s.prev[s.next[node]] = node, node
}

func zobrist(k int32) (uint64, uint64) {
	x := mix(uint64(k)*2 + 1) //nolint:gosec // bits
	return x, mix(x ^ 0x6a09e667f3bcc909)
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (s *search) place(entry, cursor int32, to model.State) {
	s.stack = append(s.stack, frame{entry, cursor, s.used, s.state})
	s.state = to
	if n := int32(len(s.p.must)); entry >= n { //nolint:gosec // bounded by events
		c := &s.classes[entry-n]
		id := c.items[c.taken]
		c.taken++
		s.arena = append(s.arena, usedNode{id, s.used, s.arena[s.used].depth + 1})
		s.used = int32(len(s.arena) - 1) //nolint:gosec // bounded by the budget
		return
	}
	s.unlink(2 * entry)
	s.unlink(2*entry + 1)
	s.left--
	if s.hashed {
		s.rehash(entry)
	}
}

// rehash takes a definite operation into the hash of those placed, or out of it.
func (s *search) rehash(entry int32) {
	a, b := zobrist(entry)
	s.h1 ^= a
	s.h2 ^= b
}

// hash makes the hash of what is placed.
func (s *search) hash() {
	s.hashed = true
	for _, f := range s.stack {
		if int(f.entry) < len(s.p.must) {
			s.rehash(f.entry)
		}
	}
}

// note remembers the furthest first pending return, which is node n: everything
// before it has been explained.
func (s *search) note(n int32) {
	if r := int(s.retRank[n/2]); r > s.passed || s.bad < 0 {
		s.passed, s.bad = r, s.p.must[n/2].id
	}
}

// pending is the first return that is pending, where there is any.
func (s *search) pending() int32 {
	n := s.next[s.head]
	for n&1 == 0 {
		n = s.next[n]
	}
	return n
}

func (s *search) undo() frame {
	f := s.stack[len(s.stack)-1]
	s.stack = s.stack[:len(s.stack)-1]
	s.state, s.used = f.state, f.used
	if n := int32(len(s.p.must)); f.entry >= n { //nolint:gosec // bounded by events
		s.classes[f.entry-n].taken--
		return f
	}
	s.relink(2*f.entry + 1)
	s.relink(2 * f.entry)
	s.left++
	if s.hashed {
		s.rehash(f.entry)
	}
	return f
}

// run is the depth-first search. It returns whether all definite operations
// could be placed.
func (s *search) run() (bool, error) {
	cursor := int32(0)
	for {
		if s.steps++; s.steps&0xfff == 0 {
			if err := s.account(); err != nil {
				return false, err
			}
		}
		pruned := false
		if cursor == 0 {
			s.purge()
			if s.left == 0 {
				s.passed, s.bad = len(s.p.must), -1
				return true, nil
			}
			pruned = s.pruned()
			if !pruned && (s.growing != nil || s.line != nil) {
				s.note(s.pending())
				pruned = s.growing != nil && s.hopeless() || s.line != nil && s.stuck()
			}
		}
		if !pruned {
			if s.try(cursor) {
				cursor = 0
				continue
			}
			if !s.hashed {
				s.hash()
			}
			s.dead.add(s.key(), s.used)
		}
		for {
			if len(s.stack) == 0 {
				return false, nil
			}
			if f := s.undo(); f.cursor != forced {
				cursor = f.cursor + 1
				break
			}
		}
	}
}

// account reports the memory of the growing tables to the budget.
func (s *search) account() error {
	if err := s.b.spent(); err != nil {
		return err
	}
	if n := s.bytes(); n > s.reserved {
		return s.reserve(n - s.reserved)
	}
	return nil
}

// purge places every pure operation at the head that may go now, and in queues
// every dequeue that has to be the next one.
func (s *search) purge() {
	if !s.pure && s.line == nil {
		return
	}
	for n := s.next[s.head]; n != s.head && n&1 == 0; {
		e := &s.p.must[n/2]
		if e.op.Pure {
			if to, ok := s.p.m.Step(s.state, e.op); ok {
				after := s.next[n]
				ret := n + 1
				if after == ret {
					after = s.next[ret]
				}
				s.place(n/2, forced, to)
				n = after
				continue
			}
		}
		if s.line != nil && s.line.sure(e.op) {
			if to, ok := s.p.m.Step(s.state, e.op); ok {
				s.place(n/2, forced, to)
				n = s.next[s.head] // others may go in the new state
				continue
			}
		}
		n = s.next[n]
	}
}

// try places the first alternative of this node that is not before cursor.
// Alternatives are numbered: the impure calls at the head by return, then the
// classes of indeterminate operations.
func (s *search) try(cursor int32) bool {
	if cursor == 0 && s.soonest() {
		return true
	}
	s.cand = s.cand[:0]
	minRet := forever
	n := s.next[s.head]
	for ; n != s.head && n&1 == 0; n = s.next[n] {
		e := &s.p.must[n/2]
		if e.op.Pure {
			continue
		}
		if to, ok := s.p.m.Step(s.state, e.op); ok {
			s.insert(candidate{n / 2, s.due(e), to})
		}
	}
	if n != s.head {
		minRet = s.p.must[n/2].ret
	}
	if int(cursor) < len(s.cand) {
		c := s.cand[cursor]
		s.place(c.entry, cursor, c.state)
		return true
	}
	if len(s.classes) == 0 {
		return false
	}
	return s.tryMay(cursor, int32(len(s.cand)), minRet) //nolint:gosec // few
}

// soonest places the first alternative, which is mostly all that a node needs: the
// call at the head that may go and is due first.
func (s *search) soonest() bool {
	best := candidate{entry: -1, ret: forever}
	n := s.next[s.head]
	for ; n&1 == 0 && n != s.head; n = s.next[n] {
		e := &s.p.must[n/2]
		if s.pure && e.op.Pure {
			continue
		}
		due := s.due(e)
		if due >= best.ret && best.entry >= 0 {
			continue
		}
		if to, ok := s.p.m.Step(s.state, e.op); ok {
			best = candidate{n / 2, due, to}
		}
	}
	s.note(n)
	if best.entry < 0 {
		return false
	}
	s.place(best.entry, 0, best.state)
	return true
}

// due is by when an operation has to go, in the order in which they are tried.
func (s *search) due(e *entry) int64 {
	if s.line != nil && e.op.Code == model.CodeEnqueue {
		return s.line.spans[e.op.A].by // elements leave as they came
	}
	return e.ret
}

func (s *search) insert(c candidate) {
	s.cand = append(s.cand, c)
	for i := len(s.cand) - 1; i > 0 && s.cand[i].ret < s.cand[i-1].ret; i-- {
		s.cand[i], s.cand[i-1] = s.cand[i-1], s.cand[i]
	}
}

// hopeless says whether an operation at the head waits for a state that cannot be
// reached before its return: the present one does not extend to it, and nothing
// that replaces the state was invoked in time.
func (s *search) hopeless() bool {
	for n := s.next[s.head]; n != s.head && n&1 == 0; n = s.next[n] {
		e := &s.p.must[n/2]
		if e.op.Pure && !s.growing.Leads(s.state, e.op) && !s.resetBefore(n+1, e.ret) {
			return true
		}
	}
	return false
}

func (s *search) resetBefore(ret int32, at int64) bool {
	for n := s.next[s.head]; n != ret; n = s.next[n] {
		if n&1 == 0 && s.growing.Resets(s.p.must[n/2].op) {
			return true
		}
	}
	for i := range s.classes {
		c := &s.classes[i]
		if s.growing.Resets(c.op) && c.taken < len(c.items) && s.p.may[c.items[c.taken]].inv <= at {
			return true
		}
	}
	return false
}

// order is the linearization found.
func (s *search) order() []int32 {
	n := int32(len(s.p.must)) //nolint:gosec // bounded by events
	taken := make([]int, len(s.classes))
	order := make([]int32, 0, len(s.stack))
	for _, f := range s.stack {
		if f.entry < n {
			order = append(order, f.entry)
			continue
		}
		c := f.entry - n
		order = append(order, n+s.classes[c].items[taken[c]])
		taken[c]++
	}
	return order
}

// replay checks a linearization against precedence and the machine: the proof
// that goes with every valid answer.
func replay(p *problem, order []int32) bool {
	n := len(p.must)
	s := p.m.Init()
	placed := make([]bool, n)
	left := n
	latest := int64(-1 << 62) // the largest invocation so far
	for _, k := range order {
		var e entry
		if int(k) < n {
			if placed[k] {
				return false
			}
			placed[k] = true
			left--
			e = p.must[k]
		} else {
			e = p.may[int(k)-n]
		}
		if e.ret < latest {
			return false
		}
		latest = max(latest, e.inv)
		to, ok := p.m.Step(s, e.op)
		if !ok {
			return false
		}
		s = to
	}
	return left == 0
}
