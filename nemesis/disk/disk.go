// Package disk makes nodes' disks fail: they lose what was not synced when the
// power fails, tear it, fail, fill up, flip bits or are slow.
package disk

import (
	"context"
	"errors"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// crashes is how often nodes are crashed until one loses something, and
// crashMax for how long at most: between crashes they need time to serve again, or
// there is nothing to lose.
const (
	crashes  = 12
	crashMax = 4 * time.Second
)

// Fault is the fault.
func Fault() nemesis.Fault {
	return nemesis.Fault{
		Name: "disk",
		Doc:  "nodes' disks fail; healing repairs them and starts the nodes that died of it",
		Args: []nemesis.Arg{
			{Name: string(cluster.LoseUnsynced), Doc: "a power cut: nodes die, and what they had not synced is lost"},
			{Name: string(cluster.TornWrites), Doc: "a power cut that leaves a part of the last write"},
			{Name: string(cluster.FailIO), Doc: "writes and syncs fail"},
			{Name: string(cluster.Full), Doc: "writes fail for lack of space"},
			{Name: string(cluster.FlipBits), Doc: "bits of what is written flip"},
			{Name: string(cluster.SlowSync), Doc: "syncs take long; option by"},
		},
		Deck: func(int, bool) []string { return []string{string(cluster.LoseUnsynced), string(cluster.SlowSync)} },
		Options: append(nemesis.QuorumOptions(),
			options.Option{Name: "on", Doc: "which nodes; all for power cuts, else one, unless given", Kind: options.String, Values: append(words(), "")},
			options.Option{Name: "p", Doc: "probability that an operation fails", Kind: options.Float, Default: "1", Min: "0.0001", Max: "1"},
			options.Option{Name: "by", Doc: "of slow: how much longer a sync takes", Kind: options.Duration, Default: "200ms", Min: "1ms"},
		),
		Color: "#bab0ac",
		Needs: needs,
		Start: start,
	}
}

func words() []string {
	var w []string
	for _, a := range nemesis.TargetArgs() {
		w = append(w, a.Name)
	}
	return w
}

func needs(c cluster.Cluster, arg string, _ options.Values) error {
	d, ok := c.(cluster.Disks)
	if !ok {
		return cluster.Missing(c, "make disks fail")
	}
	if _, ok := c.(cluster.Killer); !ok {
		return cluster.Missing(c, "kill nodes")
	}
	if arg == "" {
		return nil
	}
	return d.DiskFaults(cluster.DiskFault(arg))
}

// failing is a start of the fault.
type failing struct {
	env    *nemesis.Env
	id     string
	disk   cluster.Disk
	choice nemesis.Choice
	before cluster.Damage
}

func start(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	o := options.Values(step.Opts)
	f := &failing{env: env, id: step.ID, disk: cluster.Disk{Fault: cluster.DiskFault(step.Arg), P: o.Float("p"), Delay: o.Duration("by")}}
	if step.Arg == "" {
		f.disk.Fault = cluster.LoseUnsynced
	}
	ask := step
	if ask.Arg = o["on"]; ask.Arg == "" {
		ask.Arg = "one"
		if f.power() {
			ask.Arg = "all"
		}
	}
	var err error
	if f.choice, err = env.Choose(ctx, ask); err != nil {
		return nil, err
	}
	if f.before, err = env.Damage(ctx, f.choice.Nodes); err != nil {
		return nil, err
	}
	return f, f.inject(ctx)
}

// power says whether the fault is a power cut.
func (f *failing) power() bool {
	return f.disk.Fault == cluster.LoseUnsynced || f.disk.Fault == cluster.TornWrites
}

// inject breaks the disks, and cuts the power, again if nothing was lost.
func (f *failing) inject(ctx context.Context) error {
	if err := f.each(func(n string) error { return f.env.BreakDisk(ctx, f.id, n, f.disk) }); err != nil || !f.power() {
		return err
	}
	rt := f.env.Runtime
	end := rt.Now() + crashMax
	for try := range crashes {
		if err := f.each(func(n string) error { return f.env.Kill(ctx, f.id, n) }); err != nil {
			return err
		}
		if d, err := f.damage(ctx); err != nil || d != (cluster.Damage{}) || try == crashes-1 || rt.Now() > end {
			return err
		}
		if err := f.each(func(n string) error { return f.env.Revive(ctx, f.id, n) }); err != nil {
			return err
		}
		if err := rt.Sleep(ctx, time.Duration(300+70*(try%5))*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (f *failing) each(do func(node string) error) error {
	var errs []error
	for _, n := range f.choice.Nodes {
		errs = append(errs, do(n))
	}
	return errors.Join(errs...)
}

// damage is what was done since the start.
func (f *failing) damage(ctx context.Context) (cluster.Damage, error) {
	d, err := f.env.Damage(ctx, f.choice.Nodes)
	d.Lost -= f.before.Lost
	d.Torn -= f.before.Torn
	d.Flipped -= f.before.Flipped
	d.Failed -= f.before.Failed
	d.Slowed -= f.before.Slowed
	return d, err
}

// Targets are the nodes whose disks fail.
func (f *failing) Targets() []string { return f.choice.Nodes }

// Probe counts what the disks did wrong.
func (f *failing) Probe(ctx context.Context) (bool, any, error) {
	d, err := f.damage(ctx)
	if err != nil {
		return false, nil, err
	}
	return d != (cluster.Damage{}), f.evidence(d), nil
}

func (f *failing) evidence(d cluster.Damage) map[string]any {
	return f.choice.Evidence(map[string]any{"disk": string(f.disk.Fault), "damage": d})
}

// Heal repairs the disks and starts the nodes, those too that died of a failing
// disk by themselves.
func (f *failing) Heal(ctx context.Context) error {
	return f.each(func(n string) error {
		if err := f.env.RepairDisk(ctx, f.id, n); err != nil {
			return err
		}
		return f.env.Revive(ctx, f.id, n)
	})
}

// Gone looks whether the nodes run, but for those that other faults hold.
func (f *failing) Gone(ctx context.Context) (bool, any, error) {
	d, err := f.damage(ctx)
	if err != nil {
		return false, nil, err
	}
	e := f.evidence(d)
	states := map[string]string{}
	e["states"] = states
	all := true
	for _, n := range f.choice.Nodes {
		s, err := f.env.State(ctx, n)
		if err != nil {
			return false, e, err
		}
		states[n] = string(s)
		all = all && f.env.Fits(n, s)
	}
	return all, e, nil
}
