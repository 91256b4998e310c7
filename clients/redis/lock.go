package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// The lock recipes: a key that is set if it does not exist, with a time to live and
// its owner's name, on the primary (setnx) or on a majority of independent masters
// (redlock); removed by a script that looks whose it is. What a lock guards is a
// plain key, under redlock on the first master.
const (
	setnx   = "setnx"
	redlock = "redlock"
)

func recipeOption() options.Option {
	return options.Option{
		Name: "recipe", Kind: options.String, Default: setnx, Values: []string{setnx, redlock},
		Doc: "of locks: setnx is SET NX PX at the primary; redlock is the same at most of the masters of mode=independent",
	}
}

// LockPromise says what users of these recipes believe. Neither has a fence.
func (*Client) LockPromise(options.Values) (promise string, clocks time.Duration) {
	return "exclusion", 0
}

// removeOwn removes a key that holds a value, and says whether it did.
const removeOwn = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`

var (
	errHeld = errors.New("somebody else holds the lock")
	errGone = errors.New("the lock is not held any more")
)

// lockKey and dataKey are together in a cluster.
func lockKey(key string) string { return "{" + key + "}:lock" }
func dataKey(key string) string { return "{" + key + "}:data" }

// Acquire tries to take the lock for ttl.
func (c *Client) Acquire(ctx context.Context, key, owner string, ttl time.Duration) (history.Reply, error) {
	if c.masters != nil {
		return c.masters.acquire(ctx, key, owner, ttl)
	}
	taken := false
	err := c.at(ctx, c.write, lockKey(key), func(ctx context.Context, rdb *driver.Client) (err error) {
		if taken, err = rdb.SetNX(ctx, lockKey(key), owner, ttl).Result(); err != nil || !taken {
			return err
		}
		return c.acknowledged(ctx, rdb)
	})
	if err == nil && !taken {
		err = history.Definite(errHeld)
	}
	if err != nil {
		return history.Reply{}, err
	}
	return history.Reply{Value: map[string]any{"owner": owner, "lease_ns": int64(ttl)}}, nil
}

// Release gives the lock back, if it is still the owner's.
func (c *Client) Release(ctx context.Context, key, owner string, _ int64) (history.Reply, error) {
	if c.masters != nil {
		return c.masters.release(ctx, key, owner)
	}
	var n int64
	err := c.at(ctx, c.write, lockKey(key), func(ctx context.Context, rdb *driver.Client) (err error) {
		n, err = rdb.Eval(ctx, removeOwn, []string{lockKey(key)}, owner).Int64()
		return err
	})
	if err == nil && n == 0 {
		return history.Reply{Observed: &history.Seen{}}, history.Definite(errGone)
	}
	return history.Reply{}, err
}

// Load reads what the lock guards.
func (c *Client) Load(ctx context.Context, key string) (history.Reply, error) {
	var r history.Reply
	err := c.at(ctx, c.write, dataKey(key), func(ctx context.Context, rdb *driver.Client) error {
		text, err := rdb.Get(ctx, dataKey(key)).Result()
		if errors.Is(err, driver.Nil) {
			return nil
		}
		if err == nil {
			r.Value = clients.Decode(text)
		}
		return err
	})
	return r, err
}

// Store writes what the lock guards.
func (c *Client) Store(ctx context.Context, key string, value any, _ string, _ int64) (history.Reply, error) {
	return c.Write(ctx, dataKey(key), value)
}

// masters are the independent servers of Redlock.
type masters struct{ conns []*conn }

// openMasters connects to most of them at least, and to the first.
func openMasters(ctx context.Context, t clients.Target) (*masters, error) {
	nodes := t.Cluster.Nodes()
	m := &masters{conns: make([]*conn, len(nodes))}
	var last error
	up := 0
	for i, n := range nodes {
		// One that cannot be reached counts as one that refuses.
		one, cancel := context.WithTimeout(ctx, perMaster*4)
		c, err := dial(one, n, redisPort, perMaster*4)
		cancel()
		if err != nil {
			last = err
			continue
		}
		m.conns[i] = c
		up++
	}
	if 2*up <= len(nodes) || m.conns[0] == nil {
		m.close()
		return nil, history.Definite(fmt.Errorf("redis: no majority of the masters with the first, which has the guarded data: %w", last))
	}
	return m, nil
}

func (m *masters) close() {
	for _, c := range m.conns {
		if c != nil {
			c.close()
		}
	}
}

// perMaster bounds the time spent at one master, so that one which is down does not
// use the lease up.
const perMaster = 50 * time.Millisecond

// each performs f at every master in turn, and counts where it was done.
func (m *masters) each(ctx context.Context, limit time.Duration, f func(context.Context, *driver.Client) (bool, error)) int {
	n := 0
	for _, c := range m.conns {
		if c == nil {
			continue
		}
		one, cancel := context.WithTimeout(ctx, limit)
		_ = c.do(one, func(ctx context.Context, rdb *driver.Client) error {
			done, err := f(ctx, rdb)
			if err == nil && done {
				n++
			}
			return err
		})
		cancel()
	}
	return n
}

// acquire takes the lock at a majority, in less time than the lease lasts; what is
// left of that, less two milliseconds and one in a hundred for clocks, is the
// holder's. Without a majority nobody holds it, whatever stays behind until its time
// to live has passed.
func (m *masters) acquire(ctx context.Context, key, owner string, ttl time.Duration) (history.Reply, error) {
	start := time.Now()
	n := m.each(ctx, min(perMaster, ttl/10), func(ctx context.Context, rdb *driver.Client) (bool, error) {
		return rdb.SetNX(ctx, lockKey(key), owner, ttl).Result()
	})
	valid := ttl - ttl/100 - 2*time.Millisecond
	if 2*n > len(m.conns) && time.Since(start) < valid {
		return history.Reply{Value: map[string]any{"owner": owner, "lease_ns": int64(valid)}}, nil
	}
	_, _ = m.release(ctx, key, owner)
	if m.lost() {
		return history.Reply{}, history.SessionLost(history.Definite(errRedial))
	}
	return history.Reply{}, history.Definite(errHeld)
}

// lost says that no majority of the connections is left.
func (m *masters) lost() bool {
	n := 0
	for _, c := range m.conns {
		if c != nil && !c.raw.Lost() {
			n++
		}
	}
	return 2*n <= len(m.conns)
}

// release removes the lock wherever it is the owner's. Where no majority says that
// it was there, nobody held it any more for certain, or it is not known.
func (m *masters) release(ctx context.Context, key, owner string) (history.Reply, error) {
	n := m.each(ctx, perMaster, func(ctx context.Context, rdb *driver.Client) (bool, error) {
		n, err := rdb.Eval(ctx, removeOwn, []string{lockKey(key)}, owner).Int64()
		return n > 0, err
	})
	if 2*n <= len(m.conns) {
		return history.Reply{}, fmt.Errorf("the lock was removed at %d of %d masters: %s", n, len(m.conns), errGone.Error())
	}
	return history.Reply{}, nil
}
