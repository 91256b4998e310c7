package online

import (
	"github.com/faultline-dev/faultline/checker/set"
	"github.com/faultline-dev/faultline/history"
)

// Set judges sets by the rules of package set. Elements that cannot be keys of a
// map are passed over.
func Set() *Judge { return newJudge(func() object { return &elements{of: map[any]*element{}} }) }

type elements struct {
	of map[any]*element
	// gone are elements whose remove is over, in that order: they are forgotten
	// once nobody is left who may have seen them before.
	gone []*element
}

// element is one of a set. Places are those of package online's keys; 0 is never.
type element struct {
	value   any
	adds    int // asked for and not refused
	removes int
	there   int // from when on it was there for certain, unless removed
	gone    int // when a remove of what was there was over
}

func (s *elements) size() int { return len(s.of) }

func (s *elements) call(k *key, o *op) {
	s.forget(k)
	v, ok := scalar(o.inv.Value)
	if !ok {
		return
	}
	e := s.of[v]
	if e == nil && o.inv.F != set.Contains {
		e = &element{value: v}
		s.of[v] = e
	}
	switch o.inv.F {
	case set.Add:
		e.adds++
	case set.Remove:
		e.removes++
		o.note = e
	}
}

// forget drops what was removed before the oldest open operation was invoked, and
// what nobody else added or removed.
func (s *elements) forget(k *key) {
	for len(s.gone) > 0 && s.gone[0].gone < k.oldest() {
		if e := s.gone[0]; e.adds == 1 && e.removes == 1 {
			delete(s.of, e.value)
		}
		s.gone = s.gone[1:]
	}
}

func (s *elements) ret(k *key, o *op) string {
	ok := o.done.Type == history.OK
	v, is := scalar(o.inv.Value)
	switch {
	case o.inv.F == set.Read && ok:
		return s.whole(k, o)
	case !is:
		return ""
	case o.inv.F == set.Contains && ok:
		return s.seen(k, o, v, o.done.Value == true)
	case o.inv.F == set.Add && s.of[v] != nil:
		e := s.of[v]
		if o.done.Type == history.Fail {
			e.adds--
		}
		if ok && e.there == 0 {
			e.there = k.seq
		}
	case o.inv.F == set.Remove:
		if e, _ := o.note.(*element); e != nil {
			s.removed(k, o, e)
		}
	}
	return ""
}

func (s *elements) removed(k *key, o *op, e *element) {
	if o.done.Type == history.Fail {
		e.removes--
	}
	if o.done.Type == history.OK && e.there > 0 && e.there < o.seq && e.adds == 1 && e.gone == 0 {
		e.gone = k.seq
		s.gone = append(s.gone, e)
	}
}

// seen judges one answer about one element.
func (s *elements) seen(k *key, o *op, v any, yes bool) string {
	e := s.of[v]
	switch {
	case yes && (e == nil || e.adds == 0):
		return set.Phantom
	case yes && e.gone > 0 && e.gone < o.seq && e.adds == 1:
		return set.Resurrected
	case yes && e.there == 0:
		e.there = k.seq
	case !yes && e != nil && e.there > 0 && e.there < o.seq && e.removes == 0:
		return set.Lost
	}
	return ""
}

func (s *elements) whole(k *key, o *op) string {
	list, _ := o.done.Value.([]any)
	have := make(map[any]bool, len(list))
	for _, x := range list {
		v, ok := scalar(x)
		if !ok {
			continue
		}
		if have[v] {
			return set.Duplicated
		}
		have[v] = true
		if wrong := s.seen(k, o, v, true); wrong != "" {
			return wrong
		}
	}
	for v := range s.of {
		if !have[v] {
			if wrong := s.seen(k, o, v, false); wrong != "" {
				return wrong
			}
		}
	}
	return ""
}

// scalar is v if it can be a key of a map.
func scalar(v any) (any, bool) {
	switch v.(type) {
	case []any, map[string]any, nil:
		return nil, false
	}
	return v, true
}
