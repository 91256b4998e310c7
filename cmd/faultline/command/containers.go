package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/images"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/nemesis"
)

// containers makes the world of containers for a run and prepares it: it finds the
// engine and builds the images that are missing. It makes no container yet.
func (p *planned) containers(ctx context.Context) (cluster.Cluster, error) {
	r := p.record
	c, err := docker.New(docker.Config{
		Nodes: r.Nodes, Ports: p.system.Ports, Pod: p.system.Pod,
		Options: p.sysOpts, Version: r.Version, Bug: r.Bug, Seed: r.Seed, Image: r.Image, Disks: p.breaksDisks(),
		Progress: func(text string) { fmt.Fprintln(p.progress, text) },
	})
	if err != nil {
		return nil, exit.Usagef("%w", err)
	}
	if err := c.Prepare(ctx); err != nil {
		return nil, errors.Join(containerError(err), c.Down(ctx))
	}
	return c, nil
}

// containerError gives an error of the container world its exit code.
func containerError(err error) error {
	if errors.Is(err, images.ErrVersion) || errors.Is(err, images.ErrMissing) {
		return exit.Usagef("%w", err)
	}
	return exit.Brokenf("%w", err)
}

// progressTo is where a run tells what it is doing before it starts.
func progressTo(env *Env, a asked) io.Writer {
	if a.quiet || a.json {
		return io.Discard
	}
	return env.Stderr
}

// breaksDisks says whether the plan has faults of disks, for which the nodes'
// containers need more rights.
func (p *planned) breaksDisks() bool {
	return slices.ContainsFunc(p.specs, func(s nemesis.Spec) bool { return s.Fault == "disk" }) ||
		slices.ContainsFunc(p.plan.Steps, func(s nemesis.Step) bool { return s.Fault == "disk" })
}
