// Package set is the workload of sets: elements are added once, some are removed,
// and they are asked for one by one, and all together where a system can.
package set

import (
	"context"
	"fmt"
	"slices"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/online"
	"github.com/faultline-dev/faultline/checker/set"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
)

// Set is what a client must be able to do. Elements are int64.
type Set interface {
	AddElement(ctx context.Context, key string, element any) (history.Reply, error)
	// RemoveElement removes one, which need not be there.
	RemoveElement(ctx context.Context, key string, element any) (history.Reply, error)
	// HasElement is true or false.
	HasElement(ctx context.Context, key string, element any) (history.Reply, error)
}

// Lister is a Set that can be read whole, at one moment.
type Lister interface {
	// Elements are all of them, as a []any of int64, in any order.
	Elements(ctx context.Context, key string) (history.Reply, error)
}

// Workload is the set workload.
func Workload() workloads.Workload {
	return workloads.Workload{
		Name: "set",
		Doc:  "elements added once, removed, and looked for: none lost, none that nobody added",
		Options: []options.Option{
			{Name: "elements", Kind: options.Int, Default: "20", Min: "2", Max: "100000", Doc: "elements added to a set before a fresh one takes its place"},
			{Name: "remove", Kind: options.Int, Default: "1", Min: "0", Max: "100", Doc: "weight of removes in the mix, in which adds have 4 and looks 5"},
		},
		New: build,
	}
}

func build(p workloads.Params) (*workloads.Instance, error) {
	if _, ok := p.Opened.(Set); !ok {
		return nil, fmt.Errorf("the workload set needs a client with AddElement, RemoveElement and HasElement; %T has not all of them", p.Opened)
	}
	_, lists := p.Opened.(Lister)
	n, remove := p.Options.Int("elements"), p.Options.Int("remove")
	sometimes := []string{set.Add, set.Contains}
	if lists {
		sometimes = append(sometimes, set.Read)
	}
	if remove > 0 {
		sometimes = append(sometimes, set.Remove)
	}
	return &workloads.Instance{
		Main: generator.Keys(p.Keys, func(int) generator.Generator {
			return key{elements: int64(n), remove: remove, lists: lists}
		}),
		Final:     func(keys []string) generator.Generator { return final(keys, int64(n), lists) },
		Perform:   perform,
		Pure:      func(f string) bool { return f == set.Contains || f == set.Read },
		Checkers:  []checker.Checker{set.New(set.Options{})},
		Online:    online.Set().Add,
		Model:     "set",
		Sometimes: sometimes,
	}, nil
}

// final reads every set whole by every worker; or asks, where that is not
// possible, for every element by whoever is free, and for one by everybody.
func final(keys []string, elements int64, lists bool) generator.Generator {
	var all, each []history.Op
	for _, k := range keys {
		if lists {
			each = append(each, history.Op{F: set.Read, Key: k})
			continue
		}
		each = append(each, history.Op{F: set.Contains, Key: k, Value: int64(1)})
		for e := int64(1); e <= elements; e++ {
			all = append(all, history.Op{F: set.Contains, Key: k, Value: e})
		}
	}
	return generator.Concat(workloads.Agreeing(each), workloads.Somebody(all))
}

// key generates the operations on one set. Elements are 1, 2, ...
type key struct {
	elements int64
	remove   int
	lists    bool
	added    int64   // so many were handed out
	removed  []int64 // sorted
}

// Next implements generator.Generator.
func (k key) Next(c generator.Context) (generator.Step, generator.Generator) {
	op := history.Op{F: set.Contains}
	switch n := c.Rand.IntN(9 + k.remove); {
	case n < 4 || k.added == 0:
		if k.added == k.elements {
			return generator.Step{}, k
		}
		k.added++
		op.F, op.Value = set.Add, k.added
	case n == 4 && k.lists:
		op.F = set.Read
	case n < 9:
		op.Value = 1 + c.Rand.Int64N(k.added)
	default:
		e := 1 + c.Rand.Int64N(k.added)
		op.F, op.Value = set.Remove, e
		if i, found := slices.BinarySearch(k.removed, e); found {
			op.F = set.Contains // once is enough
		} else {
			k.removed = slices.Insert(slices.Clone(k.removed), i, e)
		}
	}
	return generator.Step{Kind: generator.Do, Op: op, At: c.Now}, k
}

// Update implements generator.Generator.
func (k key) Update(generator.Context, history.Op) generator.Generator { return k }

func perform(ctx context.Context, client any, op history.Op) (history.Reply, error) {
	s, ok := client.(Set)
	if !ok {
		return history.Reply{}, history.Definite(fmt.Errorf("set: %T has no sets", client))
	}
	switch op.F {
	case set.Add:
		r, err := s.AddElement(ctx, op.Key, op.Value)
		r.Value = op.Value
		return r, err
	case set.Remove:
		r, err := s.RemoveElement(ctx, op.Key, op.Value)
		r.Value = op.Value
		return r, err
	case set.Contains:
		return s.HasElement(ctx, op.Key, op.Value)
	case set.Read:
		l, ok := client.(Lister)
		if !ok {
			return history.Reply{}, history.Definite(fmt.Errorf("set: %T cannot list a set", client))
		}
		r, err := l.Elements(ctx, op.Key)
		if list, ok := r.Value.([]any); ok {
			slices.SortFunc(list, func(a, b any) int {
				x, _ := a.(int64)
				y, _ := b.(int64)
				return int(x - y)
			})
		}
		return r, err
	}
	return history.Reply{}, history.Definite(fmt.Errorf("set: unknown operation %q", op.F))
}
