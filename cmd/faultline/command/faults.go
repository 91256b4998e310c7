package command

import (
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/nemesis"
)

// planFaults reads the faults that were asked for and draws their plan.
func (p *planned) planFaults(a asked) error {
	r := &p.record
	given, _ := nemesis.Split(r.Options)
	specs, err := nemesis.Parse(p.env.Faults, a.nemesis, r.Nodes, given)
	if err != nil {
		return exit.Usagef("--nemesis %s: %w", a.nemesis, err)
	}
	r.Nemesis = []string{}
	for _, s := range specs {
		r.Nemesis = append(r.Nemesis, s.String())
	}
	p.plan, err = nemesis.NewPlan(nemesis.Request{
		Faults: p.env.Faults, Specs: specs, Nodes: len(r.Nodes), Leader: p.system.Leader != nil,
		Seed: r.Seed, Time: r.Time, Interval: r.Interval,
	})
	if err != nil {
		return exit.Usagef("--nemesis %s: %w", a.nemesis, err)
	}
	p.specs = specs
	return nil
}

// checkPowers refuses faults that the world cannot do, before anything starts.
func (p *planned) checkPowers(c cluster.Cluster) error {
	for _, s := range p.specs {
		f, err := nemesis.Find(p.env.Faults, s.Fault)
		if err == nil {
			err = nemesis.Available(f, c, s.Arg, s.Options)
		}
		if err != nil {
			return exit.Usagef("%w", err)
		}
	}
	return nil
}
