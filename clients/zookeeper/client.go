package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/history"
)

// Client is one session over one connection. The driver would connect again, under
// the same session or a new one, and send what waits; it is not allowed to, so that
// a process of the history is one session.
type Client struct {
	driver *zk.Conn
	conn   *clients.Wire
	sync   bool // reads catch up with the leader first
	limit  time.Duration
	recipe string        // of locks
	done   chan struct{} // the driver has ended
	closed sync.Once
}

var errRedial = errors.New("the connection is lost")

// silent keeps the driver from logging.
type silent struct{}

// Printf implements zk.Logger.
func (silent) Printf(string, ...any) {}

// Open connects to the target's server and waits for a session.
func Open(ctx context.Context, t clients.Target) (*Client, error) {
	addr := t.Node.Ports[clientPort]
	ctx, cancel := clients.Limited(ctx, t.Timeout)
	defer cancel()
	fail := func(err error) (*Client, error) {
		return nil, history.Definite(fmt.Errorf("zookeeper: no session with %s at %s: %w", t.Node.Name, addr, err))
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fail(err)
	}
	c := &Client{
		conn: &clients.Wire{Conn: raw}, sync: t.Options.String("reads") == readSync,
		limit: t.Timeout, recipe: t.Options.String("recipe"), done: make(chan struct{}),
	}
	var dialed atomic.Bool
	session := t.Options.Duration("session")
	if session <= 0 {
		session = 4 * time.Second
	}
	driver, events, err := zk.Connect([]string{addr}, session,
		zk.WithLogger(silent{}), zk.WithLogInfo(false),
		zk.WithDialer(func(string, string, time.Duration) (net.Conn, error) {
			if dialed.Swap(true) {
				return nil, errRedial
			}
			return c.conn, nil
		}))
	if err != nil {
		_ = raw.Close()
		return fail(err)
	}
	c.driver = driver
	established := make(chan error, 1)
	go c.follow(events, established)
	select {
	case err = <-established:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = c.conn.Close()
		// The driver may wait a second for a farewell that it never sends.
		go func() { _ = c.Close() }()
		return fail(err)
	}
	return c, nil
}

// follow reads the driver's events to their end; the first that tells settles
// established.
func (c *Client) follow(events <-chan zk.Event, established chan<- error) {
	defer close(c.done)
	settled := false
	settle := func(err error) {
		if !settled {
			settled = true
			established <- err
		}
	}
	for e := range events {
		switch e.State {
		case zk.StateHasSession:
			settle(nil)
		case zk.StateDisconnected, zk.StateExpired, zk.StateAuthFailed:
			settle(errors.New("the server closed the connection"))
		default:
		}
	}
	settle(errors.New("the connection ended"))
}

// closeTimeout bounds the farewell to a server that may not answer.
const closeTimeout = 200 * time.Millisecond

// Close implements clients.Client. It tells the server that the session ends, if it
// still can, and ends the driver.
func (c *Client) Close() error {
	c.closed.Do(func() {
		farewell := time.AfterFunc(closeTimeout, func() { _ = c.conn.Close() })
		c.driver.Close()
		farewell.Stop()
		_ = c.conn.Close()
		<-c.done
	})
	return nil
}

// do performs f, whose driver calls know no deadline, and classifies its error.
// After a deadline the session is over, since its answers are no longer awaited.
func (c *Client) do(ctx context.Context, f func() error) error {
	ctx, cancel := clients.Limited(ctx, c.limit)
	defer cancel()
	if c.conn.Lost() {
		return history.SessionLost(history.Definite(fmt.Errorf("zookeeper: %w", errRedial)))
	}
	result := make(chan error, 1)
	go func() { result <- f() }()
	select {
	case err := <-result:
		return classify(err)
	case <-ctx.Done():
		_ = c.conn.Close() // frees the call
		return history.SessionLost(fmt.Errorf("zookeeper: no answer: %w", ctx.Err()))
	}
}

