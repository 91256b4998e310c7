package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/faultline-dev/faultline/cluster"
)

const (
	// tries and tryPause: the engine may not have noticed yet that the container it is
	// to start has died, and cannot freeze one whose processes are too busy.
	tries    = 50
	tryPause = 20 * time.Millisecond
)

// again asks the engine until it does what it is asked for.
func again(ctx context.Context, ask func() error) (err error) {
	for range tries {
		if err = ask(); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tryPause):
		}
	}
	return err
}

// each does something with all of a node's system containers in their order, one
// change at a time.
func (c *Cluster) each(ctx context.Context, node, what string, f func(id string, s *container.State) error) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return parallel(len(p.names), func(i int) error {
		id := p.id(p.names[i])
		in, err := c.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err == nil {
			err = f(id, in.Container.State)
		}
		if err != nil {
			return fmt.Errorf("docker: %s %s of %s: %w", what, p.names[i], node, err)
		}
		return nil
	})
}

// Kill ends the node's processes with SIGKILL, paused ones too. Where a fault of its
// disk loses what was not synced, it is a power cut.
func (c *Cluster) Kill(ctx context.Context, node string) error {
	if err := c.wants(node, cluster.Dead); err != nil {
		return err
	}
	if err := c.killDisks(ctx, node); err != nil {
		return err
	}
	return c.each(ctx, node, "kill", func(id string, s *container.State) error {
		if !s.Running {
			return nil
		}
		_, err := c.engine.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
		if err == nil {
			return nil
		}
		if in, again := c.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); again == nil && !in.Container.State.Running {
			return nil // it died by itself
		}
		return err
	})
}

// Start starts the node's processes again, with their data and their clocks as they
// are to be.
func (c *Cluster) Start(ctx context.Context, node string) error {
	if err := c.wants(node, cluster.Running); err != nil {
		return err
	}
	if err := c.startAll(ctx, node); err != nil {
		return err
	}
	if err := c.againDisks(ctx, node); err != nil {
		return err
	}
	return c.againClocks(ctx, node)
}

func (c *Cluster) startAll(ctx context.Context, node string) error {
	return c.each(ctx, node, "start", func(id string, s *container.State) error {
		if s.Running {
			return nil
		}
		return again(ctx, func() error {
			_, err := c.engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
			return err
		})
	})
}

// wants notes what is asked of a node's processes, for those that take their place.
func (c *Cluster) wants(node string, s cluster.State) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == cluster.Paused && p.want == cluster.Dead {
		return nil
	}
	p.want = s
	return nil
}

// Pause freezes the node's processes; the dead stay dead.
func (c *Cluster) Pause(ctx context.Context, node string) error {
	if err := c.wants(node, cluster.Paused); err != nil {
		return err
	}
	return c.each(ctx, node, "pause", func(id string, s *container.State) error {
		if !s.Running || s.Paused {
			return nil
		}
		return again(ctx, func() error {
			_, err := c.engine.ContainerPause(ctx, id, client.ContainerPauseOptions{})
			return err
		})
	})
}

// Resume lets the node's processes go on.
func (c *Cluster) Resume(ctx context.Context, node string) error {
	if err := c.resumed(node); err != nil {
		return err
	}
	return c.each(ctx, node, "resume", func(id string, s *container.State) error {
		if !s.Paused {
			return nil
		}
		_, err := c.engine.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
		return err
	})
}

// resumed notes that a node is not to be paused any more; the dead stay dead.
func (c *Cluster) resumed(node string) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want == cluster.Paused {
		p.want = cluster.Running
	}
	return nil
}

// State asks the engine: a node is as its worst container is.
func (c *Cluster) State(ctx context.Context, node string) (cluster.State, error) {
	p, err := c.pod(node)
	if err != nil {
		return "", err
	}
	return c.state(ctx, p)
}

func (c *Cluster) state(ctx context.Context, p *pod) (cluster.State, error) {
	worst := cluster.Running
	for _, name := range p.names {
		in, err := c.engine.ContainerInspect(ctx, p.id(name), client.ContainerInspectOptions{})
		if err != nil {
			return "", fmt.Errorf("docker: state of %s: %w", p.node.Name, err)
		}
		switch s := in.Container.State; {
		case !s.Running:
			return cluster.Dead, nil
		case s.Paused:
			worst = cluster.Paused
		}
	}
	return worst, nil
}
