// Package workloadtest holds the tests that every workload must pass: its
// operations, one after the other on a correct system, are valid; on a system that
// breaks a rule the anomaly is found by its name; and no completion, whatever it
// is, disturbs its generator.
package workloadtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
)

// Clock is what a system in memory tells the time by.
type Clock struct{ now time.Duration }

// Now is the time since the start.
func (c *Clock) Now() time.Duration { return c.now }

// Kit is what the tests need of a workload.
type Kit struct {
	Workload workloads.Workload
	Options  map[string]string // the workload's
	System   options.Values    // the system's
	// Open makes a correct system, which all clients share.
	Open func(*Clock) any
	// Broken are systems that break a rule, by the anomaly that must be found.
	Broken map[string]func(*Clock) any
	// Steps is how many operations a run has; 2000 unless set.
	Steps int
}

const (
	workers = 5
	keys    = 2
	tick    = time.Millisecond
)

// Run is the whole kit.
func Run(t *testing.T, k Kit) {
	t.Helper()
	if k.Steps == 0 {
		k.Steps = 2000
	}
	t.Run("serial is valid", func(t *testing.T) {
		for seed := range uint64(5) {
			for _, r := range k.judge(t, k.Open, seed, 0) {
				if r.Verdict != checker.Valid {
					t.Errorf("seed %d: %v: %s %v", seed, r.Verdict, r.Reason, r.Anomalies)
				}
			}
		}
	})
	t.Run("lost answers are no alarm", func(t *testing.T) {
		for seed := range uint64(5) {
			for _, r := range k.judge(t, k.Open, seed, 8) {
				if r.Verdict == checker.Invalid {
					t.Errorf("seed %d: %v", seed, r.Anomalies)
				}
			}
		}
	})
	for name, open := range k.Broken {
		t.Run("finds "+name, func(t *testing.T) { k.finds(t, name, open) })
	}
	t.Run("imperfect", func(t *testing.T) {
		i := k.instance(t, k.Open(&Clock{}))
		generator.Simulate(i.Main, workers, 1, k.Steps, generator.Imperfect)
		if i.Final != nil {
			generator.Simulate(i.Final([]string{"k0", "k1"}), workers, 1, k.Steps, generator.Imperfect)
		}
	})
	t.Run("a client that can do nothing is refused", func(t *testing.T) {
		if _, err := k.Workload.New(k.params(t, struct{}{})); err == nil {
			t.Error("a client without methods was taken")
		}
	})
}

func (k Kit) finds(t *testing.T, name string, open func(*Clock) any) {
	t.Helper()
	for seed := range uint64(20) {
		for _, r := range k.judge(t, open, seed, 0) {
			if slices.ContainsFunc(r.Anomalies, func(a checker.Anomaly) bool { return a.Name == name }) {
				return
			}
		}
	}
	t.Errorf("20 seeds do not show it")
}

func (k Kit) params(t *testing.T, opened any) workloads.Params {
	t.Helper()
	own, err := options.Resolve(k.Workload.Options, k.Options)
	if err != nil {
		t.Fatal(err)
	}
	return workloads.Params{
		Options: own, System: k.System, Keys: keys, Concurrency: workers, Nodes: []string{"n1"}, Opened: opened,
		Budget: checker.Budget{Time: 10 * time.Second},
	}
}

func (k Kit) instance(t *testing.T, opened any) *workloads.Instance {
	t.Helper()
	i, err := k.Workload.New(k.params(t, opened))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// judge performs a run, one operation after the other, and has it checked. Of every
// lose answers one is lost after the operation was done; 0 for none.
func (k Kit) judge(t *testing.T, open func(*Clock) any, seed uint64, lose int) []checker.Result {
	t.Helper()
	clock := &Clock{}
	client := open(clock)
	i := k.instance(t, client)
	s := &serial{i: i, client: client, clock: clock, lose: lose, rng: rand.New(rand.NewPCG(seed, 1))}
	for w := range workers {
		s.process = append(s.process, history.Process(w))
	}
	s.run(i.Main, k.Steps)
	if i.Final != nil {
		s.run(i.Final(s.keys), 10*k.Steps)
	}
	h, err := history.Of(s.events...)
	if err != nil {
		t.Fatal(err)
	}
	var results []checker.Result
	for _, c := range i.Checkers {
		results = append(results, c.Check(t.Context(), h))
	}
	return results
}

// serial is a run of one operation at a time.
type serial struct {
	i       *workloads.Instance
	client  any
	clock   *Clock
	lose    int
	rng     *rand.Rand
	process []history.Process
	events  []history.Op
	keys    []string
}

// run takes steps from g until it is over or there were enough.
func (s *serial) run(g generator.Generator, steps int) {
	done := make([]bool, workers)
	for n := 0; n < steps && slices.Contains(done, false); {
		w := s.rng.IntN(workers)
		c := generator.Context{Now: s.clock.now, Worker: w, Workers: workers, Process: s.process[w], Rand: s.rng}
		step, next := g.Next(c)
		switch step.Kind {
		case generator.Done:
			done[w] = true
			continue
		case generator.Wait:
			s.clock.now += tick
			continue
		case generator.Do:
		}
		n++
		s.clock.now = max(s.clock.now, step.At) + tick
		op := step.Op
		op.Process, op.Type, op.Time = c.Process, history.Invoke, s.clock.now
		s.events = append(s.events, op)
		if !slices.Contains(s.keys, op.Key) {
			s.keys = append(s.keys, op.Key)
		}
		g = next.Update(c, op)
		op = s.perform(op)
		s.events = append(s.events, op)
		c.Now = s.clock.now
		g = g.Update(c, op)
		if op.Type == history.Info {
			s.process[w] += workers
		}
	}
}

var errAnswer = errors.New("the answer was lost")

func (s *serial) perform(op history.Op) history.Op {
	reply, err := s.i.Perform(context.Background(), s.client, op)
	if err == nil && s.lose > 0 && s.rng.IntN(s.lose) == 0 {
		err = errAnswer
	}
	s.clock.now += tick
	op.Time, op.Type = s.clock.now, history.TypeOf(err)
	switch {
	case op.Type == history.OK:
		op.Value = reply.Value
	case op.Type == history.Info && s.i.Pure != nil && s.i.Pure(op.F):
		op.Type = history.Fail
	}
	if op.Type != history.Info {
		op.Observed = reply.Observed
	}
	return op
}
