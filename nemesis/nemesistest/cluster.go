package nemesistest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// ErrInjected is what a Cluster's methods fail with when they were told to.
var ErrInjected = errors.New("nemesistest: told to fail")

// Cluster is one that exists in memory only, with all powers. Its methods take
// some time by the runtime, so that those of several tasks interleave.
type Cluster struct {
	rt    cluster.Runtime
	rng   *rand.Rand
	nodes []cluster.Node

	mu     sync.Mutex
	calls  int
	failAt map[int]bool
	dead   map[string]bool
	paused map[string]bool
	cuts   map[string][]cluster.Link
	shapes map[string]shaped
	skews  map[string]skewed                  // node
	disks  map[string]map[string]cluster.Disk // node, then id
	damage map[string]cluster.Damage

	removed map[string]bool // from the membership
}

// skewed is a clock since it was set.
type skewed struct {
	cluster.Skew

	since time.Duration
}

type shaped struct {
	links []cluster.Link
	shape cluster.Shape
}

// NewCluster has n nodes, n1 to n<n>, all running. Seed decides how long its
// methods take.
func NewCluster(rt cluster.Runtime, n int, seed uint64) *Cluster {
	c := &Cluster{
		rt: rt, rng: rand.New(rand.NewPCG(seed, 7)), failAt: map[int]bool{},
		dead: map[string]bool{}, paused: map[string]bool{},
		cuts: map[string][]cluster.Link{}, shapes: map[string]shaped{},
		skews: map[string]skewed{}, disks: map[string]map[string]cluster.Disk{}, damage: map[string]cluster.Damage{},
		removed: map[string]bool{},
	}
	for i := range n {
		c.nodes = append(c.nodes, cluster.Node{Name: fmt.Sprintf("n%d", i+1)})
	}
	return c
}

// FailAt makes the calls of these numbers, from 1, fail after they did half of
// what they should, or nothing.
func (c *Cluster) FailAt(calls ...int) {
	for _, n := range calls {
		c.failAt[n] = true
	}
}

// Broken says in words what is not as it was at the start; "" for nothing.
func (c *Cluster) Broken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var words []string
	for _, n := range c.nodes {
		if c.dead[n.Name] {
			words = append(words, n.Name+" is dead")
		}
		if c.paused[n.Name] {
			words = append(words, n.Name+" is paused")
		}
		if c.removed[n.Name] {
			words = append(words, n.Name+" is no member")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.cuts)) {
		words = append(words, fmt.Sprintf("%s cuts %v", id, c.cuts[id]))
	}
	for _, id := range slices.Sorted(maps.Keys(c.shapes)) {
		words = append(words, fmt.Sprintf("%s shapes %v", id, c.shapes[id].links))
	}
	for _, n := range slices.Sorted(maps.Keys(c.skews)) {
		words = append(words, "the clock of "+n+" is wrong")
	}
	for _, n := range slices.Sorted(maps.Keys(c.disks)) {
		if len(c.disks[n]) > 0 {
			words = append(words, "the disk of "+n+" fails")
		}
	}
	return strings.Join(words, ", ")
}

// Quorum says whether a majority of the members runs, each seeing a majority that does.
func (c *Cluster) Quorum() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	members, whole := 0, 0
	var up []string
	for _, n := range c.nodes {
		if c.removed[n.Name] {
			continue
		}
		members++
		if !c.dead[n.Name] && !c.paused[n.Name] {
			up = append(up, n.Name)
		}
	}
	for _, a := range up {
		sees := 0
		for _, b := range up {
			if !c.cut(cluster.Link{From: a, To: b}) && !c.cut(cluster.Link{From: b, To: a}) {
				sees++
			}
		}
		if 2*sees > members {
			whole++
		}
	}
	return 2*whole > members
}

// Calls is how many calls that change something there were.
func (c *Cluster) Calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// do is a call: it takes a moment, then acts, then takes another.
func (c *Cluster) do(ctx context.Context, act func()) error {
	c.mu.Lock()
	c.calls++
	fail := c.failAt[c.calls]
	half := fail && c.rng.IntN(2) == 0
	before, after := c.moment(), c.moment()
	c.mu.Unlock()
	if err := c.rt.Sleep(ctx, before); err != nil {
		return err
	}
	if !fail || half {
		c.mu.Lock()
		act()
		c.mu.Unlock()
	}
	if fail {
		return ErrInjected
	}
	return c.rt.Sleep(ctx, after)
}

