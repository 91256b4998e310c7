package cache

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// call is a set, a delete or a get, as this package reads it.
type call struct {
	op       int
	inv, ret time.Duration // ret is history.Forever unless it is certainly over
	value    history.Value // set or got
	ttl      time.Duration
	failed   bool          // it certainly never was
	end      time.Duration // of a set: by when it had taken effect, if it did
	reader   int           // the get that shows it sooner than its return, or -1
	earliest time.Duration // of its expiry
	latest   time.Duration
}

// object is one key.
type object struct {
	j    *judgement
	name string
	sets []call
	// byValue finds a set.
	byValue map[history.Value]int
	deletes []call
	gets    []call
}

// read sorts the operations by key.
func (j *judgement) read() ([]*object, error) {
	h := j.h
	keys := make([]*object, len(h.Keys()))
	for k, name := range h.Keys() {
		keys[k] = &object{j: j, name: name, byValue: map[history.Value]int{}}
	}
	for i := range h.Len() {
		k := keys[h.KeyID(i)]
		c := call{op: i, inv: h.Invoke(i), ret: h.Return(i), failed: h.Type(i) == history.Fail, reader: -1}
		switch f := h.F(i); f {
		case Set:
			if err := k.set(c); err != nil {
				return nil, err
			}
		case Delete:
			if !c.failed {
				k.deletes = append(k.deletes, c)
			}
		case Get:
			if h.Type(i) == history.OK {
				c.value = h.Out(i)
				k.gets = append(k.gets, c)
			}
		default:
			return nil, fmt.Errorf("a cache knows no operation %q", f)
		}
	}
	for _, k := range keys {
		k.windows()
	}
	return keys, nil
}

// set takes a set: {"v": …, "ttl_ns": …}.
func (k *object) set(c call) error {
	h := k.j.h
	m, ok := h.Go(h.In(c.op)).(map[string]any)
	n, isInt := m["v"].(int64)
	if !ok || !isInt {
		return fmt.Errorf("event %d: a set needs a whole number \"v\" and a \"ttl_ns\"", h.Index(c.op))
	}
	c.value = history.Int(n)
	if ttl, ok := m["ttl_ns"].(int64); ok {
		c.ttl = time.Duration(ttl)
	}
	if _, twice := k.byValue[c.value]; twice {
		return fmt.Errorf("event %d: the value %d is set twice, so that gets do not tell which they saw", h.Index(c.op), n)
	}
	k.byValue[c.value] = len(k.sets)
	k.sets = append(k.sets, c)
	return nil
}

// windows finds by when each set had taken effect, and when its value expires.
func (k *object) windows() {
	for i := range k.sets {
		k.sets[i].end = k.sets[i].ret
	}
	for _, g := range k.gets {
		if i, ok := k.byValue[g.value]; ok && g.ret < k.sets[i].end {
			k.sets[i].end, k.sets[i].reader = g.ret, g.op
		}
	}
	o := k.j.o
	for i := range k.sets {
		s := &k.sets[i]
		s.earliest, s.latest = s.inv, history.Forever
		switch {
		case s.ttl <= 0:
			s.earliest = history.Forever
			continue
		case o.Earliest:
			s.earliest = max(s.inv, s.inv+s.ttl-o.Tolerance)
		}
		if o.Latest && s.end < history.Forever {
			s.latest = s.end + s.ttl + o.Tolerance
		}
	}
}

// judge applies the rules to every get.
func (k *object) judge() {
	index := newIndexes(k)
	for _, g := range k.gets {
		if g.value == history.Nil {
			k.j.Figures["misses"]++
			k.miss(g, index)
		} else {
			k.j.Figures["hits"]++
			k.hit(g, index)
		}
	}
}

// hit judges a get that found a value.
func (k *object) hit(g call, x *indexes) {
	j := k.j
	v := j.h.Go(g.value)
	i, ok := k.byValue[g.value]
	if !ok {
		j.add(k.name, PhantomRead, g.ret, []int{g.op}, fmt.Sprintf("the get from %s to %s found %v, which nobody ever set.", checker.At(g.inv), checker.At(g.ret), v))
		return
	}
	s := k.sets[i]
	switch {
	case s.failed:
		j.add(k.name, AbortedRead, g.ret, []int{s.op, g.op}, fmt.Sprintf("the get from %s to %s found %v, whose set failed for certain.", checker.At(g.inv), checker.At(g.ret), v))
		return
	case g.ret < s.inv:
		j.add(k.name, FutureRead, g.ret, []int{s.op, g.op}, fmt.Sprintf("the get found %v by %s, before it was set, from %s on.", v, checker.At(g.ret), checker.At(s.inv)))
		return
	case g.inv > s.latest:
		j.Figures["expired_reads"]++
		j.add(k.name, ExpiredRead, g.inv, k.with(s, g.op), fmt.Sprintf("%v was set by %s with %s to live, so that it was gone after %s at the latest%s; the get from %s on still found it, %s later.",
			v, checker.At(s.end), checker.At(s.ttl), checker.At(s.latest), j.tolerance(), checker.At(g.inv), checker.At(g.inv-s.latest)))
		return
	}
	if d, ok := x.deletes.within(s.end, g.inv); ok {
		j.add(k.name, Resurrected, g.inv, k.with(s, d.op, g.op), fmt.Sprintf("%v was set by %s and deleted from %s to %s; the get from %s on found it again.",
			v, checker.At(s.end), checker.At(d.inv), checker.At(d.ret), checker.At(g.inv)))
		return
	}
	if n, ok := x.misses.within(s.end, g.inv); ok {
		j.add(k.name, Resurrected, g.inv, k.with(s, n.op, g.op), fmt.Sprintf("%v was set by %s; the get from %s to %s found nothing, and the one from %s on found it again.",
			v, checker.At(s.end), checker.At(n.inv), checker.At(n.ret), checker.At(g.inv)))
		return
	}
	if o, ok := x.sets.within(s.end, g.inv); ok {
		j.add(k.name, StaleRead, g.inv, k.with(s, o.op, g.op), fmt.Sprintf("%v was set by %s and replaced by %v, set from %s to %s; the get from %s on still found %v.",
			v, checker.At(s.end), j.h.Go(o.value), checker.At(o.inv), checker.At(o.ret), checker.At(g.inv), v))
	}
}

