// Package cache is the workload of keys that expire: they are set with and without
// a time to live, got, and deleted. Every set of a key writes a value of its own.
package cache

import (
	"context"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/cache"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
)

// Cache is what a client must be able to do.
type Cache interface {
	// CachePromise says what the system promises with the given options: that no
	// value goes before its time to live has passed (earliest), that none is got
	// after it (latest), how far either may be off, and how far apart the nodes'
	// clocks may be for that.
	CachePromise(o options.Values) (earliest, latest bool, tolerance, clocks time.Duration)
	// Set sets a key; a ttl of 0 is for ever.
	Set(ctx context.Context, key string, value any, ttl time.Duration) (history.Reply, error)
	// Get is the key's value, nil where there is none.
	Get(ctx context.Context, key string) (history.Reply, error)
	// Delete removes a key, which need not be there.
	Delete(ctx context.Context, key string) (history.Reply, error)
}

// Limiter is a Cache whose times to live are not of any length.
type Limiter interface {
	// CacheTTL is the time to live that the system can be asked for which comes
	// closest.
	CacheTTL(o options.Values, ttl time.Duration) time.Duration
}

// Workload is the cache workload.
func Workload() workloads.Workload {
	return workloads.Workload{
		Name: "cache",
		Doc:  "keys set with a time to live, got and deleted: none got after its expiry, missing before it, or back after it",
		Options: []options.Option{
			{Name: "ttl", Kind: options.Duration, Default: "400ms", Min: "10ms", Max: "10m", Doc: "the longest time to live; others are a half and a quarter of it, or for ever"},
			{Name: "ops-per-key", Kind: options.Int, Default: "120", Min: "10", Max: "100000", Doc: "operations after which a fresh key takes a key's place"},
		},
		New: build,
	}
}

func build(p workloads.Params) (*workloads.Instance, error) {
	c, ok := p.Opened.(Cache)
	if !ok {
		return nil, fmt.Errorf("the workload cache needs a client with Set, Get, Delete and CachePromise; %T has not all of them", p.Opened)
	}
	ttl, n := p.Options.Duration("ttl"), p.Options.Int("ops-per-key")
	if x, ok := p.Opened.(Limiter); ok {
		ttl = x.CacheTTL(p.System, ttl)
	}
	earliest, latest, tolerance, clocks := c.CachePromise(p.System)
	return &workloads.Instance{
		Main: generator.Keys(p.Keys, func(int) generator.Generator {
			// Its operations are spread over a few times to live, so that values expire
			// while they are looked at.
			return generator.Stagger(lives*ttl/time.Duration(n), generator.Limit(n, key{ttl: ttl, next: 1}))
		}),
		Final:   finalGets,
		Perform: perform,
		Pure:    func(f string) bool { return f == cache.Get },
		Checkers: []checker.Checker{cache.New(cache.Options{
			Earliest: earliest, Latest: latest, Tolerance: tolerance, Budget: p.Budget,
		})},
		Model:      "cache",
		Sometimes:  []string{cache.Set, cache.Get, cache.Delete},
		ClockBound: clocks,
	}, nil
}

// lives is how many times to live a key is in use for.
const lives = 6

// finalGets gets every key by every worker.
func finalGets(keys []string) generator.Generator {
	gets := make([]history.Op, len(keys))
	for i, k := range keys {
		gets[i] = history.Op{F: cache.Get, Key: k}
	}
	return workloads.Everybody(gets)
}

// key generates the operations on one key.
type key struct {
	ttl  time.Duration // the longest
	next int64         // the next value to set
}

// Next implements generator.Generator.
func (k key) Next(c generator.Context) (generator.Step, generator.Generator) {
	op := history.Op{F: cache.Get}
	switch n := c.Rand.IntN(8); {
	case n == 0 && k.next > 1:
		op.F = cache.Delete
	case n <= 2:
		ttl := []time.Duration{k.ttl / 4, k.ttl / 2, k.ttl, 0}[c.Rand.IntN(4)]
		op.F, op.Value = cache.Set, map[string]any{"v": k.next, "ttl_ns": int64(ttl)}
		k.next++
	}
	return generator.Step{Kind: generator.Do, Op: op, At: c.Now}, k
}

// Update implements generator.Generator.
func (k key) Update(generator.Context, history.Op) generator.Generator { return k }

func perform(ctx context.Context, client any, op history.Op) (history.Reply, error) {
	c, ok := client.(Cache)
	if !ok {
		return history.Reply{}, history.Definite(fmt.Errorf("cache: %T is no cache", client))
	}
	switch op.F {
	case cache.Get:
		return c.Get(ctx, op.Key)
	case cache.Set:
		m, _ := op.Value.(map[string]any)
		ttl, _ := m["ttl_ns"].(int64)
		reply, err := c.Set(ctx, op.Key, m["v"], time.Duration(ttl))
		reply.Value = op.Value
		return reply, err
	case cache.Delete:
		reply, err := c.Delete(ctx, op.Key)
		reply.Value = nil
		return reply, err
	}
	return history.Reply{}, history.Definite(fmt.Errorf("cache: unknown operation %q", op.F))
}