func (c *Cluster) moment() time.Duration {
	return time.Duration(c.rng.IntN(20_000)) * time.Microsecond
}

// Nodes are the members.
func (c *Cluster) Nodes() []cluster.Node { return c.nodes }

// Up does nothing.
func (c *Cluster) Up(context.Context) error { return nil }

// Down does nothing.
func (c *Cluster) Down(context.Context) error { return nil }

// Kill makes a node dead.
func (c *Cluster) Kill(ctx context.Context, node string) error {
	return c.do(ctx, func() {
		for _, d := range c.disks[node] {
			hurt := c.damage[node]
			switch {
			case c.dead[node]:
			case d.Fault == cluster.LoseUnsynced:
				hurt.Lost += c.rng.IntN(3) // sometimes nothing waits to be synced
			case d.Fault == cluster.TornWrites:
				hurt.Torn++
			}
			c.damage[node] = hurt
		}
		c.dead[node] = true
		delete(c.paused, node)
	})
}

// Start makes a node run; one that was dead is not paused.
func (c *Cluster) Start(ctx context.Context, node string) error {
	return c.do(ctx, func() { delete(c.dead, node) })
}

// Pause freezes a node that runs.
func (c *Cluster) Pause(ctx context.Context, node string) error {
	return c.do(ctx, func() {
		if !c.dead[node] {
			c.paused[node] = true
		}
	})
}

// Resume lets a node go on.
func (c *Cluster) Resume(ctx context.Context, node string) error {
	return c.do(ctx, func() { delete(c.paused, node) })
}

// State is what a node is.
func (c *Cluster) State(_ context.Context, node string) (cluster.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.dead[node]:
		return cluster.Dead, nil
	case c.paused[node]:
		return cluster.Paused, nil
	default:
		return cluster.Running, nil
	}
}

// Cut cuts links.
func (c *Cluster) Cut(ctx context.Context, id string, links []cluster.Link) error {
	return c.do(ctx, func() { c.cuts[id] = slices.Clone(links) })
}

// Mend takes back a cut or shape.
func (c *Cluster) Mend(ctx context.Context, id string) error {
	return c.do(ctx, func() {
		delete(c.cuts, id)
		delete(c.shapes, id)
	})
}

// Heal takes back all of them.
func (c *Cluster) Heal(ctx context.Context) error {
	return c.do(ctx, func() {
		clear(c.cuts)
		clear(c.shapes)
	})
}

// Reach says which links nobody cuts.
func (c *Cluster) Reach(ctx context.Context, links []cluster.Link) (map[cluster.Link]bool, error) {
	if err := c.rt.Sleep(ctx, time.Millisecond); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[cluster.Link]bool{}
	for _, l := range links {
		out[l] = !c.cut(l)
	}
	return out, nil
}

func (c *Cluster) cut(l cluster.Link) bool {
	for _, links := range c.cuts {
		if slices.Contains(links, l) {
			return true
		}
	}
	return false
}

// Shapes refuses nothing.
func (c *Cluster) Shapes(cluster.Shape) error { return nil }

// Shape degrades links.
func (c *Cluster) Shape(ctx context.Context, id string, links []cluster.Link, s cluster.Shape) error {
	return c.do(ctx, func() { c.shapes[id] = shaped{slices.Clone(links), s} })
}

// Measure is what the shapes do on average.
func (c *Cluster) Measure(ctx context.Context, links []cluster.Link, p cluster.Probes) (map[cluster.Link]cluster.Quality, error) {
	if err := c.rt.Sleep(ctx, time.Millisecond); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[cluster.Link]cluster.Quality{}
	for _, l := range links {
		q := cluster.Quality{Sent: p.Count, Received: p.Count, Delay: time.Microsecond, Rate: 1 << 40}
		for _, s := range c.shapes {
			if slices.Contains(s.links, l) {
				degrade(&q, s.shape, float64(p.Count))
			}
		}
		if c.cut(l) {
			q = cluster.Quality{Sent: p.Count}
		}
		out[l] = q
	}
	return out, nil
}

