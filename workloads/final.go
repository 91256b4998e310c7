package workloads

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
)

// finalTries bounds how often an operation after the last heal is tried again.
const finalTries = 20

// Everybody lets every worker perform each of ops until it succeeds, or has failed
// too often. It is for final reads: each node is asked by the workers at it.
func Everybody(ops []history.Op) generator.Generator { return everybody{ops: ops} }

type everybody struct {
	ops []history.Op
	at  []cursor // by worker
}

type cursor struct{ next, tries int }

func (e everybody) of(worker int) cursor {
	if worker < len(e.at) {
		return e.at[worker]
	}
	return cursor{}
}

// Next implements generator.Generator.
func (e everybody) Next(c generator.Context) (generator.Step, generator.Generator) {
	if at := e.of(c.Worker); at.next < len(e.ops) {
		return generator.Step{Kind: generator.Do, Op: e.ops[at.next], At: c.Now}, e
	}
	return generator.Step{}, e
}

// Update implements generator.Generator.
func (e everybody) Update(c generator.Context, ev history.Op) generator.Generator {
	at := e.of(c.Worker)
	if ev.Type == history.Invoke || at.next >= len(e.ops) || !same(e.ops[at.next], ev) {
		return e
	}
	at.tries++
	if ev.Type == history.OK || at.tries >= finalTries {
		at = cursor{next: at.next + 1}
	}
	e.at = slices.Clone(e.at)
	for len(e.at) <= c.Worker {
		e.at = append(e.at, cursor{})
	}
	e.at[c.Worker] = at
	return e
}

// Agreeing is Everybody for reads after the last write: what not all workers saw
// alike is read again by all, every agreePause for at most agreeWithin, so that nodes
// that lag behind do not count as ones that never agree.
func Agreeing(reads []history.Op) generator.Generator {
	return agreeing{round: everybody{ops: reads}, shown: make([][]any, len(reads))}
}

const (
	agreePause  = 100 * time.Millisecond
	agreeWithin = 5 * time.Second
)

type agreeing struct {
	round  everybody
	shown  [][]any       // by operation of the round, what was seen
	from   time.Duration // when the round begins
	ended  time.Duration // when the last operation of it did
	giveUp time.Duration // 0 in the first round
}

// Next implements generator.Generator.
func (a agreeing) Next(c generator.Context) (generator.Step, generator.Generator) {
	if at := a.round.of(c.Worker); at.next < len(a.round.ops) {
		return generator.Step{Kind: generator.Do, Op: a.round.ops[at.next], At: max(c.Now, a.from)}, a
	}
	for w := range c.Workers {
		if a.round.of(w).next < len(a.round.ops) {
			return generator.Step{Kind: generator.Wait}, a
		}
	}
	var open []history.Op
	for i, seen := range a.shown {
		if slices.ContainsFunc(seen, func(v any) bool { return !reflect.DeepEqual(v, seen[0]) }) {
			open = append(open, a.round.ops[i])
		}
	}
	if len(open) == 0 || a.giveUp > 0 && a.ended >= a.giveUp {
		return generator.Step{}, a
	}
	next := agreeing{
		round: everybody{ops: open}, shown: make([][]any, len(open)),
		from: a.ended + agreePause, giveUp: cmp.Or(a.giveUp, a.ended+agreeWithin),
	}
	return next.Next(c)
}

// Update implements generator.Generator.
func (a agreeing) Update(c generator.Context, ev history.Op) generator.Generator {
	at := a.round.of(c.Worker)
	if ev.Type == history.Invoke || at.next >= len(a.round.ops) || !same(a.round.ops[at.next], ev) {
		return a
	}
	a.ended = c.Now
	if ev.Type == history.OK {
		a.shown = slices.Clone(a.shown)
		a.shown[at.next] = append(slices.Clip(a.shown[at.next]), ev.Value)
	}
	a.round, _ = a.round.Update(c, ev).(everybody)
	return a
}

func same(a, b history.Op) bool { return a.F == b.F && a.Key == b.Key }

// Somebody performs each of ops until it succeeds, or has failed too often, by
// whichever worker is free.
func Somebody(ops []history.Op) generator.Generator { return somebody{ops: ops} }

type somebody struct {
	ops  []history.Op
	next int
	busy []task // by worker
	redo []task // failed, to be tried again
}

// task is the n-th operation, 0 for none, and how often it was tried.
type task struct{ n, tries int }

// Next implements generator.Generator.
func (s somebody) Next(c generator.Context) (generator.Step, generator.Generator) {
	var t task
	switch {
	case len(s.redo) > 0:
		t, s.redo = s.redo[0], s.redo[1:]
	case s.next < len(s.ops):
		s.next++
		t = task{n: s.next}
	default:
		// What others are at may fail yet; then they try it again themselves.
		return generator.Step{}, s
	}
	s.busy = slices.Clone(s.busy)
	for len(s.busy) <= c.Worker {
		s.busy = append(s.busy, task{})
	}
	s.busy[c.Worker] = t
	return generator.Step{Kind: generator.Do, Op: s.ops[t.n-1], At: c.Now}, s
}

// Update implements generator.Generator.
func (s somebody) Update(c generator.Context, ev history.Op) generator.Generator {
	if ev.Type == history.Invoke || c.Worker >= len(s.busy) || s.busy[c.Worker].n == 0 {
		return s
	}
	t := s.busy[c.Worker]
	s.busy = slices.Clone(s.busy)
	s.busy[c.Worker] = task{}
	if t.tries++; ev.Type != history.OK && t.tries < finalTries {
		s.redo = append(slices.Clip(s.redo), t)
	}
	return s
}
