// Package register is the workload of many independent registers: reads, writes
// and compare-and-sets. Every value written to a key is written once, so that a
// read says which write it saw, and checking is near-linear.
package register

import (
	"context"
	"fmt"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/ladder"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
)

// The kinds of operation.
const (
	Read  = "read"
	Write = "write"
	CAS   = "cas"
)

// Store is what a client must be able to do. Values are int64; an absent key
// reads as nil.
type Store interface {
	Read(ctx context.Context, key string) (history.Reply, error)
	Write(ctx context.Context, key string, value any) (history.Reply, error)
	// CAS writes next if the register holds prev. If it does not, the error is
	// Definite; the reply says what was observed where comparison and observation
	// are one atomic step.
	CAS(ctx context.Context, key string, prev, next any) (history.Reply, error)
}

// Workload is the register workload.
func Workload() workloads.Workload {
	return workloads.Workload{
		Name: "register",
		Doc:  "reads, writes and compare-and-sets on many registers, each of which must be linearizable",
		Options: []options.Option{
			{Name: "ops-per-key", Kind: options.Int, Default: "0", Min: "0", Doc: "operations after which a fresh key takes a key's place; 0 for never"},
			{Name: "read", Kind: options.Int, Default: "2", Min: "1", Doc: "weight of reads in the mix"},
			{Name: "write", Kind: options.Int, Default: "1", Min: "1", Doc: "weight of writes in the mix"},
			{Name: "cas", Kind: options.Int, Default: "1", Min: "0", Doc: "weight of compare-and-sets in the mix"},
		},
		New: build,
	}
}

func build(p workloads.Params) (*workloads.Instance, error) {
	if _, ok := p.Opened.(Store); !ok {
		return nil, fmt.Errorf("the workload register needs a client with Read, Write and CAS; %T has not all of them", p.Opened)
	}
	weights := [3]int{p.Options.Int("read"), p.Options.Int("write"), p.Options.Int("cas")}
	limit := p.Options.Int("ops-per-key")
	// One worker at each node does nothing but read, so that a node which is cut
	// off is still asked while writes to it wait for their deadlines.
	readers := 0
	if p.Concurrency >= 2*len(p.Nodes) {
		readers = len(p.Nodes)
	}
	sometimes := []string{Read, Write}
	if weights[2] > 0 {
		sometimes = append(sometimes, CAS)
	}
	return &workloads.Instance{
		Main: generator.Keys(p.Keys, func(int) generator.Generator {
			g := generator.Generator(key{weights: weights, readers: readers, next: 1})
			if limit > 0 {
				g = generator.Limit(limit, g)
			}
			return g
		}),
		Final:   finalReads,
		Perform: perform,
		Pure:    func(f string) bool { return f == Read },

		Checkers: []checker.Checker{linear.New(linear.Options{
			Model: model.CASRegister(), Timeout: p.Budget.Time, Memory: p.Budget.Memory,
		})},
		Online:    online(),
		Measures:  []checker.Checker{ladder.New(ladder.Options{Timeout: p.Budget.Time, Memory: p.Budget.Memory})},
		Model:     "cas-register",
		Sometimes: sometimes,
	}, nil
}

// online judges the registers while the run goes on.
func online() func(history.Op) error {
	stream := linear.NewStream(0)
	return func(op history.Op) error {
		if a := stream.Add(op); a != nil {
			return fmt.Errorf("%s on %s", a.Name, a.Key)
		}
		return nil
	}
}

// finalReads reads every register by every worker, until all see the same.
func finalReads(keys []string) generator.Generator {
	reads := make([]history.Op, len(keys))
	for i, k := range keys {
		reads[i] = history.Op{F: Read, Key: k}
	}
	return workloads.Agreeing(reads)
}

// key generates the operations on one register.
type key struct {
	weights [3]int // read, write, cas
	readers int    // the first workers, who only read
	next    int64  // the next value to write
	last    any    // the newest value known to have been there, nil before
}

func (k key) Next(c generator.Context) (generator.Step, generator.Generator) {
	op := history.Op{}
	switch n := c.Rand.IntN(k.weights[0] + k.weights[1] + k.weights[2]); {
	case n < k.weights[0] || c.Worker < k.readers:
		op.F = Read
	case n < k.weights[0]+k.weights[1] || k.last == nil:
		op.F, op.Value = Write, k.next
		k.next++
	default:
		op.F, op.Value = CAS, []any{k.last, k.next}
		k.next++
	}
	return generator.Step{Kind: generator.Do, Op: op, At: c.Now}, k
}

// Update learns which value a compare-and-set has a chance with.
func (k key) Update(_ generator.Context, e history.Op) generator.Generator {
	switch {
	case e.Type == history.Fail && e.Observed != nil:
		k.last = e.Observed.Value
	case e.Type != history.OK || e.Value == nil:
	case e.F == CAS:
		if pair, ok := e.Value.([]any); ok && len(pair) == 2 {
			k.last = pair[1]
		}
	default:
		k.last = e.Value
	}
	return k
}

func perform(ctx context.Context, client any, op history.Op) (history.Reply, error) {
	store, ok := client.(Store)
	if !ok {
		return history.Reply{}, history.Definite(fmt.Errorf("register: %T is no register store", client))
	}
	switch op.F {
	case Read:
		return store.Read(ctx, op.Key)
	case Write:
		ctx = workloads.Stall(ctx) // a client that stands still just takes longer
		r, err := store.Write(ctx, op.Key, op.Value)
		r.Value = op.Value
		return r, err
	case CAS:
		pair, ok := op.Value.([]any)
		if !ok || len(pair) != 2 {
			return history.Reply{}, history.Definite(fmt.Errorf("register: a cas takes [old, new], not %v", op.Value))
		}
		r, err := store.CAS(ctx, op.Key, pair[0], pair[1])
		r.Value = op.Value
		return r, err
	}
	return history.Reply{}, history.Definite(fmt.Errorf("register: unknown operation %q", op.F))
}
