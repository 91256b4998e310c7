package nemesis

import (
	"context"
	"errors"
	"maps"

	"github.com/faultline-dev/faultline/cluster"
)

// Processes is an Active that holds the processes of some nodes in a state. Kill
// and pause are made of it.
type Processes struct {
	Env    *Env
	ID     string
	Choice Choice
	// Want is the state that the nodes are to be in.
	Want cluster.State
	// Break and Mend bring a node there, and back as far as this ID is concerned.
	Break, Mend func(ctx context.Context, id, node string) error
}

// Start breaks all nodes at once; it goes on after a failure, so that what is half done
// is the same whatever failed first.
func (p *Processes) Start(ctx context.Context) error {
	return p.Env.Each(p.Choice.Nodes, func(n string) error { return p.Break(ctx, p.ID, n) })
}

// Each does something with all nodes at the same time, since on a busy machine each may
// take long; the first goes first.
func (e *Env) Each(nodes []string, do func(node string) error) error {
	if len(nodes) == 1 {
		return do(nodes[0])
	}
	errs := make([]error, len(nodes))
	var waits []func()
	for i, n := range nodes {
		waits = append(waits, e.Runtime.Go(func() { errs[i] = do(n) }))
	}
	for _, wait := range waits {
		wait()
	}
	return errors.Join(errs...)
}

// Targets are the chosen nodes.
func (p *Processes) Targets() []string { return p.Choice.Nodes }

// Probe looks whether all are in the state that is wanted; beside one at least that is,
// those count as well that another fault holds in a deeper one, dead instead of paused.
func (p *Processes) Probe(ctx context.Context) (bool, any, error) {
	some := false
	all, evidence, err := p.observe(ctx, func(node string, s cluster.State) bool {
		some = some || s == p.Want
		return s == p.Want || s == cluster.Dead && p.Env.Wanted(node) == cluster.Dead
	})
	return all && some, evidence, err
}

// Heal brings all back.
func (p *Processes) Heal(ctx context.Context) error {
	return p.Env.Each(p.Choice.Nodes, func(n string) error { return p.Mend(ctx, p.ID, n) })
}

// Gone looks whether all run again, but for those that other faults hold.
func (p *Processes) Gone(ctx context.Context) (bool, any, error) {
	return p.observe(ctx, func(node string, s cluster.State) bool {
		return p.Env.Fits(node, s)
	})
}

func (p *Processes) observe(ctx context.Context, fit func(string, cluster.State) bool) (bool, any, error) {
	states := map[string]any{}
	all := true
	for _, n := range p.Choice.Nodes {
		s, err := p.Env.State(ctx, n)
		if err != nil {
			return false, map[string]any{"states": states}, err
		}
		states[n] = string(s)
		all = all && fit(n, s)
	}
	return all, p.Choice.Evidence(map[string]any{"states": states}), nil
}

// Evidence adds what a choice knows to a measurement.
func (c Choice) Evidence(more map[string]any) map[string]any {
	out := maps.Clone(more)
	if c.Leader != "" {
		out["leader"] = c.Leader
	}
	if c.Note != "" {
		out["note"] = c.Note
	}
	return out
}
