package linear

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// Stream judges the operations on registers while they happen, key by key, in
// memory that follows the operations that are open: Lowe's just-in-time
// linearization ("Testing for linearizability", 2017, §4). It keeps a frontier of
// configurations, each a state and the open operations that have taken effect,
// and advances it return by return; an operation takes effect only when a return
// needs it. Where no configuration is left, the return that emptied the frontier
// cannot be explained.
//
// An event is taken in once the outcome of every operation invoked before it is
// known, so a violation shows at the latest when the operations open at its time
// have returned or timed out. The zero value is not usable; NewStream makes one.
// It is not safe for concurrent use.
type Stream struct {
	open   map[history.Process]*streamOp
	queue  []streamEvent // in order; those at the front wait for an outcome
	keys   map[string]*frontier
	limit  int
	found  *checker.Anomaly
	gaveUp string
	ending bool
	index  int
}

type streamEvent struct {
	op   *streamOp
	call bool
}

// streamOp is an operation from its invocation on.
type streamOp struct {
	inv, done      history.Op
	known, dropped bool
	may            bool
	op             streamStep
	slot           int
}

// streamStep is what an operation does to a register, on values as JSON has them.
type streamStep struct {
	code uint8
	a, b any
}

// NewStream judges registers with compare-and-set, in Jepsen's meaning of a
// failed one. It gives up a key whose frontier grows beyond maxConfigs (by
// default 10,000).
func NewStream(maxConfigs int) *Stream {
	if maxConfigs <= 0 {
		maxConfigs = 10_000
	}
	return &Stream{open: map[history.Process]*streamOp{}, keys: map[string]*frontier{}, limit: maxConfigs}
}

// Add takes the next event and returns the violation, once there is one.
func (s *Stream) Add(e history.Op) *checker.Anomaly {
	index := s.index
	s.index++
	if e.Process == history.Nemesis || s.found != nil {
		return s.found
	}
	e.Index = index
	if e.Type == history.Invoke {
		o := &streamOp{inv: e, slot: -1}
		s.open[e.Process] = o
		s.queue = append(s.queue, streamEvent{o, true})
		return nil
	}
	o := s.open[e.Process]
	if o == nil {
		return nil
	}
	delete(s.open, e.Process)
	o.done, o.known = e, true
	o.decode()
	s.queue = append(s.queue, streamEvent{o, false})
	s.drain()
	return s.found
}

// End takes all open operations for operations of unknown fate, and returns the
// verdict: unknown where a key was given up.
func (s *Stream) End() (checker.Verdict, *checker.Anomaly, string) {
	for _, o := range s.open {
		o.done.Type, o.known = history.Info, true
		o.decode()
	}
	s.ending = true
	s.drain()
	switch {
	case s.found != nil:
		return checker.Invalid, s.found, ""
	case s.gaveUp != "":
		return checker.Unknown, nil, s.gaveUp
	}
	return checker.Valid, nil, ""
}

// Waiting is the number of events that wait for an outcome.
func (s *Stream) Waiting() int { return len(s.queue) }

func (o *streamOp) decode() {
	t := o.done.Type
	switch o.inv.F {
	case "read":
		o.op, o.dropped = streamStep{code: model.CodeRead, a: o.done.Value}, t != history.OK
	case "write":
		o.op, o.dropped, o.may = streamStep{code: model.CodeWrite, a: o.inv.Value}, t == history.Fail, t == history.Info
	case "cas":
		p, ok := o.inv.Value.([]any)
		switch {
		case t == history.Fail && o.done.Observed != nil:
			o.op = streamStep{code: model.CodeRead, a: o.done.Observed.Value}
		case t == history.Fail || !ok || len(p) != 2:
			o.dropped = true
		default:
			o.op, o.may = streamStep{code: model.CodeCAS, a: p[0], b: p[1]}, t == history.Info
		}
	default:
		o.dropped = true
	}
}

