package generator

import (
	"slices"

	"github.com/faultline-dev/faultline/history"
)

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
