package command

import (
	"fmt"
	"os"
	"slices"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/nemesis/planfile"
)

// randomPlan is the word for plans that are drawn by chance.
const randomPlan = "random"

// planFaults reads the faults that were asked for and draws their plan.
func (p *planned) planFaults(a asked) error {
	r := &p.record
	given, _ := nemesis.Split(r.Options)
	if a.plan != "" {
		return p.readPlan(a)
	}
	specs, err := nemesis.Parse(p.env.Faults, a.nemesis, r.Nodes, given)
	if err != nil {
		return exit.Usagef("--nemesis %s: %w", a.nemesis, err)
	}
	r.Nemesis = []string{}
	for _, s := range specs {
		r.Nemesis = append(r.Nemesis, s.String())
	}
	draw := nemesis.NewPlan
	if subset(runOptions(), r.Options).String("plan") == randomPlan {
		draw = nemesis.RandomPlan
	}
	p.plan, err = draw(nemesis.Request{
		Faults: p.env.Faults, Specs: specs, Nodes: len(r.Nodes), Leader: p.system.Leader != nil,
		Seed: r.Seed, Time: r.Time, Interval: r.Interval,
	})
	if err != nil {
		return exit.Usagef("--nemesis %s: %w", a.nemesis, err)
	}
	p.specs = specs
	p.keepToModel()
	return nil
}

// readPlan takes the plan from a file, and with it the faults and, where no other
// is asked for, the time.
func (p *planned) readPlan(a asked) error {
	r := &p.record
	if a.given("nemesis") {
		return exit.Usagef("--plan %s says which faults to run; leave --nemesis away", a.plan)
	}
	file, err := os.Open(a.plan)
	if err != nil {
		return exit.Usagef("--plan: %w", err)
	}
	defer file.Close()
	if p.plan, err = planfile.Read(a.plan, file, p.env.Faults, r.Nodes); err != nil {
		return exit.Usagef("--plan: %w", err)
	}
	if !a.given("time") && p.plan.Time > 0 {
		r.Time = p.plan.Time
	}
	r.Plan, r.Nemesis = a.plan, []string{}
	for _, s := range p.plan.Steps {
		spec := s.Spec()
		spec.Options = s.Opts
		if name := spec.String(); !slices.Contains(r.Nemesis, name) {
			r.Nemesis = append(r.Nemesis, name)
			p.specs = append(p.specs, spec)
		}
	}
	return nil
}

// checkMembers refuses changes of the membership that the system cannot do here.
func (p *planned) checkMembers(c cluster.Cluster) error {
	if p.system.Members == nil {
		return fmt.Errorf("nemesis: member is not possible: %s cannot change its members while it runs", p.system.Name)
	}
	if _, err := p.system.Members(c, nil, p.sysOpts); err != nil {
		return fmt.Errorf("nemesis: member is not possible here: %w", err)
	}
	return nil
}

// checkPowers refuses faults that the world cannot do, before anything starts.
func (p *planned) checkPowers(c cluster.Cluster) error {
	for _, s := range p.specs {
		f, err := nemesis.Find(p.env.Faults, s.Fault)
		if err == nil {
			err = nemesis.Available(f, c, s.Arg, s.Options)
		}
		if err == nil && f.Members {
			err = p.checkMembers(c)
		}
		if err != nil {
			return exit.Usagef("%w", err)
		}
	}
	return nil
}
