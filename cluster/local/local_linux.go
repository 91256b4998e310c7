package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/faultline-dev/faultline/cluster"
)

// New prepares a cluster; nothing exists before Up. The cluster is also a
// Killer, Pauser, Observer, Network, Shaper, Meter and Logs.
func New(cfg Config) (cluster.Cluster, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cluster/local: the folder %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	return &local{cfg: cfg, procs: map[string]*process{}, wires: map[cluster.Link]*wire{}, lines: map[cluster.Link][]*line{}}, nil
}

var _ world = (*local)(nil)

// local is the cluster. Its maps are made by Up and only read afterwards.
type local struct {
	cfg Config

	turn sync.Mutex // Up and Down, one at a time
	up   bool
	over bool

	nodes []cluster.Node
	procs map[string]*process
	wires map[cluster.Link]*wire
	lines map[cluster.Link][]*line
	ports []*port
	spawn *spawner
	serve []func(context.Context) // relays that are not running yet
	stop  context.CancelFunc      // ends the relays
	relay sync.WaitGroup
}

// Nodes are the members; valid after Up.
func (c *local) Nodes() []cluster.Node { return c.nodes }

// Up makes folders, ports and relays and starts the processes. It returns when
// all listen, or when one has ended, which is an error with its last words.
func (c *local) Up(ctx context.Context) (err error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	if c.up || c.over {
		return errors.New("cluster/local: a cluster goes up once; make a new one")
	}
	c.up = true
	defer func() {
		if err != nil {
			err = errors.Join(err, c.down(context.WithoutCancel(ctx)))
		}
	}()
	c.spawn = newSpawner()
	if err = c.prepare(); err != nil {
		return err
	}
	c.run(ctx)
	return c.startAll(ctx)
}

// run lets the relays serve until Down, whatever becomes of ctx.
func (c *local) run(ctx context.Context) {
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, serve := range c.serve {
		c.relay.Go(func() { serve(ctx) })
	}
	c.serve = nil
}

// prepare makes all that the processes need, in an order in which each finds the
// addresses of the other.
func (c *local) prepare() error {
	listen := map[string]map[string]*port{}
	for _, name := range c.cfg.Names {
		listen[name] = map[string]*port{}
		for _, spec := range c.cfg.Ports {
			p, err := keep()
			if err != nil {
				return err
			}
			c.ports = append(c.ports, p)
			listen[name][spec.Name] = p
		}
		for _, l := range append(c.peers(name), cluster.Link{From: cluster.Clients, To: name}, cluster.Link{From: name, To: cluster.Clients}) {
			c.wires[l] = newWire(l, c.cfg.Seed)
		}
	}
	for _, name := range c.cfg.Names {
		if err := c.publish(name, listen[name]); err != nil {
			return err
		}
	}
	for _, name := range c.cfg.Names {
		if err := c.place(name, listen); err != nil {
			return err
		}
	}
	return nil
}

// peers are the links from a node to all others.
func (c *local) peers(name string) []cluster.Link {
	var links []cluster.Link
	for _, other := range c.cfg.Names {
		if other != name {
			links = append(links, cluster.Link{From: name, To: other})
		}
	}
	return links
}

// publish opens relays in front of the ports that clients use.
func (c *local) publish(name string, ports map[string]*port) error {
	n := cluster.Node{Name: name, Host: "127.0.0.1", Ports: map[string]string{}}
	there, back := c.wires[cluster.Link{From: cluster.Clients, To: name}], c.wires[cluster.Link{From: name, To: cluster.Clients}]
	for _, spec := range c.cfg.Ports {
		if spec.Peer {
			continue
		}
		ln, err := c.listen()
		if err != nil {
			return err
		}
		n.Ports[spec.Name] = ln.Addr().String()
		c.serve = append(c.serve, newStream(there, back, ln, ports[spec.Name].address()).run)
	}
	c.nodes = append(c.nodes, n)
	return nil
}

// listen opens a relay's own port.
func (c *local) listen() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
	if err != nil {
		return nil, fmt.Errorf("cluster/local: a port for a relay: %w", err)
	}
	// A relay that never comes to run must not keep its port.
	c.serve = append(c.serve, func(ctx context.Context) { <-ctx.Done(); _ = ln.Close() })
	return ln, nil
}

