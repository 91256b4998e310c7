// Package docker is the world of containers: real systems, run unmodified, and
// broken from outside.
//
// A node is a pod of containers that share one network namespace. Its agent, which
// is faultline's own binary, owns the namespace and with it the node's name, its
// address and the ports published on 127.0.0.1; the system's containers join it.
// So they can be killed, paused and started while address, ports and cuts stay.
// A janitor container removes everything when the harness dies.
//
// It needs a container engine that speaks Docker's API, never a privileged
// container, and changes nothing of the host.
package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/agent"
	"github.com/faultline-dev/faultline/docker/images"
)

// Config says what to run.
type Config struct {
	// RunID marks everything that is made; "" draws one.
	RunID string
	// Nodes are the nodes' names, n1, n2, ...
	Nodes []string
	// Ports are what every node serves on; those that are no Peer are published.
	Ports []cluster.Port
	// Pod says what a node consists of (clients.System.Pod).
	Pod func(cluster.Launch) (cluster.Pod, error)
	// Options, Version, Bug and Seed are handed on to Pod.
	Options map[string]string
	Version string
	Bug     string
	Seed    uint64
	// Image, if set, replaces the images that faultline builds for the system.
	Image string
	// Progress, if set, is told what takes long.
	Progress func(text string)
	// Bare leaves the system out: agents alone, to ask what the engine's kernel can
	// do. Pod is not needed then.
	Bare bool
	// Disks puts a supervisor under every container that keeps data, so that its disk
	// can fail. It takes /dev/fuse, and the capability SYS_ADMIN in those containers.
	Disks bool
	// Cache is where image recipes keep what they build, "" for the user's cache.
	Cache string
}

const (
	roleNode    = "node"
	roleAgent   = "agent"
	roleJanitor = "janitor"

	// downTimeout bounds the clean-up, which goes on when its caller gave up.
	downTimeout = 60 * time.Second
	// maxNodes bounds a cluster.
	maxNodes = 9
)

// Cluster is a cluster in containers. It is a cluster.Cluster with the powers
// Killer, Pauser, Observer, Network, Shaper, Meter, Clocks, Disks and Logs.
type Cluster struct {
	cfg   Config
	owner Owner

	mu      sync.Mutex // guards what Up and Down change
	engine  *client.Client
	self    string        // faultline's own image
	arch    string        // the engine's machine
	specs   []cluster.Pod // with images resolved, nil before prepare
	up      bool
	nodes   []cluster.Node
	pods    map[string]*pod
	network *tc.DockerNetwork
	janitor *attached
	kernel  map[string]string // what it can do to packets, nil before it was asked
	since   time.Time         // when the logs begin, zero for the nodes' first start

	reach  sync.Mutex // one measurement at a time
	faults faults
}

// The powers that containers have.
var (
	_ cluster.Killer   = (*Cluster)(nil)
	_ cluster.Pauser   = (*Cluster)(nil)
	_ cluster.Observer = (*Cluster)(nil)
	_ cluster.Network  = (*Cluster)(nil)
	_ cluster.Shaper   = (*Cluster)(nil)
	_ cluster.Meter    = (*Cluster)(nil)
	_ cluster.Logs     = (*Cluster)(nil)
)

// New checks cfg. It speaks to no engine yet.
func New(cfg Config) (*Cluster, error) {
	if n := len(cfg.Nodes); n < 1 || n > maxNodes {
		return nil, fmt.Errorf("docker: %d nodes: from 1 to %d are possible", n, maxNodes)
	}
	if cfg.Pod == nil && !cfg.Bare {
		return nil, errors.New("docker: the system does not run in containers")
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if cfg.RunID == "" {
		b := make([]byte, 6)
		_, _ = rand.Read(b)
		cfg.RunID = hex.EncodeToString(b)
	}
	return &Cluster{cfg: cfg, owner: Self(), pods: map[string]*pod{}}, nil
}

// Prepare finds the engine, removes what dead runs left there and builds the
// images that are missing; Up does so itself where it was not called. Its error is
// images.ErrVersion or images.ErrMissing where what was asked for does not exist,
// and ErrNoEngine where there is none.
func (c *Cluster) Prepare(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.prepare(ctx)
}

func (c *Cluster) prepare(ctx context.Context) (err error) {
	if c.specs != nil {
		return nil
	}
	specs, err := c.askForPods()
	if err != nil {
		return err
	}
	if c.engine == nil {
		if c.engine, err = Open(ctx); err != nil {
			return err
		}
	}
	v, err := c.engine.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return noEngine(err)
	}
	c.arch = v.Arch
	if !c.cfg.Bare { // which only looks
		c.sweepDead(ctx)
	}
	if c.self, err = c.ensureImages(ctx, specs); err != nil {
		return err
	}
	c.specs = specs
	return nil
}

