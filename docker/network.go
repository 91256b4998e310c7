package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/agent"
)

// faults remembers which nodes hold a cut or shape, so that mending asks only
// them, and how long shapes hold packets back, so that measuring waits for them.
type faults struct {
	mu     sync.Mutex
	at     map[string][]string // nodes, by id
	delays map[string]time.Duration
}

func (f *faults) put(id string, nodes []string, delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == nil {
		f.at, f.delays = map[string][]string{}, map[string]time.Duration{}
	}
	f.at[id], f.delays[id] = nodes, delay
}

func (f *faults) nodes(id string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[id]
}

func (f *faults) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.at, id)
	delete(f.delays, id)
}

func (f *faults) longest() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var d time.Duration
	for _, x := range f.delays {
		d += x
	}
	return d
}

// side is what one node's agent does about a set of links.
type side struct {
	node    string
	in, out []string
}

// sides splits links by the agent that holds them: a packet is dropped where it
// arrives, silently, and on its way out only where the harness is the receiver.
func (c *Cluster) sides(links []cluster.Link) ([]side, error) {
	var out []side
	at := func(node string) *side {
		i := slices.IndexFunc(out, func(s side) bool { return s.node == node })
		if i < 0 {
			out = append(out, side{node: node})
			i = len(out) - 1
		}
		return &out[i]
	}
	for _, l := range links {
		if err := c.known(l); err != nil {
			return nil, err
		}
		if l.To == cluster.Clients {
			s := at(l.From)
			s.out = with(s.out, agent.Clients)
			continue
		}
		addr, err := c.addr(l.From)
		if err != nil {
			return nil, err
		}
		s := at(l.To)
		s.in = with(s.in, addr)
	}
	return out, nil
}

// with has addr once: an agent degrades twice what it is told twice.
func with(addrs []string, addr string) []string {
	if slices.Contains(addrs, addr) {
		return addrs
	}
	return append(addrs, addr)
}

func (c *Cluster) known(l cluster.Link) error {
	if l.From == l.To {
		return fmt.Errorf("docker: %s is no link", l)
	}
	for _, n := range []string{l.From, l.To} {
		if n == cluster.Clients {
			continue
		}
		if _, err := c.pod(n); err != nil {
			return err
		}
	}
	return nil
}

// Addr is a node's address in the containers' network, for systems that know each
// other by address.
func (c *Cluster) Addr(node string) (string, error) { return c.addr(node) }

func (c *Cluster) addr(node string) (string, error) {
	if node == cluster.Clients {
		return agent.Clients, nil
	}
	p, err := c.pod(node)
	if err != nil {
		return "", err
	}
	return p.addr, nil
}

// Cut drops what passes the links.
func (c *Cluster) Cut(ctx context.Context, id string, links []cluster.Link) error {
	return c.hold(ctx, agent.Request{Op: agent.OpCut, ID: id}, links, 0)
}

// Shape degrades the links.
func (c *Cluster) Shape(ctx context.Context, id string, links []cluster.Link, s cluster.Shape) error {
	if err := c.Shapes(s); err != nil { //nolint:contextcheck // it takes none, and is bounded
		return err
	}
	q := agent.Request{Op: agent.OpShape, ID: id, Shape: agent.Shape{
		Delay: s.Delay, Jitter: s.Jitter, Loss: s.Loss, Duplicate: s.Duplicate, Reorder: s.Reorder, Corrupt: s.Corrupt, Rate: s.Rate,
	}}
	return c.hold(ctx, q, links, s.Delay+4*s.Jitter)
}

// Shapes says what the agents cannot do to packets.
func (c *Cluster) Shapes(s cluster.Shape) error {
	for _, p := range []float64{s.Loss, s.Duplicate, s.Reorder, s.Corrupt} {
		if p < 0 || p > 1 {
			return errors.New("docker: probabilities lie between 0 and 1")
		}
	}
	switch {
	case s.Delay < 0 || s.Jitter < 0 || s.Rate < 0:
		return errors.New("docker: delays and rates are not negative")
	}
	if s == (cluster.Shape{}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), featuresTimeout)
	defer cancel()
	have, err := c.Features(ctx)
	if err != nil {
		return nil // what stands in the way of asking is told when the nodes are made
	}
	netem := have[agent.FeatureNetem] == "" // it does all but damage
	for _, need := range []struct {
		feature string
		by      bool
	}{
		{agent.FeatureLoss, !netem && s.Loss > 0},
		{agent.FeatureQueue, !netem && (s.Delay > 0 || s.Jitter > 0 || s.Reorder > 0 || s.Rate > 0)},
		{agent.FeatureCopy, !netem && s.Duplicate > 0 || s.Corrupt > 0},
	} {
		if why := have[need.feature]; need.by && why != "" {
			return fmt.Errorf("docker: %s of packets: %s", need.feature, why)
		}
	}
	return nil
}

