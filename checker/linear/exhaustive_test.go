package linear

import (
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// Every engine against brute force on all histories of a few operations, up to
// renaming of values, processes and times: all operations in the order of their
// invocations, all results, all fates, all interleavings of invocations and
// returns, and all patterns of equal stamps in any order of the journal.

// sketch is an operation without its times.
type sketch struct {
	f       string
	in, out any
	typ     history.Type
	saw     *history.Seen
}

// universe is the histories of one object that are compared.
type universe struct {
	name  string
	spec  model.Spec
	all   func(n int, visit func([]sketch))
	ops   int  // up to so many operations, in -short
	long  int  // and without it
	ties  int  // all patterns of equal stamps up to so many operations, in -short
	tied  int  // and without it
	exact bool // the fast engine applies to each of them
}

func universes() []universe {
	plain, cas, excluding := model.Register(), model.CASRegister(), model.ExcludingRegister()
	return []universe{
		{name: "register, unique values", spec: plain, all: registers("rwW", true), ops: 4, long: 5, ties: 3, tied: 4, exact: true},
		{name: "register, repeated values", spec: plain, all: registers("rwW", false), ops: 3, long: 4, ties: 2, tied: 3},
		{name: "cas, unique values", spec: cas, all: registers("rwWcC", true), ops: 3, long: 4, ties: 2, tied: 3, exact: true},
		{name: "cas, repeated values", spec: cas, all: registers("rwWcC", false), ops: 2, long: 3, ties: 2, tied: 3},
		{name: "cas that fails and reports", spec: cas, all: registers("rwWcCo", true), ops: 2, long: 3, ties: 2, tied: 3, exact: true},
		{name: "cas that fails and excludes", spec: excluding, all: registers("rwWcCx", true), ops: 2, long: 3, ties: 2, tied: 3},
		{name: "mutex with owners", spec: model.OwnerMutex(), all: choices(mutexOps()), ops: 3, long: 4, ties: 2, tied: 3},
		{name: "mutex", spec: model.Mutex(), all: choices(mutexOps()[:4]), ops: 3, long: 4, ties: 2, tied: 3},
		{name: "queue", spec: model.Queue(), all: queues, ops: 3, long: 4, ties: 2, tied: 3},
		{name: "element of a set", spec: model.Set(), all: choices(elementOps()), ops: 3, long: 4, ties: 2, tied: 3},
		{name: "whole set", spec: model.Set(), all: choices(wholeOps()), ops: 3, long: 4, ties: 2, tied: 3},
		{name: "counter", spec: model.Counter(), all: choices(counterOps()), ops: 3, long: 4, ties: 2, tied: 3},
		{name: "kv", spec: model.KV(), all: choices(kvOps()), ops: 2, long: 3, ties: 2, tied: 2},
	}
}

func TestExhaustive(t *testing.T) {
	t.Parallel()
	for _, u := range universes() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			ops, ties := u.long, u.tied
			if testing.Short() {
				ops, ties = u.ops, u.ties
			}
			c := comparison{t: t, u: u}
			for n := 1; n <= ops; n++ {
				u.all(n, func(s []sketch) {
					interleave(s, n <= ties, false, c.compare)
					if n <= 3 && slices.ContainsFunc(s, func(o sketch) bool { return o.typ == history.Info }) {
						interleave(s, n < ties, true, c.compare)
					}
				})
			}
			t.Logf("%d histories, %d violate, %d decided by the fast engine, %d witnesses verified", c.all, c.wrong, c.fast, c.witnesses)
			if c.wrong == 0 || c.wrong == c.all {
				t.Error("all have the same verdict")
			}
		})
	}
}

// comparison counts what agreed.
type comparison struct {
	t *testing.T
	u universe

	all, wrong, fast, witnesses int
}

