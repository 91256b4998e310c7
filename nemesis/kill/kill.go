// Package kill ends nodes' processes, as kill -9 or a power cut does, and starts
// them again with the data they had.
package kill

import (
	"context"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// Fault is the fault.
func Fault() nemesis.Fault {
	return nemesis.Fault{
		Name:    "kill",
		Doc:     "kill -9 of nodes' processes; healing starts them with the data they had",
		Args:    nemesis.TargetArgs(),
		Names:   true,
		Deck:    nemesis.TargetDeck,
		Options: nemesis.QuorumOptions(),
		Color:   "#e45756",
		Check:   nemesis.CheckTarget,
		Needs:   needs,
		Start:   start,
	}
}

func needs(c cluster.Cluster, _ string, _ options.Values) error {
	if _, ok := c.(cluster.Killer); !ok {
		return cluster.Missing(c, "kill nodes")
	}
	if _, ok := c.(cluster.Observer); !ok {
		return cluster.Missing(c, "tell whether a node is dead")
	}
	return nil
}

func start(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	choice, err := env.Choose(ctx, step)
	if err != nil {
		return nil, err
	}
	p := &nemesis.Processes{
		Env: env, ID: step.ID, Choice: choice, Want: cluster.Dead,
		Break: env.Kill, Mend: env.Revive,
	}
	return p, p.Start(ctx)
}