// featuresTimeout bounds asking what the kernel can do, with the making of an agent.
const featuresTimeout = 30 * time.Second

// Features asks an agent what this kernel can do to packets: "" or why not, by
// the names of docker/agent. Where no node is up it starts an agent for a moment.
func (c *Cluster) Features(ctx context.Context) (map[string]string, error) {
	c.mu.Lock()
	known, pods := c.kernel, c.running()
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if len(pods) == 0 {
		return c.askKernel(ctx)
	}
	up, err := c.pod(pods[0])
	if err != nil {
		return nil, err
	}
	r, err := up.wire.ask(ctx, agent.Request{Op: agent.OpFeatures})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kernel = r.Features
	return r.Features, nil
}

// askKernel asks an agent that lives for a moment.
func (c *Cluster) askKernel(ctx context.Context) (map[string]string, error) {
	bare, err := New(Config{Nodes: c.cfg.Nodes[:1], Bare: true, Cache: c.cfg.Cache})
	if err != nil {
		return nil, err
	}
	if err := bare.Up(ctx); err != nil {
		return nil, err
	}
	known, err := bare.Features(ctx)
	if err = errors.Join(err, bare.Down(ctx)); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kernel = known
	return known, nil
}

// hold asks every agent concerned, all at once.
func (c *Cluster) hold(ctx context.Context, q agent.Request, links []cluster.Link, delay time.Duration) error {
	sides, err := c.sides(links)
	if err != nil {
		return err
	}
	var nodes []string
	for _, s := range sides {
		nodes = append(nodes, s.node)
	}
	stale := slices.DeleteFunc(slices.Clone(c.faults.nodes(q.ID)), func(n string) bool { return slices.Contains(nodes, n) })
	c.faults.put(q.ID, slices.Concat(nodes, stale), delay) // until the stale ones have let go
	err = errors.Join(
		c.ask(ctx, stale, func(int) agent.Request { return agent.Request{Op: agent.OpMend, ID: q.ID} }),
		c.ask(ctx, nodes, func(i int) agent.Request {
			r := q
			r.In, r.Out = sides[i].in, sides[i].out
			return r
		}))
	if err == nil {
		c.faults.put(q.ID, nodes, delay)
	}
	return err
}

// ask sends a request to each of nodes and waits for the answers.
func (c *Cluster) ask(ctx context.Context, nodes []string, q func(i int) agent.Request) error {
	return parallel(len(nodes), func(i int) error {
		p, err := c.pod(nodes[i])
		if err == nil {
			_, err = p.wire.ask(ctx, q(i))
		}
		return err
	})
}

// Mend takes back a cut or shape.
func (c *Cluster) Mend(ctx context.Context, id string) error {
	err := c.ask(ctx, c.faults.nodes(id), func(int) agent.Request { return agent.Request{Op: agent.OpMend, ID: id} })
	if err == nil { // else it may still be there
		c.faults.forget(id)
	}
	return err
}

// Held are the ids of the cuts and shapes that any node's agent holds.
func (c *Cluster) Held(ctx context.Context) ([]string, error) {
	c.mu.Lock()
	nodes := c.running()
	c.mu.Unlock()
	ids := make([][]string, len(nodes))
	err := parallel(len(nodes), func(i int) error {
		p, err := c.pod(nodes[i])
		if err != nil {
			return err
		}
		r, err := p.wire.ask(ctx, agent.Request{Op: agent.OpHeld})
		ids[i] = r.IDs
		return err
	})
	all := slices.Concat(ids...)
	slices.Sort(all)
	return slices.Compact(all), err
}

// Heal takes back everything.
func (c *Cluster) Heal(ctx context.Context) error {
	c.mu.Lock()
	nodes := c.running()
	c.mu.Unlock()
	err := c.ask(ctx, nodes, func(int) agent.Request { return agent.Request{Op: agent.OpHeal} })
	if err == nil {
		c.faults.mu.Lock()
		clear(c.faults.at)
		clear(c.faults.delays)
		c.faults.mu.Unlock()
	}
	return err
}
