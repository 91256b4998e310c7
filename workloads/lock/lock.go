// Package lock is the workload of locks and of the data that they guard: workers
// acquire a lock, hold it for a while, update the guarded data by
// read-modify-write, and release it.
//
// Every update writes a value of its own and records which value it replaced, so
// that a lost update shows as two that replaced the same one.
package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/lock"
	"github.com/faultline-dev/faultline/checker/online"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
)

// Locker is what a client must be able to do. The names of locks and of their data
// are the client's affair.
type Locker interface {
	// LockPromise says what the recipe that the system's options choose promises:
	// exclusion, exclusion-within-lease or fenced-data, and by how much the nodes'
	// clocks may differ for that.
	LockPromise(o options.Values) (promise string, clocks time.Duration)
	// Acquire tries to take the lock for ttl. Owner is a name that no other attempt
	// has; a system that names owners itself ignores it. The value of the reply is
	// {"owner": …, "token": …, "lease_ns": …} with what there is. That somebody else
	// holds it is a Definite error.
	Acquire(ctx context.Context, key, owner string, ttl time.Duration) (history.Reply, error)
	// Release gives the lock back. That the owner does not hold it any more is a
	// Definite error, with what holds it in Observed.
	Release(ctx context.Context, key, owner string, token int64) (history.Reply, error)
	// Load reads the guarded data, as strongly as the system can.
	Load(ctx context.Context, key string) (history.Reply, error)
	// Store writes the guarded data, under the recipe's guard if it has one. That
	// the guard refuses it is a Definite error with Observed set.
	Store(ctx context.Context, key string, value any, owner string, token int64) (history.Reply, error)
}

// Waiter is a Locker whose locks have a queue. Those of others are waited for by
// trying again.
type Waiter interface {
	// AcquireWait is Acquire, but waits for the lock until ctx is about to be done.
	AcquireWait(ctx context.Context, key, owner string, ttl time.Duration) (history.Reply, error)
}

// Watcher is a Locker that learns by itself when a lock is gone: its session has
// ended, say.
type Watcher interface {
	// Held says whether the owner still holds the lock, as far as the client knows.
	Held(key, owner string, token int64) bool
}

// Freezer is a Locker whose client does something by itself, such as keeping its
// session alive, which must stand still when the client's process does.
type Freezer interface {
	Freeze()
	Thaw()
}

// Leaser is a Locker whose leases are not of any length.
type Leaser interface {
	// LockTTL is the lease that the system can be asked for which comes closest.
	LockTTL(o options.Values, ttl time.Duration) time.Duration
}

// Workload is the lock workload.
func Workload() workloads.Workload {
	return workloads.Workload{
		Name: "lock",
		Doc:  "locks with leases, and data updated under them by read-modify-write; judged by what the recipe promises",
		Options: []options.Option{
			{Name: "ttl", Kind: options.Duration, Default: "500ms", Min: "10ms", Max: "10m", Doc: "lease or session time-out that the lock ends by, at least what the system can do"},
			{Name: "hold", Kind: options.Duration, Default: "0s", Min: "0s", Max: "10m", Doc: "the longest that a lock is held, each time a random part; 0 for 1.2 of the lease"},
			{Name: "watch", Kind: options.Bool, Default: "true", Doc: "whether a holder heeds the end of its lease; false goes on as if it lasted"},
			{
				Name: "acquire", Kind: options.String, Default: "try", Values: []string{"try", "wait"},
				Doc: "try once; or wait for who holds the lock, within the operation's deadline (--opt timeout), in the system's queue or by trying again where it has none",
			},
			{Name: "contention", Kind: options.Int, Default: "0", Min: "0", Max: "10000", Doc: "how many workers want each lock; 0 for as many as --keys leaves"},
			{Name: "updates", Kind: options.Int, Default: "1", Min: "0", Max: "1000", Doc: "read-modify-writes of the guarded data in each hold"},
		},
		New: build,
	}
}

