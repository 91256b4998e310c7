package nemesis

import (
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/options"
)

// The functions here make plans out of plans, for playing one again and for
// finding the smallest that still shows something. None changes its receiver.

// Planned is the plan without what came of it, as it was before it was executed.
func (p Plan) Planned() Plan {
	return p.each(func(s *Step) bool {
		s.Done = nil
		return true
	})
}

// Pinned is the plan with the targets that were chosen when it was executed, so
// that the next time the same nodes are hit. Steps that never started stay free.
func (p Plan) Pinned() Plan {
	return p.each(func(s *Step) bool {
		if s.Done != nil && len(s.Done.Targets) > 0 && s.pinnable() {
			s.Targets = slices.Clone(s.Done.Targets)
		}
		s.Done = nil
		return true
	})
}

// pinnable says whether a step's targets can be given: where its words name them,
// or where they are the workers, they follow from the step anyway.
func (s Step) pinnable() bool {
	return !slices.Contains(s.Done.Targets, "clients")
}

// Unpinned is the plan with every choice of nodes left to its start.
func (p Plan) Unpinned() Plan {
	return p.each(func(s *Step) bool {
		s.Targets = nil
		return true
	})
}

// Only is the plan with the step of that id alone.
func (p Plan) Only(id string) Plan {
	return p.each(func(s *Step) bool { return s.ID == id })
}

// Earlier is the plan with every step so much sooner, at the earliest at once.
func (p Plan) Earlier(by time.Duration) Plan {
	return p.each(func(s *Step) bool {
		s.At = max(0, s.At-by)
		return true
	})
}

// Without is the plan without the steps of these ids.
func (p Plan) Without(ids ...string) Plan {
	return p.each(func(s *Step) bool { return !slices.Contains(ids, s.ID) })
}

// Shortened is the plan with one step lasting that long only.
func (p Plan) Shortened(id string, to time.Duration) Plan {
	return p.each(func(s *Step) bool {
		if s.ID == id {
			s.For = min(s.For, to)
		}
		return true
	})
}

// Lasting is the plan with one step lasting until then.
func (p Plan) Lasting(id string, until time.Duration) Plan {
	return p.each(func(s *Step) bool {
		if s.ID == id {
			s.For = max(s.For, until-s.At)
		}
		return true
	})
}

// Until is the plan for a shorter phase: steps that start after it go, those that
// last longer are cut.
func (p Plan) Until(d time.Duration) Plan {
	q := p.each(func(s *Step) bool {
		s.For = min(s.For, d-s.At)
		return s.At < d && s.For > 0
	})
	q.Time = min(p.Time, d)
	return q
}

func (p Plan) each(f func(*Step) bool) Plan {
	steps := make([]Step, 0, len(p.Steps))
	for _, s := range p.Steps {
		if f(&s) {
			steps = append(steps, s)
		}
	}
	p.Steps = steps
	return p
}

// Check refuses a plan that cannot be executed with these faults and nodes, naming
// the step.
func (p Plan) Check(faults []Fault, nodes []string) error {
	seen := map[string]bool{}
	if len(p.Steps) > StepsMax {
		return fmt.Errorf("nemesis: %d steps; at most %d are possible", len(p.Steps), StepsMax)
	}
	for i, s := range p.Steps {
		if s.ID == "" || seen[s.ID] {
			return fmt.Errorf("nemesis: step %d: its id %q is empty or taken by another", i+1, s.ID)
		}
		seen[s.ID] = true
		if _, err := s.Check(faults, nodes); err != nil {
			return fmt.Errorf("nemesis: step %s: %w", s.ID, err)
		}
	}
	return nil
}

// Check refuses a step that cannot be executed, and returns its options resolved.
func (s Step) Check(faults []Fault, nodes []string) (options.Values, error) {
	f, err := Find(faults, s.Fault)
	if err != nil {
		return nil, err
	}
	if err := f.checkArg(s.Arg, nodes); err != nil {
		return nil, err
	}
	if s.At < 0 || s.For <= 0 {
		return nil, fmt.Errorf("it starts at %v and lasts %v; expected at >= 0 and for > 0", s.At, s.For)
	}
	for _, t := range s.Targets {
		if !slices.Contains(nodes, t) {
			return nil, fmt.Errorf("its target %q is no node; there are: %v", t, nodes)
		}
	}
	o, err := options.Resolve(f.Options, s.Opts)
	if err != nil {
		return nil, err
	}
	return o, f.refuses(s.Arg, len(nodes), o)
}
