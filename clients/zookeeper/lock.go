package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// The lock recipes. All end with the session.
const (
	ephemeral  = "ephemeral"  // a node that only one can create
	sequential = "sequential" // the lowest of numbered nodes, as in ZooKeeper's own recipe
	naive      = "naive"      // as tutorials write it: any error counts as success
)

func recipeOption() options.Option {
	return options.Option{
		Name: "recipe", Kind: options.String, Default: sequential, Values: []string{ephemeral, sequential, naive},
		Doc: "of locks: ephemeral is a node that only one can create, sequential the lowest of numbered nodes, naive takes any error for success",
	}
}

// LockPromise says what users of these recipes believe.
func (*Client) LockPromise(options.Values) (promise string, clocks time.Duration) {
	return "exclusion", 0
}

// LockTTL is the session's time-out: locks end with it.
func (*Client) LockTTL(o options.Values, _ time.Duration) time.Duration {
	return o.Duration("session")
}

// Held says whether the session is still connected, as far as the client knows.
func (c *Client) Held(string, string, int64) bool { return !c.conn.Lost() }

// Freeze keeps the client from sending anything, heartbeats too, as if its process
// stood still; Thaw lets it go on.
func (c *Client) Freeze() { c.conn.Freeze() }

// Thaw undoes Freeze.
func (c *Client) Thaw() { c.conn.Thaw() }

// errHeld says that somebody else holds the lock, errGone that the owner does not.
var (
	errHeld = errors.New("zookeeper: somebody else holds the lock")
	errGone = errors.New("zookeeper: the lock is not held any more")
)

func lockPath(key string) string { return path(key + "~lock") }

// prefix begins the names of numbered nodes.
const prefix = "n-"

// everybody may do anything with a node.
func everybody() []zk.ACL { return zk.WorldACL(zk.PermAll) }

// Acquire tries to take the lock.
func (c *Client) Acquire(ctx context.Context, key, owner string, _ time.Duration) (history.Reply, error) {
	return c.acquire(ctx, key, owner, time.Time{})
}

// AcquireWait queues for the lock, and gives up in time to say so.
func (c *Client) AcquireWait(ctx context.Context, key, owner string, _ time.Duration) (history.Reply, error) {
	limit := c.limit
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	return c.acquire(ctx, key, owner, time.Now().Add(limit*3/4))
}

// acquire takes the lock, and waits for it until then.
func (c *Client) acquire(ctx context.Context, key, owner string, until time.Time) (history.Reply, error) {
	token := int64(0)
	err := c.do(ctx, func() (err error) {
		switch c.recipe {
		case sequential:
			token, err = c.queue(key, until)
		case naive:
			_, _ = c.driver.Create(lockPath(key), []byte(owner), zk.FlagEphemeral, everybody())
		default:
			err = c.create(key, owner, until)
		}
		return err
	})
	switch {
	case errors.Is(err, errHeld):
		return history.Reply{}, history.Definite(err)
	case err != nil:
		return history.Reply{}, err
	}
	v := map[string]any{"owner": fmt.Sprintf("%x/%s", uint64(c.driver.SessionID()), owner)} //nolint:gosec // a name
	if token > 0 {
		v["token"] = token
	}
	return history.Reply{Value: v}, nil
}

// create creates the node that only one can create, as soon as it is gone.
func (c *Client) create(key, owner string, until time.Time) error {
	for {
		_, err := c.driver.Create(lockPath(key), []byte(owner), zk.FlagEphemeral, everybody())
		if !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
		if gone, e := c.gone(lockPath(key), until); !gone {
			return errors.Join(err, e)
		}
	}
}

// gone waits until a node is gone; false if it is still there then. Its error is no
// refusal of anything.
func (c *Client) gone(node string, until time.Time) (bool, error) {
	if time.Until(until) <= 0 {
		return false, nil
	}
	there, _, changed, err := c.driver.ExistsW(node)
	if err != nil || !there {
		return err == nil, err
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case e := <-changed:
		return e.Err == nil, e.Err
	case <-timer.C:
		return false, nil
	}
}

// queue creates a numbered node, waits until it is the lowest, each time for the one
// before it, and removes it again if it is not by then. The token is the number of the
// transaction that created it.
func (c *Client) queue(key string, until time.Time) (token int64, err error) {
	parent := lockPath(key)
	if _, err := c.driver.Create(parent, nil, 0, everybody()); err != nil && !errors.Is(err, zk.ErrNodeExists) {
		return 0, err
	}
	mine, err := c.driver.Create(parent+"/"+prefix, nil, zk.FlagEphemeral|zk.FlagSequence, everybody())
	if err != nil {
		return 0, err
	}
	name := mine[strings.LastIndexByte(mine, '/')+1:]
	for {
		before, err := c.before(parent, name)
		if err != nil {
			return 0, unknown(err)
		}
		if before == "" {
			break
		}
		gone, err := c.gone(parent+"/"+before, until)
		if err != nil {
			return 0, unknown(err)
		}
		if !gone {
			return 0, c.leave(mine)
		}
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(name, prefix), 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // a lock without a token
	}
	return n + 1, nil
}

// before is the node in front of ours in the queue, "" for none.
func (c *Client) before(parent, name string) (string, error) {
	all, _, err := c.driver.Children(parent)
	best := ""
	for _, n := range all {
		if n < name && n > best {
			best = n
		}
	}
	return best, err
}

// leave leaves the queue. Who cannot may come to hold the lock unawares.
func (c *Client) leave(mine string) error {
	if err := c.driver.Delete(mine, anyVersion); err != nil {
		return unknown(err)
	}
	return errHeld
}

// unknown keeps an error that comes after an effect from being taken for a refusal.
func unknown(err error) error {
	return fmt.Errorf("after the node was created: %s", err.Error())
}

// Release gives the lock back: it deletes the session's own node, or, in the naive
// recipe, whatever is there.
func (c *Client) Release(ctx context.Context, key, _ string, token int64) (history.Reply, error) {
	gone := false
	err := c.do(ctx, func() error {
		node := lockPath(key)
		switch c.recipe {
		case sequential:
			node += "/" + prefix + fmt.Sprintf("%010d", token-1)
		case ephemeral:
			ok, stat, err := c.driver.Exists(node)
			if err != nil {
				return err
			}
			if gone = !ok || stat.EphemeralOwner != c.driver.SessionID(); gone {
				return nil
			}
		}
		err := c.driver.Delete(node, anyVersion)
		if gone = errors.Is(err, zk.ErrNoNode); gone {
			return nil
		}
		return err
	})
	if err == nil && gone {
		return history.Reply{Observed: &history.Seen{}}, history.Definite(errGone)
	}
	return history.Reply{}, err
}

// Load reads what the lock guards, after catching up with the leader.
func (c *Client) Load(ctx context.Context, key string) (history.Reply, error) {
	var r history.Reply
	err := c.do(ctx, func() error {
		if _, err := c.driver.Sync("/"); err != nil {
			return err
		}
		b, stat, err := c.driver.Get(path(key + "~data"))
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		if err != nil {
			return err
		}
		r.Version = stat.Mzxid
		r.Value = decode(b)
		return nil
	})
	return r, err
}

// Store writes what the lock guards.
func (c *Client) Store(ctx context.Context, key string, value any, _ string, _ int64) (history.Reply, error) {
	return c.Write(ctx, key+"~data", value)
}
