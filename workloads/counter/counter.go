// Package counter is the workload of counters: they are increased and decreased,
// and read.
package counter

import (
	"context"
	"fmt"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/counter"
	"github.com/faultline-dev/faultline/checker/online"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
)

// Counter is what a client must be able to do.
type Counter interface {
	// Increment adds n, which may be negative, in one atomic step.
	Increment(ctx context.Context, key string, n int64) (history.Reply, error)
	// Count is the counter's value, an int64, or nil for one never touched.
	Count(ctx context.Context, key string) (history.Reply, error)
}

// Workload is the counter workload.
func Workload() workloads.Workload {
	return workloads.Workload{
		Name: "counter",
		Doc:  "counters increased, decreased and read: every read within what the adds before it allow",
		Options: []options.Option{
			{Name: "ops-per-key", Kind: options.Int, Default: "500", Min: "10", Max: "1000000", Doc: "operations after which a fresh counter takes a counter's place"},
			{Name: "decrements", Kind: options.Bool, Default: "true", Doc: "whether some adds are negative"},
		},
		New: build,
	}
}

func build(p workloads.Params) (*workloads.Instance, error) {
	if _, ok := p.Opened.(Counter); !ok {
		return nil, fmt.Errorf("the workload counter needs a client with Increment and Count; %T has not both of them", p.Opened)
	}
	n, down := p.Options.Int("ops-per-key"), p.Options.Bool("decrements")
	op := func(c generator.Context) history.Op {
		switch x := c.Rand.IntN(4); {
		case x < 2:
			return history.Op{F: counter.Read}
		case x == 2 && down && c.Rand.IntN(2) == 0:
			return history.Op{F: counter.Add, Value: -1 - c.Rand.Int64N(5)}
		}
		return history.Op{F: counter.Add, Value: 1 + c.Rand.Int64N(5)}
	}
	return &workloads.Instance{
		Main: generator.Keys(p.Keys, func(int) generator.Generator {
			return generator.Limit(n, generator.Func(op))
		}),
		Final:     final,
		Perform:   perform,
		Pure:      func(f string) bool { return f == counter.Read },
		Checkers:  []checker.Checker{counter.New(counter.Options{})},
		Online:    online.Counter().Add,
		Model:     "counter",
		Sometimes: []string{counter.Add, counter.Read},
	}, nil
}

// final reads every counter by every worker.
func final(keys []string) generator.Generator {
	reads := make([]history.Op, len(keys))
	for i, k := range keys {
		reads[i] = history.Op{F: counter.Read, Key: k}
	}
	return workloads.Agreeing(reads)
}

func perform(ctx context.Context, client any, op history.Op) (history.Reply, error) {
	s, ok := client.(Counter)
	if !ok {
		return history.Reply{}, history.Definite(fmt.Errorf("counter: %T has no counters", client))
	}
	switch op.F {
	case counter.Add:
		n, ok := op.Value.(int64)
		if !ok {
			return history.Reply{}, history.Definite(fmt.Errorf("counter: an add takes a whole number, not %v", op.Value))
		}
		r, err := s.Increment(ctx, op.Key, n)
		r.Value = op.Value
		return r, err
	case counter.Read:
		return s.Count(ctx, op.Key)
	}
	return history.Reply{}, history.Definite(fmt.Errorf("counter: unknown operation %q", op.F))
}
