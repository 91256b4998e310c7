package workloads

import (
	"slices"

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
