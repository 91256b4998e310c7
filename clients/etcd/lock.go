package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// The lock recipes. Both do what etcd's concurrency.Mutex does: a key under the
// lock's prefix, bound to a lease that is kept alive; the oldest such key holds.
// guarded also makes every write under the lock a transaction that demands that
// the key is still there.
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

// lease is what a client's locks are bound to.
type lease struct {
	mu     sync.Mutex
	id     clientv3.LeaseID
	ttl    time.Duration
	until  time.Time // by our own clock; the server counts from a later moment
	frozen bool
	stop   context.CancelFunc
}

// leased is the client's lease; it is granted when the first lock is asked for.
// That it cannot be is definite: no lock was asked for.
func (c *Client) leased(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	l := &c.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id != 0 {
		if time.Now().After(l.until) {
			return 0, history.SessionLost(history.Definite(errors.New("etcd: the lease has run out")))
		}
		return l.id, nil
	}
	asked := time.Now()
	var r *clientv3.LeaseGrantResponse
	err := c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Grant(ctx, int64(ttl/time.Second))
		return err
	})
	if err != nil {
		return 0, history.Definite(err)
	}
	l.id, l.ttl = r.ID, time.Duration(r.TTL)*time.Second
	l.until = asked.Add(l.ttl)
	alive, stop := context.WithCancel(context.Background())
	l.stop = stop
	go c.keepAlive(alive) //nolint:contextcheck // it lives as long as the session
	return l.id, nil
}

// keepAlive renews the lease three times in its length until the session ends.
func (c *Client) keepAlive(ctx context.Context) {
	l := &c.lease
	every := time.NewTicker(l.ttl / 3)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		l.mu.Lock()
		frozen, id, asked := l.frozen, l.id, time.Now()
		l.mu.Unlock()
		if frozen {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, l.ttl/3)
		r, err := c.driver.KeepAliveOnce(limited, id)
		cancel()
		if err == nil && r.TTL > 0 {
			l.mu.Lock()
			l.until = asked.Add(time.Duration(r.TTL) * time.Second)
			l.mu.Unlock()
		}
	}
}

// Freeze stops what the client does by itself, as if its process stood still; Thaw
// lets it go on.
func (c *Client) Freeze() { c.freeze(true) }

// Thaw undoes Freeze.
func (c *Client) Thaw() { c.freeze(false) }

func (c *Client) freeze(on bool) {
	c.lease.mu.Lock()
	defer c.lease.mu.Unlock()
	c.lease.frozen = on
}

// Held says whether the lease still lasts, by the client's own clock.
func (c *Client) Held(string, string, int64) bool {
	c.lease.mu.Lock()
	defer c.lease.mu.Unlock()
	return c.lease.id != 0 && time.Now().Before(c.lease.until)
}

// queueOf is the prefix under which those who want a lock queue, and own is the
// session's place there.
func queueOf(key string) string { return key + "~lock/" }

func own(key string, id clientv3.LeaseID) string { return fmt.Sprintf("%s%x", queueOf(key), id) }

// errHeld says that somebody else holds the lock.
var errHeld = errors.New("etcd: somebody else holds the lock")

// Acquire tries to take the lock: it queues, and leaves the queue again if it is not
// the first.
func (c *Client) Acquire(ctx context.Context, key, _ string, ttl time.Duration) (history.Reply, error) {
	id, err := c.leased(ctx, ttl)
	if err != nil {
		return history.Reply{}, err
	}
	place := own(key, id)
	var r *clientv3.TxnResponse
	err = c.do(ctx, true, func(ctx context.Context) (err error) {
		first := clientv3.OpGet(queueOf(key), clientv3.WithFirstCreate()...)
		r, err = c.driver.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(place), "=", 0)).
			Then(clientv3.OpPut(place, "", clientv3.WithLease(id)), first).
			Else(clientv3.OpGet(place), first).Commit()
		return err
	})
	if err != nil {
		if strings.Contains(err.Error(), "lease not found") {
			err = history.SessionLost(history.Definite(err))
		}
		return history.Reply{}, err
	}
	revision := r.Header.Revision
	if !r.Succeeded {
		revision = r.Responses[0].GetResponseRange().Kvs[0].CreateRevision
	}
	first := r.Responses[1].GetResponseRange().GetKvs()
	if len(first) > 0 && first[0].CreateRevision != revision {
		return history.Reply{}, c.leave(ctx, place)
	}
	return history.Reply{
		Value:   map[string]any{"owner": fmt.Sprintf("%x@%d", id, revision), "token": revision},
		Version: revision,
	}, nil
}

// leave leaves the queue. Whoever cannot may come to hold the lock unawares, so
// that its fate is unknown then.
func (c *Client) leave(ctx context.Context, place string) error {
	err := c.do(ctx, true, func(ctx context.Context) error {
		_, err := c.driver.Delete(ctx, place)
		return err
	})
	if err != nil {
		return fmt.Errorf("somebody else holds the lock, and leaving its queue failed: %s", err.Error())
	}
	return history.Definite(errHeld)
}

// placeOf is the lock's key that an owner's name stands for.
func placeOf(key, owner string) string {
	lease, _, _ := strings.Cut(owner, "@")
	return queueOf(key) + lease
}

// Release gives the lock back.
func (c *Client) Release(ctx context.Context, key, owner string, token int64) (history.Reply, error) {
	place := placeOf(key, owner)
	var r *clientv3.TxnResponse
	err := c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(place), "=", token)).Then(clientv3.OpDelete(place)).Commit()
		return err
	})
	if err == nil && !r.Succeeded {
		return history.Reply{Observed: &history.Seen{}}, history.Definite(errGone)
	}
	return history.Reply{}, err
}

// errGone says that the lock's key has gone with its lease.
var errGone = errors.New("etcd: the lock is not held any more")

// data is where what a lock guards is kept.
func data(key string) string { return key + "~data" }

// Load reads what the lock guards.
func (c *Client) Load(ctx context.Context, key string) (history.Reply, error) {
	return c.get(ctx, data(key), false)
}

// Store writes what the lock guards.
func (c *Client) Store(ctx context.Context, key string, value any, owner string, token int64) (history.Reply, error) {
	if !c.guarded {
		return c.Write(ctx, data(key), value)
	}
	text, err := encode(value)
	if err != nil {
		return history.Reply{}, err
	}
	var r *clientv3.TxnResponse
	err = c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(placeOf(key, owner)), "=", token)).
			Then(clientv3.OpPut(data(key), text)).Commit()
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
