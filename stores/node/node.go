// Package node runs a bundled store's replica as a real process: a log on disk,
// frames to the other nodes, HTTP for clients, and one loop that feeds them to the
// replica. What the replica decides is in its own package, pure; here are all the
// goroutines, clocks and I/O.
package node

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/stores/disk"
	"github.com/faultline-dev/faultline/stores/peer"
	"github.com/faultline-dev/faultline/stores/protocol"
	"github.com/faultline-dev/faultline/stores/replica"
	"github.com/faultline-dev/faultline/stores/wal"
)

// Config says who a node is. Name, Listen, PeerListen and Data are needed.
type Config struct {
	Name       string
	Listen     string            // host:port for clients
	PeerListen string            // host:port for other nodes
	Peers      map[string]string // other nodes: name to the address to dial
	Data       string            // the folder of the log, made if need be

	Bug   string        // of the store's catalogue; "" is none
	Tick  time.Duration // between two ticks; default 10 ms
	Reads string        // linearizable (default), lease, local: of requests that don't say
	Seed  uint64        // of the node's own chance; 0 draws one from name and clock

	Log *slog.Logger `json:"-"` // default: none
	// Started, if set, is called once with the addresses in use.
	Started func(client, peers net.Addr) `json:"-"`
}

// Names are those of all nodes, this one included.
func (c *Config) Names() []string { return append(slices.Collect(maps.Keys(c.Peers)), c.Name) }

// Make makes the replica of a node, whose defaults are filled in, from what the disk
// held; damage, if not nil, says that more was there once.
type Make func(cfg Config, records [][]byte, damage error) (replica.Replica, error)

// check fills in the defaults, and refuses what can't work.
func (c *Config) check() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Tick == 0 {
		c.Tick = 10 * time.Millisecond
	}
	if c.Seed == 0 {
		h := fnv.New64a()
		_, _ = fmt.Fprintln(h, c.Name, time.Now().UnixNano()) // a hash returns no error
		c.Seed = h.Sum64()
	}
	if _, self := c.Peers[c.Name]; self {
		// Counted twice it would raise the majority beyond what a majority can give.
		return fmt.Errorf("node %s: it is among its own peers", c.Name)
	}
	return nil
}

// Limits of a node.
const (
	inboxLength   = 1024 // frames and requests that wait for the loop, each
	batchMost     = 256  // of them handled before the replica's output is taken
	savesUnderWay = 256  // saves that wait for the disk
)

// call is a client's request on its way to the loop.
type call struct {
	q     replica.Request
	reply chan replica.Reply // buffered: the loop never waits
}

// node is the running state; only the loop touches replica, calls and nextID.
type node struct {
	cfg     Config
	reads   replica.Reads
	replica replica.Replica
	start   time.Time
	net     *peer.Transport
	frames  chan []byte
	calls   chan call
	looks   chan chan replica.Status
	saves   chan replica.Save
	durable chan uint64
	open    map[uint64]chan replica.Reply
	nextID  uint64
}

// Serve runs a node until ctx ends, which is no error, or until it can't go on:
// its disk fails, has lost what nobody else can give back (wal.ErrCorrupt), or an
// address is taken.
func Serve(ctx context.Context, cfg Config, newReplica Make) error {
	if err := cfg.check(); err != nil {
		return err
	}
	reads, err := protocol.ParseReads(cfg.Reads, replica.Linearizable)
	if err != nil {
		return err
	}
	fsys, err := disk.Dir(cfg.Data)
	if err != nil {
		return fmt.Errorf("node %s: %w", cfg.Name, err)
	}
	log, records, err := wal.Open(fsys)
	if err != nil {
		return fmt.Errorf("node %s: data folder %s: %w", cfg.Name, cfg.Data, err)
	}
	defer func() { _ = log.Close() }()
	if err = log.Damage(); err != nil {
		cfg.Log.Error("data was lost", "node", cfg.Name, "folder", cfg.Data, "error", err)
	}
	r, err := newReplica(cfg, records, err)
	if err != nil {
		return fmt.Errorf("node %s: %w", cfg.Name, err)
	}
	n := &node{
		cfg: cfg, reads: reads, replica: r, start: time.Now(), open: map[uint64]chan replica.Reply{},
		frames: make(chan []byte, inboxLength), calls: make(chan call, inboxLength),
		looks: make(chan chan replica.Status), saves: make(chan replica.Save, savesUnderWay),
		durable: make(chan uint64, savesUnderWay),
	}
	return n.run(ctx, log)
}

