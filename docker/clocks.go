package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/agent"
	"github.com/faultline-dev/faultline/docker/clock"
)

const (
	roleClock = "clock"
	// handTimeout bounds how long a hand may take until it answers.
	handTimeout = 10 * time.Second
	handPause   = 10 * time.Millisecond
)

var (
	_ cluster.Clocks       = (*Cluster)(nil)
	_ cluster.ClockRefuser = (*Cluster)(nil)
)

// clocks are those of a node's containers. Each has a hand: a container in its
// process namespace, started when it is first needed, which patches the processes.
// It dies with the container and is started again with it.
type clocks struct {
	mu    sync.Mutex
	skew  *clock.Skew       // nil before the first
	hands map[string]string // container ids, by the name of the container
}

// ClockFaults says why the engine's machine cannot have wrong clocks, or nil.
func (c *Cluster) ClockFaults() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if why := clockReason(c.arch); why != "" {
		return errors.New("docker: " + why)
	}
	return nil
}

// Skew makes the clocks of all processes of the node wrong, those too that start
// later. Monotonic clocks follow the rate, but for a JVM's, whose waits are
// measured by the kernel against its own. They stay ahead or behind when the rate
// is right again, and never go backwards.
func (c *Cluster) Skew(ctx context.Context, node string, s cluster.Skew) error {
	if s.Rate == 0 {
		s.Rate = 1
	}
	return c.setClocks(ctx, node, clock.Skew{Offset: int64(s.Offset), Rate: s.Rate})
}

// Moves implements cluster.Clocks.
func (c *Cluster) Moves(s cluster.Skew) []cluster.Clock {
	if s.Rate != 0 && s.Rate != 1 {
		return []cluster.Clock{cluster.RealTime, cluster.Monotonic}
	}
	return []cluster.Clock{cluster.RealTime}
}

// Reset makes the clocks of a node's processes right.
func (c *Cluster) Reset(ctx context.Context, node string) error {
	return c.setClocks(ctx, node, clock.Skew{Rate: 1})
}

func (c *Cluster) setClocks(ctx context.Context, node string, s clock.Skew) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	p.clocks.mu.Lock()
	defer p.clocks.mu.Unlock()
	if p.clocks.skew == nil && neutral(s) {
		return nil
	}
	s.Since = time.Now().UnixNano()
	p.clocks.skew = &s
	return c.applyClocks(ctx, p)
}

// neutral says whether clocks are to be right.
func neutral(s clock.Skew) bool { return s.Offset == 0 && s.Rate == 1 }

// againClocks sets the clocks of processes that were started: the patch went with
// the processes before.
func (c *Cluster) againClocks(ctx context.Context, node string) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	p.clocks.mu.Lock()
	defer p.clocks.mu.Unlock()
	if p.clocks.skew == nil || neutral(*p.clocks.skew) {
		return nil
	}
	return c.applyClocks(ctx, p)
}

// applyClocks sets the clocks of the node's containers that run; the others get
// theirs when they start.
func (c *Cluster) applyClocks(ctx context.Context, p *pod) error {
	_, err := c.askHands(ctx, p, clock.Request{Skew: p.clocks.skew})
	return err
}

// askHands asks the hands of all containers that run, by the containers' names.
func (c *Cluster) askHands(ctx context.Context, p *pod, q clock.Request) (map[string]clock.Answer, error) {
	p.ids.Lock()
	system := maps.Clone(p.system)
	p.ids.Unlock()
	out := map[string]clock.Answer{}
	for name, id := range system {
		runs, err := c.runs(ctx, id)
		if err != nil {
			return nil, err
		}
		if !runs {
			continue
		}
		a, err := c.askHand(ctx, p, name, id, q)
		if err == nil {
			out[name] = a
			continue
		}
		if runs, again := c.runs(ctx, id); again == nil && !runs {
			continue // it died meanwhile
		}
		return nil, fmt.Errorf("docker: clock of %s: %w", p.node.Name, err)
	}
	return out, nil
}

func (c *Cluster) runs(ctx context.Context, id string) (bool, error) {
	in, err := c.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return false, fmt.Errorf("docker: inspect: %w", err)
	}
	return in.Container.State.Running, nil
}