func (c *comparison) compare(h *history.History) {
	c.all++
	if c.t.Failed() {
		return
	}
	want, err := checkertest.Brute(h, c.u.spec)
	if err != nil {
		c.t.Fatal(err)
	}
	if want == checker.Invalid {
		c.wrong++
	}
	for _, name := range []string{Fast, Search} {
		got := Check(c.t.Context(), h, Options{Model: c.u.spec, Engine: name, MaxAnomalies: -1, Workers: 1})
		if name == Fast && got.Verdict == checker.Unknown && !c.u.exact {
			continue
		}
		if name == Fast {
			c.fast++
		}
		if got.Verdict != want {
			c.t.Fatalf("%s says %v (%s), brute force %v:\n%s", name, got.Verdict, got.Reason, want, text(h))
		}
	}
	if want == checker.Invalid && (h.Len() <= 3 || c.wrong%16 == 0) { // a witness is verified by another engine, or the verdict is unknown
		got := Check(c.t.Context(), h, Options{Model: c.u.spec})
		if got.Verdict != want || len(got.Anomalies) == 0 {
			c.t.Fatalf("%v, %s, with %d witnesses, of\n%s", got.Verdict, got.Reason, len(got.Anomalies), text(h))
		}
		for _, a := range got.Anomalies {
			checkWitness(c.t, h, a)
			c.witnesses++
		}
	}
	if c.u.spec.Name == "register" || c.u.spec.Name == "cas-register" {
		c.stream(h, want)
	}
}

func (c *comparison) stream(h *history.History, want checker.Verdict) {
	if c.all%8 != 0 {
		return
	}
	s := NewStream(0)
	for op := range h.Ops() {
		s.Add(op)
	}
	if got, _, why := s.End(); got != want {
		c.t.Fatalf("streamed %v (%s), brute force %v:\n%s", got, why, want, text(h))
	}
}

// interleave visits all histories with the given operations, invoked in their
// order: every sequence of invocations and returns, operations of unknown fate
// never returning, or, if heard, giving up at any time; with ties, every choice of
// neighbours with equal stamps, save that an operation does not return at the
// moment of its own invocation.
func interleave(ops []sketch, ties, heard bool, visit func(*history.History)) {
	events := make([]history.Op, 0, 2*len(ops))
	var put func(next, open int, at time.Duration, tied int)
	each := func(next, open, tied, i int, op history.Op, at time.Duration) {
		if len(events) > 0 && ties && (op.Type == history.Invoke || tied&(1<<i) == 0) {
			op.Time = at
			events = append(events, op)
			put(next, open, at, invokedBy(tied, i, op))
			events = events[:len(events)-1]
		}
		op.Time = at + 1
		events = append(events, op)
		put(next, open, at+1, invokedBy(0, i, op))
		events = events[:len(events)-1]
	}
	put = func(next, open int, at time.Duration, tied int) {
		if next == len(ops) && open == 0 {
			h, err := history.Of(events...)
			if err != nil {
				panic(err) // a bug of this function
			}
			visit(h)
			return
		}
		if next < len(ops) {
			s := ops[next]
			still := open
			if s.typ != history.Info || heard {
				still |= 1 << next
			}
			each(next+1, still, tied, next, history.Op{Process: history.Process(next), F: s.f, Key: "x", Value: s.in}, at)
		}
		for i := range next {
			if open&(1<<i) == 0 {
				continue
			}
			s := ops[i]
			each(next, open&^(1<<i), tied, i, history.Op{Process: history.Process(i), Type: s.typ, F: s.f, Key: "x", Value: s.out, Observed: s.saw}, at)
		}
	}
	put(0, 0, 0, 0)
}

// invokedBy is the set of operations invoked at the present stamp.
func invokedBy(tied, i int, op history.Op) int {
	if op.Type == history.Invoke {
		return tied | 1<<i
	}
	return tied
}

const nobodys = int64(99) // a value that nobody writes