// sweepDead removes what runs left that are dead.
func (c *Cluster) sweepDead(ctx context.Context) {
	swept, err := Sweep(ctx, c.engine)
	if err != nil {
		c.cfg.Progress("what dead runs left could not be removed: " + err.Error())
	} else if len(swept) > 0 {
		c.cfg.Progress(fmt.Sprintf("removed %d things that dead runs left in the engine", len(swept)))
	}
}

// RunID is the value of the label faultline on everything of this cluster.
func (c *Cluster) RunID() string { return c.cfg.RunID }

// Since lets the nodes' logs begin at t, for a cluster that several runs use.
func (c *Cluster) Since(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = t
}

// Nodes are the members, valid after Up.
func (c *Cluster) Nodes() []cluster.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes
}

// Up builds the images that are missing, and makes and starts the nodes.
func (c *Cluster) Up(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up {
		return errors.New("docker: the cluster is up already")
	}
	err := c.make(ctx)
	if err == nil {
		c.up = true
		return nil
	}
	c.nodes = nil
	if down := c.down(ctx); down != nil {
		err = errors.Join(err, down)
	}
	return err
}

func (c *Cluster) make(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	self, specs := c.self, c.specs
	err := parallel(2, func(i int) (err error) {
		if i == 0 {
			return c.startJanitor(ctx, self)
		}
		c.network, err = newNetwork(ctx, c.owner.labels(c.cfg.RunID, "network", ""))
		return err
	})
	if err != nil {
		return err
	}
	pods := make([]*pod, len(specs))
	err = parallel(len(specs), func(i int) (err error) {
		pods[i], err = c.newPod(ctx, self, c.cfg.Nodes[i])
		return err
	})
	for _, p := range pods { // also those that were made when another failed
		if p != nil {
			c.pods[p.node.Name] = p
		}
	}
	if err != nil {
		return err
	}
	if err := c.introduce(ctx); err != nil {
		return err
	}
	// The names of all nodes can be resolved before the first one asks.
	err = parallel(len(specs), func(i int) error { return c.startSystem(ctx, pods[i], specs[i]) })
	if err != nil {
		return err
	}
	c.nodes = nil
	for _, p := range pods {
		c.nodes = append(c.nodes, p.node)
	}
	return c.diedAtOnce(ctx)
}

// Same says whether two clusters that were prepared are made of the same.
func (c *Cluster) Same(other *Cluster) bool {
	return c.cfg.Disks == other.cfg.Disks && slices.Equal(c.cfg.Nodes, other.cfg.Nodes) &&
		slices.Equal(c.cfg.Ports, other.cfg.Ports) && reflect.DeepEqual(c.specs, other.specs)
}