// place makes a node's folders, the relays to its peers, and its command.
func (c *local) place(name string, ports map[string]map[string]*port) error {
	dir := filepath.Join(c.cfg.Dir, name)
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return fmt.Errorf("cluster/local: a folder for %s: %w", name, err)
	}
	l := cluster.Launch{
		Node: name, Nodes: c.cfg.Names, Dir: data,
		Listen: map[string]string{}, Dial: map[string]map[string]string{},
		Options: c.cfg.Options, Version: c.cfg.Version, Bug: c.cfg.Bug, Seed: c.cfg.Seed,
	}
	p := &process{name: name, dir: dir, spawn: c.spawn}
	for _, spec := range c.cfg.Ports {
		l.Listen[spec.Name] = ports[name][spec.Name].address()
		p.ports = append(p.ports, ports[name][spec.Name].number)
	}
	for _, link := range c.peers(name) {
		dial, err := c.connect(link, ports[link.To])
		if err != nil {
			return err
		}
		l.Dial[link.To] = dial
	}
	cmd, err := c.cfg.Command(l)
	if err != nil {
		return fmt.Errorf("cluster/local: how to start %s: %w", name, err)
	}
	p.command = cmd
	c.procs[name] = p
	return nil
}

// connect opens the relays from one node to the peer ports of another.
func (c *local) connect(link cluster.Link, ports map[string]*port) (map[string]string, error) {
	dial := map[string]string{}
	for _, spec := range c.cfg.Ports {
		if !spec.Peer {
			continue
		}
		ln, err := c.listen()
		if err != nil {
			return nil, err
		}
		dial[spec.Name] = ln.Addr().String()
		if !c.cfg.Framed {
			back := c.wires[cluster.Link{From: link.To, To: link.From}]
			c.serve = append(c.serve, newStream(c.wires[link], back, ln, ports[spec.Name].address()).run)
			continue
		}
		line := newLine(c.wires[link], ln, ports[spec.Name].address())
		c.lines[link] = append(c.lines[link], line)
		c.serve = append(c.serve, line.run)
	}
	return dial, nil
}

// startAll starts all processes at the same time.
func (c *local) startAll(ctx context.Context) error {
	errs := make([]error, len(c.cfg.Names))
	var wg sync.WaitGroup
	for i, name := range c.cfg.Names {
		wg.Go(func() { errs[i] = c.procs[name].start(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Down ends all processes and relays and removes the data, unless the Config says
// to keep it; it does so also when ctx is done.
func (c *local) Down(ctx context.Context) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	return c.down(ctx)
}

func (c *local) down(ctx context.Context) error {
	if c.over || !c.up {
		return nil
	}
	c.over = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downMax)
	defer cancel()
	var errs []error
	for _, p := range c.procs {
		errs = append(errs, p.end(ctx))
	}
	if c.stop == nil {
		c.run(ctx) // only to be stopped: they close what they hold
	}
	c.stop()
	c.relay.Wait()
	if errors.Join(errs...) == nil {
		c.spawn.close()
	}
	for _, p := range c.ports {
		p.release()
	}
	for name := range c.procs {
		if !c.cfg.KeepData {
			errs = append(errs, os.RemoveAll(filepath.Join(c.cfg.Dir, name, "data")))
		}
	}
	return errors.Join(errs...)
}

// node is the process of that name.
func (c *local) node(name string) (*process, error) {
	p, ok := c.procs[name]
	if !ok {
		return nil, fmt.Errorf("cluster/local: no node %q; there are: %v", name, c.cfg.Names)
	}
	return p, nil
}

// Kill sends SIGKILL to a node's process and all that it started.
func (c *local) Kill(ctx context.Context, name string) error {
	p, err := c.node(name)
	if err != nil {
		return err
	}
	return p.kill(ctx)
}

// Start starts a node with the data it had, and waits until it listens. A process
// that ends at once is an error with its last words.
func (c *local) Start(ctx context.Context, name string) error {
	p, err := c.node(name)
	if err != nil {
		return err
	}
	return p.start(ctx)
}

// Pause freezes a node by SIGSTOP; a dead one stays dead.
func (c *local) Pause(ctx context.Context, name string) error {
	p, err := c.node(name)
	if err != nil {
		return err
	}
	return p.stop(ctx, syscall.SIGSTOP, cluster.Paused)
}

// Resume lets a node go on.
func (c *local) Resume(ctx context.Context, name string) error {
	p, err := c.node(name)
	if err != nil {
		return err
	}
	return p.stop(ctx, syscall.SIGCONT, cluster.Running)
}

// State is what /proc says of a node's process.
func (c *local) State(_ context.Context, name string) (cluster.State, error) {
	p, err := c.node(name)
	if err != nil {
		return "", err
	}
	return p.state(), nil
}

// Logs opens what a node printed, over all its starts.
func (c *local) Logs(_ context.Context, name string) (map[string]io.ReadCloser, error) {
	if _, err := c.node(name); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(c.cfg.Dir, name, logName))
	if errors.Is(err, os.ErrNotExist) {
		return map[string]io.ReadCloser{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cluster/local: the log of %s: %w", name, err)
	}
	return map[string]io.ReadCloser{logName: f}, nil
}
