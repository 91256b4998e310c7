package generator

import (
	"slices"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// none is a generator that is over.
type none struct{}

func (none) Next(Context) (Step, Generator)         { return Step{}, none{} }
func (n none) Update(Context, history.Op) Generator { return n }
func over(s Step) (Step, Generator)                 { return s, none{} }
func do(op history.Op, at time.Duration) Step       { return Step{Kind: Do, Op: op, At: at} }
func updated(g Generator, c Context, e history.Op) Generator {
	if g == nil {
		return none{}
	}
	return g.Update(c, e)
}

// None is a generator without operations.
func None() Generator { return none{} }

// Ops performs each operation once, in this order, whoever asks.
func Ops(ops ...history.Op) Generator { return sequence(ops) }

type sequence []history.Op

func (s sequence) Next(c Context) (Step, Generator) {
	if len(s) == 0 {
		return over(Step{})
	}
	return do(s[0], c.Now), s[1:]
}

func (s sequence) Update(Context, history.Op) Generator { return s }

// Func performs what f returns, without end. f must depend on its argument alone.
type Func func(c Context) history.Op

// Next implements Generator.
func (f Func) Next(c Context) (Step, Generator) { return do(f(c), c.Now), f }

// Update implements Generator.
func (f Func) Update(Context, history.Op) Generator { return f }

// Limit ends g after n operations.
func Limit(n int, g Generator) Generator { return limit{n, g} }

type limit struct {
	left int
	g    Generator
}

func (l limit) Next(c Context) (Step, Generator) {
	if l.left <= 0 {
		return over(Step{})
	}
	s, g := l.g.Next(c)
	if s.Kind == Do {
		l.left--
	}
	l.g = g
	return s, l
}

func (l limit) Update(c Context, e history.Op) Generator {
	l.g = updated(l.g, c, e)
	return l
}

// ProcessLimit ends g once n different processes have performed its operations.
func ProcessLimit(n int, g Generator) Generator { return processLimit{n: n, g: g} }

type processLimit struct {
	n    int
	seen []history.Process // sorted
	g    Generator
}

func (p processLimit) Next(c Context) (Step, Generator) {
	i, known := slices.BinarySearch(p.seen, c.Process)
	if !known && len(p.seen) >= p.n {
		return Step{}, p
	}
	s, g := p.g.Next(c)
	if s.Kind == Do && !known {
		p.seen = slices.Insert(slices.Clone(p.seen), i, c.Process)
	}
	p.g = g
	return s, p
}

func (p processLimit) Update(c Context, e history.Op) Generator {
	p.g = updated(p.g, c, e)
	return p
}

// TimeLimit ends g once d has passed since it was first asked.
func TimeLimit(d time.Duration, g Generator) Generator { return timeLimit{d: d, g: g} }

type timeLimit struct {
	d       time.Duration
	until   time.Duration
	started bool
	g       Generator
}

func (t timeLimit) Next(c Context) (Step, Generator) {
	if !t.started {
		t.started, t.until = true, c.Now+t.d
	}
	if c.Now >= t.until {
		return over(Step{})
	}
	s, g := t.g.Next(c)
	switch {
	case s.Kind == Do && s.At >= t.until:
		return Step{Kind: Wait, At: t.until}, t // asked again then, it is over
	case s.Kind == Wait && (s.At == 0 || s.At > t.until):
		s.At = t.until
	}
	t.g = g
	return s, t
}

func (t timeLimit) Update(c Context, e history.Op) Generator {
	t.g = updated(t.g, c, e)
	return t
}

// Stagger spaces the operations of all workers together at random, mean apart.
func Stagger(mean time.Duration, g Generator) Generator { return pace{mean: mean, random: true, g: g} }

// Delay spaces the operations of all workers together evenly, d apart.
func Delay(d time.Duration, g Generator) Generator { return pace{mean: d, g: g} }

// Rate spaces operations at random so that there are perSecond of them; 0 leaves
// them unspaced.
func Rate(perSecond float64, g Generator) Generator {
	if perSecond <= 0 {
		return g
	}
	return Stagger(time.Duration(float64(time.Second)/perSecond), g)
}

type pace struct {
	mean    time.Duration
	random  bool
	started bool
	next    time.Duration
	g       Generator
}

func (p pace) Next(c Context) (Step, Generator) {
	s, g := p.g.Next(c)
	p.g = g
	if s.Kind != Do {
		return s, p
	}
	if !p.started {
		p.started, p.next = true, c.Now
	}
	s.At = max(s.At, p.next)
	gap := p.mean
	if p.random && gap > 0 {
		gap = time.Duration(c.Rand.Int64N(int64(2*gap) + 1))
	}
	p.next = max(p.next+gap, c.Now-time.Second) // a late generator catches up by a second's worth at most
	return s, p
}

func (p pace) Update(c Context, e history.Op) Generator {
	p.g = updated(p.g, c, e)
	return p
}

// Mix takes each operation from one of gs, drawn at random, until all are over.
// Listing a generator twice doubles its share only for generators without state;
// use Weighted for others.
func Mix(gs ...Generator) Generator {
	w := make([]int, len(gs))
	for i := range w {
		w[i] = 1
	}
	return Weighted(w, gs...)
}

// Weighted is Mix with a weight for each generator; a weight of 0 leaves it out.
func Weighted(weights []int, gs ...Generator) Generator {
	m := mix{weights: slices.Clone(weights), gs: slices.Clone(gs)}
	for _, w := range weights {
		m.total += w
	}
	return m
}

type mix struct {
	weights []int
	total   int
	gs      []Generator
}

func (m mix) Next(c Context) (Step, Generator) {
	var wait *Step
	for m.total > 0 {
		n, i := c.Rand.IntN(m.total), 0
		for n >= m.weights[i] {
			n -= m.weights[i]
			i++
		}
		s, g := m.gs[i].Next(c)
		if s.Kind == Do {
			m.gs = replaced(m.gs, i, g)
			return s, m
		}
		if s.Kind == Wait && (wait == nil || sooner(s, *wait)) {
			wait = &s
		}
		m.weights = replaced(m.weights, i, 0) // for this question
		m.total = sum(m.weights)
	}
	if wait != nil {
		return *wait, m
	}
	return Step{}, m
}

func (m mix) Update(c Context, e history.Op) Generator {
	m.gs = updatedAll(m.gs, c, e)
	return m
}

func sum(ns []int) int {
	t := 0
	for _, n := range ns {
		t += n
	}
	return t
}

func replaced[T any](s []T, i int, v T) []T {
	s = slices.Clone(s)
	s[i] = v
	return s
}

func updatedAll(gs []Generator, c Context, e history.Op) []Generator {
	out := make([]Generator, len(gs))
	for i, g := range gs {
		out[i] = updated(g, c, e)
	}
	return out
}

// sooner says whether a can be acted on before b.
func sooner(a, b Step) bool {
	if a.Kind != b.Kind {
		return a.Kind == Do || a.Kind == Wait && b.Kind == Done
	}
	if a.Kind == Wait && (a.At == 0) != (b.At == 0) {
		return b.At == 0
	}
	return a.At < b.At
}

// Any takes whichever of gs has the soonest operation; the others are as if they
// had not been asked. Of equals the first is taken.
func Any(gs ...Generator) Generator { return anyOf(gs) }

type anyOf []Generator

func (a anyOf) Next(c Context) (Step, Generator) {
	best, at := Step{}, -1
	var after Generator
	for i, g := range a {
		if s, next := g.Next(c); at < 0 || sooner(s, best) {
			best, at, after = s, i, next
		}
	}
	if at < 0 {
		return over(Step{})
	}
	return best, anyOf(replaced(a, at, after))
}

func (a anyOf) Update(c Context, e history.Op) Generator { return anyOf(updatedAll(a, c, e)) }

// Concat performs gs one after the other; a worker goes on to the next as soon
// as one is over for it, without waiting for others.
func Concat(gs ...Generator) Generator { return concat(gs) }

type concat []Generator

func (q concat) Next(c Context) (Step, Generator) {
	for i, g := range q {
		s, next := g.Next(c)
		if s.Kind != Done {
			if i == 0 {
				return s, concat(replaced(q, 0, next))
			}
			return s, concat(replaced(q, i, next))
		}
	}
	return Step{}, q
}

func (q concat) Update(c Context, e history.Op) Generator { return concat(updatedAll(q, c, e)) }

// Phases performs gs one after the other; each begins once the one before is
// over for all workers and all its operations are complete.
func Phases(gs ...Generator) Generator { return phases{gs: gs} }

type phases struct {
	gs   []Generator
	busy int    // operations handed out and not complete
	done []bool // workers for which gs[0] is over
}

func (p phases) Next(c Context) (Step, Generator) {
	for len(p.gs) > 0 {
		if len(p.done) > c.Worker && p.done[c.Worker] {
			return Step{Kind: Wait}, p
		}
		s, g := p.gs[0].Next(c)
		if s.Kind != Done {
			p.gs = replaced(p.gs, 0, g)
			if s.Kind == Do {
				p.busy++
			}
			return s, p
		}
		if len(p.done) < c.Workers {
			p.done = append(slices.Clone(p.done), make([]bool, c.Workers-len(p.done))...)
		}
		p.done = replaced(p.done, c.Worker, true)
		if p.busy > 0 || slices.Contains(p.done, false) {
			return Step{Kind: Wait}, p
		}
		p.gs, p.done = p.gs[1:], nil
	}
	return Step{}, p
}

func (p phases) Update(c Context, e history.Op) Generator {
	if len(p.gs) > 0 {
		p.gs = replaced(p.gs, 0, updated(p.gs[0], c, e))
	}
	if e.Type != history.Invoke && p.busy > 0 {
		p.busy--
		if p.busy == 0 && len(p.gs) > 0 && len(p.done) > 0 && !slices.Contains(p.done, false) {
			p.gs, p.done = p.gs[1:], nil
		}
	}
	return p
}

// EachWorker gives every worker a copy of g of its own.
func EachWorker(g Generator) Generator { return eachWorker{fresh: g} }

type eachWorker struct {
	fresh Generator
	own   []Generator
}

func (e eachWorker) of(c Context) eachWorker {
	own := slices.Clone(e.own)
	for len(own) <= max(c.Worker, c.Workers-1) {
		own = append(own, e.fresh)
	}
	e.own = own
	return e
}

func (e eachWorker) Next(c Context) (Step, Generator) {
	e = e.of(c)
	s, g := e.own[c.Worker].Next(c)
	e.own[c.Worker] = g // a copy already
	return s, e
}

func (e eachWorker) Update(c Context, ev history.Op) Generator {
	e = e.of(c)
	e.own[c.Worker] = updated(e.own[c.Worker], c, ev)
	return e
}

// Reserve gives the first n workers to g and all others to rest.
func Reserve(n int, g, rest Generator) Generator { return reserve{n, g, rest} }

type reserve struct {
	n       int
	g, rest Generator
}

func (r reserve) Next(c Context) (s Step, _ Generator) {
	if c.Worker < r.n {
		c.Workers = min(c.Workers, r.n)
		s, r.g = r.g.Next(c)
	} else {
		c.Worker, c.Workers = c.Worker-r.n, c.Workers-r.n
		s, r.rest = r.rest.Next(c)
	}
	return s, r
}

func (r reserve) Update(c Context, e history.Op) Generator {
	if c.Worker < r.n {
		c.Workers = min(c.Workers, r.n)
		r.g = updated(r.g, c, e)
	} else {
		c.Worker, c.Workers = c.Worker-r.n, c.Workers-r.n
		r.rest = updated(r.rest, c, e)
	}
	return r
}

// UntilOK performs g until one of its own operations was ok.
func UntilOK(g Generator) Generator { return untilOK{g: g} }

type untilOK struct {
	g    Generator
	busy []history.Process // whose operation of g is open
	ok   bool
}

func (u untilOK) Next(c Context) (Step, Generator) {
	if u.ok {
		return over(Step{})
	}
	s, g := u.g.Next(c)
	if s.Kind == Do {
		u.busy = append(slices.Clone(u.busy), c.Process)
	}
	u.g = g
	return s, u
}

func (u untilOK) Update(c Context, e history.Op) Generator {
	if i := slices.Index(u.busy, e.Process); i >= 0 && e.Type != history.Invoke {
		u.busy = slices.Delete(slices.Clone(u.busy), i, i+1)
		u.ok = u.ok || e.Type == history.OK
	}
	u.g = updated(u.g, c, e)
	return u
}

// FlipFlop takes operations from a and b in turn, until either is over.
func FlipFlop(a, b Generator) Generator { return flipFlop{a, b} }

type flipFlop struct{ a, b Generator }

func (f flipFlop) Next(c Context) (Step, Generator) {
	s, g := f.a.Next(c)
	switch s.Kind {
	case Do:
		return s, flipFlop{f.b, g}
	case Wait:
		return s, flipFlop{g, f.b}
	case Done:
	}
	return over(Step{})
}

func (f flipFlop) Update(c Context, e history.Op) Generator {
	return flipFlop{updated(f.a, c, e), updated(f.b, c, e)}
}

// Cycle performs g again from its beginning whenever it is over, without end. A
// g that is over at once ends it.
func Cycle(g Generator) Generator { return cycle{g, g} }

type cycle struct{ fresh, g Generator }

func (y cycle) Next(c Context) (Step, Generator) {
	s, g := y.g.Next(c)
	if s.Kind == Done {
		if s, g = y.fresh.Next(c); s.Kind == Done {
			return over(s)
		}
	}
	y.g = g
	return s, y
}

func (y cycle) Update(c Context, e history.Op) Generator {
	y.g = updated(y.g, c, e)
	return y
}

// Keys keeps active keys in use at once: each gets a generator of its own from
// of, and a fresh key follows once that is over. Operations take the key's name
// unless they have one. Names are k0, k1, ...
func Keys(active int, of func(key int) Generator) Generator {
	k := keys{make: of, next: active}
	for i := range active {
		k.slots = append(k.slots, slot{i, of(i)})
	}
	return k
}

type slot struct {
	key int
	g   Generator
}

type keys struct {
	make  func(int) Generator
	slots []slot
	next  int
}

func (k keys) Next(c Context) (Step, Generator) {
	if len(k.slots) == 0 {
		return over(Step{})
	}
	first := c.Rand.IntN(len(k.slots))
	best := Step{}
	for n := range k.slots {
		i := (first + n) % len(k.slots)
		sl := k.slots[i]
		s, g := sl.g.Next(c)
		if s.Kind == Done {
			sl = slot{k.next, k.make(k.next)}
			k.next++
			s, g = sl.g.Next(c)
		}
		if s.Kind == Do {
			if s.Op.Key == "" {
				s.Op.Key = KeyName(sl.key)
			}
			k.slots = replaced(k.slots, i, slot{sl.key, g})
			return s, k
		}
		if n == 0 || sooner(s, best) {
			best = s
		}
	}
	return best, k
}

func (k keys) Update(c Context, e history.Op) Generator {
	for i, s := range k.slots {
		if KeyName(s.key) == e.Key {
			k.slots = replaced(k.slots, i, slot{s.key, updated(s.g, c, e)})
			return k
		}
	}
	return k
}

// KeyName is the name of the n-th key.
func KeyName(n int) string { return keyName(n) }
