package linear

import "cmp"

// Failed compare-and-sets that exclude a value. The zones decide all else; what
// remains is whether the chains, which they let run in several orders, can run in
// one in which each failed compare-and-set on u finds a moment in its interval at
// which the value is not u.
//
// The schedule starts every block as late as it can, just before the first
// return of the block itself or of a later one of its chain. When a failed
// compare-and-set on u is about to return and u was there all the while, u has to
// end: by the next of its chain; where it is the last, by a chain that is invoked
// and need not wait for another, or by a write of unknown fate that nobody saw.
// Which one is a choice; the search over the choices is depth-first, remembers
// those that failed, and gives up after a number of steps that is linear in the
// operations.
//
// A schedule that is found is a proof, and is checked as one, operation by
// operation, by code of its own (see proves). One that is not found proves
// nothing: then this engine does not apply.
type schedule struct {
	z *zones
	// due has by stamp what must happen before that return: the block to start, or
	// a failed compare-and-set, as -1 minus its position.
	due   []int32
	start []int32 // by block, the stamp before which it starts; 0 while it has not
	named []int32 // by block, the last return of a failed compare-and-set on it
	head  []int32 // by block, the first of its chain
	last  []int32 // by head, the stamp of its chain's last invocation
	spare []int32 // by block, a compare-and-set from it that nobody saw, or 0
	// openNext and openPrev link the heads of chains that are invoked and not
	// started, and apart from them the writes that nobody saw, in the order of
	// their writers. The ends of the lists are the last two.
	openNext, openPrev []int32

	cur    int32 // the block that holds now
	order  []int32
	passed int32  // blocks before this one were invoked
	hash   uint64 // of the blocks started
	done   []int32
	picks  []pick
	failed map[moment]bool
	steps  int

	counted int64 // bytes of picks and failed
}

// pick is a choice that was made.
type pick struct {
	at     int32 // the stamp of the failed compare-and-set
	choice int
	done   int // len(schedule.done) before
	cur    int32
	passed int32
}

// moment is all that what follows depends on; the hash stands for the set of
// blocks that have started.
type moment struct {
	at, cur, since int32
	hash           uint64
}

const scheduleBytes = 4 * 10 // a block

// schedule looks for one.
func (z *zones) schedule() error {
	w, events := len(z.blocks), z.events()
	if err := z.reserve(int64(w)*scheduleBytes + int64(events)*4); err != nil {
		return err
	}
	s := &schedule{
		z: z, due: make([]int32, events), start: make([]int32, w), named: make([]int32, w),
		head: make([]int32, w), last: make([]int32, w), spare: make([]int32, w),
		openNext: make([]int32, w+2), openPrev: make([]int32, w+2),
		order: make([]int32, 0, w), done: make([]int32, 0, 2*w), passed: 1, failed: map[moment]bool{},
	}
	s.prepare()
	ok, err := s.run()
	if err != nil {
		return err
	}
	if !ok || !s.proves() {
		return inapplicable{"no schedule was found in which every failed compare-and-set misses its value"}
	}
	return nil
}

// events is more than every stamp.
func (z *zones) events() int {
	most := int32(-1)
	for k, r := range z.col.ret {
		if r != never {
			most = max(most, r)
		}
		most = max(most, z.col.inv[k])
	}
	return int(most) + 1
}

// prepare sets when each block has to start, at the latest: before the least
// return of its own operations and of those of later blocks of its chain.
func (s *schedule) prepare() {
	z := s.z
	for i := range z.blocks {
		b := int32(i) //nolint:gosec // a block
		switch x := &z.blocks[b]; {
		case x.flags&flagKept == 0:
			s.head[b] = b
			if x.prev >= 0 && s.spare[x.prev] == 0 {
				s.spare[x.prev] = b
			}
		case x.next == 0:
			s.chain(b)
		}
	}
	for k, c := range z.col.code {
		if c != failing {
			continue
		}
		if b, ok := z.block(z.col.value(k)); ok {
			r := z.col.ret[k]
			s.due[r] = -1 - int32(k) //nolint:gosec // bounded by events
			s.named[b] = max(s.named[b], r)
		}
	}
	for list := len(z.blocks); list < len(s.openNext); list++ {
		s.openNext[list], s.openPrev[list] = int32(list), int32(list) //nolint:gosec // a block
	}
	s.start[0] = -1
	s.order = append(s.order, 0)
}

// chain prepares the chain that ends with block tail.
func (s *schedule) chain(tail int32) {
	latest, last, head := int32(never), int32(-1), tail
	for b := tail; b >= 0; b = s.z.blocks[b].prev {
		x := &s.z.blocks[b]
		if x.minRet < latest { // the head's is that of the chain
			if latest = x.minRet; latest >= 0 {
				s.due[latest] = b
			}
		}
		x.minRet = latest
		last, head = max(last, x.last), b
	}
	for b := tail; b >= 0; b = s.z.blocks[b].prev {
		s.head[b] = head
	}
	s.last[head] = -1
	if last >= 0 {
		s.last[head] = s.z.col.inv[last]
	}
}