// drain takes in the events at the front whose operations are known. Equal times
// are concurrent: calls go before returns.
func (s *Stream) drain() {
	for len(s.queue) > 0 && s.found == nil {
		n := s.ties()
		if n == 0 {
			break
		}
		batch := s.queue[:n]
		for _, call := range []bool{true, false} {
			for _, e := range batch {
				if e.call == call && !e.op.dropped {
					s.take(e)
				}
			}
		}
		s.queue = s.queue[n:]
	}
	if len(s.queue) == 0 {
		s.queue = nil
	}
}

// ties is how many events at the front have one time, 0 while one of them is not
// known yet or more may come.
func (s *Stream) ties() int {
	at := s.queue[0].at()
	for n, e := range s.queue {
		if e.at() != at {
			return n
		}
		if !e.op.known {
			return 0
		}
	}
	if !s.ending {
		return 0 // another event of this time may come
	}
	return len(s.queue)
}

func (e streamEvent) at() time.Duration {
	if e.call {
		return e.op.inv.Time
	}
	return e.op.done.Time
}

func (s *Stream) take(e streamEvent) {
	f := s.keys[e.op.inv.Key]
	if f == nil {
		f = &frontier{configs: []config{{}}}
		s.keys[e.op.inv.Key] = f
	}
	switch {
	case f.lost:
	case e.call:
		f.call(e.op)
	case !e.op.may:
		if !f.ret(e.op, s.limit) {
			s.gaveUp = fmt.Sprintf("online checking gave up key %q after event %d: more than %d configurations", e.op.inv.Key, e.op.done.Index, s.limit)
			f.lost = true
			f.configs = nil
		} else if len(f.configs) == 0 {
			o := e.op
			s.found = &checker.Anomaly{
				Name: "nonlinearizable", Key: o.inv.Key, Ops: []int{o.inv.Index}, Time: o.done.Time,
				Explain: fmt.Sprintf("process %d's %s from %s to %s cannot be explained by any order of the operations up to then.",
					o.inv.Process, o.inv.F, ms(o.inv.Time), ms(o.done.Time)),
			}
		}
	}
}

// frontier is one key's configurations.
type frontier struct {
	configs []config
	slots   []*streamOp // definite operations that are open
	mays    []*streamOp // of unknown fate, ever
	lost    bool
}

// config is a state, the open definite operations that took effect, and the
// operations of unknown fate that did.
type config struct {
	state any
	set   string // a bit a slot, as bytes
	used  string // sorted indexes of mays, two bytes each
}

func (f *frontier) call(o *streamOp) {
	if o.may {
		f.mays = append(f.mays, o)
		return
	}
	for i, p := range f.slots {
		if p == nil {
			f.slots[i], o.slot = o, i
			return
		}
	}
	o.slot = len(f.slots)
	f.slots = append(f.slots, o)
}

func has(set string, slot int) bool { return slot/8 < len(set) && set[slot/8]>>(slot%8)&1 == 1 }

func with(set string, slot int, on bool) string {
	b := []byte(set)
	for len(b) <= slot/8 {
		b = append(b, 0)
	}
	b[slot/8] &^= 1 << (slot % 8)
	if on {
		b[slot/8] |= 1 << (slot % 8)
	}
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return string(b)
}

// same compares values as JSON has them.
func same(a, b any) bool {
	if l, ok := a.([]any); ok {
		m, ok := b.([]any)
		return ok && slices.EqualFunc(l, m, same)
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	if _, ok := a.(map[string]any); ok {
		return false
	}
	return a == b
}

func step(state any, s streamStep) (any, bool) {
	switch s.code {
	case model.CodeRead:
		return state, same(state, s.a)
	case model.CodeWrite:
		return s.a, true
	default:
		return s.b, same(state, s.a)
	}
}

// ret advances over the return of o: every configuration has to let it take
// effect, after others if need be. It returns false beyond limit.
func (f *frontier) ret(o *streamOp, limit int) bool {
	seen := map[string]bool{}
	var next []config
	todo := slices.Clone(f.configs)
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		k := fmt.Sprint(c.state, "\x00") + c.set + "\x00" + c.used
		if seen[k] {
			continue
		}
		seen[k] = true
		if len(seen) > limit {
			return false
		}
		if has(c.set, o.slot) {
			c.set = with(c.set, o.slot, false)
			next = append(next, c)
			continue
		}
		todo = f.expand(c, todo)
	}
	f.slots[o.slot] = nil
	f.configs = minimal(next)
	f.forget()
	return true
}