// askHand asks the hand of a container, after starting it where it does not run.
func (c *Cluster) askHand(ctx context.Context, p *pod, name, id string, q clock.Request) (a clock.Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, handTimeout)
	defer cancel()
	for first := true; ; first = false {
		if hand := p.clocks.hands[name]; hand != "" {
			if err = c.side(ctx, p, roleClock, name, q, &a); err == nil || !absent(err) {
				return a, err
			}
		}
		if err := c.startHand(ctx, p, name, id); err != nil {
			return a, err
		}
		if !first {
			select {
			case <-ctx.Done():
				return a, fmt.Errorf("%w; the hand's log ends with:\n%s", err, logTail(ctx, c.engine, p.clocks.hands[name]))
			case <-time.After(handPause):
			}
		}
	}
}

// startHand starts the hand of a container unless it runs.
func (c *Cluster) startHand(ctx context.Context, p *pod, name, id string) error {
	if hand := p.clocks.hands[name]; hand != "" {
		in, err := c.engine.ContainerInspect(ctx, hand, client.ContainerInspectOptions{})
		if err != nil || in.Container.State.Running {
			return err
		}
		if why := logTail(ctx, c.engine, hand); in.Container.State.ExitCode == handRefused {
			return errors.New("the hand refuses:\n" + why)
		}
		_, err = c.engine.ContainerStart(ctx, hand, client.ContainerStartOptions{})
		return err
	}
	ctr, err := tc.Run(ctx, c.self,
		tc.WithName(c.name(p.node.Name, name, roleClock)),
		tc.WithLabels(c.owner.labels(c.cfg.RunID, roleClock, p.node.Name)),
		tc.WithCmd("agent", "clock", agent.SideName(roleClock, name)),
		tc.WithHostConfigModifier(func(h *container.HostConfig) {
			h.CapDrop, h.CapAdd = []string{"ALL"}, []string{"SYS_PTRACE"}
			h.PidMode = container.PidMode("container:" + id)
			h.NetworkMode = container.NetworkMode("container:" + p.agent)
			h.LogConfig = jsonLogs()
		}))
	if err != nil {
		return withLog(ctx, c.engine, ctr, err)
	}
	if p.clocks.hands == nil {
		p.clocks.hands = map[string]string{}
	}
	p.clocks.hands[name] = ctr.GetContainerID()
	return nil
}

// handRefused is a hand's exit code where clocks cannot be set at all.
const handRefused = 255

// Offsets reads the clocks of the nodes' processes through what was put into them.
// Where the processes of a node differ, the one that is furthest from what was
// asked counts.
func (c *Cluster) Offsets(ctx context.Context, nodes []string) (map[string]time.Duration, error) {
	var mu sync.Mutex
	out := map[string]time.Duration{}
	err := parallel(len(nodes), func(i int) error {
		d, ok, err := c.offset(ctx, nodes[i])
		if err == nil && ok {
			mu.Lock()
			defer mu.Unlock()
			out[nodes[i]] = d
		}
		return err
	})
	return out, err
}

func (c *Cluster) offset(ctx context.Context, node string) (worst time.Duration, ok bool, err error) {
	p, err := c.pod(node)
	if err != nil {
		return 0, false, err
	}
	if s, err := c.state(ctx, p); err != nil || s != cluster.Running {
		return 0, false, err
	}
	p.clocks.mu.Lock()
	defer p.clocks.mu.Unlock()
	answers, err := c.askHands(ctx, p, clock.Request{})
	if err != nil {
		return 0, false, err
	}
	var want time.Duration
	if s := p.clocks.skew; s != nil {
		want = time.Duration(s.Offset) + time.Duration(float64(time.Now().UnixNano()-s.Since)*(s.Rate-1))
	}
	for _, a := range answers {
		for _, r := range a.Readings {
			if at := time.Duration(r.Ahead); !ok || (at-want).Abs() > (worst-want).Abs() {
				worst, ok = at, true
			}
		}
	}
	return worst, ok, nil
}

// side asks a process beside a node's agent.
func (c *Cluster) side(ctx context.Context, p *pod, kind, name string, q, answer any) error {
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	r, err := p.wire.ask(ctx, agent.Request{Op: agent.OpForward, ID: agent.SideName(kind, name), Body: body})
	if err != nil {
		return err
	}
	return json.Unmarshal(r.Body, answer)
}

// clockReason says why the engine's machine cannot have wrong clocks, or "".
func clockReason(arch string) string {
	if arch == "" {
		arch = runtime.GOARCH
	}
	if arch == "amd64" || arch == "x86_64" {
		return ""
	}
	return "clocks are skewed by patching the vDSO, for which there is a stub on amd64 only, not on " + arch
}

// absent says that nobody serves there, or that it ended while it was asked.
func absent(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "gave no answer") ||
		strings.Contains(err.Error(), "connection reset"))
}
