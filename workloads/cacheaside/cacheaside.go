// Package cacheaside is the workload of a store behind a cache that the application
// keeps: reads ask the cache and fill it from the store where it has nothing, writes
// go to the store and then see to the cache, as the strategy says. Every write of a
// key has a value of its own.
package cacheaside

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/cacheaside"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
)

// The strategies.
const (
	writeThrough = "write-through"
	invalidate   = "invalidate"
	leases       = "lease"
)

// Store is what a client of the store must be able to do. Values are int64; an
// absent key reads as nil.
type Store interface {
	Read(ctx context.Context, key string) (history.Reply, error)
	Write(ctx context.Context, key string, value any) (history.Reply, error)
}

// Cache is what a client of the cache must be able to do.
type Cache interface {
	Store
	// CAS writes next if the key holds prev, and says at the same moment what it holds
	// otherwise (history.Reply.Observed), with a Definite error.
	CAS(ctx context.Context, key string, prev, next any) (history.Reply, error)
	Delete(ctx context.Context, key string) (history.Reply, error)
}

// Layered is a client that has a cache and a store apart. One that is no Layered is
// both, under different keys.
type Layered interface {
	Layers() (cache, store any)
}

// Workload is the cache-aside workload.
func Workload() workloads.Workload {
	return workloads.Workload{
		Name: "cache-aside",
		Doc:  "reads and writes of a store through a cache that the clients keep; judged for stale reads, and for caches that stay stale",
		Options: []options.Option{
			{
				Name: "strategy", Kind: options.String, Default: invalidate, Values: []string{writeThrough, invalidate, leases},
				Doc: "what a write does to the cache: write-through sets the value, invalidate deletes it, lease deletes it and lets only who missed first since then fill it",
			},
			{Name: "ops-per-key", Kind: options.Int, Default: "200", Min: "10", Max: "100000", Doc: "operations after which a fresh key takes a key's place"},
		},
		New: build,
	}
}

func build(p workloads.Params) (*workloads.Instance, error) {
	if _, _, err := layers(p.Opened); err != nil {
		return nil, err
	}
	s := strategy(p.Options.String("strategy"))
	limit := p.Options.Int("ops-per-key")
	return &workloads.Instance{
		Main:      generator.Keys(p.Keys, func(int) generator.Generator { return generator.Limit(limit, key{next: 1}) }),
		Final:     final,
		Perform:   s.perform,
		Pure:      func(f string) bool { return f != cacheaside.Write },
		Checkers:  []checker.Checker{cacheaside.New(cacheaside.Options{})},
		Model:     "cache-aside",
		Sometimes: []string{cacheaside.Read, cacheaside.Write},
	}, nil
}

// layers are the client of the cache and that of the store.
func layers(client any) (Cache, Store, error) {
	upper, lower := client, client
	if l, ok := client.(Layered); ok {
		upper, lower = l.Layers()
	}
	c, isCache := upper.(Cache)
	s, isStore := lower.(Store)
	if !isCache || !isStore {
		return nil, nil, fmt.Errorf("the workload cache-aside needs a cache with Read, Write, CAS and Delete and a store with Read and Write; %T and %T are not", upper, lower)
	}
	return c, s, nil
}

// final asks the store for every key once, and then the cache, by every worker.
func final(keys []string) generator.Generator {
	var loads, reads []history.Op
	for _, k := range keys {
		loads = append(loads, history.Op{F: cacheaside.Load, Key: k})
		reads = append(reads, history.Op{F: cacheaside.Read, Key: k})
	}
	return generator.Concat(workloads.Somebody(loads), workloads.Everybody(reads))
}

// key generates the operations on one key.
type key struct{ next int64 }

// Next implements generator.Generator.
func (k key) Next(c generator.Context) (generator.Step, generator.Generator) {
	op := history.Op{F: cacheaside.Read}
	if c.Rand.IntN(4) == 0 || k.next == 1 {
		op.F, op.Value = cacheaside.Write, k.next
		k.next++
	}
	return generator.Step{Kind: generator.Do, Op: op, At: c.Now}, k
}

// Update implements generator.Generator.
func (k key) Update(generator.Context, history.Op) generator.Generator { return k }

// strategy is how the cache is kept.
type strategy string

func (s strategy) perform(ctx context.Context, client any, op history.Op) (history.Reply, error) {
	cache, store, err := layers(client)
	if err != nil {
		return history.Reply{}, history.Definite(err)
	}
	switch op.F {
	case cacheaside.Read:
		v, err := s.read(ctx, cache, store, op)
		return history.Reply{Value: v}, err
	case cacheaside.Write:
		return s.write(ctx, cache, store, op.Key, op.Value)
	case cacheaside.Load:
		return store.Read(ctx, stored(op.Key))
	}
	return history.Reply{}, history.Definite(fmt.Errorf("cache-aside: unknown operation %q", op.F))
}