// expand adds what can follow configuration c. A read that may take effect now
// does, without alternative.
func (f *frontier) expand(c config, todo []config) []config {
	for i, p := range f.slots {
		if p == nil || has(c.set, i) || p.op.code != model.CodeRead {
			continue
		}
		if _, ok := step(c.state, p.op); ok {
			return append(todo, config{c.state, with(c.set, i, true), c.used})
		}
	}
	for i, p := range f.slots {
		if p == nil || has(c.set, i) || p.op.code == model.CodeRead {
			continue
		}
		if to, ok := step(c.state, p.op); ok {
			todo = append(todo, config{to, with(c.set, i, true), c.used})
		}
	}
	for i, p := range f.mays {
		if i >= math.MaxUint16 || uses(c.used, i) || !f.wanted(c, p) {
			continue
		}
		if to, ok := step(c.state, p.op); ok {
			todo = append(todo, config{to, c.set, use(c.used, i)})
		}
	}
	return todo
}

// wanted says whether somebody open, or another operation of unknown fate, wants
// the value that p gives: else it can be left out.
func (f *frontier) wanted(c config, p *streamOp) bool {
	gives := p.op.a
	if p.op.code == model.CodeCAS {
		gives = p.op.b
	}
	for i, q := range f.slots {
		if q != nil && !has(c.set, i) && q.op.code != model.CodeWrite && same(q.op.a, gives) {
			return true
		}
	}
	for i, q := range f.mays {
		if q != p && q.op.code == model.CodeCAS && !uses(c.used, i) && same(q.op.a, gives) {
			return true
		}
	}
	return false
}

func uses(used string, i int) bool {
	for n := 0; n < len(used); n += 2 {
		if int(used[n])<<8|int(used[n+1]) == i {
			return true
		}
	}
	return false
}

func use(used string, i int) string {
	n := 0
	for n < len(used) && int(used[n])<<8|int(used[n+1]) < i {
		n += 2
	}
	return used[:n] + string([]byte{byte(i >> 8), byte(i)}) + used[n:]
}

// minimal drops configurations that have used more operations of unknown fate
// than another with the same state and set.
func minimal(cs []config) []config {
	var out []config
	for i, c := range cs {
		worse := false
		for j, d := range cs {
			if i != j && same(c.state, d.state) && c.set == d.set && len(d.used) < len(c.used) && subset(d.used, c.used) {
				worse = true
				break
			}
		}
		if !worse {
			out = append(out, c)
		}
	}
	return out
}

func subset(a, b string) bool {
	for n := 0; n < len(a); n += 2 {
		if !uses(b, int(a[n])<<8|int(a[n+1])) {
			return false
		}
	}
	return true
}

// forget drops operations of unknown fate that took effect in all
// configurations.
func (f *frontier) forget() {
	if len(f.mays) == 0 || len(f.configs) == 0 || f.configs[0].used == "" {
		return
	}
	for i := range slices.Backward(f.mays) {
		all := true
		for _, c := range f.configs {
			all = all && uses(c.used, i)
		}
		if !all {
			continue
		}
		f.mays = slices.Delete(f.mays, i, i+1)
		for n := range f.configs {
			f.configs[n].used = without16(f.configs[n].used, i)
		}
	}
}

// without16 drops index i and moves those above it down.
func without16(used string, i int) string {
	var b []byte
	for n := 0; n < len(used); n += 2 {
		x := int(used[n])<<8 | int(used[n+1])
		if x > i {
			x--
		} else if x == i {
			continue
		}
		b = append(b, byte(x>>8), byte(x))
	}
	return string(b)
}
