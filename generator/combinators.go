package generator

import (
	"slices"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// none is a generator that is over.
type none struct{}

func (none) Next(Context) (Step, Generator) { return Step{}, none{} }

func (n none) Update(Context, history.Op) Generator { return n }

func over(s Step) (Step, Generator) { return s, none{} }

func do(op history.Op, at time.Duration) Step { return Step{Kind: Do, Op: op, At: at} }

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
