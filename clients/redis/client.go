package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
)

// conn is one connection to one server, which is never dialed again. One operation
// uses it at a time, so that whether anything was written is known of each.
type conn struct {
	rdb  *driver.Client
	raw  *clients.Wire
	turn chan struct{}
}

// silent keeps the driver from logging.
type silent struct{}

// Printf implements the driver's logger.
func (silent) Printf(context.Context, string, ...any) {}

var errRedial = errors.New("the connection is lost")

// dial connects to a port of a node and completes the protocol's handshake.
func dial(ctx context.Context, n cluster.Node, port string, limit time.Duration) (*conn, error) {
	ctx, cancel := clients.Limited(ctx, limit)
	defer cancel()
	addr := n.Ports[port]
	fail := func(err error) (*conn, error) {
		return nil, history.Definite(fmt.Errorf("redis: no session with %s at %s: %w", n.Name, addr, err))
	}
	var d net.Dialer
	tcp, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fail(err)
	}
	c := &conn{raw: &clients.Wire{Conn: tcp}, turn: make(chan struct{}, 1)}
	var dialed atomic.Bool
	driver.SetLogger(silent{}) // it is the driver's own, one for all
	c.rdb = driver.NewClient(&driver.Options{
		Addr: addr, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
		MaxRetries: -1, PoolSize: 1, DialerRetries: 1,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if dialed.Swap(true) {
				return nil, errRedial
			}
			return c.raw, nil
		},
	})
	// A proxy accepts for a dead server: an answer proves that somebody is there.
	// Any will do, since a server that is loading refuses what it is asked.
	var refused driver.Error
	if err := c.rdb.Ping(ctx).Err(); err != nil && !errors.As(err, &refused) {
		c.close()
		return fail(err)
	}
	return c, nil
}

func (c *conn) close() {
	_ = c.rdb.Close()
	_ = c.raw.Close()
}

// backOff is how long a refusal takes, so that a server that refuses makes no flood.
const backOff = 100 * time.Millisecond

// do performs one operation alone on the connection and classifies its error.
func (c *conn) do(ctx context.Context, f func(context.Context, *driver.Client) error) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return history.Definite(fmt.Errorf("redis: %w", ctx.Err()))
	}
	if c.raw.Lost() {
		return history.SessionLost(history.Definite(fmt.Errorf("redis: %w", errRedial)))
	}
	before := c.raw.Writes()
	err := f(ctx, c.rdb)
	if err == nil {
		return nil
	}
	err = classify(err, c.raw.Writes() > before)
	if history.TypeOf(err) == history.Fail && !errors.Is(err, errUnequal) {
		_ = sleep(ctx, backOff)
	}
	return err
}

// classify marks what proves that nothing happened; see the package's table.
func classify(err error, sent bool) error {
	wrapped := fmt.Errorf("redis: %w", err)
	var refused driver.Error
	switch {
	case errors.Is(err, errUnacknowledged):
		return wrapped
	case errors.Is(err, errUnequal), history.TypeOf(err) == history.Fail:
		return history.Definite(wrapped)
	case errors.As(err, &refused):
		// The primary may be another by now: the next session asks again.
		return history.SessionLost(history.Definite(wrapped))
	case !sent:
		return history.SessionLost(history.Definite(wrapped))
	}
	return history.SessionLost(wrapped)
}

// Client is one session: a connection to where writes go, and one to where reads do
// if that is another server. In a cluster there is one for each primary in use.
type Client struct {
	limit  time.Duration
	wait   int
	write  *conn // nil in a cluster
	read   *conn
	shards *shards
	closed sync.Once
	// masters are those of Redlock, or nil.
	masters *masters
}

// Open finds the servers for the target's node and connects to them.
func Open(ctx context.Context, t clients.Target) (*Client, error) {
	ctx, cancel := clients.Limited(ctx, t.Timeout)
	defer cancel()
	c := &Client{limit: t.Timeout, wait: t.Options.Int("wait")}
	var err error
	if t.Options.String("mode") == clustered {
		c.shards, err = openShards(ctx, t)
		return c, err
	}
	if t.Options.String("recipe") == redlock {
		return c.openRedlock(ctx, t)
	}
	primary, err := primaryFor(ctx, t)
	if err != nil {
		return nil, err
	}
	if c.write, err = dial(ctx, primary, redisPort, t.Timeout); err != nil {
		return nil, err
	}
	c.read = c.write
	if t.Options.String("reads") == replicaReads && primary.Name != t.Node.Name {
		if c.read, err = dial(ctx, t.Node, redisPort, t.Timeout); err != nil {
			c.write.close()
			return nil, err
		}
	}
	return c, nil
}

// openRedlock connects to the masters, of which the first has the guarded data.
func (c *Client) openRedlock(ctx context.Context, t clients.Target) (*Client, error) {
	var err error
	if c.masters, err = openMasters(ctx, t); err != nil {
		return nil, err
	}
	c.write = c.masters.conns[0]
	c.read = c.write
	return c, nil
}

// primaryFor is where the clients of a node write.
func primaryFor(ctx context.Context, t clients.Target) (cluster.Node, error) {
	switch t.Options.String("mode") {
	case replicated:
		return t.Cluster.Nodes()[0], nil
	case sentinel:
		s, err := dial(ctx, t.Node, sentinelPort, t.Timeout)
		if err != nil {
			return cluster.Node{}, err
		}
		defer s.close()
		addr, err := s.rdb.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName).StringSlice()
		if err == nil && len(addr) == 2 {
			return named(t, addr[0])
		}
		return cluster.Node{}, history.Definite(fmt.Errorf("redis: the sentinel of %s names no primary: %w", t.Node.Name, err))
	}
	return t.Node, nil
}