// run goes through the returns.
func (s *schedule) run() (bool, error) {
	limit := 16*s.z.n + 10_000
	ticks := 0
	for at := int32(0); int(at) < len(s.due); {
		if ticks++; ticks&0xffff == 0 {
			if err := s.account(); err != nil {
				return false, err
			}
		}
		d := s.due[at]
		ok := true
		switch {
		case d > 0 && s.start[d] == 0:
			ok = s.runTo(d, at)
		case d < 0 && s.missing(-1-d):
			ok = s.end(at, 0)
		}
		for !ok {
			if s.steps++; s.steps > limit || len(s.picks) == 0 {
				return false, nil
			}
			at, ok = s.again()
		}
		at++
	}
	return true, nil
}

// account reports the memory of what grows to the budget.
func (s *schedule) account() error {
	if n := int64(cap(s.picks))*24 + int64(len(s.failed))*64; n > s.counted {
		if err := s.z.reserve(n - s.counted); err != nil {
			return err
		}
		s.counted = n
	}
	return s.z.b.spent()
}

// missing says whether the failed compare-and-set at position k still misses a
// moment at which its value was not there.
func (s *schedule) missing(k int32) bool {
	b, _ := s.z.block(s.z.col.value(int(k)))
	return b == s.cur && s.start[b] < s.z.col.inv[k]
}

// again takes the last choice back and makes the next one.
func (s *schedule) again() (int32, bool) {
	p := s.picks[len(s.picks)-1]
	s.picks = s.picks[:len(s.picks)-1]
	s.undo(p)
	return p.at, s.end(p.at, p.choice+1)
}

func (s *schedule) undo(p pick) {
	for len(s.done) > p.done {
		b := s.done[len(s.done)-1]
		s.done = s.done[:len(s.done)-1]
		if b < 0 { // its invocation was passed
			s.unlink(-b)
			continue
		}
		s.start[b] = 0
		s.order = s.order[:len(s.order)-1]
		s.hash ^= mix(uint64(b)) //nolint:gosec // bits
		if s.listed(b) >= 0 {
			s.relink(b)
		}
	}
	s.cur, s.passed = p.cur, p.passed
}

// end ends the present block just before stamp at, by the given choice or a later
// one.
func (s *schedule) end(at int32, choice int) bool {
	x := &s.z.blocks[s.cur]
	if !s.over(s.cur, at) {
		return false
	}
	if x.next != 0 {
		return choice == 0 && s.advance(at)
	}
	m := moment{at, s.cur, s.start[s.cur], s.hash}
	if choice == 0 && s.failed[m] {
		return false
	}
	s.invoke(at)
	for options := s.options(at); choice < len(options); choice++ {
		p := pick{at, choice, len(s.done), s.cur, s.passed}
		if s.steps++; s.choose(options[choice], at) {
			s.picks = append(s.picks, p)
			return true
		}
		s.undo(p)
	}
	s.failed[m] = true
	return false
}

// maxOptions bounds the alternatives of one choice.
const maxOptions = 64

// options are the blocks that can end the present one before stamp at: chains,
// those first that no later failed compare-and-set names, then those that must
// start soonest; then writes that nobody saw.
func (s *schedule) options(at int32) []int32 {
	w := int32(len(s.z.blocks)) //nolint:gosec // a block
	var list []int32
	for b := s.openNext[w]; b != w && len(list) < maxOptions; b = s.openNext[b] {
		list = append(list, b)
	}
	sortOptions(list, func(a, b int32) int {
		if x, y := s.named[a] > at, s.named[b] > at; x != y {
			return map[bool]int{true: 1, false: -1}[x]
		}
		return cmp.Compare(s.z.blocks[a].minRet, s.z.blocks[b].minRet)
	})
	spare := int32(-1)
	for b, n := s.openPrev[w+1], 0; b != w+1 && n < maxOptions; b, n = s.openPrev[b], n+1 {
		if spare < 0 || s.named[b] <= at {
			spare = b
		}
		if s.named[spare] <= at {
			break
		}
	}
	if c := s.spare[s.cur]; c > 0 && s.z.col.inv[s.z.blocks[c].writer] < at {
		list = append(list, c)
	}
	if spare >= 0 {
		list = append(list, spare)
	}
	return list
}

