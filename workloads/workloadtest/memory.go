package workloadtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// Memory is a system that can do everything, correctly unless told otherwise.
type Memory struct {
	Clock *Clock
	Break Break

	cells  map[string]*cell
	locks  map[string]*lock
	queues map[string][]any
	n      int // operations so far
}

// Break is what a Memory does wrong.
type Break struct {
	GrantHeld   bool // grants a lock that is held
	SameToken   bool // gives every holder one token
	NoFence     bool // takes writes under any token
	KeepExpired bool // gives values after their time
	EvictEarly  bool // forgets values before their time
	KeepDeleted bool // does not delete
	LoseSome    bool // forgets every seventh write that it acknowledged
	TwiceSome   bool // gives every seventh element of a queue twice
	Stack       bool // gives the newest element of a queue first
	Promise     string
}

type cell struct {
	value   any
	expires time.Duration // 0 for never
}

type lock struct {
	owner string
	token int64
	until time.Duration
}

// Open makes a Memory with what is broken.
func Open(b Break) func(*Clock) any {
	return func(c *Clock) any {
		return &Memory{Clock: c, Break: b, cells: map[string]*cell{}, locks: map[string]*lock{}, queues: map[string][]any{}}
	}
}

// Read is the register workload's.
func (m *Memory) Read(_ context.Context, key string) (history.Reply, error) {
	c := m.cells[key]
	if c == nil || c.expires > 0 && m.Clock.Now() >= c.expires && !m.Break.KeepExpired {
		return history.Reply{}, nil
	}
	if m.Break.EvictEarly && c.expires > 0 && m.Clock.Now() >= c.expires-c.expires/10 {
		return history.Reply{}, nil
	}
	return history.Reply{Value: c.value}, nil
}

// forgets says whether this write is lost.
func (m *Memory) forgets() bool {
	m.n++
	return m.Break.LoseSome && m.n%7 == 0
}

// Write is the register workload's.
func (m *Memory) Write(ctx context.Context, key string, v any) (history.Reply, error) {
	return m.Set(ctx, key, v, 0)
}

// CAS is the register workload's.
func (m *Memory) CAS(ctx context.Context, key string, prev, next any) (history.Reply, error) {
	if r, _ := m.Read(ctx, key); r.Value != prev {
		return history.Reply{Observed: &history.Seen{Value: r.Value}}, history.Definite(errors.New("another value"))
	}
	return m.Write(ctx, key, next)
}

// CachePromise is the cache workload's.
func (*Memory) CachePromise(options.Values) (earliest, latest bool, tolerance, clocks time.Duration) {
	return true, true, 2 * time.Millisecond, 0
}

// Set is the cache workload's.
func (m *Memory) Set(_ context.Context, key string, v any, ttl time.Duration) (history.Reply, error) {
	if m.forgets() {
		return history.Reply{}, nil
	}
	c := &cell{value: v}
	if ttl > 0 {
		c.expires = m.Clock.Now() + ttl
	}
	m.cells[key] = c
	return history.Reply{}, nil
}

// Get is the cache workload's.
func (m *Memory) Get(ctx context.Context, key string) (history.Reply, error) { return m.Read(ctx, key) }

// Delete is the cache workload's.
func (m *Memory) Delete(_ context.Context, key string) (history.Reply, error) {
	if !m.Break.KeepDeleted {
		delete(m.cells, key)
	}
	return history.Reply{}, nil
}

// LockPromise is the lock workload's.
func (m *Memory) LockPromise(options.Values) (promise string, clocks time.Duration) {
	return m.Break.Promise, 0
}

// Acquire is the lock workload's.
func (m *Memory) Acquire(_ context.Context, key, owner string, ttl time.Duration) (history.Reply, error) {
	l := m.locks[key]
	if l == nil {
		l = &lock{}
		m.locks[key] = l
	}
	if l.owner != "" && m.Clock.Now() < l.until && !m.Break.GrantHeld {
		return history.Reply{}, history.Definite(errors.New("held"))
	}
	if !m.Break.SameToken || l.token == 0 {
		l.token++
	}
	l.owner, l.until = owner, m.Clock.Now()+ttl
	return history.Reply{Value: map[string]any{"owner": owner, "token": l.token, "lease_ns": int64(ttl)}}, nil
}

// Release is the lock workload's.
func (m *Memory) Release(_ context.Context, key, owner string, _ int64) (history.Reply, error) {
	l := m.locks[key]
	if l.owner != owner {
		return history.Reply{Observed: &history.Seen{Value: l.owner}}, history.Definite(errors.New("not held"))
	}
	l.owner = ""
	return history.Reply{}, nil
}

// Load is the lock workload's.
func (m *Memory) Load(ctx context.Context, key string) (history.Reply, error) {
	return m.Read(ctx, key+"~data")
}

// Store is the lock workload's.
func (m *Memory) Store(ctx context.Context, key string, v any, _ string, token int64) (history.Reply, error) {
	if token < m.locks[key].token && !m.Break.NoFence {
		return history.Reply{Observed: &history.Seen{Value: m.locks[key].token}}, history.Definite(errors.New("fenced off"))
	}
	return m.Write(ctx, key+"~data", v)
}

func elem(key string, e any) string { return fmt.Sprintf("%s/%v", key, e) }

// AddElement is the set workload's.
func (m *Memory) AddElement(ctx context.Context, key string, e any) (history.Reply, error) {
	return m.Write(ctx, elem(key, e), true)
}

// RemoveElement is the set workload's.
func (m *Memory) RemoveElement(_ context.Context, key string, e any) (history.Reply, error) {
	if !m.Break.KeepDeleted {
		delete(m.cells, elem(key, e))
	}
	return history.Reply{}, nil
}

// HasElement is the set workload's.
func (m *Memory) HasElement(_ context.Context, key string, e any) (history.Reply, error) {
	return history.Reply{Value: m.cells[elem(key, e)] != nil}, nil
}

// Increment is the counter workload's.
func (m *Memory) Increment(ctx context.Context, key string, n int64) (history.Reply, error) {
	r, _ := m.Read(ctx, key)
	old, _ := r.Value.(int64)
	return m.Write(ctx, key, old+n)
}

// Count is the counter workload's.
func (m *Memory) Count(ctx context.Context, key string) (history.Reply, error) {
	return m.Read(ctx, key)
}

// Enqueue is the queue workload's.
func (m *Memory) Enqueue(_ context.Context, key string, e any) (history.Reply, error) {
	if !m.forgets() {
		m.queues[key] = append(m.queues[key], e)
	}
	return history.Reply{}, nil
}

// Dequeue is the queue workload's.
func (m *Memory) Dequeue(_ context.Context, key string) (history.Reply, error) {
	q := m.queues[key]
	if len(q) == 0 {
		return history.Reply{}, nil
	}
	e, rest := q[0], q[1:]
	if m.Break.Stack {
		e, rest = q[len(q)-1], q[:len(q)-1]
	}
	if m.n++; !m.Break.TwiceSome || m.n%7 != 0 {
		m.queues[key] = rest
	}
	return history.Reply{Value: e}, nil
}
