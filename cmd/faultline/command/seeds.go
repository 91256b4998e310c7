package command

import (
	"context"

	"github.com/faultline-dev/faultline/internal/exit"
)

func runSeeds(context.Context, *Env, asked, *planned) error {
	return exit.Usagef("--seeds needs --on sim")
}

// planFaults draws the plan of the faults that were asked for.
func (p *planned) planFaults(a asked) error {
	p.record.Nemesis = []string{a.nemesis}
	return nil
}
