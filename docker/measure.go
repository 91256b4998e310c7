package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/agent"
)

const (
	// lag is how long a measurement waits for what was sent last, beyond the delays
	// that shapes ask for.
	lag  = 250 * time.Millisecond
	poll = 5 * time.Millisecond
	// minProbe is the smallest datagram.
	minProbe = 16
)

// Reach sends numbered datagrams over the links and counts them at the receivers,
// so that each direction is measured apart.
func (c *Cluster) Reach(ctx context.Context, links []cluster.Link) (map[cluster.Link]bool, error) {
	probes := cluster.Probes{Count: 8, Every: 10 * time.Millisecond}
	// One that arrives settles it.
	q, err := c.measure(ctx, links, probes, 1)
	if err != nil {
		return nil, err
	}
	out := map[cluster.Link]bool{}
	for _, l := range links {
		out[l] = q[l].Received > 0
	}
	return out, nil
}

// Measure sends probes over each link and says what became of them.
func (c *Cluster) Measure(ctx context.Context, links []cluster.Link, p cluster.Probes) (map[cluster.Link]cluster.Quality, error) {
	const most = 100_000
	if p.Count < 1 || p.Count > most || p.Size < minProbe || p.Every < 0 {
		return nil, fmt.Errorf("docker: cannot send %d probes of %d bytes every %v: 1 to %d of at least %d bytes",
			p.Count, p.Size, p.Every, most, minProbe)
	}
	return c.measure(ctx, links, p, p.Count)
}

func (c *Cluster) measure(ctx context.Context, links []cluster.Link, p cluster.Probes, enough int) (map[cluster.Link]cluster.Quality, error) {
	for _, l := range links {
		if err := c.known(l); err != nil {
			return nil, err
		}
	}
	c.reach.Lock()
	defer c.reach.Unlock()
	b := make([]byte, 8)
	_, _ = rand.Read(b)
	m := &measurement{
		c: c, token: hex.EncodeToString(b), links: links, probes: p, enough: enough,
		seen: map[cluster.Link]cluster.Quality{},
	}
	if err := m.run(ctx); err != nil {
		return nil, err
	}
	for _, l := range links {
		q := m.seen[l]
		q.Sent = p.Count
		m.seen[l] = q
	}
	return m.seen, nil
}

// measurement is one call of Reach or Measure.
type measurement struct {
	c      *Cluster
	token  string
	links  []cluster.Link
	probes cluster.Probes
	enough int // that many received settle a link

	mu   sync.Mutex
	seen map[cluster.Link]cluster.Quality
}

func (m *measurement) run(ctx context.Context) error {
	sending := time.Duration(m.probes.Count) * m.probes.Every
	wait := sending + m.c.faults.longest() + lag
	ctx, cancel := context.WithTimeout(ctx, wait+agentTimeout)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, l := range m.links {
		switch {
		case l.From == cluster.Clients:
			wg.Go(func() { m.sendFromHere(ctx, l.To) })
		case l.To == cluster.Clients:
			wg.Go(func() { m.receiveHere(ctx, l) })
		}
	}
	if err := m.askSenders(ctx); err != nil {
		return err
	}
	// Over once nothing new has come for a while after the last was sent.
	until, before := time.Now().Add(wait), -1
	for time.Now().Before(until) {
		if err := m.askReceivers(ctx); err != nil {
			return err
		}
		complete, received := m.progress()
		if complete {
			return nil
		}
		if received > before && time.Until(until) < lag {
			until = time.Now().Add(lag)
		}
		before = received
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
	return nil
}

// progress says whether all links are settled, and how many datagrams arrived.
func (m *measurement) progress() (complete bool, received int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	complete = true
	for _, l := range m.links {
		received += m.seen[l].Received
		complete = complete && m.seen[l].Received >= m.enough
	}
	return complete, received
}

// askSenders makes every node send to whom it has a link to.
func (m *measurement) askSenders(ctx context.Context) error {
	to := map[string][]string{}
	var from []string
	for _, l := range m.links {
		if l.From == cluster.Clients {
			continue
		}
		addr, err := m.c.addr(l.To)
		if err != nil {
			return err
		}
		if to[l.From] == nil {
			from = append(from, l.From)
		}
		to[l.From] = append(to[l.From], addr)
	}
	return m.c.ask(ctx, from, func(i int) agent.Request {
		return agent.Request{Op: agent.OpSend, Token: m.token, Addrs: to[from[i]], Probes: m.probes}
	})
}

// askReceivers asks those nodes that have not heard enough yet.
func (m *measurement) askReceivers(ctx context.Context) error {
	m.mu.Lock()
	var nodes []string
	for _, l := range m.links {
		if l.To != cluster.Clients && m.seen[l].Received < m.enough && !slices.Contains(nodes, l.To) {
			nodes = append(nodes, l.To)
		}
	}
	m.mu.Unlock()
	return parallel(len(nodes), func(i int) error {
		p, err := m.c.pod(nodes[i])
		if err != nil {
			return err
		}
		r, err := p.wire.ask(ctx, agent.Request{Op: agent.OpCount, Token: m.token})
		if err != nil {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, l := range m.links {
			if addr, err := m.c.addr(l.From); err == nil && l.To == nodes[i] {
				m.seen[l] = r.Counts[addr]
			}
		}
		return nil
	})
}

// sendFromHere is the harness' own side of a link to a node.
func (m *measurement) sendFromHere(ctx context.Context, node string) {
	p, err := m.c.pod(node)
	if err != nil {
		return
	}
	agent.Paced(ctx.Done(), m.probes, func(seq int) {
		_, _ = p.udp.Write(agent.Datagram{Token: m.token, Seq: seq, Sent: time.Now().UnixNano()}.Encode(m.probes.Size))
	})
}

// receiveHere tallies what comes from a node. It also tells the node where the
// harness is, which the node remembers from before when that way is cut.
func (m *measurement) receiveHere(ctx context.Context, l cluster.Link) {
	p, err := m.c.pod(l.From)
	if err != nil {
		return
	}
	_, _ = p.udp.Write(agent.Datagram{}.Encode(0))
	var t agent.Tally
	b := make([]byte, 1<<16)
	for ctx.Err() == nil {
		if p.udp.SetReadDeadline(time.Now().Add(4*poll)) != nil {
			return
		}
		n, err := p.udp.Read(b)
		if err != nil {
			continue // nothing yet, or the way was closed for a moment
		}
		if d, ok := agent.DecodeDatagram(b[:n]); ok && d.Token == m.token {
			t.Add(d, n, time.Now())
			m.mu.Lock()
			m.seen[l] = t.Quality()
			m.mu.Unlock()
		}
	}
}