// registers are all register operations of these kinds: r read, w write, W write
// of unknown fate, c compare-and-set, C one of unknown fate, o one that failed
// and saw a value, x one that failed and did not. Values are written in the order
// 1, 2, …; where they repeat, each write may also write one written before, or
// nil.
func registers(kinds string, unique bool) func(int, func([]sketch)) {
	return func(n int, visit func([]sketch)) {
		ops := make([]sketch, n)
		var see func(i int, most int64)
		var write func(i int, most int64)
		see = func(i int, most int64) { // what is read and expected, once all that is written is known
			if i == n {
				visit(ops)
				return
			}
			for v := int64(-1); v <= most; v++ {
				x := []any{nobodys, nil, v}[min(v+1, 2)]
				switch s := &ops[i]; {
				case s.f == "read":
					s.out = x
				case s.f == "write":
					see(i+1, most)
					return
				case s.saw != nil:
					s.saw = &history.Seen{Value: x}
				default:
					p, _ := s.in.([]any)
					s.in = []any{x, p[1]}
					s.out = s.in
				}
				see(i+1, most)
			}
		}
		write = func(i int, most int64) {
			if i == n {
				see(0, most)
				return
			}
			for _, k := range kinds {
				s := sketch{f: "cas"}
				switch k {
				case 'r':
					s.f, s.typ = "read", history.OK
				case 'w', 'c':
					s.typ = history.OK
				case 'W', 'C':
					s.typ = history.Info
				case 'o', 'x':
					s.typ, s.in = history.Fail, []any{nobodys, nobodys + 1}
					if k == 'o' {
						s.saw = &history.Seen{}
					}
				}
				if k == 'w' || k == 'W' {
					s.f = "write"
				}
				ops[i] = s
				if k == 'r' || k == 'o' || k == 'x' {
					write(i+1, most)
					continue
				}
				for v := int64(-1); v <= most+1; v++ {
					x := any(v)
					if v < 1 {
						x = nil
					}
					if unique && v <= most || v == 0 {
						continue
					}
					if s.f == "cas" {
						ops[i].in = []any{nil, x}
					} else {
						ops[i].in, ops[i].out = x, x
					}
					write(i+1, max(most, v))
				}
			}
		}
		write(0, 0)
	}
}

// choices are all sequences of the given operations.
func choices(from []sketch) func(int, func([]sketch)) {
	return func(n int, visit func([]sketch)) {
		ops := make([]sketch, n)
		var pick func(int)
		pick = func(i int) {
			if i == n {
				visit(ops)
				return
			}
			for _, s := range from {
				ops[i] = s
				pick(i + 1)
			}
		}
		pick(0)
	}
}

// fates are an operation done and of unknown fate.
func fates(f string, v any) []sketch {
	return []sketch{{f: f, in: v, out: v, typ: history.OK}, {f: f, in: v, typ: history.Info}}
}

func saw(f string, in any, outs ...any) []sketch {
	var list []sketch
	for _, o := range outs {
		list = append(list, sketch{f: f, in: in, out: o, typ: history.OK})
	}
	return list
}

func concat(lists ...[]sketch) []sketch {
	var all []sketch
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func mutexOps() []sketch {
	a, b := map[string]any{"owner": "a"}, map[string]any{"owner": "b"}
	return concat(fates("acquire", a), fates("release", a), fates("acquire", b), fates("release", b))
}

func elementOps() []sketch {
	return concat(fates("add", int64(1)), fates("remove", int64(1)), saw("contains", int64(1), true, false))
}

func wholeOps() []sketch {
	a, b := int64(1), int64(2)
	return concat(fates("add", a), fates("add", b), fates("remove", a), saw("read", nil, []any{}, []any{a}, []any{b}, []any{a, b}))
}

func counterOps() []sketch {
	return concat(fates("add", int64(1)), fates("add", int64(-2)), saw("read", nil, int64(0), int64(1), int64(-1), int64(-2)))
}

func kvOps() []sketch {
	return concat(fates("put", "a"), fates("put", "b"), fates("append", "a"), fates("append", "b"), fates("delete", nil),
		saw("get", nil, "", "a", "b", "aa", "ab", "ba", "c"))
}

// queues are all operations of a queue whose elements are all different.
func queues(n int, visit func([]sketch)) {
	ops := make([]sketch, n)
	var see func(i int, most int64)
	see = func(i int, most int64) {
		if i == n {
			visit(ops)
			return
		}
		if ops[i].f == "enqueue" || ops[i].typ == history.Info {
			see(i+1, most)
			return
		}
		for v := int64(-1); v <= most; v++ {
			ops[i].out = []any{nobodys, nil, v}[min(v+1, 2)]
			see(i+1, most)
		}
	}
	var pick func(i int, most int64)
	pick = func(i int, most int64) {
		if i == n {
			see(0, most)
			return
		}
		for _, s := range fates("enqueue", most+1) {
			ops[i] = s
			pick(i+1, most+1)
		}
		for _, s := range fates("dequeue", nil) {
			ops[i] = s
			pick(i+1, most)
		}
	}
	pick(0, 0)
}
