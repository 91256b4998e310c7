package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/stores/disk"
	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
	"github.com/faultline-dev/faultline/stores/wal"
)

// cluster is a tiny simulated network of replicas, for this package's tests: no
// time but ticks, a message takes a few, and all faults come from one seed.
type cluster struct {
	t     *testing.T
	rng   *rand.Rand
	cfg   ReplicaConfig
	names []string
	nodes map[string]*testNode
	tick  int
	net   []flight
	cut   map[[2]string]bool
	loss  float64 // of a message to be lost, or repeated, or late
	nextQ uint64
	done  map[uint64]replica.Reply

	leaders   map[uint64]string // election safety
	committed map[uint64]Entry  // state machine safety
	highest   uint64            // last place committed anywhere
}

type flight struct {
	at      int
	to      string
	payload []byte
}

type testNode struct {
	name  string
	r     *Replica
	fs    *disk.Mem
	log   *wal.Log
	boots uint64
	down  bool
	slow  []slowSync
}

type slowSync struct {
	at  int
	seq uint64
}

func newCluster(t *testing.T, seed uint64, n int, cfg ReplicaConfig) *cluster {
	t.Helper()
	c := &cluster{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), cfg: cfg, nodes: map[string]*testNode{},
		cut: map[[2]string]bool{}, done: map[uint64]replica.Reply{},
		leaders: map[uint64]string{}, committed: map[uint64]Entry{},
	}
	for i := range n {
		c.names = append(c.names, fmt.Sprintf("n%d", i+1))
	}
	for _, name := range c.names {
		x := &testNode{name: name, fs: disk.NewMem()}
		c.nodes[name] = x
		c.boot(x)
	}
	return c
}

func (c *cluster) now() time.Duration { return time.Duration(c.tick) * 10 * time.Millisecond }

func (c *cluster) boot(x *testNode) {
	c.t.Helper()
	log, records, err := wal.Open(x.fs)
	if err != nil {
		c.t.Fatalf("%s: %v", x.name, err)
	}
	x.boots++
	cfg := c.cfg
	cfg.Core.ID, cfg.Core.Voters = x.name, c.names
	cfg.Core.ElectionTicks, cfg.Core.HeartbeatTicks = 15, 3
	cfg.Core.Seed = c.rng.Uint64()
	x.r, err = NewReplica(cfg, records)
	if err != nil {
		c.t.Fatalf("%s: %v", x.name, err)
	}
	x.log, x.slow, x.down = log, nil, false
}

func (c *cluster) crash(x *testNode) {
	if !x.down {
		x.fs.Crash(c.rng)
		x.fs.Restart()
		x.down = true
	}
}

// step lets one tick pass.
func (c *cluster) step() {
	c.t.Helper()
	c.tick++
	for _, name := range c.names {
		x := c.nodes[name]
		if x.down {
			continue
		}
		for len(x.slow) > 0 && x.slow[0].at <= c.tick {
			if err := x.log.Sync(); err != nil {
				c.t.Fatal(err)
			}
			x.r.Persisted(x.slow[0].seq)
			x.slow = x.slow[1:]
		}
		x.r.Tick(c.now())
		c.flush(x)
	}
	c.deliver()
}

func (c *cluster) deliver() {
	var later []flight
	now := c.net
	c.net = nil
	for _, f := range now {
		x := c.nodes[f.to]
		if f.at > c.tick {
			later = append(later, f)
		} else if !x.down {
			x.r.Receive(f.payload)
			c.flush(x)
		}
	}
	c.net = append(later, c.net...)
}

func (c *cluster) flush(x *testNode) {
	c.t.Helper()
	out := x.r.Output()
	if out.Err != nil {
		c.t.Fatalf("%s: %v", x.name, out.Err)
	}
	for _, s := range out.Saves {
		err := x.log.Append(s.Records)
		if s.Rewrite {
			err = x.log.Rewrite(s.Records)
		}
		if err != nil {
			c.t.Fatal(err)
		}
		x.slow = append(x.slow, slowSync{c.tick + 1 + c.rng.IntN(3), s.Seq})
	}
	for _, f := range out.Frames {
		c.send(x.name, f)
	}
	for _, reply := range out.Replies {
		if _, twice := c.done[reply.ID]; twice {
			c.t.Fatalf("request %d answered twice", reply.ID)
		}
		c.done[reply.ID] = reply
	}
	c.check(x)
}

