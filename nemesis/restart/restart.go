// Package restart kills nodes and starts them at once: all together, again and
// again (a crash loop), or one after the other (a rolling restart).
package restart

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// Faults are restart and rolling.
func Faults() []nemesis.Fault {
	down := options.Option{Name: "down", Doc: "how long a node stays dead", Kind: options.Duration, Default: "0s", Min: "0s"}
	every := options.Option{Name: "every", Doc: "restart the same nodes again and again at this interval, a crash loop; 0 for once", Kind: options.Duration, Default: "0s", Min: "0s"}
	return []nemesis.Fault{
		{
			Name: "restart", Doc: "kill -9 of nodes' processes and start at once, once or in a loop",
			Args: nemesis.TargetArgs(), Names: true, Deck: nemesis.TargetDeck,
			Options: append(nemesis.QuorumOptions(), down, every),
			Color:   "#b279a2", Check: nemesis.CheckTarget, Needs: needs, Start: start,
		},
		{
			Name: "rolling", Doc: "restart of all nodes, one after the other",
			Options: []options.Option{down},
			Color:   "#9d755d", Needs: needs, Start: roll,
		},
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

// restarts is a start of either fault.
type restarts struct {
	env    *nemesis.Env
	id     string
	choice nemesis.Choice
	down   time.Duration
	every  time.Duration
	// rounds are the nodes still to restart, those of a round together.
	rounds [][]string
	// killed are the nodes that this fault was seen to kill and that have not started since.
	killed map[string]bool
	// dead counts, by node, how often it was seen dead and then started.
	dead map[string]int
}

func start(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	choice, err := env.Choose(ctx, step)
	if err != nil {
		return nil, err
	}
	r := begin(env, step, choice)
	return r, r.round(ctx, choice.Nodes)
}

func roll(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	nodes := step.Targets
	if len(nodes) == 0 {
		nodes = nemesis.Shuffled(env.Nodes(), step.Rand())
	}
	r := begin(env, step, nemesis.Choice{Nodes: nodes})
	for _, n := range nodes[1:] {
		r.rounds = append(r.rounds, []string{n})
	}
	return r, r.round(ctx, nodes[:1])
}

func begin(env *nemesis.Env, step nemesis.Step, c nemesis.Choice) *restarts {
	o := options.Values(step.Opts)
	return &restarts{
		env: env, id: step.ID, choice: c, down: o.Duration("down"), every: o.Duration("every"),
		killed: map[string]bool{}, dead: map[string]int{},
	}
}

// round restarts some nodes together. One that another fault holds dead already is not
// killed by it.
func (r *restarts) round(ctx context.Context, nodes []string) error {
	alive := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return r.env.Wanted(n) == cluster.Dead })
	errs := []error{r.env.Each(nodes, func(n string) error { return r.env.Kill(ctx, r.id, n) })}
	for _, n := range alive {
		if s, err := r.env.State(ctx, n); err == nil && s == cluster.Dead {
			r.killed[n] = true
		}
	}
	errs = append(errs, r.env.Runtime.Sleep(ctx, r.down))
	errs = append(errs, r.env.Each(nodes, func(n string) error { return r.env.Revive(context.WithoutCancel(ctx), r.id, n) }))
	r.look(ctx)
	return errors.Join(errs...)
}

// look counts the killed nodes that have started again.
func (r *restarts) look(ctx context.Context) {
	for _, n := range r.choice.Nodes {
		if !r.killed[n] {
			continue
		}
		if s, err := r.env.State(ctx, n); err == nil && s != cluster.Dead {
			r.killed[n] = false
			r.dead[n]++
		}
	}
}

// Drive goes on restarting: the rest of a rolling restart spread over the time, or
// a crash loop at its interval.
func (r *restarts) Drive(ctx context.Context, until time.Duration) error {
	rt := r.env.Runtime
	step := r.every
	if n := len(r.rounds); n > 0 {
		step = (until - rt.Now()) / time.Duration(n+1)
	}
	for at := rt.Now() + step; step > 0 && at+r.down <= until; at = max(at+step, rt.Now()) {
		if err := rt.Sleep(ctx, at-rt.Now()); err != nil {
			return err
		}
		nodes := r.choice.Nodes
		if r.every == 0 {
			if len(r.rounds) == 0 {
				break
			}
			nodes, r.rounds = r.rounds[0], r.rounds[1:]
		}
		if err := r.round(ctx, nodes); err != nil {
			return err
		}
	}
	return rt.Sleep(ctx, until-rt.Now())
}

// Targets are all nodes that were or will be restarted.
func (r *restarts) Targets() []string { return r.choice.Nodes }

// Probe looks whether those restarted so far have been dead and started. Others, which
// other faults held dead meanwhile, are restarted again where none does any more.
func (r *restarts) Probe(ctx context.Context) (bool, any, error) {
	r.look(ctx)
	again := slices.DeleteFunc(r.missed(), func(n string) bool { return r.killed[n] || r.env.Wanted(n) == cluster.Dead })
	var err error
	if len(again) > 0 {
		err = r.round(ctx, again)
	}
	return len(r.missed()) == 0, r.evidence(), err
}

// missed are the nodes that had their turn and were not restarted.
func (r *restarts) missed() []string {
	return slices.DeleteFunc(slices.Clone(r.choice.Nodes), func(n string) bool {
		waiting := slices.ContainsFunc(r.rounds, func(g []string) bool { return slices.Contains(g, n) })
		return waiting || r.dead[n] > 0
	})
}

func (r *restarts) evidence() map[string]any {
	return r.choice.Evidence(map[string]any{"seen_dead": r.dead})
}

// Heal starts what an interrupted round left dead.
func (r *restarts) Heal(ctx context.Context) error {
	return r.env.Each(r.choice.Nodes, func(n string) error { return r.env.Revive(ctx, r.id, n) })
}

// Gone looks whether all run, but for those that other faults hold.
func (r *restarts) Gone(ctx context.Context) (bool, any, error) {
	e := r.evidence()
	states := map[string]string{}
	e["states"] = states
	all := true
	for _, n := range r.choice.Nodes {
		s, err := r.env.State(ctx, n)
		if err != nil {
			return false, e, err
		}
		states[n] = string(s)
		all = all && r.env.Fits(n, s)
	}
	return all, e, nil
}
