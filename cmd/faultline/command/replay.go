package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/reports"
)

func newReplayCmd(env *Env) *cobra.Command {
	a := asked{}
	c := &cobra.Command{
		Use:   "replay RUN",
		Short: "Run a recorded test again: the same plan and seed",
		Long: `Replay runs what a run's folder asked for once more, in a folder of its own: the
same system and options, the plan as it was recorded, the same seed. A simulated
run gives the same history, to the last byte. Elsewhere the same nodes are hit at
the same times, and what comes of it is up to the machine.`,
		Example: "  faultline replay runs/latest",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := reports.Open(args[0])
			if err != nil {
				return &exit.Error{Code: exit.Usage, Err: err}
			}
			p, err := recorded(env, f, a)
			if err != nil {
				return err
			}
			return runPlanned(cmd.Context(), env, a, p)
		},
	}
	recordedFlags(c, &a)
	return c
}

// recordedFlags are those of commands that run what a folder says.
func recordedFlags(c *cobra.Command, a *asked) {
	f := c.Flags()
	f.StringVar(&a.runs, "runs", "runs", "folder that keeps the runs")
	f.BoolVar(&a.json, "json", false, "print the results as JSON on standard output, and nothing else there")
	f.BoolVar(&a.quiet, "quiet", false, "no progress, only the end")
}

// recorded prepares the run that a folder records.
func recorded(env *Env, f *reports.Folder, view asked) (*planned, error) {
	t, err := f.Test()
	if err != nil {
		return nil, &exit.Error{Code: exit.Usage, Err: err}
	}
	a := askedOf(t)
	a.runs, a.json, a.quiet = view.runs, view.json, view.quiet
	p, err := prepare(env, a)
	if err != nil {
		return nil, err
	}
	if p.script, err = readScript(f); err != nil {
		return nil, err
	}
	b, err := f.Plan()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.plan = nemesis.Plan{Format: 1, Seed: t.Seed, Time: t.Time} // a run without faults has no plan
		return p, nil
	case err != nil:
		return nil, err
	}
	var plan nemesis.Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		return nil, exit.Usagef("%s: %w", f.Name(), err)
	}
	p.plan = plan.Planned()
	if t.On != onSim {
		p.plan = plan.Pinned()
	}
	if err := p.plan.Check(env.Faults, t.Nodes); err != nil {
		return nil, exit.Usagef("%s: %w", f.Name(), err)
	}
	p.fixed = true
	return p, nil
}

// askedOf are the flags that ask for what test.json says, all of them given.
func askedOf(t reports.Test) asked {
	a := asked{
		system: t.System, workload: t.Workload, nemesis: strings.Join(t.Nemesis, ","), on: t.On, time: t.Time, interval: t.Interval,
		nodes: len(t.Nodes), keys: t.Keys, concurrency: strconv.Itoa(t.Concurrency), rate: t.Rate, seed: formatSeed(t.Seed),
		bug: t.Bug, version: t.Version, image: t.Image, checkTimeout: t.Check.Timeout, checkMemory: strconv.FormatInt(t.Check.Memory, 10),
		argv: t.Argv, given: func(string) bool { return true },
	}
	for k, v := range t.Options {
		a.opts = append(a.opts, k+"="+v)
	}
	return a
}

// runPlanned runs a prepared test, telling how it goes and how it ended.
func runPlanned(ctx context.Context, env *Env, a asked, p *planned) error {
	if !a.quiet && !a.json {
		fmt.Fprintf(env.Stderr, "seed %d: %s\n", p.record.Seed, p.title())
	}
	view := newLiveView(env, a)
	res, folder, err := p.run(ctx, view.update)
	view.close()
	if folder == nil {
		return err
	}
	if err != nil && res.Verdict == checker.Invalid {
		fmt.Fprintf(env.Stderr, "faultline: %v\n", err) // a violation outranks what went wrong after it
		err = nil
	}
	env.code = exit.Of(res.Verdict)
	return errors.Join(printEnd(env, a, folder, res), err)
}