func (c *cluster) send(from string, f replica.Frame) {
	if c.cut[[2]string{from, f.To}] || c.rng.Float64() < c.loss {
		return
	}
	at := c.tick + c.rng.IntN(2)
	if c.rng.Float64() < c.loss {
		at += c.rng.IntN(40)
	}
	c.net = append(c.net, flight{at, f.To, f.Payload})
	if c.rng.Float64() < c.loss {
		c.net = append(c.net, flight{at + c.rng.IntN(30), f.To, f.Payload})
	}
	if c.rng.Float64() < c.loss/4 {
		bad := slices.Clone(f.Payload)
		bad[c.rng.IntN(len(bad))] ^= 1 << c.rng.IntN(8)
		c.net = append(c.net, flight{at, f.To, bad})
	}
}

// check asserts Raft's safety properties (Raft figure 3) for what a node has done.
func (c *cluster) check(x *testNode) {
	c.t.Helper()
	core := x.r.Core()
	if core.Role() == Leader {
		if l, ok := c.leaders[core.Term()]; ok && l != x.name {
			c.t.Fatalf("election safety: %s and %s both lead term %d", l, x.name, core.Term())
		}
		c.leaders[core.Term()] = x.name
		for i := core.log.snap.Index + 1; i <= c.highest; i++ {
			e, ok := core.Entry(i)
			if want, known := c.committed[i]; known && want.Term < core.Term() && (!ok || e.Term != want.Term) {
				c.t.Fatalf("leader completeness: %s leads term %d without entry %d/%d", x.name, core.Term(), i, want.Term)
			}
		}
	}
	for i := max(core.log.snap.Index, c.highest) + 1; i <= core.Commit(); i++ {
		if e, ok := core.Entry(i); ok {
			c.committed[i] = e
		}
		c.highest = i
	}
	for i := max(core.log.snap.Index+1, core.Commit()-min(core.Commit(), 5)); i <= core.Commit(); i++ {
		e, _ := core.Entry(i)
		if want, known := c.committed[i]; known && e.Term != want.Term {
			c.t.Fatalf("state machine safety: %s committed %d/%d, another %d/%d", x.name, i, e.Term, i, want.Term)
		}
	}
}

func (c *cluster) request(name string, q replica.Request) uint64 {
	c.nextQ++
	q.ID = c.nextQ
	q.Deadline = c.now() + time.Second
	c.nodes[name].r.Request(q)
	c.flush(c.nodes[name])
	return q.ID
}

// wait steps until the request is answered.
func (c *cluster) wait(id uint64) replica.Reply {
	c.t.Helper()
	for range 1000 {
		if r, ok := c.done[id]; ok {
			return r
		}
		c.step()
	}
	c.t.Fatalf("request %d is never answered", id)
	return replica.Reply{}
}

// must performs a command at a node and wants success.
func (c *cluster) must(name string, cmd kv.Command) kv.Result {
	c.t.Helper()
	for range 10 {
		r := c.wait(c.request(name, replica.Request{Command: cmd}))
		if r.Err == "" {
			return r.Result
		}
	}
	c.t.Fatalf("%v never succeeds at %s", cmd.Op, name)
	return kv.Result{}
}

func (c *cluster) leader() string {
	c.t.Helper()
	for range 2000 {
		for _, n := range c.names {
			x := c.nodes[n]
			if !x.down && x.r.core.role == Leader && x.r.core.commit >= x.r.core.start {
				return n
			}
		}
		c.step()
	}
	c.t.Fatal("no leader is ever elected")
	return ""
}

func (c *cluster) isolate(name string) {
	for _, n := range c.names {
		c.cut[[2]string{n, name}], c.cut[[2]string{name, n}] = true, true
	}
}

// chaos draws a fault, or an end of one, now and then.
func (c *cluster) chaos() {
	switch c.rng.IntN(60) {
	case 0:
		c.isolate(c.names[c.rng.IntN(len(c.names))])
	case 1:
		a, b := c.names[c.rng.IntN(len(c.names))], c.names[c.rng.IntN(len(c.names))]
		c.cut[[2]string{a, b}] = true
	case 2, 3, 4:
		clear(c.cut)
	case 5:
		c.crash(c.nodes[c.names[c.rng.IntN(len(c.names))]])
	case 6, 7, 8:
		for _, n := range c.names {
			if c.nodes[n].down {
				c.boot(c.nodes[n])
			}
		}
	case 9:
		c.loss = []float64{0, 0.02, 0.2}[c.rng.IntN(3)]
	}
}

// calm ends all faults.
func (c *cluster) calm() {
	clear(c.cut)
	c.loss = 0
	for _, n := range c.names {
		if c.nodes[n].down {
			c.boot(c.nodes[n])
		}
	}
}