// with is a witness of the set s, of what shows that it had taken effect, and of
// others.
func (k *object) with(s call, ops ...int) []int {
	ops = append(ops, s.op)
	if s.reader >= 0 {
		ops = append(ops, s.reader)
	}
	return ops
}

func (j *judgement) tolerance() string {
	if j.o.Tolerance == 0 {
		return ""
	}
	return fmt.Sprintf(" (with a tolerance of %s)", checker.At(j.o.Tolerance))
}

// miss judges a get that found nothing. Of the sets that had taken effect before
// it, the one invoked last is the only one that can prove anything: any other
// would have to be later than that one for certain, and is not.
func (k *object) miss(g call, x *indexes) {
	if !k.j.o.Earliest {
		return
	}
	s, ok := x.lastBefore(g.inv)
	if !ok || s.failed || s.earliest <= g.ret {
		return
	}
	for _, d := range k.deletes {
		if d.ret >= s.inv && d.inv <= g.ret {
			return // it may have been this one
		}
	}
	for _, o := range k.sets {
		if !o.failed && o.ret >= s.inv && o.inv <= g.ret && o.earliest <= g.ret {
			return // or this one's expiry
		}
	}
	lives := "without a time to live"
	if s.ttl > 0 {
		lives = fmt.Sprintf("with %s to live, that is until %s at least%s", checker.At(s.ttl), checker.At(s.earliest), k.j.tolerance())
	}
	k.j.Figures["early_evictions"]++
	k.j.add(k.name, EarlyEviction, g.ret, k.with(s, g.op), fmt.Sprintf("%v was set by %s %s; the get from %s to %s found nothing, and nobody had deleted it.",
		k.j.h.Go(s.value), checker.At(s.end), lives, checker.At(g.inv), checker.At(g.ret)))
}

// indexes find what lies between two moments.
type indexes struct {
	deletes, misses, sets spans
	byEnd                 []call // sets, by when they had taken effect
	last                  []int  // of those up to here, the one invoked last
}

func newIndexes(k *object) *indexes {
	x := &indexes{deletes: newSpans(k.deletes)}
	var misses, sets []call
	for _, g := range k.gets {
		if g.value == history.Nil {
			misses = append(misses, g)
		}
	}
	for _, s := range k.sets {
		if !s.failed {
			sets = append(sets, s)
			x.byEnd = append(x.byEnd, s)
		}
	}
	x.misses, x.sets = newSpans(misses), newSpans(sets)
	slices.SortStableFunc(x.byEnd, func(a, b call) int { return cmp.Compare(a.end, b.end) })
	for i, s := range x.byEnd {
		best := i
		if i > 0 && x.byEnd[x.last[i-1]].inv >= s.inv {
			best = x.last[i-1]
		}
		x.last = append(x.last, best)
	}
	return x
}

// lastBefore is the set invoked last among those that had taken effect before t.
func (x *indexes) lastBefore(t time.Duration) (call, bool) {
	n, _ := slices.BinarySearchFunc(x.byEnd, t, func(s call, t time.Duration) int { return cmp.Compare(s.end, t) })
	if n == 0 {
		return call{}, false
	}
	return x.byEnd[x.last[n-1]], true
}

// spans are calls by their invocation, with the one that returns first among each
// and all after it.
type spans struct {
	calls []call
	first []int
}

func newSpans(calls []call) spans {
	s := spans{calls: slices.Clone(calls), first: make([]int, len(calls))}
	slices.SortStableFunc(s.calls, func(a, b call) int { return cmp.Compare(a.inv, b.inv) })
	for i := len(s.calls) - 1; i >= 0; i-- {
		s.first[i] = i
		if i+1 < len(s.calls) && s.calls[s.first[i+1]].ret < s.calls[i].ret {
			s.first[i] = s.first[i+1]
		}
	}
	return s
}

// within is a call that was invoked after a and returned before b.
func (s spans) within(a, b time.Duration) (call, bool) {
	n, _ := slices.BinarySearchFunc(s.calls, a, func(c call, a time.Duration) int {
		if c.inv <= a {
			return -1
		}
		return 1
	})
	if n >= len(s.calls) {
		return call{}, false
	}
	c := s.calls[s.first[n]]
	return c, c.ret < b
}