// The names of a key in the cache and in the store, which may be one system.
func cached(key string) string { return key + "~cached" }
func stored(key string) string { return key + "~stored" }

// write writes to the store, and then sees to the cache. Once the store has it, a
// failure leaves the fate of the operation open.
func (s strategy) write(ctx context.Context, cache Cache, store Store, key string, v any) (history.Reply, error) {
	r, err := store.Write(ctx, stored(key), v)
	if err != nil {
		return history.Reply{}, err
	}
	ctx = workloads.Stall(ctx)
	if s == writeThrough {
		_, err = cache.Write(ctx, cached(key), v)
	} else {
		_, err = cache.Delete(ctx, cached(key))
	}
	if err != nil {
		return history.Reply{}, fmt.Errorf("the store has it, the cache was not told: %s", err.Error())
	}
	return history.Reply{Value: v, Version: r.Version}, nil
}

// read asks the cache, and fills it from the store where it has nothing.
func (s strategy) read(ctx context.Context, cache Cache, store Store, op history.Op) (any, error) {
	key := op.Key
	if s == leases {
		return leased{cache, store, key, leaseOf(op)}.read(ctx)
	}
	hit, err := cache.Read(ctx, cached(key))
	if err != nil || hit.Value != nil {
		return hit.Value, err
	}
	r, err := store.Read(ctx, stored(key))
	if err != nil || r.Value == nil {
		return nil, err
	}
	ctx = workloads.Stall(ctx)
	_, err = cache.Write(ctx, cached(key), r.Value)
	return r.Value, err
}

// leased reads as memcached does at Facebook (Nishtala et al., "Scaling Memcache at
// Facebook", 2013, §3.2.1): who misses first is given a lease, and only the lease
// lets it fill the cache. A delete takes the lease away as well, so that a value
// read before a write cannot come after it; others wait for the one who has it.
//
// While it is leased a key holds the lease, a negative number.
type leased struct {
	cache Cache
	store Store
	key   string
	lease int64 // the first that this read may take; leaseTries of them are its own
}

const (
	// leasePolls is how often somebody else's lease is looked at, every leasePoll,
	// before it is taken over: its holder may be dead.
	leasePolls = 10
	leasePoll  = 10 * time.Millisecond
	// leaseTries bounds how often a read starts anew because its lease was taken away.
	leaseTries = 100
)

// leaseOf is a number that no other read counts from: a process does one operation
// at a time, which takes longer than a microsecond.
func leaseOf(op history.Op) int64 {
	const processes = 1 << 17
	return (op.Time.Microseconds()*processes+int64(op.Process)%processes)*leaseTries + 1
}

// errLeases is a read that lost its lease again and again.
var errLeases = errors.New("cache-aside: the lease was taken away again and again")

func (l leased) read(ctx context.Context) (any, error) {
	holds, polls := any(nil), 0
	for try := range int64(leaseTries) {
		hit, err := l.cache.Read(ctx, cached(l.key))
		if err != nil {
			return nil, err
		}
		n, _ := hit.Value.(int64)
		switch {
		case n > 0:
			return n, nil
		case hit.Value != nil && (hit.Value != holds || polls < leasePolls):
			if hit.Value != holds {
				holds, polls = hit.Value, 0
			}
			polls++
			if err := workloads.Sleep(ctx, leasePoll); err != nil {
				return nil, err
			}
			continue
		}
		v, done, err := l.fill(ctx, hit.Value, -(l.lease + try))
		if done || err != nil {
			return v, err
		}
	}
	return nil, errLeases
}

// fill takes the lease in place of what the cache holds, reads the store, and hands
// in what it found. Not done means that somebody else was there in between.
func (l leased) fill(ctx context.Context, held any, lease int64) (v any, done bool, err error) {
	if seen, err := l.cache.CAS(ctx, cached(l.key), held, lease); err != nil {
		return nil, false, unlessSeen(seen, err)
	}
	r, err := l.store.Read(ctx, stored(l.key))
	if err != nil || r.Value == nil {
		return nil, err == nil, err
	}
	ctx = workloads.Stall(ctx)
	if seen, err := l.cache.CAS(ctx, cached(l.key), lease, r.Value); err != nil {
		return nil, false, unlessSeen(seen, err)
	}
	return r.Value, true, nil
}

// unlessSeen is nil for a compare-and-set that only found another value.
func unlessSeen(r history.Reply, err error) error {
	if r.Observed == nil {
		return err
	}
	return nil
}