// named finds a node by the name under which the others know it.
func named(t clients.Target, host string) (cluster.Node, error) {
	for _, n := range t.Cluster.Nodes() {
		if n.Host == host {
			return n, nil
		}
	}
	return cluster.Node{}, history.Definite(fmt.Errorf("redis: %s is no node", host))
}

// Close implements clients.Client.
func (c *Client) Close() error {
	c.closed.Do(func() {
		if c.masters != nil {
			c.masters.close()
			return
		}
		if c.shards != nil {
			c.shards.close()
			return
		}
		c.write.close()
		if c.read != c.write {
			c.read.close()
		}
	})
	return nil
}

// at performs an operation on a key where it belongs.
func (c *Client) at(ctx context.Context, own *conn, key string, f func(context.Context, *driver.Client) error) error {
	ctx, cancel := clients.Limited(ctx, c.limit)
	defer cancel()
	if c.shards != nil {
		var err error
		if own, err = c.shards.of(ctx, key); err != nil {
			return err
		}
	}
	return own.do(ctx, f)
}

// Read implements the register workload's store.
func (c *Client) Read(ctx context.Context, key string) (history.Reply, error) {
	var r history.Reply
	err := c.at(ctx, c.read, key, func(ctx context.Context, rdb *driver.Client) error {
		text, err := rdb.Get(ctx, key).Result()
		if errors.Is(err, driver.Nil) {
			return nil
		}
		if err == nil {
			r.Value = clients.Decode(text)
		}
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	return r, nil
}

// errUnacknowledged is a write that too few replicas have.
var errUnacknowledged = errors.New("too few replicas acknowledged in time")

// acknowledged waits for the replicas that the option wait asks for. What the
// primary has done by then stands, whatever comes of the waiting.
func (c *Client) acknowledged(ctx context.Context, rdb *driver.Client) error {
	if c.wait == 0 {
		return nil
	}
	limit := c.limit
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) * 9 / 10
	}
	n, err := rdb.Do(ctx, "WAIT", c.wait, max(1, limit.Milliseconds())).Int()
	if err == nil && n >= c.wait {
		return nil
	}
	return errors.Join(fmt.Errorf("%w: %d of %d", errUnacknowledged, n, c.wait), err)
}

// Write implements the register workload's store.
func (c *Client) Write(ctx context.Context, key string, value any) (history.Reply, error) {
	err := c.at(ctx, c.write, key, func(ctx context.Context, rdb *driver.Client) error {
		text, err := clients.Encode(value)
		if err != nil {
			return err
		}
		if err := rdb.Set(ctx, key, text, 0).Err(); err != nil {
			return err
		}
		return c.acknowledged(ctx, rdb)
	})
	return history.Reply{}, err
}

// compareAndSet returns 1, or 0 and what it found.
const compareAndSet = `local v = redis.call('GET', KEYS[1])
if (v or '') ~= ARGV[1] then return {0, v} end
redis.call('SET', KEYS[1], ARGV[2])
return {1}`

// errUnequal is a compare-and-set that found another value.
var errUnequal = errors.New("the value was another")

// CAS implements the register workload's store, by one script.
func (c *Client) CAS(ctx context.Context, key string, prev, next any) (history.Reply, error) {
	var r history.Reply
	err := c.at(ctx, c.write, key, func(ctx context.Context, rdb *driver.Client) error {
		text, err := clients.Encode(next)
		if err != nil {
			return err
		}
		old := "" // stands for an absent key
		if prev != nil {
			if old, err = clients.Encode(prev); err != nil {
				return err
			}
		}
		got, err := rdb.Eval(ctx, compareAndSet, []string{key}, old, text).Slice()
		if err != nil {
			return err
		}
		if got[0] == int64(1) {
			return c.acknowledged(ctx, rdb)
		}
		r.Observed = &history.Seen{}
		if seen, ok := got[1].(string); ok {
			r.Observed.Value = clients.Decode(seen)
		}
		return errUnequal
	})
	if err != nil && !errors.Is(err, errUnequal) {
		return history.Reply{}, err
	}
	return r, err
}

// shards are the connections of a cluster's client, made when a key needs one.
type shards struct {
	t      clients.Target
	ranges []driver.ClusterSlot

	mu    sync.Mutex
	conns map[string]*conn
}

// openShards asks the target's node who has which slots, in its view.
func openShards(ctx context.Context, t clients.Target) (*shards, error) {
	c, err := dial(ctx, t.Node, redisPort, t.Timeout)
	if err != nil {
		return nil, err
	}
	defer c.close()
	ranges, err := c.rdb.ClusterSlots(ctx).Result() //nolint:staticcheck // Redis before 7 has nothing else
	if err != nil {
		return nil, history.Definite(fmt.Errorf("redis: slots: %w", err))
	}
	return &shards{t: t, ranges: ranges, conns: map[string]*conn{}}, nil
}

func (s *shards) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.close()
	}
}

// of is the connection to the primary of a key.
func (s *shards) of(ctx context.Context, key string) (*conn, error) {
	slot := slotOf(key)
	for _, r := range s.ranges {
		if slot < r.Start || slot > r.End || len(r.Nodes) == 0 {
			continue
		}
		host, _, err := net.SplitHostPort(r.Nodes[0].Addr)
		if err != nil {
			return nil, history.Definite(fmt.Errorf("redis: slots: %w", err))
		}
		n, err := named(s.t, host)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if c := s.conns[host]; c != nil {
			return c, nil
		}
		c, err := dial(ctx, n, redisPort, s.t.Timeout)
		if err != nil {
			return nil, history.SessionLost(err)
		}
		s.conns[host] = c
		return c, nil
	}
	_ = sleep(ctx, backOff)
	return nil, history.SessionLost(history.Definite(fmt.Errorf("redis: nobody has slot %d", slot)))
}