func degrade(q *cluster.Quality, s cluster.Shape, n float64) {
	q.Received -= int(s.Loss * n)
	q.Duplicated += int(s.Duplicate * n)
	q.Reordered += int(s.Reorder * n)
	q.Corrupted += int(s.Corrupt * n)
	q.Delay += s.Delay
	if s.Rate > 0 {
		q.Rate = min(q.Rate, s.Rate)
	}
}

// Skew sets a clock.
func (c *Cluster) Skew(ctx context.Context, node string, s cluster.Skew) error {
	return c.do(ctx, func() { c.skews[node] = skewed{s, c.rt.Now()} })
}

// Reset sets it right.
func (c *Cluster) Reset(ctx context.Context, node string) error {
	return c.do(ctx, func() { delete(c.skews, node) })
}

// Moves implements cluster.Clocks.
func (c *Cluster) Moves(s cluster.Skew) []cluster.Clock {
	if s.Rate != 0 && s.Rate != 1 {
		return []cluster.Clock{cluster.RealTime, cluster.Monotonic}
	}
	return []cluster.Clock{cluster.RealTime}
}

// Offsets is what the clocks of the nodes that run show.
func (c *Cluster) Offsets(ctx context.Context, nodes []string) (map[string]time.Duration, error) {
	if err := c.rt.Sleep(ctx, time.Millisecond); err != nil {
		return nil, err
	}
	now := c.rt.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]time.Duration{}
	for _, n := range nodes {
		if c.dead[n] || c.paused[n] {
			continue
		}
		out[n] = 0
		if s, ok := c.skews[n]; ok {
			out[n] = s.Offset + time.Duration(float64(now-s.since)*(s.Rate-1))
		}
	}
	return out, nil
}

// DiskFaults refuses nothing.
func (c *Cluster) DiskFaults(cluster.DiskFault) error { return nil }

// Break makes a disk fail; faults other than power cuts show at once.
func (c *Cluster) Break(ctx context.Context, id, node string, d cluster.Disk) error {
	return c.do(ctx, func() {
		if c.disks[node] == nil {
			c.disks[node] = map[string]cluster.Disk{}
		}
		c.disks[node][id] = d
		hurt := c.damage[node]
		switch d.Fault {
		case cluster.FailIO, cluster.Full:
			hurt.Failed++
			c.dead[node] = true // as a careful store does
		case cluster.FlipBits:
			hurt.Flipped++
		case cluster.SlowSync:
			hurt.Slowed++
		case cluster.LoseUnsynced, cluster.TornWrites:
		}
		c.damage[node] = hurt
	})
}

// Repair ends a fault of a disk.
func (c *Cluster) Repair(ctx context.Context, id, node string) error {
	return c.do(ctx, func() { delete(c.disks[node], id) })
}

// Damage is what was done to a disk.
func (c *Cluster) Damage(_ context.Context, node string) (cluster.Damage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.damage[node], nil
}

// Members are those that were not removed.
func (c *Cluster) Members(ctx context.Context) ([]string, error) {
	if err := c.rt.Sleep(ctx, time.Millisecond); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, n := range c.nodes {
		if !c.removed[n.Name] {
			names = append(names, n.Name)
		}
	}
	return names, nil
}

// Remove takes nodes out of the membership.
func (c *Cluster) Remove(ctx context.Context, nodes []string) error {
	return c.do(ctx, func() {
		for _, n := range nodes {
			c.removed[n] = true
		}
	})
}

// Add makes nodes members.
func (c *Cluster) Add(ctx context.Context, nodes []string) error {
	return c.do(ctx, func() {
		for _, n := range nodes {
			delete(c.removed, n)
		}
	})
}

// Workers counts who was stalled; it acts as one worker that stalls at once.
type Workers struct {
	mu   sync.Mutex
	held map[string]bool
	sum  map[string]int
}

// NewWorkers is nobody stalled.
func NewWorkers() *Workers { return &Workers{held: map[string]bool{}, sum: map[string]int{}} }

// Stall stalls the worker.
func (w *Workers) Stall(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[id] = true
	w.sum[id]++
}

// Release lets it go.
func (w *Workers) Release(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.held, id)
}

// Stalled counts.
func (w *Workers) Stalled(id string) (now, sum int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[id] {
		now = 1
	}
	return now, w.sum[id]
}

// Held says whether anybody is stalled.
func (w *Workers) Held() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held) > 0
}
