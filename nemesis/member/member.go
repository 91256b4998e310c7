// Package member changes the membership of the system while it runs: nodes are
// removed and added again, by the system's own protocol.
package member

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// The words that the fault takes.
const (
	remove  = "remove"
	replace = "replace"
)

// Fault is the fault.
func Fault() nemesis.Fault {
	return nemesis.Fault{
		Name: "member",
		Doc:  "nodes leave the membership by the system's own protocol; healing makes it what it was",
		Args: []nemesis.Arg{
			{Name: remove, Doc: "nodes are removed, and added again when it heals"},
			{Name: replace, Doc: "nodes are removed and added again at once, over and over; option every"},
		},
		Deck: func(nodes int, _ bool) []string {
			if nodes < 2 {
				return nil
			}
			return []string{remove, replace}
		},
		Options: []options.Option{
			{Name: "on", Doc: "which nodes leave; never so many that no majority of the rest is whole", Kind: options.String, Default: "minority", Values: []string{"one", "minority", "majority", "leader", "followers", "random"}},
			{Name: "every", Doc: "of replace: from one round to the next", Kind: options.Duration, Default: "500ms", Min: "10ms"},
		},
		Color: "#54a24b", Members: true,
		Check: func(_ string, nodes int) error {
			if nodes < 2 {
				return errors.New("a single node cannot leave; use at least 2 with --nodes")
			}
			return nil
		},
		Start: start,
	}
}

// change is a start of the fault.
type change struct {
	env    *nemesis.Env
	id     string
	again  bool // added again at once
	every  time.Duration
	choice nemesis.Choice
	before []string
	during []string // the members when the nodes were seen to be out
	rounds int      // how often they were
	after  []string
}

func start(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	if env.Members == nil {
		return nil, cluster.Missing(env.Cluster, "change the members of this system")
	}
	o := options.Values(step.Opts)
	c := &change{env: env, id: step.ID, again: step.Arg == replace, every: o.Duration("every")}
	if err := c.begin(ctx, step); err != nil {
		// Other faults have taken the majority, or these nodes must stay.
		return nil, nemesis.Skip(step, err.Error())
	}
	return c, c.leave(ctx)
}

// begin looks who the members are, and chooses among them.
func (c *change) begin(ctx context.Context, step nemesis.Step) error {
	var err error
	if c.before, err = c.env.Voters(ctx); err != nil {
		return err
	}
	if step.Arg = step.Opts["on"]; step.Arg == "" {
		step.Arg = "minority"
	}
	if c.choice, err = c.env.Choose(ctx, step); err != nil {
		return err
	}
	if c.choice.Nodes = c.env.Removable(c.id, c.choice.Nodes, c.before); len(c.choice.Nodes) == 0 {
		return errors.New("no node can leave so that a majority of the rest is whole")
	}
	return nil
}

// leave removes the nodes, and looks whether the system shows them gone; replaced
// ones are added again. It is one attempt.
func (c *change) leave(ctx context.Context) error {
	_ = c.env.Remove(ctx, c.id, c.choice.Nodes) // what came of it is looked at
	if out, err := c.out(ctx); err != nil || !out {
		return nil //nolint:nilerr // not yet: the probe tries again
	}
	c.rounds++
	if c.again {
		return c.Heal(ctx)
	}
	return nil
}

// out looks whether all chosen nodes are out.
func (c *change) out(ctx context.Context) (bool, error) {
	now, err := c.env.Voters(ctx)
	if err != nil {
		return false, err
	}
	out := !slices.ContainsFunc(c.choice.Nodes, func(n string) bool { return slices.Contains(now, n) })
	if out {
		c.during = now
	}
	return out, nil
}

// Drive goes on replacing until the end.
func (c *change) Drive(ctx context.Context, until time.Duration) error {
	rt := c.env.Runtime
	for c.again && c.every > 0 && rt.Now()+c.every < until {
		if err := rt.Sleep(ctx, c.every); err != nil {
			return err
		}
		if members, err := c.env.Voters(ctx); err != nil || len(c.env.Removable(c.id, c.choice.Nodes, members)) < len(c.choice.Nodes) {
			continue // not now: it would cost the majority
		}
		if err := c.leave(ctx); err != nil {
			return err
		}
	}
	return rt.Sleep(ctx, until-rt.Now())
}

// Targets are the nodes that leave.
func (c *change) Targets() []string { return c.choice.Nodes }

// Probe tells whether the system has shown the nodes to be out. What other faults
// kept from happening is tried again.
func (c *change) Probe(ctx context.Context) (bool, any, error) {
	var err error
	if c.rounds == 0 {
		err = c.leave(ctx)
	}
	return c.rounds > 0, c.evidence(), err
}

func (c *change) evidence() map[string]any {
	e := map[string]any{"members_before": c.before, "members_during": c.during}
	if c.again {
		e["rounds"] = c.rounds
	}
	if c.after != nil {
		e["members_after"] = c.after
	}
	return c.choice.Evidence(e)
}

// Heal makes the nodes members again, but for those that other faults hold out.
func (c *change) Heal(ctx context.Context) error {
	members, err := c.env.Rejoin(ctx, c.id, c.choice.Nodes)
	if err == nil {
		c.after = members
	}
	return err
}

// Gone looks whether they are; where nobody can say so now, since other faults took
// the majority, what healing saw stands.
func (c *change) Gone(ctx context.Context) (bool, any, error) {
	if now, err := c.env.Voters(ctx); err == nil {
		c.after = now
	}
	back := !slices.ContainsFunc(c.choice.Nodes, func(n string) bool {
		return !slices.Contains(c.after, n) && !c.env.HeldOut(n)
	})
	if !back { // a removal whose outcome was unknown has taken effect late
		return false, c.evidence(), c.Heal(ctx)
	}
	return true, c.evidence(), nil
}