func build(p workloads.Params) (*workloads.Instance, error) {
	l, ok := p.Opened.(Locker)
	if !ok {
		return nil, fmt.Errorf("the workload lock needs a client with Acquire, Release, Load, Store and LockPromise; %T has not all of them", p.Opened)
	}
	wait, keys := p.Options.String("acquire") == "wait", p.Keys
	if n := p.Options.Int("contention"); n > 0 {
		keys = max(1, p.Concurrency/n)
	}
	promise, clocks := l.LockPromise(p.System)
	ttl, hold := p.Options.Duration("ttl"), p.Options.Duration("hold")
	if x, ok := p.Opened.(Leaser); ok {
		ttl = x.LockTTL(p.System, ttl)
	}
	if hold == 0 {
		hold = ttl * 6 / 5
	}
	r := recipe{wait: wait, watch: p.Options.Bool("watch")}
	sometimes := []string{lock.Acquire, lock.Release}
	if p.Options.Int("updates") > 0 {
		sometimes = append(sometimes, lock.Update)
	}
	judge := lock.Options{Promise: lock.Promise(promise), Drift: drift, Clocks: clocks}
	return &workloads.Instance{
		Main: locks{
			keys: keys, ttl: ttl, hold: hold, watch: r.watch, updates: p.Options.Int("updates"), next: 1,
		},
		Perform:    r.perform,
		Checkers:   []checker.Checker{lock.New(judge)},
		Online:     online.Lock(judge).Add,
		Model:      "lock",
		Sometimes:  sometimes,
		ClockBound: clocks,
	}, nil
}

// drift is by what share the rates of the clocks that leases are measured by may
// differ: more than any quartz, and than ntpd slews (500 ppm).
const drift = 0.01

// recipe is how operations are performed.
type recipe struct{ wait, watch bool }

func (r recipe) perform(ctx context.Context, client any, op history.Op) (history.Reply, error) {
	l, ok := client.(Locker)
	if !ok {
		return history.Reply{}, history.Definite(fmt.Errorf("lock: %T has no locks", client))
	}
	v, _ := op.Value.(map[string]any)
	owner, _ := v["owner"].(string)
	token, _ := v["token"].(int64)
	switch op.F {
	case lock.Acquire:
		ttl, _ := v["ttl_ns"].(int64)
		if r.wait {
			return acquireWait(ctx, l, op.Key, owner, time.Duration(ttl))
		}
		return l.Acquire(ctx, op.Key, owner, time.Duration(ttl))
	case lock.Release:
		ctx = stall(ctx, l)
		reply, err := l.Release(ctx, op.Key, owner, token)
		reply.Value = op.Value
		return reply, err
	case lock.Update:
		return r.update(ctx, l, op.Key, owner, token, v["write"])
	case lock.Lost:
		return history.Reply{Value: op.Value}, nil
	}
	return history.Reply{}, history.Definite(fmt.Errorf("lock: unknown operation %q", op.F))
}

// tryEvery is how often a lock without a queue is tried by who waits for it.
const tryEvery = 25 * time.Millisecond

// acquireWait waits for a lock. Each try that is refused had no effect, so that all
// of them together are one operation.
func acquireWait(ctx context.Context, l Locker, key, owner string, ttl time.Duration) (history.Reply, error) {
	if w, ok := l.(Waiter); ok {
		return w.AcquireWait(ctx, key, owner, ttl)
	}
	for {
		r, err := l.Acquire(ctx, key, owner, ttl)
		if history.TypeOf(err) != history.Fail || history.IsSessionLost(err) || workloads.Sleep(ctx, tryEvery) != nil {
			return r, err
		}
	}
}

// stall stands where a stalled client would stand still, all of it.
func stall(ctx context.Context, l Locker) context.Context {
	if f, ok := l.(Freezer); ok {
		f.Freeze()
		defer f.Thaw()
	}
	return workloads.Stall(ctx)
}

var errLost = errors.New("lock: the holder learnt that it is not the holder any more")

// update replaces the guarded data. Only its write has an effect.
func (r recipe) update(ctx context.Context, l Locker, key, owner string, token int64, value any) (history.Reply, error) {
	if w, ok := l.(Watcher); ok && r.watch && !w.Held(key, owner, token) {
		return history.Reply{Observed: &history.Seen{Value: "lost"}}, history.Definite(errLost)
	}
	old, err := l.Load(ctx, key)
	if err != nil {
		return history.Reply{}, history.Definite(fmt.Errorf("nothing was written: %w", err))
	}
	ctx = stall(ctx, l)
	reply, err := l.Store(ctx, key, value, owner, token)
	reply.Value = map[string]any{"owner": owner, "token": token, "read": old.Value, "wrote": value}
	return reply, err
}
