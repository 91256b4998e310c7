package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Boot is what a node is made from.
type Boot struct {
	Name    string
	Names   []string
	Seed    uint64 // of its own chance, another at every start
	Records [][]byte
	Damage  error // not nil: more was there once
}

// System is a store whose nodes can be simulated.
type System struct {
	Name string
	// Boot makes a node from what its disk held.
	Boot func(Boot) (replica.Replica, error)
	// Tick is the time between two ticks of a node, by its own clock.
	Tick time.Duration
	// Invariants asserts what must hold of the nodes at every step; nil for nothing.
	Invariants func() Invariants
	// Label says in a few words what a frame is.
	Label func(payload []byte) string
}

// Net says how links behave that no fault touches.
type Net struct {
	// Least is the least time of a frame between nodes, Mean what comes to it on
	// average, exponentially distributed.
	Least, Mean time.Duration
	// ClientLeast and ClientMean are the same between clients and nodes.
	ClientLeast, ClientMean time.Duration
	// Loss, Duplicate and Reorder are chances of a frame between nodes. Without
	// Reorder a link keeps the order, as a stream does.
	Loss, Duplicate, Reorder float64
}

// Config is what a world is made from. System and Names are needed.
type Config struct {
	System System
	Names  []string
	Seed   uint64
	Net    Net
	// SyncLeast and SyncMean are the time that a disk takes to make writes durable.
	SyncLeast, SyncMean time.Duration
	// Drift bounds how much faster or slower than the others a node's clock runs,
	// as a fraction; each node's is drawn.
	Drift float64
	// Reads is how reads are answered that do not say.
	Reads replica.Reads
	// Keep keeps the nodes' logs and all messages, for the reports.
	Keep bool
}

func (c *Config) defaults() {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.Net.Least, time.Millisecond},
		{&c.Net.Mean, time.Millisecond},
		{&c.Net.ClientLeast, 2 * time.Millisecond},
		{&c.Net.ClientMean, 4 * time.Millisecond},
		{&c.SyncLeast, 500 * time.Microsecond},
		{&c.SyncMean, 1500 * time.Microsecond},
		{&c.System.Tick, 10 * time.Millisecond},
	} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
}

// World is a simulated cluster and the time in which it lives. It is for one
// goroutine: that of its tasks, or of the one caller that drives it.
type World struct {
	cfg    Config
	rng    *rand.Rand
	now    time.Duration
	seq    uint64
	count  uint64 // of events that happened
	frames uint64 // that arrived at nodes
	ran    bool   // away: too many did
	// requests of clients that arrived
	requests uint64
	events   queue
	current  *task
	tasks    []*task

	nodes   []*node
	infos   []cluster.Node
	index   map[string]int
	links   [][]*link // by indices of nodes; the last is the clients
	up      bool
	inv     Invariants
	broken  []Violation
	live    liveness
	trace   trace
	message []Message
}

// New makes a world; nothing happens in it before somebody waits.
func New(cfg Config) *World {
	cfg.defaults()
	w := &World{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x73696d)), index: map[string]int{}}
	if cfg.System.Invariants != nil {
		w.inv = cfg.System.Invariants()
	}
	for i, name := range append(append([]string{}, cfg.Names...), cluster.Clients) {
		w.index[name] = i
		row := make([]*link, len(cfg.Names)+1)
		for j := range row {
			row[j] = &link{}
		}
		w.links = append(w.links, row)
	}
	for i, name := range cfg.Names {
		w.nodes = append(w.nodes, newNode(w, i, name))
		w.infos = append(w.infos, cluster.Node{Name: name, Host: name, Ports: map[string]string{"client": name}})
	}
	return w
}

// clients is the index that stands for the harness' side.
func (w *World) clients() int { return len(w.nodes) }

// Nodes implements cluster.Cluster.
func (w *World) Nodes() []cluster.Node { return w.infos }

// Up implements cluster.Cluster.
func (w *World) Up(context.Context) error {
	if w.up {
		return nil
	}
	w.up = true
	w.healed()
	for _, n := range w.nodes {
		if err := n.boot(); err != nil {
			return err
		}
	}
	return nil
}

// Down implements cluster.Cluster.
func (w *World) Down(context.Context) error {
	w.up = false
	for _, n := range w.nodes {
		n.stop("taken down")
	}
	return nil
}

// Simulated is how much time has passed.
func (w *World) Simulated() time.Duration { return w.now }

// Events is how many events have happened.
func (w *World) Events() uint64 { return w.count }

// Hash is the whole trace so far in a number: equal for equal runs.
func (w *World) Hash() uint64 { return w.trace.sum }

// Violations are the broken invariants, in the order in which they broke.
func (w *World) Violations() []Violation { return w.broken }

func (w *World) node(name string) (*node, error) {
	if i, ok := w.index[name]; ok && i < len(w.nodes) {
		return w.nodes[i], nil
	}
	return nil, fmt.Errorf("sim: there is no node %q", name)
}

// Logs implements cluster.Logs.
func (w *World) Logs(_ context.Context, name string) (map[string]io.ReadCloser, error) {
	n, err := w.node(name)
	if err != nil || n.text.Len() == 0 {
		return nil, err
	}
	return map[string]io.ReadCloser{"node.log": io.NopCloser(bytes.NewReader(n.text.Bytes()))}, nil
}

// exponential is a time of at least least, with mean on top.
func (w *World) exponential(least, mean time.Duration) time.Duration {
	return least + min(time.Duration(w.rng.ExpFloat64()*float64(mean)), 20*mean)
}

// trace is a running hash of everything that happens.
type trace struct{ sum uint64 }

// mix takes words in; the multiplier is that of FNV-1a, over words.
func (t *trace) mix(words ...uint64) {
	h := t.sum
	for _, x := range words {
		h ^= x
		h *= 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	t.sum = h
}

// bytes takes a byte string in: its length and its end, where the stores put
// their checksums.
func (t *trace) bytes(b []byte) {
	x := uint64(len(b))
	for _, c := range b[max(0, len(b)-8):] {
		x = x<<8 | uint64(c)
	}
	t.mix(x)
}

// The kinds of event in the trace.
const (
	traceFrame = iota + 1
	traceRequest
	traceReply
	traceSynced
	traceBoot
	traceStop
	traceState
)

var (
	_ cluster.Cluster  = (*World)(nil)
	_ cluster.Killer   = (*World)(nil)
	_ cluster.Pauser   = (*World)(nil)
	_ cluster.Observer = (*World)(nil)
	_ cluster.Network  = (*World)(nil)
	_ cluster.Shaper   = (*World)(nil)
	_ cluster.Meter    = (*World)(nil)
	_ cluster.Clocks   = (*World)(nil)
	_ cluster.Disks    = (*World)(nil)
	_ cluster.Logs     = (*World)(nil)
	_ cluster.Caller   = (*World)(nil)
	_ cluster.Runtime  = (*World)(nil)
)
