// Package pause stops nodes' processes for a while, as SIGSTOP or a long garbage
// collection does, or the clients of the test.
package pause

import (
	"context"
	"errors"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// Fault is the fault.
func Fault() nemesis.Fault {
	return nemesis.Fault{
		Name: "pause",
		Doc:  "SIGSTOP of nodes' processes; healing lets them go on",
		Args: append(nemesis.TargetArgs(), nemesis.Arg{
			Name: cluster.Clients,
			Doc:  "the workers of the test, between their last look at a lease and the step that it guards",
		}),
		Names:   true,
		Deck:    nemesis.TargetDeck,
		Options: nemesis.QuorumOptions(),
		Color:   "#f2b134",
		Check:   nemesis.CheckTarget,
		Needs:   needs,
		Start:   start,
	}
}

func needs(c cluster.Cluster, arg string, _ options.Values) error {
	if arg == cluster.Clients {
		return nil // nothing of the cluster
	}
	if _, ok := c.(cluster.Pauser); !ok {
		return cluster.Missing(c, "pause nodes")
	}
	if _, ok := c.(cluster.Observer); !ok {
		return cluster.Missing(c, "tell whether a node is paused")
	}
	return nil
}

func start(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	if step.Arg == cluster.Clients {
		if env.Workers == nil {
			return nil, errors.New("pause:clients: this workload has no point at which its workers could be stalled; it is for locks")
		}
		env.Workers.Stall(step.ID)
		return stall{env.Workers, step.ID}, nil
	}
	choice, err := env.Choose(ctx, step)
	if err != nil {
		return nil, err
	}
	p := &nemesis.Processes{
		Env: env, ID: step.ID, Choice: choice, Want: cluster.Paused,
		Break: env.Pause, Mend: env.Resume,
	}
	return p, p.Start(ctx)
}

// stall is a start of pause:clients.
type stall struct {
	workers nemesis.Staller
	id      string
}

func (stall) Targets() []string { return []string{cluster.Clients} }

// Probe waits for a worker to come to a point where it is stalled.
func (s stall) Probe(context.Context) (bool, any, error) {
	now, sum := s.workers.Stalled(s.id)
	return sum > 0, map[string]any{"stalled": now, "stalled_sum": sum}, nil
}

func (s stall) Heal(context.Context) error {
	s.workers.Release(s.id)
	return nil
}

func (s stall) Gone(context.Context) (bool, any, error) {
	now, sum := s.workers.Stalled(s.id)
	return now == 0, map[string]any{"stalled": now, "stalled_sum": sum}, nil
}
