// Package queue is the workload of first-in-first-out queues: every element is
// enqueued once, and in the end the queues are emptied.
package queue

import (
	"context"
	"fmt"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/online"
	"github.com/faultline-dev/faultline/checker/queue"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
)

// Queue is what a client must be able to do. Elements are int64.
type Queue interface {
	Enqueue(ctx context.Context, key string, element any) (history.Reply, error)
	// Dequeue takes the oldest element; nil where there is none.
	Dequeue(ctx context.Context, key string) (history.Reply, error)
}

// Workload is the queue workload.
func Workload() workloads.Workload {
	return workloads.Workload{
		Name: "queue",
		Doc:  "first-in-first-out queues: no element lost, taken twice, out of order, or from nowhere",
		Options: []options.Option{
			{Name: "ops-per-key", Kind: options.Int, Default: "0", Min: "0", Doc: "operations after which a fresh queue takes a queue's place; 0 for never"},
		},
		New: build,
	}
}

func build(p workloads.Params) (*workloads.Instance, error) {
	if _, ok := p.Opened.(Queue); !ok {
		return nil, fmt.Errorf("the workload queue needs a client with Enqueue and Dequeue; %T has not both of them", p.Opened)
	}
	n := p.Options.Int("ops-per-key")
	return &workloads.Instance{
		Main: generator.Keys(p.Keys, func(int) generator.Generator {
			if n > 0 {
				return generator.Limit(n, key{next: 1})
			}
			return key{next: 1}
		}),
		Final:     drain,
		Perform:   perform,
		Checkers:  []checker.Checker{queue.New(queue.Options{})},
		Online:    online.Queue().Add,
		Model:     "queue",
		Sometimes: []string{queue.Enqueue, queue.Dequeue},
	}, nil
}

// key generates the operations on one queue.
type key struct{ next int64 }

// Next implements generator.Generator.
func (k key) Next(c generator.Context) (generator.Step, generator.Generator) {
	op := history.Op{F: queue.Dequeue}
	if c.Rand.IntN(20) < 11 {
		op = history.Op{F: queue.Enqueue, Value: k.next}
		k.next++
	}
	return generator.Step{Kind: generator.Do, Op: op, At: c.Now}, k
}

// Update implements generator.Generator.
func (k key) Update(generator.Context, history.Op) generator.Generator { return k }

// drain empties every queue, by all workers together.
func drain(keys []string) generator.Generator {
	var all []generator.Generator
	for _, k := range keys {
		all = append(all, emptying{key: k})
	}
	return generator.Concat(all...)
}

// emptying dequeues until the queue was found empty, or too many tries failed.
type emptying struct {
	key    string
	empty  bool
	failed int
}

// maxFailures bounds the dequeues that fail while a queue is emptied.
const maxFailures = 200

// Next implements generator.Generator.
func (e emptying) Next(c generator.Context) (generator.Step, generator.Generator) {
	if e.empty || e.failed >= maxFailures {
		return generator.Step{}, e
	}
	return generator.Step{Kind: generator.Do, Op: history.Op{F: queue.Dequeue, Key: e.key}, At: c.Now}, e
}

// Update implements generator.Generator.
func (e emptying) Update(_ generator.Context, ev history.Op) generator.Generator {
	if ev.Key != e.key || ev.F != queue.Dequeue || ev.Type == history.Invoke {
		return e
	}
	if ev.Type != history.OK {
		e.failed++
	} else if ev.Value == nil {
		e.empty = true
	}
	return e
}

func perform(ctx context.Context, client any, op history.Op) (history.Reply, error) {
	q, ok := client.(Queue)
	if !ok {
		return history.Reply{}, history.Definite(fmt.Errorf("queue: %T has no queues", client))
	}
	switch op.F {
	case queue.Enqueue:
		r, err := q.Enqueue(ctx, op.Key, op.Value)
		r.Value = op.Value
		return r, err
	case queue.Dequeue:
		return q.Dequeue(ctx, op.Key)
	}
	return history.Reply{}, history.Definite(fmt.Errorf("queue: unknown operation %q", op.F))
}