// sortOptions is an insertion sort: they are few.
func sortOptions(list []int32, compare func(a, b int32) int) {
	for i := range list {
		for j := i; j > 0 && compare(list[j], list[j-1]) < 0; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
}

// choose starts the chain or the unseen write b before its time, if nothing that
// has to come before it must wait.
func (s *schedule) choose(b, at int32) bool {
	if s.z.blocks[b].flags&flagKept == 0 {
		s.begin(b, at)
		return true
	}
	return s.runTo(b, at)
}

// runTo starts block b just before stamp at, after what has to come before it:
// the rest of the present chain, then all chains of which an operation returns
// before the last one of b's chain is invoked, then the earlier blocks of its own
// chain.
func (s *schedule) runTo(b, at int32) bool {
	s.invoke(at)
	head := s.head[b]
	if s.start[head] == 0 {
		if !s.finish(at) || !s.flush(head, at) {
			return false
		}
		s.begin(head, at)
	}
	for s.cur != b {
		if !s.advance(at) {
			return false
		}
	}
	return true
}

// flush runs the chains that have to come before that of head.
func (s *schedule) flush(head, at int32) bool {
	for t := at + 1; t < s.last[head]; t++ {
		d := s.due[t]
		if d <= 0 || s.start[d] != 0 {
			continue
		}
		q := s.head[d]
		if q == head || s.start[q] != 0 {
			continue
		}
		if s.last[q] > at {
			return false
		}
		s.begin(q, at)
		if !s.finish(at) {
			return false
		}
	}
	return true
}

// over says whether all of block b was invoked before stamp at.
func (s *schedule) over(b, at int32) bool {
	l := s.z.blocks[b].last
	return l < 0 || s.z.col.inv[l] < at
}

// finish runs the present chain to its end.
func (s *schedule) finish(at int32) bool {
	for s.z.blocks[s.cur].next != 0 {
		if !s.advance(at) {
			return false
		}
	}
	return s.over(s.cur, at)
}

// advance starts the next block of the present chain.
func (s *schedule) advance(at int32) bool {
	n := s.z.blocks[s.cur].next
	if n == 0 || !s.over(s.cur, at) || s.z.col.inv[s.z.blocks[n].writer] > at {
		return false
	}
	s.begin(n, at)
	return true
}

// begin starts block b just before stamp at.
func (s *schedule) begin(b, at int32) {
	s.start[b] = at
	s.order = append(s.order, b)
	s.done = append(s.done, b)
	s.hash ^= mix(uint64(b)) //nolint:gosec // bits
	s.cur = b
	if s.listed(b) >= 0 {
		s.unlink(b)
	}
}

// listed is the list that block b stands in while it is open, -1 for none.
func (s *schedule) listed(b int32) int32 {
	x := &s.z.blocks[b]
	w := int32(len(s.z.blocks)) //nolint:gosec // a block
	switch {
	case b == 0 || x.prev >= 0 || x.prev == phantomBlock:
		return -1
	case x.flags&flagKept == 0:
		return w + 1
	}
	return w
}

// invoke adds the blocks whose writers were invoked before stamp at to the lists.
func (s *schedule) invoke(at int32) {
	for ; int(s.passed) < len(s.z.blocks) && s.z.col.inv[s.z.blocks[s.passed].writer] < at; s.passed++ {
		b := s.passed
		list := s.listed(b)
		if list < 0 || s.start[b] != 0 {
			continue
		}
		last := s.openPrev[list]
		s.openNext[last], s.openPrev[b] = b, last
		s.openNext[b], s.openPrev[list] = list, b
		s.done = append(s.done, -b)
	}
}

func (s *schedule) unlink(b int32) {
	s.openNext[s.openPrev[b]], s.openPrev[s.openNext[b]] = s.openNext[b], s.openPrev[b]
}

func (s *schedule) relink(b int32) {
	s.openNext[s.openPrev[b]], s.openPrev[s.openNext[b]] = b, b
}

// proves checks the schedule against every operation: a block holds from just
// before the stamp of its start to just before that of the next one's.
func (s *schedule) proves() bool {
	z := s.z
	end := s.openNext // by block, the stamp before which it ends
	kept := 0
	for n, b := range s.order {
		x := &z.blocks[b]
		end[b] = never
		if n+1 < len(s.order) {
			end[b] = s.start[s.order[n+1]]
		}
		if end[b] < s.start[b] || x.prev != -1 && (n == 0 || s.order[n-1] != x.prev) {
			return false
		}
		kept += int(x.flags & flagKept)
	}
	for i := range z.blocks {
		kept -= int(z.blocks[i].flags & flagKept)
	}
	if kept != 0 {
		return false
	}
	for k, c := range z.col.code {
		b, ok := z.block(z.col.value(k))
		if !ok || s.start[b] == 0 { // nobody's, or of unknown fate and left out
			if c == reading {
				return false
			}
			continue
		}
		from, to, inv, ret := s.start[b], end[b], z.col.inv[k], z.col.ret[k]
		if c == reading && (from > ret || to < inv) ||
			c&(writing|swapping) != 0 && (from > ret || from < inv) ||
			c == failing && from < inv && to > ret {
			return false
		}
	}
	return true
}
