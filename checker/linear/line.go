package linear

import (
	"cmp"
	"slices"
	"sort"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// line is how the search looks ahead in a queue. An element leaves when all that
// came before it have left, so what stands before it must have been taken by the
// time at which its own dequeue returned: by definite dequeues, none of which was
// invoked later, or by ones of unknown result.
type line struct {
	m model.Lined
	// spans are of the elements that are enqueued.
	spans map[history.Value]span
	blind []int64         // when dequeues of unknown result were invoked, ascending
	held  []history.Value // elements of the present state
	from  []int64         // of theirs
}

// span is when an element's dequeues were at work. The same element may be enqueued
// more than once.
type span struct {
	// from is the earliest invocation of a definite dequeue, forever without any.
	from int64
	// by is when the element was certainly taken: the latest return of a definite
	// dequeue where there are as many of them as enqueues, else forever.
	by           int64
	times, taken int // how often it was enqueued, perhaps or certainly, and certainly dequeued
}

const spanBytes = 64

func newLine(p *problem, m model.Lined) *line {
	l := &line{m: m, spans: spans(p)}
	for _, e := range p.may {
		if e.op.Code == model.CodeDequeue {
			l.blind = append(l.blind, e.inv)
		}
	}
	return l
}

func spans(p *problem) map[history.Value]span {
	all := map[history.Value]span{}
	for _, es := range [][]entry{p.must, p.may} {
		for _, e := range es {
			s, ok := all[e.op.A]
			if !ok {
				s.from = forever
			}
			switch {
			case e.op.Code == model.CodeEnqueue:
				s.times++
			case e.ret != forever:
				s.taken++
				s.from, s.by = min(s.from, e.inv), max(s.by, e.ret)
			}
			all[e.op.A] = s
		}
	}
	for v, s := range all {
		if s.taken < s.times {
			s.by = forever
			all[v] = s
		}
	}
	return all
}

// blocked says whether some elements, which definite dequeues are at work on from
// the given times on, cannot all be taken by a time.
func (l *line) blocked(from []int64, by int64) bool {
	blind := sort.Search(len(l.blind), func(i int) bool { return l.blind[i] > by })
	for _, t := range from {
		if t > by {
			if blind--; blind < 0 {
				return true
			}
		}
	}
	return false
}

// lookAhead bounds the calls and returns that stuck looks at.
const lookAhead = 32

// stuck says whether the present state of a queue leads nowhere: its last element
// has to leave too soon for those before it, all others having been looked at when
// they were the last; or one of the next dequeues needs elements to leave that
// cannot by its return.
func (s *search) stuck() bool {
	l := s.line
	l.held, l.from = l.m.Line(s.state, l.held[:0]), l.from[:0]
	if len(l.held) == 0 {
		return false
	}
	latest, by := int64(0), int64(0)
	for _, v := range l.held {
		x := l.spans[v]
		l.from, latest, by = append(l.from, x.from), max(latest, x.from), x.by
	}
	if by < latest && l.blocked(l.from[:len(l.from)-1], by) {
		return true
	}
	for k, n := 0, s.next[s.head]; n != s.head && k < lookAhead; k, n = k+1, s.next[n] {
		e := &s.p.must[n/2]
		if n&1 == 1 || e.op.Code != model.CodeDequeue || e.ret >= latest {
			continue
		}
		before := slices.Index(l.held, e.op.A)
		if before < 0 { // it found the queue empty, or its element is not there yet
			before = len(l.held)
		}
		if l.blocked(l.from[:before], e.ret) {
			return true
		}
	}
	return false
}

// sure says whether op is a definite dequeue that goes as soon as it may: its element
// is enqueued only once and taken by no other.
//
// Proof: in a legal order of what is left, op takes the element that is the first
// now. Up to then no other dequeue can go: definite ones need another first
// element or none, and one of unknown result would leave op nothing to take. So only
// enqueues stand before op, and they may as well come after it.
func (l *line) sure(op model.Op) bool {
	if op.Code != model.CodeDequeue || op.Pure {
		return false
	}
	x := l.spans[op.A]
	return x.times == 1 && x.taken == 1
}

// robs says whether op, of unknown result, would take an element from the only
// dequeue that can take it.
func (s *search) robs(op model.Op) bool {
	if s.line == nil || op.Code != model.CodeDequeue {
		return false
	}
	l := s.line
	l.held = l.m.Line(s.state, l.held[:0])
	return len(l.held) > 0 && l.spans[l.held[0]].by != forever
}

// shrinkLine drops enqueues of unknown fate whose element no definite dequeue
// returned, and takes for certain those without which an element would have been
// dequeued more often than enqueued: up to the moment after the last dequeue of it
// had returned.
//
// Proof of the former: in a legal order such an element is taken by a dequeue of
// unknown result, or by none. Without its enqueue and that dequeue, neither of which
// need have happened, every other operation finds the same first element as before,
// or the queue as empty as before.
func (p *problem) shrinkLine() {
	if _, ok := p.m.(model.Lined); !ok {
		return
	}
	all := spans(p)
	may := p.may[:0]
	for _, e := range p.may {
		s := all[e.op.A]
		switch {
		case e.op.Code == model.CodeDequeue || s.taken > 0 && s.taken < s.times:
			may = append(may, e)
		case s.taken > 0:
			e.ret = s.by + 1
			p.must = append(p.must, e)
		}
	}
	p.may = may
	slices.SortStableFunc(p.must, func(a, b entry) int { return cmp.Compare(a.inv, b.inv) })
}
