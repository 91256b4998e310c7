package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/client"

	"github.com/faultline-dev/faultline/cluster"
)

var _ cluster.Rebuilder = (*Cluster)(nil)

// past is a container whose place another has taken. It stays, dead, for its log.
type past struct{ id, name string }

// rebuildTimeout bounds a rebuild, which is never left half done.
const rebuildTimeout = 20 * time.Second

// Wanted implements cluster.Rebuilder.
func (c *Cluster) Wanted(node string) cluster.State {
	p, err := c.pod(node)
	if err != nil {
		return cluster.Dead
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want == "" {
		return cluster.Running
	}
	return p.want
}

// Rebuild implements cluster.Rebuilder.
func (c *Cluster) Rebuild(ctx context.Context, node string, change func(*cluster.Pod)) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rebuildTimeout)
	defer cancel()
	if err := c.replace(ctx, p, change); err != nil {
		return err
	}
	if err := c.againDisks(ctx, node); err != nil {
		return err
	}
	return c.againClocks(ctx, node)
}

// replace puts new containers in the place of a node's.
func (c *Cluster) replace(ctx context.Context, p *pod, change func(*cluster.Pod)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	spec := cluster.Pod{Containers: slices.Clone(c.specs[slices.Index(c.cfg.Nodes, p.node.Name)].Containers)}
	for i := range spec.Containers {
		spec.Containers[i].Args = slices.Clone(spec.Containers[i].Args)
		spec.Containers[i].Env = maps.Clone(spec.Containers[i].Env)
	}
	change(&spec)
	number := 1 + len(p.past)/len(spec.Containers)
	for _, s := range spec.Containers {
		if err := c.retire(ctx, p, s.Name, number); err != nil {
			return err
		}
		if err := c.startContainer(ctx, p, s, c.name(p.node.Name, s.Name, strconv.Itoa(number))); err != nil {
			return err
		}
		if err := c.held(ctx, p, s.Name); err != nil {
			return err
		}
	}
	return nil
}

// held brings a new container to what was asked of the node last.
func (c *Cluster) held(ctx context.Context, p *pod, name string) (err error) {
	switch id := p.id(name); p.want {
	case cluster.Dead:
		_, err = c.engine.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
	case cluster.Paused:
		_, err = c.engine.ContainerPause(ctx, id, client.ContainerPauseOptions{})
	case cluster.Running:
	}
	return err
}

// retire ends a container and gives it another name, and with it the hand of its
// clock.
func (c *Cluster) retire(ctx context.Context, p *pod, name string, number int) error {
	p.clocks.mu.Lock()
	hand := p.clocks.hands[name]
	delete(p.clocks.hands, name)
	p.clocks.mu.Unlock()
	if hand != "" {
		if _, err := c.engine.ContainerRemove(ctx, hand, client.ContainerRemoveOptions{Force: true}); err != nil {
			return fmt.Errorf("docker: remove the hand of %s: %w", p.node.Name, err)
		}
	}
	id := p.id(name)
	in, err := c.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err == nil && in.Container.State.Running {
		_, err = c.engine.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
		if err == nil {
			err = c.waitDead(ctx, id)
		}
	}
	if err == nil {
		_, err = c.engine.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: c.name(p.node.Name, name, "old", strconv.Itoa(number))})
	}
	if err != nil {
		return fmt.Errorf("docker: retire %s of %s: %w", name, p.node.Name, err)
	}
	p.past = append(p.past, past{id, fmt.Sprint(name, ".", number)})
	return nil
}
