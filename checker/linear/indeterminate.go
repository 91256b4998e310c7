package linear

import (
	"slices"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// This file is how the search deals with operations of unknown fate.

// tryMay goes through the classes; alternative base+c is class c, or base+j the
// j-th useful one.
func (s *search) tryMay(cursor, base int32, minRet int64) bool {
	n := int32(len(s.p.must)) //nolint:gosec // bounded by events
	useful, all := s.useful(minRet)
	at := func(j int32) int32 {
		if all {
			return j
		}
		return useful[j]
	}
	count := int32(len(useful)) //nolint:gosec // few
	if all {
		count = int32(len(s.classes)) //nolint:gosec // bounded by events
	}
	for j := cursor - base; j < count; j++ {
		ci := at(j)
		c := &s.classes[ci]
		if c.taken == len(c.items) || s.p.may[c.items[c.taken]].inv > minRet {
			continue
		}
		to, ok := s.p.m.Step(s.state, c.op)
		if !ok || to == s.state || s.overwrites(c.op, to) || s.robs(c.op) {
			continue
		}
		s.place(n+ci, base+j, to)
		return true
	}
	return false
}

// overwrites says whether the step before was an indeterminate operation that
// this one makes useless: without it the same state would be reached.
func (s *search) overwrites(op model.Op, to model.State) bool {
	if len(s.stack) == 0 {
		return false
	}
	f := s.stack[len(s.stack)-1]
	if int(f.entry) < len(s.p.must) {
		return false
	}
	alone, ok := s.p.m.Step(f.state, op)
	return ok && alone == to
}

// useful are the classes whose value is wanted by an operation at the head,
// directly or through other indeterminate ones; all is true where any may help.
func (s *search) useful(minRet int64) (list []int32, all bool) {
	if s.keyed == nil {
		return nil, true
	}
	var wants []history.Value
	seen := func(v history.Value) bool {
		return slices.Contains(wants, v)
	}
	for n := s.next[s.head]; n != s.head && n&1 == 0; n = s.next[n] {
		v, some, other := s.keyed.Wants(s.state, s.p.must[n/2].op)
		if other {
			return nil, true
		}
		if some && !seen(v) {
			wants = append(wants, v)
		}
	}
	for i := 0; i < len(wants); i++ {
		for _, ci := range s.byValue[wants[i]] {
			c := &s.classes[ci]
			if c.taken == len(c.items) || s.p.may[c.items[c.taken]].inv > minRet {
				continue
			}
			list = append(list, ci)
			if u, some, _ := s.keyed.Wants(s.state, c.op); some && !seen(u) {
				wants = append(wants, u)
			}
		}
	}
	return list, false
}