// classify marks what proves that nothing happened; see the package's table.
func classify(err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("zookeeper: %w", err)
	for _, refused := range []error{
		zk.ErrNoNode, zk.ErrNodeExists, zk.ErrBadVersion, zk.ErrNotEmpty, zk.ErrNoChildrenForEphemerals,
		zk.ErrNoAuth, zk.ErrInvalidACL, zk.ErrBadArguments, zk.ErrInvalidPath, errUnequal,
	} {
		if errors.Is(err, refused) {
			return history.Definite(wrapped)
		}
	}
	switch {
	case errors.Is(err, zk.ErrNoServer):
		return history.SessionLost(history.Definite(wrapped))
	case errors.Is(err, zk.ErrConnectionClosed), errors.Is(err, zk.ErrSessionExpired),
		errors.Is(err, zk.ErrSessionMoved), errors.Is(err, zk.ErrClosing):
		return history.SessionLost(wrapped)
	}
	return wrapped
}

// path is the node of a key.
func path(key string) string { return "/" + url.PathEscape(key) }

// Read implements the register workload's store. The version is the id of the
// transaction that wrote the value.
func (c *Client) Read(ctx context.Context, key string) (history.Reply, error) {
	var r history.Reply
	err := c.do(ctx, func() error {
		if c.sync {
			if _, err := c.driver.Sync("/"); err != nil {
				return err
			}
		}
		data, stat, err := c.driver.Get(path(key))
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		if err != nil {
			return err
		}
		r.Version = stat.Mzxid
		r.Value = decode(data)
		return nil
	})
	if err != nil {
		return history.Reply{}, err
	}
	return r, nil
}

// anyVersion lets a set pass whatever was there.
const anyVersion = -1

// Write implements the register workload's store.
func (c *Client) Write(ctx context.Context, key string, value any) (history.Reply, error) {
	var r history.Reply
	err := c.do(ctx, func() error {
		data, err := encode(value)
		if err != nil {
			return err
		}
		stat, err := c.driver.Set(path(key), data, anyVersion)
		if errors.Is(err, zk.ErrNoNode) {
			if _, err = c.driver.Create(path(key), data, 0, zk.WorldACL(zk.PermAll)); err == nil {
				return nil // the driver does not say under which id
			}
			if errors.Is(err, zk.ErrNodeExists) {
				stat, err = c.driver.Set(path(key), data, anyVersion)
			}
		}
		if err != nil {
			return err
		}
		r.Version = stat.Mzxid
		return nil
	})
	if err != nil {
		return history.Reply{}, err
	}
	return r, nil
}

// errUnequal is a compare-and-set that found another value.
var errUnequal = errors.New("the value was another")

// CAS implements the register workload's store: it compares what the server knows,
// which may be old, and sets it under the version that it had. What it saw instead
// is no observation, since seeing and comparing are not one step.
func (c *Client) CAS(ctx context.Context, key string, prev, next any) (history.Reply, error) {
	var r history.Reply
	err := c.do(ctx, func() error {
		data, err := encode(next)
		if err != nil {
			return err
		}
		if prev == nil {
			_, err := c.driver.Create(path(key), data, 0, zk.WorldACL(zk.PermAll))
			return err
		}
		old, stat, err := c.driver.Get(path(key))
		if err != nil {
			// A read has no effect, however it ended.
			return errors.Join(errUnequal, err)
		}
		if decode(old) != prev {
			return errUnequal
		}
		if stat, err = c.driver.Set(path(key), data, stat.Version); err != nil {
			return err
		}
		r.Version = stat.Mzxid
		return nil
	})
	if err != nil {
		return history.Reply{}, err
	}
	return r, nil
}

func encode(v any) ([]byte, error) {
	text, err := clients.Encode(v)
	return []byte(text), err
}

func decode(b []byte) any { return clients.Decode(string(b)) }
