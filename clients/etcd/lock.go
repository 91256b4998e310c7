package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// The lock recipes. Both are the driver's concurrency.Mutex, on a session whose lease
// the driver keeps alive. guarded also makes every write under the lock a transaction
// on condition that the lock's key is still there.
const (
	recipeMutex   = "mutex"
	recipeGuarded = "guarded"
)

func recipeOption() options.Option {
	return options.Option{
		Name: "recipe", Kind: options.String, Default: recipeMutex, Values: []string{recipeMutex, recipeGuarded},
		Doc: "of locks: mutex is etcd's concurrency.Mutex; guarded writes what it guards by transactions on the lock's revision",
	}
}

// LockPromise says what the chosen recipe promises, or what its users believe.
func (*Client) LockPromise(o options.Values) (promise string, clocks time.Duration) {
	if o.String("recipe") == recipeGuarded {
		return "fenced-data", 0
	}
	return "exclusion", 0
}

// LockTTL is the lease in the whole seconds that etcd takes, two at least.
func (*Client) LockTTL(_ options.Values, ttl time.Duration) time.Duration {
	return max(2*time.Second, (ttl + time.Second - 1).Truncate(time.Second))
}

// locks are a client's: the session that they are bound to, and those that it holds,
// by owner.
type locks struct {
	mu      sync.Mutex
	session *concurrency.Session
	held    map[string]*concurrency.Mutex
}

// session is the client's; its lease is granted when the first lock is asked for.
// That it cannot be is definite: no lock was asked for.
func (c *Client) session(ctx context.Context, ttl time.Duration) (*concurrency.Session, error) {
	l := &c.locks
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != nil {
		return l.session, nil
	}
	err := c.do(ctx, true, func(ctx context.Context) error {
		lease, err := c.driver.Grant(ctx, int64(ttl/time.Second))
		if err != nil {
			return err
		}
		// The session outlives this operation: it ends with the driver.
		l.session, err = concurrency.NewSession(c.driver, concurrency.WithLease(lease.ID))
		return err
	})
	if err != nil {
		return nil, history.Definite(err)
	}
	l.held = map[string]*concurrency.Mutex{}
	return l.session, nil
}

// over says whether a session has ended, as far as the driver knows.
func over(s *concurrency.Session) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

// Freeze stops what the driver does by itself, as if the client's process stood
// still; Thaw lets it go on.
func (c *Client) Freeze() { c.wire.Freeze() }

// Thaw undoes Freeze.
func (c *Client) Thaw() { c.wire.Thaw() }

// Held says whether the session still lasts, as far as the driver knows.
func (c *Client) Held(string, string, int64) bool {
	c.locks.mu.Lock()
	defer c.locks.mu.Unlock()
	return c.locks.session != nil && !over(c.locks.session)
}

// errHeld says that somebody else holds the lock, errGone that the owner does not,
// and errOver that the session which its locks are bound to has ended.
var (
	errHeld = errors.New("etcd: somebody else holds the lock")
	errGone = errors.New("etcd: the lock is not held any more")
	errOver = errors.New("etcd: the session is over")
)

// Acquire tries to take the lock.
func (c *Client) Acquire(ctx context.Context, key, owner string, ttl time.Duration) (history.Reply, error) {
	return c.acquire(ctx, key, owner, ttl, (*concurrency.Mutex).TryLock)
}

// AcquireWait queues for the lock, and leaves the queue in time to say so.
func (c *Client) AcquireWait(ctx context.Context, key, owner string, ttl time.Duration) (history.Reply, error) {
	return c.acquire(ctx, key, owner, ttl, c.queue)
}

// queue waits for m in its queue until a quarter of the time that ctx has is left. It
// outlasts ctx where the driver does not manage to leave the queue by then.
func (c *Client) queue(m *concurrency.Mutex, ctx context.Context) error { //nolint:revive // as a method of the driver's
	limit := c.limit
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	waiting, cancel := context.WithTimeout(ctx, limit*3/4)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Lock(waiting) }() // ends with the driver at the latest
	select {
	case err := <-done:
		if waiting.Err() != nil && err != nil && !queued(m) {
			return concurrency.ErrLocked
		}
		return err
	case <-ctx.Done():
		return history.SessionLost(ctx.Err())
	}
}

// acquire takes the lock in the given way.
func (c *Client) acquire(ctx context.Context, key, owner string, ttl time.Duration, lock func(*concurrency.Mutex, context.Context) error) (history.Reply, error) {
	session, err := c.session(ctx, ttl)
	if err != nil {
		return history.Reply{}, err
	}
	if over(session) {
		return history.Reply{}, history.SessionLost(history.Definite(errOver))
	}
	m := concurrency.NewMutex(session, key+"~lock")
	err = c.do(ctx, true, func(ctx context.Context) error { return lock(m, ctx) })
	switch {
	case errors.Is(err, concurrency.ErrLocked):
		return history.Reply{}, history.Definite(errHeld)
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return history.Reply{}, history.SessionLost(history.Definite(err))
	case err != nil && queued(m) && history.TypeOf(err) == history.Fail:
		// We may come to hold the lock unawares.
		return history.Reply{}, fmt.Errorf("somebody else holds the lock, and leaving its queue failed: %s", err.Error())
	case err != nil:
		return history.Reply{}, err
	}
	token := m.Header().Revision
	owner = fmt.Sprintf("%x/%s", session.Lease(), owner)
	c.locks.mu.Lock()
	c.locks.held[owner] = m
	c.locks.mu.Unlock()
	return history.Reply{Value: map[string]any{"owner": owner, "token": token}, Version: token}, nil
}

// queued says whether a mutex has got a place in the lock's queue, the first or not.
func queued(m *concurrency.Mutex) bool {
	place := m.IsOwner()
	return (*pb.Compare)(&place).GetCreateRevision() > 0
}

// of is the lock that an owner holds, nil for none.
func (l *locks) of(owner string) *concurrency.Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[owner]
}

// Release gives the lock back. The driver does not ask whether it was still held.
func (c *Client) Release(ctx context.Context, _, owner string, _ int64) (history.Reply, error) {
	m := c.locks.of(owner)
	if m == nil {
		return history.Reply{Observed: &history.Seen{}}, history.Definite(errGone)
	}
	if err := c.do(ctx, true, m.Unlock); err != nil {
		return history.Reply{}, err
	}
	c.locks.mu.Lock()
	defer c.locks.mu.Unlock()
	delete(c.locks.held, owner)
	return history.Reply{}, nil
}

// data is where what a lock guards is kept.
func data(key string) string { return key + "~data" }

// Load reads what the lock guards.
func (c *Client) Load(ctx context.Context, key string) (history.Reply, error) {
	return c.get(ctx, data(key), false)
}

// Store writes what the lock guards.
func (c *Client) Store(ctx context.Context, key string, value any, owner string, _ int64) (history.Reply, error) {
	if !c.guarded {
		return c.Write(ctx, data(key), value)
	}
	m := c.locks.of(owner)
	if m == nil {
		return history.Reply{Observed: &history.Seen{}}, history.Definite(errGone)
	}
	text, err := clients.Encode(value)
	if err != nil {
		return history.Reply{}, err
	}
	var r *clientv3.TxnResponse
	err = c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Txn(ctx).If(m.IsOwner()).Then(clientv3.OpPut(data(key), text)).Commit()
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	if !r.Succeeded {
		return history.Reply{Observed: &history.Seen{}}, history.Definite(errGone)
	}
	return history.Reply{Version: r.Header.Revision}, nil
}
