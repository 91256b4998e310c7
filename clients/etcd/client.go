package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/stats"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/history"
)

// Client is one connection to one member. When the connection is lost the session
// is: it is not dialed again, so that no operation waits for a new one or is sent
// over it behind the back of the history.
type Client struct {
	driver *clientv3.Client
	weak   bool // reads are answered by the member alone
	limit  time.Duration
	closed sync.Once

	wire    *clients.Wire // once it is dialed
	guarded bool          // writes under a lock demand that it is held
	locks   locks
}

// errRedial is what the driver is told when it wants to connect again.
var errRedial = errors.New("the connection is lost")

// Open connects to the target's member and waits until the HTTP/2 handshake is
// done. A connection alone proves nothing: the proxy of a published port accepts
// also when nobody listens behind it.
func Open(ctx context.Context, t clients.Target) (*Client, error) {
	addr := t.Node.Ports[clientPort]
	reads := t.Options.String("reads")
	c := &Client{weak: reads == serializable || reads == "local", limit: t.Timeout, guarded: t.Options.String("recipe") == recipeGuarded}
	var dialed atomic.Bool
	var err error
	c.driver, err = clientv3.New(clientv3.Config{
		Endpoints: []string{addr},
		Logger:    zap.NewNop(),
		// One attempt: the driver counts the first one too.
		MaxUnaryRetries: 1,
		DialOptions: []grpc.DialOption{
			grpc.WithDisableRetry(),
			grpc.WithStatsHandler(written{}),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				if dialed.Swap(true) {
					return nil, errRedial
				}
				var d net.Dialer
				tcp, err := d.DialContext(ctx, "tcp", addr)
				if err != nil {
					return nil, err
				}
				c.wire = &clients.Wire{Conn: tcp}
				return c.wire, nil
			}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	ctx, cancel := clients.Limited(ctx, c.limit)
	defer cancel()
	if err := handshake(ctx, c.driver.ActiveConnection()); err != nil {
		_ = c.Close()
		return nil, history.Definite(fmt.Errorf("etcd: no session with %s at %s: %w", t.Node.Name, addr, err))
	}
	return c, nil
}

// handshake waits until the connection carries requests.
func handshake(ctx context.Context, conn *grpc.ClientConn) error {
	conn.Connect()
	for {
		s := conn.GetState()
		switch s {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return errors.New("refused, or closed before the handshake")
		case connectivity.Idle, connectivity.Connecting:
		}
		if !conn.WaitForStateChange(ctx, s) {
			return fmt.Errorf("no handshake: %w", ctx.Err())
		}
	}
}

// Close implements clients.Client.
func (c *Client) Close() (err error) {
	c.closed.Do(func() {
		err = c.driver.Close() // which ends the session of its locks, too
	})
	return err
}

// do performs one operation and classifies its error. Writes and linearizable reads
// require a leader, so that a member without one refuses them at once instead of
// keeping their fate open.
func (c *Client) do(ctx context.Context, quorum bool, f func(context.Context) error) error {
	ctx, cancel := clients.Limited(ctx, c.limit)
	defer cancel()
	if quorum {
		ctx = clientv3.WithRequireLeader(ctx)
	}
	sent := new(atomic.Bool)
	err := errRedial // the driver would wait for another connection until the deadline
	if c.driver.ActiveConnection().GetState() == connectivity.Ready {
		err = f(context.WithValue(ctx, sentKey{}, sent))
	}
	if err == nil {
		return nil
	}
	err = classify(err, sent.Load())
	if history.TypeOf(err) == history.Fail {
		// What is refused at once would be asked again at once.
		select {
		case <-ctx.Done():
		case <-time.After(backOff):
		}
	}
	return err
}

// backOff is how long a refusal takes.
const backOff = 100 * time.Millisecond

// Read implements the register workload's store.
func (c *Client) Read(ctx context.Context, key string) (history.Reply, error) {
	return c.get(ctx, key, c.weak)
}

// get reads a key from a quorum, or from the member alone.
func (c *Client) get(ctx context.Context, key string, weak bool) (history.Reply, error) {
	var opts []clientv3.OpOption
	if weak {
		opts = append(opts, clientv3.WithSerializable())
	}
	var r *clientv3.GetResponse
	err := c.do(ctx, !weak, func(ctx context.Context) (err error) {
		r, err = c.driver.Get(ctx, key, opts...)
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	if len(r.Kvs) == 0 {
		return history.Reply{}, nil
	}
	return history.Reply{Value: clients.Decode(string(r.Kvs[0].Value)), Version: r.Kvs[0].ModRevision}, nil
}

// Write implements the register workload's store.
func (c *Client) Write(ctx context.Context, key string, value any) (history.Reply, error) {
	text, err := clients.Encode(value)
	if err != nil {
		return history.Reply{}, err
	}
	var r *clientv3.PutResponse
	err = c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Put(ctx, key, text)
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	return history.Reply{Version: r.Header.Revision}, nil
}

// errUnequal is a compare-and-set that found another value.
var errUnequal = errors.New("the value was another")

// CAS implements the register workload's store: one transaction, which also reads
// what it found instead.
func (c *Client) CAS(ctx context.Context, key string, prev, next any) (history.Reply, error) {
	text, err := clients.Encode(next)
	if err != nil {
		return history.Reply{}, err
	}
	cmp := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	if prev != nil {
		old, err := clients.Encode(prev)
		if err != nil {
			return history.Reply{}, err
		}
		cmp = clientv3.Compare(clientv3.Value(key), "=", old)
	}
	var r *clientv3.TxnResponse
	err = c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Txn(ctx).If(cmp).Then(clientv3.OpPut(key, text)).Else(clientv3.OpGet(key)).Commit()
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	if r.Succeeded {
		return history.Reply{Version: r.Header.Revision}, nil
	}
	seen := history.Reply{Observed: &history.Seen{}}
	if kvs := r.Responses[0].GetResponseRange().GetKvs(); len(kvs) > 0 {
		seen.Observed.Value, seen.Version = clients.Decode(string(kvs[0].Value)), kvs[0].ModRevision
	}
	return seen, history.Definite(errUnequal)
}

// sentKey is under which an operation's context keeps whether it was sent.
type sentKey struct{}

// written is told by the driver what it writes. Without its headers no request can
// be received.
type written struct{}

// TagRPC implements stats.Handler.
func (written) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (written) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.OutHeader, *stats.OutPayload:
		if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
			sent.Store(true)
		}
	}
}

// TagConn implements stats.Handler.
func (written) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (written) HandleConn(context.Context, stats.ConnStats) {}
