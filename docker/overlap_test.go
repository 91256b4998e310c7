package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/clustertest"
	"github.com/faultline-dev/faultline/docker/agent"
)

// fakeAgent does what the protocol says, and remembers only. Now and then it fails,
// before it did or after.
type fakeAgent struct {
	mu    sync.Mutex
	rng   *rand.Rand
	fails float64
	holds map[string]agent.Request
}

func (f *fakeAgent) serve(conn net.Conn) {
	s, to := bufio.NewScanner(conn), json.NewEncoder(conn)
	for s.Scan() {
		var q agent.Request
		if json.Unmarshal(s.Bytes(), &q) != nil || to.Encode(f.answer(q)) != nil {
			return
		}
	}
}

func (f *fakeAgent) answer(q agent.Request) agent.Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := agent.Response{N: q.N}
	chance := f.rng.Float64()
	if chance < f.fails {
		r.Error = "it does not work now"
	}
	if chance < f.fails/2 {
		return r
	}
	switch q.Op {
	case agent.OpCut, agent.OpShape:
		f.holds[q.ID] = q
	case agent.OpMend:
		delete(f.holds, q.ID)
	case agent.OpHeal:
		clear(f.holds)
	}
	return r
}

// stubborn repeats what failed, as the executor of a plan does.
type stubborn struct{ *Cluster }

func insist(f func() error) error {
	var err error
	for range 20 {
		if err = f(); err == nil {
			break
		}
	}
	return err
}

func (s stubborn) Cut(ctx context.Context, id string, links []cluster.Link) error {
	return insist(func() error { return s.Cluster.Cut(ctx, id, links) })
}

func (s stubborn) Shape(ctx context.Context, id string, links []cluster.Link, shape cluster.Shape) error {
	return insist(func() error { return s.Cluster.Shape(ctx, id, links, shape) })
}

func (s stubborn) Mend(ctx context.Context, id string) error {
	return insist(func() error { return s.Cluster.Mend(ctx, id) })
}

func (s stubborn) Heal(ctx context.Context) error {
	return insist(func() error { return s.Cluster.Heal(ctx) })
}

// withAgents is a cluster of agents that are faked.
func withAgents(t *testing.T, nodes []string, seed uint64, fails float64) (*Cluster, map[string]*fakeAgent) {
	t.Helper()
	c, err := New(Config{Nodes: nodes, Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	c.kernel = map[string]string{}
	agents := map[string]*fakeAgent{}
	for i, n := range nodes {
		near, far := net.Pipe()
		f := &fakeAgent{rng: rand.New(rand.NewPCG(seed, uint64(i))), fails: fails, holds: map[string]agent.Request{}}
		go f.serve(far)
		conn := client.ContainerAttachResult{HijackedResponse: client.HijackedResponse{Conn: near}}
		w := &wire{node: n, attached: &attached{conn: conn, out: near}, waiting: map[int]chan agent.Response{}}
		w.wg.Go(w.receive)
		t.Cleanup(w.close)
		agents[n], c.pods[n] = f, &pod{node: cluster.Node{Name: n}, addr: "10.0.0." + n[1:], wire: w}
	}
	return c, agents
}

// TestOverlap: the agents are asked to hold what the faults that are active hold,
// also when some requests fail.
func TestOverlap(t *testing.T) {
	nodes := []string{"n1", "n2", "n3", "n4"}
	for seed := range uint64(60) {
		fails := 0.0
		if seed%2 == 1 {
			fails = 0.1
		}
		c, agents := withAgents(t, nodes, seed, fails)
		held := func(l cluster.Link) clustertest.Held {
			h := clustertest.Held{}
			for _, n := range nodes {
				for id, q := range agents[n].holds {
					if n == l.To && slices.Contains(q.In, address(t, c, l.From)) || n == l.From && slices.Contains(q.Out, address(t, c, l.To)) {
						if twice(q.In) || twice(q.Out) {
							t.Fatalf("seed %d: %s is asked for the same twice: %+v", seed, n, q)
						}
						h[id] = clustertest.Hold{Cut: q.Op == agent.OpCut, Shape: cluster.Shape(q.Shape)}
					}
				}
			}
			return h
		}
		clustertest.Overlap(t, stubborn{c}, nodes, seed, 60, held)
		if len(c.faults.at)+len(c.faults.delays) > 0 {
			t.Fatalf("seed %d: remembered at the end: %v, %v", seed, c.faults.at, c.faults.delays)
		}
	}
}

func address(t *testing.T, c *Cluster, name string) string {
	t.Helper()
	a, err := c.addr(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func twice(addrs []string) bool {
	return len(slices.Compact(slices.Sorted(slices.Values(addrs)))) < len(addrs)
}
