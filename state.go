package faultline

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/workloads"
)

// problems are reasons why a run shows less than it was asked to.
type problems struct {
	mu    sync.Mutex
	texts []string
}

// add takes a reason for which the run cannot be valid.
func (p *problems) add(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.texts = append(p.texts, text)
}

func (p *problems) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.texts, "; ")
}

// activeFaults knows which faults act, from their own events.
type activeFaults struct {
	mu    sync.Mutex
	items []activeFault
}

type activeFault struct{ id, name string }

func (a *activeFaults) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n []string
	for _, f := range a.items {
		n = append(n, f.name)
	}
	return n
}

func (a *activeFaults) see(op history.Op) {
	v, _ := op.Value.(map[string]any)
	id, _ := v["id"].(string)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch v["phase"] {
	case "start":
		if !slices.ContainsFunc(a.items, func(f activeFault) bool { return f.id == id }) {
			a.items = append(a.items, activeFault{id, op.F})
		}
	case "heal":
		a.items = slices.DeleteFunc(a.items, func(f activeFault) bool { return f.id == id })
	}
}

// stall holds workers up between a check and the step that relies on it, for as
// long as faults want them to stand still. It implements nemesis.Staller.
type stall struct {
	mu    sync.Mutex
	ids   map[string]*stallCount // holding now
	ended map[string]int         // sums of those that were released
}

type stallCount struct{ now, sum int }

// Stall implements nemesis.Staller.
func (s *stall) Stall(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids, s.ended = map[string]*stallCount{}, map[string]int{}
	}
	if s.ids[id] == nil {
		s.ids[id] = &stallCount{}
	}
}

// Release implements nemesis.Staller.
func (s *stall) Release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.ids[id]; c != nil {
		s.ended[id] += c.sum
		delete(s.ids, id)
	}
}

// Stalled implements nemesis.Staller.
func (s *stall) Stalled(id string) (now, sum int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.ids[id]; c != nil {
		return c.now, c.sum + s.ended[id]
	}
	return 0, s.ended[id]
}

// enter counts a worker in with every fault that holds it, and returns how to
// count it out; nil if none does.
func (s *stall) enter() (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held []*stallCount
	for _, c := range s.ids {
		c.now++
		c.sum++
		held = append(held, c)
	}
	if held == nil {
		return nil
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range held {
			c.now--
		}
	}
}

func (s *stall) holding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids) > 0
}

// stallPoll is how soon a worker notices that it may go on.
const stallPoll = 20 * time.Millisecond

// context makes ctx one under which the workload's stall points work. A stalled
// client does not notice its deadlines, so the step after gets a fresh one of
// limit. The returned function frees what the stalls left.
func (s *stall) context(run context.Context, rt cluster.Runtime, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := rt.WithTimeout(run, limit)
	cancels := []context.CancelFunc{cancel}
	run = workloads.WithSleep(run, rt.Sleep)
	ctx = workloads.WithStall(workloads.WithSleep(ctx, rt.Sleep), func(ctx context.Context) context.Context {
		leave := s.enter()
		if leave == nil {
			return ctx
		}
		defer leave()
		for s.holding() && rt.Sleep(run, stallPoll) == nil {
		}
		fresh, cancel := rt.WithTimeout(run, limit)
		cancels = append(cancels, cancel)
		return fresh
	})
	return ctx, func() {
		for _, c := range cancels {
			c()
		}
	}
}
