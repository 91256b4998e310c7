package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/workloads/register"
)

// keeper keeps the nodes of one run for the next that wants the same ones.
type keeper struct {
	kept *keptNodes // nil for none
	made int        // clusters
}

// lend gives a run the nodes that are kept, if it would make the same, or has those
// kept that it makes.
func (k *keeper) lend(ctx context.Context, p *planned) error {
	c, err := p.containers(ctx)
	if err != nil {
		return err
	}
	d, ok := c.(*docker.Cluster)
	if !ok {
		return exit.Brokenf("%T cannot be kept", c)
	}
	if k.kept != nil && k.kept.Same(d) {
		err = d.Down(ctx) // it holds nothing but its connection to the engine
	} else {
		err = k.drop(ctx)
		k.kept = &keptNodes{Cluster: d}
		k.made++
	}
	if err != nil {
		return exit.Brokenf("%w", err)
	}
	k.kept.next(p)
	p.kept = k.kept
	return nil
}

// drop takes down what is kept.
func (k *keeper) drop(ctx context.Context) error {
	if k.kept == nil {
		return nil
	}
	err := k.kept.Cluster.Down(ctx)
	k.kept = nil
	return err
}

// keptNodes are containers that outlive a run. Down proves that the run left nothing
// behind and that every node serves, and leaves them.
type keptNodes struct {
	*docker.Cluster
	up     bool
	runs   int
	system clients.System
	opts   map[string]string
	settle time.Time     // when the run's faults were over
	served time.Duration // how long after it every node had served
}

// next prepares for another run, whose keys are others than those of the last.
func (k *keptNodes) next(p *planned) {
	k.runs++
	k.settle, k.served = time.Time{}, 0
	if k.up {
		p.system.Init = nil // they are joined
	}
	k.system, k.opts = p.system, p.sysOpts
	k.Since(time.Now())
}

// keyPrefix tells the keys of one run from those of another on the same nodes.
func (k *keptNodes) keyPrefix() string { return fmt.Sprintf("r%d-", k.runs) }

// Up makes the nodes where they are not there yet.
func (k *keptNodes) Up(ctx context.Context) error {
	if k.up {
		return nil
	}
	err := k.Cluster.Up(ctx)
	k.up = err == nil
	return err
}

// watch notes when the faults were over.
func (k *keptNodes) watch(s faultline.Snapshot) {
	if s.Stage == "settle" && k.settle.IsZero() {
		k.settle = time.Now()
	}
}

// serveLimit is how long after the last heal every node must have served.
const serveLimit = 30 * time.Second

// Down proves that the nodes are whole.
func (k *keptNodes) Down(ctx context.Context) error {
	if !k.up || k.settle.IsZero() {
		return nil // the run came to nothing: the series drops the nodes
	}
	ctx, cancel := context.WithDeadline(ctx, k.settle.Add(serveLimit))
	defer cancel()
	for _, n := range k.Nodes() {
		if err := k.serves(ctx, n); err != nil {
			return fmt.Errorf("%s does not serve %v after the last heal: %w", n.Name, serveLimit, err)
		}
	}
	k.served = time.Since(k.settle)
	return k.nothingLeft(ctx)
}

// serves writes to a node and reads from it, until both succeed.
func (k *keptNodes) serves(ctx context.Context, n cluster.Node) error {
	for {
		err := k.serveOnce(ctx, n)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (k *keptNodes) serveOnce(ctx context.Context, n cluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	to := clients.Target{Node: n, Cluster: k.Cluster, Options: k.opts, Timeout: time.Second}
	c, err := k.system.Open(ctx, to)
	if err != nil {
		return err
	}
	defer c.Close()
	store, ok := c.(register.Store)
	if !ok {
		return k.system.Ready(ctx, to)
	}
	key := k.keyPrefix() + "served"
	if _, err = store.Write(ctx, key, 1); err == nil {
		_, err = store.Read(ctx, key)
	}
	return err
}

// nothingLeft looks whether all processes run and all links are open.
func (k *keptNodes) nothingLeft(ctx context.Context) error {
	var links []cluster.Link
	for _, a := range k.Nodes() {
		s, err := k.State(ctx, a.Name)
		if err == nil && s != cluster.Running {
			err = fmt.Errorf("%s was left %s", a.Name, s)
		}
		if err != nil {
			return err
		}
		links = append(links, cluster.Link{From: a.Name, To: cluster.Clients}, cluster.Link{From: cluster.Clients, To: a.Name})
		for _, b := range k.Nodes() {
			if a.Name != b.Name {
				links = append(links, cluster.Link{From: a.Name, To: b.Name})
			}
		}
	}
	return errors.Join(k.allOpen(ctx, links), k.noRules(ctx))
}

// reachTries is how often closed links are looked at: on a busy machine a datagram
// can be late.
const reachTries = 5

func (k *keptNodes) allOpen(ctx context.Context, links []cluster.Link) error {
	var closed []cluster.Link
	for range reachTries {
		open, err := k.Reach(ctx, links)
		if err != nil {
			return err
		}
		closed = slices.DeleteFunc(slices.Clone(links), func(l cluster.Link) bool { return open[l] })
		if len(closed) == 0 {
			return nil
		}
	}
	return fmt.Errorf("links were left closed: %v", closed)
}

// noRules asks the agents what they still hold.
func (k *keptNodes) noRules(ctx context.Context) error {
	held, err := k.Held(ctx)
	if err == nil && len(held) > 0 {
		err = fmt.Errorf("cuts and shapes were left: %s", strings.Join(held, ", "))
	}
	return err
}