// run opens the doors, runs the parts, and ends them all when the first ends.
func (n *node) run(ctx context.Context, log *wal.Log) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var lc net.ListenConfig
	peers, err := lc.Listen(ctx, "tcp", n.cfg.PeerListen)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.cfg.Name, err)
	}
	clients, err := lc.Listen(ctx, "tcp", n.cfg.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("node %s: %w", n.cfg.Name, err), peers.Close())
	}
	n.net = peer.Start(ctx, peer.Config{
		Self: n.cfg.Name, Listener: peers, Peers: n.cfg.Peers, Log: n.cfg.Log,
		Receive: func(b []byte) {
			select {
			case n.frames <- b:
			case <-ctx.Done():
			}
		},
	})
	n.cfg.Log.Info("serving", "node", n.cfg.Name, "clients", clients.Addr(), "peers", peers.Addr())
	if n.cfg.Started != nil {
		n.cfg.Started(clients.Addr(), peers.Addr())
	}
	var wg sync.WaitGroup
	parts := make(chan error, 3)
	for _, part := range []func() error{
		func() error { return n.loop(ctx) },
		func() error { return n.write(ctx, log) },
		func() error { return n.serveHTTP(ctx, clients) },
	} {
		wg.Go(func() { parts <- part() })
	}
	err = <-parts
	cancel()
	wg.Wait()
	n.net.Wait()
	if err != nil {
		n.cfg.Log.Error("stopped", "node", n.cfg.Name, "error", err)
		return fmt.Errorf("node %s: %w", n.cfg.Name, err)
	}
	n.cfg.Log.Info("stopped", "node", n.cfg.Name)
	return nil
}

// now is the node's clock: the time of day at the start, and then what has passed
// by the monotonic clock, so that it never jumps or runs backwards.
func (n *node) now() time.Duration {
	return time.Duration(n.start.UnixNano()) + time.Since(n.start)
}

// loop is the only goroutine that touches the replica.
func (n *node) loop(ctx context.Context) error {
	ticker := time.NewTicker(n.cfg.Tick)
	defer ticker.Stop()
	role := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			n.replica.Tick(n.now())
			if s := n.replica.Status(); s.Role+s.Leader != role {
				role = s.Role + s.Leader
				n.cfg.Log.Info("role", "node", s.Node, "role", s.Role, "term", s.Term, "leader", s.Leader, "applied", s.Applied)
			}
		case b := <-n.frames:
			n.replica.SetClock(n.now())
			n.replica.Receive(b)
		case c := <-n.calls:
			n.replica.SetClock(n.now())
			n.request(c)
		case seq := <-n.durable:
			n.replica.Persisted(seq)
		case c := <-n.looks:
			c <- n.replica.Status()
			continue
		}
		n.drain()
		if err := n.carryOut(ctx); err != nil {
			return err
		}
	}
}

// drain handles what has arrived meanwhile, so that a burst shares one disk write.
func (n *node) drain() {
	for range batchMost {
		select {
		case b := <-n.frames:
			n.replica.Receive(b)
		case c := <-n.calls:
			n.request(c)
		case seq := <-n.durable:
			n.replica.Persisted(seq)
		default:
			return
		}
	}
}

func (n *node) request(c call) {
	n.nextID++
	c.q.ID = n.nextID
	n.open[c.q.ID] = c.reply
	n.replica.Request(c.q)
}

// carryOut does what the replica wants done.
func (n *node) carryOut(ctx context.Context) error {
	out := n.replica.Output()
	if out.Err != nil {
		return out.Err
	}
	for _, s := range out.Saves {
		select {
		case n.saves <- s:
		case <-ctx.Done():
			return nil
		}
	}
	for _, f := range out.Frames {
		n.net.Send(f.To, f.Payload)
	}
	for _, x := range out.Replies {
		n.open[x.ID] <- x
		delete(n.open, x.ID)
	}
	return nil
}

// write is the disk's goroutine: saves in order, one sync for all that wait.
func (n *node) write(ctx context.Context, log *wal.Log) error {
	for {
		var s replica.Save
		select {
		case <-ctx.Done():
			return nil
		case s = <-n.saves:
		}
		for more := true; more; {
			if err := log.Put(s.Records, s.Rewrite, s.Repaired); err != nil {
				return err
			}
			select {
			case s = <-n.saves:
			default:
				more = false
			}
		}
		if err := log.Sync(); err != nil {
			return err
		}
		select {
		case n.durable <- s.Seq:
		case <-ctx.Done():
			return nil
		}
	}
}