// askForPods asks the system for its containers, before anything is made.
func (c *Cluster) askForPods() ([]cluster.Pod, error) {
	var out []cluster.Pod
	if c.cfg.Bare {
		return make([]cluster.Pod, len(c.cfg.Nodes)), nil
	}
	for _, name := range c.cfg.Nodes {
		p, err := c.cfg.Pod(c.launch(name))
		if err != nil {
			return nil, fmt.Errorf("docker: node %s: %w", name, err)
		}
		if len(p.Containers) == 0 {
			return nil, fmt.Errorf("docker: node %s has no container", name)
		}
		for i := range p.Containers {
			switch image := &p.Containers[i].Image; {
			case *image == "":
				*image = images.Self
			case c.cfg.Image != "" && images.Ours(*image):
				*image = c.cfg.Image
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// dataDir is where a node's system keeps its data, in its container.
const dataDir = "/data"

func (c *Cluster) launch(node string) cluster.Launch {
	l := cluster.Launch{
		Node: node, Nodes: c.cfg.Nodes, Dir: dataDir,
		Listen: map[string]string{}, Dial: map[string]map[string]string{},
		Options: c.cfg.Options, Version: c.cfg.Version, Bug: c.cfg.Bug, Seed: c.cfg.Seed,
	}
	for _, p := range c.cfg.Ports {
		l.Listen[p.Name] = net.JoinHostPort("0.0.0.0", strconv.Itoa(p.Number))
		for _, peer := range c.cfg.Nodes {
			if l.Dial[peer] == nil {
				l.Dial[peer] = map[string]string{}
			}
			l.Dial[peer][p.Name] = net.JoinHostPort(peer, strconv.Itoa(p.Number))
		}
	}
	return l
}

// ensureImages builds what is missing, resolves the images in specs, and returns
// faultline's own.
func (c *Cluster) ensureImages(ctx context.Context, specs []cluster.Pod) (self string, err error) {
	b := images.Builder{Engine: c.engine, Cache: c.cfg.Cache, Progress: c.cfg.Progress}
	if self, err = b.Ensure(ctx, images.Self); err != nil {
		return "", err
	}
	resolved := map[string]string{images.Self: self}
	for i := range specs {
		for j := range specs[i].Containers {
			ref := &specs[i].Containers[j].Image
			if _, ok := resolved[*ref]; !ok {
				if resolved[*ref], err = b.Ensure(ctx, *ref); err != nil {
					return "", err
				}
			}
			*ref = resolved[*ref]
		}
	}
	return self, nil
}

// introduce tells every agent the nodes' addresses.
func (c *Cluster) introduce(ctx context.Context) error {
	var addrs []string
	for _, name := range c.cfg.Nodes {
		addrs = append(addrs, c.pods[name].addr)
	}
	return parallel(len(c.cfg.Nodes), func(i int) error {
		_, err := c.pods[c.cfg.Nodes[i]].wire.ask(ctx, agent.Request{Op: agent.OpPeers, Addrs: addrs})
		return err
	})
}

// diedAtOnce finds a node that refused its options, so that the error can say so
// instead of that it never became ready.
func (c *Cluster) diedAtOnce(ctx context.Context) error {
	for _, name := range c.cfg.Nodes {
		s, err := c.state(ctx, c.pods[name])
		if err != nil {
			return err
		}
		if s == cluster.Dead {
			return fmt.Errorf("docker: node %s ended at once; its log ends with:\n%s", name, c.tail(ctx, c.pods[name]))
		}
	}
	return nil
}

// Down heals, stops and removes everything. It goes on for a while when ctx ends.
func (c *Cluster) Down(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down(ctx)
}

func (c *Cluster) down(ctx context.Context) error {
	late := !c.up // what Up asked for may be made yet
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	c.up = false
	for _, p := range c.pods {
		p.close()
	}
	clear(c.pods)
	if c.engine == nil {
		return nil // nothing was made
	}
	err := sweepRun(ctx, c.engine, c.cfg.RunID, "", late)
	if c.janitor != nil {
		// The janitor was removed with the rest; had that failed, it would try again.
		c.janitor.close()
		c.janitor = nil
	}
	err = errors.Join(err, c.engine.Close())
	c.engine, c.specs = nil, nil
	if err != nil {
		return fmt.Errorf("%w; `faultline doctor` lists what may be left", err)
	}
	return nil
}

// pod finds a node.
func (c *Cluster) pod(node string) (*pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.pods[node]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("docker: there is no node %q; there are: %s", node, strings.Join(c.running(), ", "))
}

func (c *Cluster) running() []string {
	return slices.DeleteFunc(slices.Clone(c.cfg.Nodes), func(n string) bool { return c.pods[n] == nil })
}
