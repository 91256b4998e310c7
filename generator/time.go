package generator

import (
	"time"

	"github.com/faultline-dev/faultline/history"
)

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
