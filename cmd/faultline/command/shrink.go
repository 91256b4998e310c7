package command

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/cluster/local"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/reports"
)

func newShrinkCmd(env *Env) *cobra.Command {
	a := asked{}
	var limit time.Duration
	var r rates
	c := &cobra.Command{
		Use:   "shrink RUN",
		Short: "Find the smallest plan, time and history that still fails",
		Long: `Shrink takes a run that failed, and leaves away whatever it can as long as the same
anomaly shows. The result is a run's folder of its own.

Of a simulated run it leaves away faults, nodes, processes, operations and time.
Operations are fixed to what the run performed, at the times at which it did; a few
other seeds may be tried for each step, since what is left runs in another order.
The result replays to the same anomaly.

A failure on real nodes comes and goes. Shrink leaves away faults, time, processes
and keys; it runs each candidate --tries times, prints how often the anomaly
showed, and keeps it while that is at least the share --keep. It begins with single
faults in short runs, and keeps containers in which nothing failed for the next run.
After --limit it leaves the smallest so far; interrupted, it prints that. All rates
are in the folder's shrink.json.`,
		Example: `  faultline shrink runs/latest
  faultline shrink runs/latest --tries 10 --keep 0.3 --limit 20m`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := reports.Open(args[0])
			if err != nil {
				return &exit.Error{Code: exit.Usage, Err: err}
			}
			t, err := f.Test()
			if err != nil {
				return &exit.Error{Code: exit.Usage, Err: err}
			}
			if t.On == onSim {
				s, err := newShrinker(env, f, a, limit)
				if err != nil {
					return err
				}
				return s.run(cmd.Context())
			}
			if r.runs < 1 || r.runs > maxTries || r.bound <= 0 || r.bound > 1 {
				return exit.Usagef("--tries %d --keep %v: expected 1 to %d runs, and a share above 0 and at most 1", r.runs, r.bound, maxTries)
			}
			if !cmd.Flags().Changed("limit") {
				limit = liveLimit
			}
			s, err := newLiveShrinker(env, f, a, limit, r)
			if err != nil {
				return err
			}
			return s.shrink(cmd.Context())
		},
	}
	recordedFlags(c, &a)
	c.Flags().DurationVar(&limit, "limit", time.Minute, "time to look for smaller ones; 10m for real nodes unless given")
	c.Flags().IntVar(&r.runs, "tries", 5, "runs of each candidate on real nodes")
	c.Flags().Float64Var(&r.bound, "keep", 0.5, "share of its runs that must show the anomaly for a candidate on real nodes to be kept")
	return c
}

const (
	liveLimit = 10 * time.Minute
	maxTries  = 1000
)

// failure is what a folder's run was, and the anomaly to keep.
func failure(f *reports.Folder) (reports.Test, string, error) {
	t, err := f.Test()
	if err != nil {
		return t, "", &exit.Error{Code: exit.Usage, Err: err}
	}
	res, err := f.Results()
	if err != nil {
		return t, "", &exit.Error{Code: exit.Usage, Err: err}
	}
	target := targetOf(res)
	if target == "" {
		return t, "", exit.Usagef("%s has no anomaly to keep", f.Name())
	}
	return t, target, nil
}

// withoutFaults are the options that are no fault's.
func withoutFaults(given map[string]string) map[string]string {
	_, others := nemesis.Split(given)
	return others
}

// smaller is a candidate: everything that a simulated run is made of and that can
// be left away.
type smaller struct {
	nodes int
	seed  uint64
	time  time.Duration
	plan  nemesis.Plan
	ops   []scripted
}

// shrinker looks for the smallest run that shows an anomaly.
type shrinker struct {
	env    *Env
	view   asked
	folder *reports.Folder
	test   reports.Test
	target string
	until  time.Time
	tries  int
	best   smaller
	last   []checker.Anomaly // of the best
}

func newShrinker(env *Env, f *reports.Folder, view asked, limit time.Duration) (*shrinker, error) {
	s := &shrinker{env: env, folder: f, view: view, until: time.Now().Add(limit)}
	var err error
	if s.test, s.target, err = failure(f); err != nil {
		return nil, err
	}
	p, err := recorded(env, f, view)
	if err != nil {
		return nil, err
	}
	s.best = smaller{nodes: len(s.test.Nodes), seed: s.test.Seed, time: s.test.Time, plan: p.plan, ops: p.script}
	if s.best.ops == nil {
		if s.best.ops, err = scriptOf(f, s.test.Concurrency); err != nil {
			return nil, &exit.Error{Code: exit.Usage, Err: err}
		}
	}
	return s, nil
}

// targetOf is the anomaly to keep: the first that has a witness, or the first.
func targetOf(res reports.Results) string {
	for _, a := range res.Anomalies {
		if len(a.Ops) > 0 {
			return a.Name
		}
	}
	if len(res.Anomalies) > 0 {
		return res.Anomalies[0].Name
	}
	return ""
}

// seedsPerStep is how many other seeds are tried for a candidate that does not
// fail with its own.
const seedsPerStep = 12

// run shrinks until nothing gets smaller or the time is over, and runs the
// smallest in a folder.
func (s *shrinker) run(ctx context.Context) error {
	first := s.best
	last := slices.MaxFunc(append(first.ops, scripted{}), func(a, b scripted) int { return int(a.At - b.At) })
	first.time = max(first.time, last.At+time.Second) // the final reads are operations now
	if !s.keeps(ctx, first, 4*seedsPerStep) {
		return exit.Brokenf("the recorded operations and faults of %s do not show %s again", s.folder.Name(), s.target)
	}
	s.say("begin")
	for round := 0; ; round++ {
		before := s.size()
		s.fewerNodes(ctx)
		s.onlyWitness(ctx)
		s.fewerFaults(ctx)
		s.fewerOps(ctx)
		s.shorter(ctx)
		s.say(fmt.Sprint("round ", round+1))
		if s.size() == before || s.spent(ctx) {
			break
		}
	}
	s.compact(ctx)
	p, err := s.prepare(s.best, s.best.seed)
	if err != nil {
		return err
	}
	return runPlanned(ctx, s.env, s.view, p)
}

func (s *shrinker) spent(ctx context.Context) bool {
	return ctx.Err() != nil || time.Now().After(s.until)
}

func (s *shrinker) size() int {
	b := s.best
	return b.nodes + len(b.ops) + len(b.plan.Steps)*10 + int(b.time/time.Second) + b.workers()
}

func (b smaller) workers() int {
	n := 0
	for _, op := range b.ops {
		n = max(n, op.Worker+1)
	}
	return max(1, n)
}

func (s *shrinker) say(what string) {
	if s.view.quiet || s.view.json {
		return
	}
	b := s.best
	fmt.Fprintf(s.env.Stderr, "%-8s %5d runs tried: %s with %d faults, %d nodes, %d operations, %v\n",
		what, s.tries, s.target, len(b.plan.Steps), b.nodes, len(b.ops), b.time.Round(time.Millisecond))
}

// prepare makes a run of a candidate.
func (s *shrinker) prepare(c smaller, seed uint64) (*planned, error) {
	t := s.test
	t.Nodes = local.Names(c.nodes)
	t.Seed, t.Time, t.Concurrency = seed, c.time, c.workers()
	t.Nemesis = nil
	t.Options = withoutFaults(s.test.Options) // the steps have their own
	a := askedOf(t)
	a.runs, a.argv = s.view.runs, []string{"shrink", s.folder.Name()}
	p, err := prepare(s.env, a)
	if err != nil {
		return nil, err
	}
	for _, step := range c.plan.Steps {
		if name := step.Spec().String(); !slices.Contains(p.record.Nemesis, name) {
			p.record.Nemesis = append(p.record.Nemesis, name)
		}
	}
	p.plan, p.script = c.plan, c.ops
	return p, nil
}

// fails tells whether a candidate shows the anomaly with a seed.
func (s *shrinker) fails(ctx context.Context, c smaller, seed uint64) bool {
	s.tries++
	p, err := s.prepare(c, seed)
	if err != nil {
		return false
	}
	tried, _, err := p.try(ctx)
	if err != nil {
		return false
	}
	found := tried.Anomalies()
	if !slices.ContainsFunc(found, func(a checker.Anomaly) bool { return a.Name == s.target }) {
		return false
	}
	s.last = found
	return true
}

// keeps makes a candidate the best if it fails, with its own seed or another.
func (s *shrinker) keeps(ctx context.Context, c smaller, seeds int) bool {
	for i := range seeds {
		if i > 0 && s.spent(ctx) {
			return false
		}
		seed := c.seed
		if i > 0 {
			seed = s.test.Seed + uint64(i) //nolint:gosec // small
		}
		if seed < 1<<53 && s.fails(ctx, c, seed) {
			c.seed = seed
			s.best = c
			return true
		}
	}
	return false
}

// leastNodes is the smallest cluster that is tried: with fewer there is no majority
// to speak of, and what fails then is another story.
const leastNodes = 3

// fewerNodes tries the smallest clusters first. Steps that name nodes which are
// gone name others instead; workers go on at the node of their number.
func (s *shrinker) fewerNodes(ctx context.Context) {
	for n := leastNodes; n < s.best.nodes && !s.spent(ctx); n++ {
		c := s.best
		c.nodes = n
		if c.plan = onNodes(c.plan, n); s.keeps(ctx, c, seedsPerStep) {
			return
		}
	}
}

func onNodes(p nemesis.Plan, n int) nemesis.Plan {
	p.Steps = slices.Clone(p.Steps)
	for i := range p.Steps {
		st := &p.Steps[i]
		var targets []string
		for _, t := range st.Targets {
			if name := nodeWithin(t, n); !slices.Contains(targets, name) {
				targets = append(targets, name)
			}
		}
		st.Targets = targets
	}
	return p
}

// nodeWithin is a node's name among the first n.
func nodeWithin(name string, n int) string {
	k, err := strconv.Atoi(strings.TrimPrefix(name, "n"))
	if err != nil || k <= n {
		return name
	}
	return fmt.Sprint("n", (k-1)%n+1)
}

// onlyWitness leaves only the operations on the keys of the anomaly's witness.
func (s *shrinker) onlyWitness(ctx context.Context) {
	for _, a := range s.last {
		if a.Name != s.target || a.Key == "" {
			continue
		}
		c := s.best
		c.ops = slices.DeleteFunc(slices.Clone(c.ops), func(op scripted) bool { return op.Key != a.Key })
		if len(c.ops) < len(s.best.ops) && s.keeps(ctx, c, seedsPerStep) {
			return
		}
	}
}

// fewerFaults leaves away one step after the other, and shortens the rest.
func (s *shrinker) fewerFaults(ctx context.Context) {
	for _, st := range s.best.plan.Steps {
		if s.spent(ctx) {
			return
		}
		c := s.best
		c.plan = c.plan.Without(st.ID)
		s.keeps(ctx, c, seedsPerStep)
	}
	for _, st := range s.best.plan.Steps {
		c := s.best
		c.plan = c.plan.Shortened(st.ID, st.For/2)
		s.keeps(ctx, c, 2)
	}
}

// fewerOps is delta debugging: it leaves away ever smaller parts of the operations.
func (s *shrinker) fewerOps(ctx context.Context) {
	for part := max(1, len(s.best.ops)/2); part >= 1 && !s.spent(ctx); part /= 2 {
		seeds := 2
		if len(s.best.ops) <= 30 {
			seeds = seedsPerStep
		}
		for from := 0; from < len(s.best.ops) && !s.spent(ctx); {
			c := s.best
			to := min(from+part, len(c.ops))
			c.ops = slices.Concat(c.ops[:from], c.ops[to:])
			if len(c.ops) == 0 || !s.keeps(ctx, c, seeds) {
				from = to
			}
		}
	}
}

// shorter ends the run earlier: soon after its last operation, and then by less.
func (s *shrinker) shorter(ctx context.Context) {
	var last time.Duration
	for _, op := range s.best.ops {
		last = max(last, op.At)
	}
	for _, d := range []time.Duration{last + 10*time.Millisecond, last + 200*time.Millisecond, last + time.Second} {
		if d >= s.best.time {
			continue
		}
		c := s.best
		c.time, c.plan = d, c.plan.Until(d)
		if s.keeps(ctx, c, seedsPerStep) {
			return
		}
	}
}

// compact gives the workers that are left the least numbers at the same nodes.
func (s *shrinker) compact(ctx context.Context) {
	c := s.best
	c.ops = slices.Clone(c.ops)
	renamed, taken := map[int]int{}, map[int]bool{}
	for i, op := range c.ops {
		w, ok := renamed[op.Worker]
		if !ok {
			for w = op.Worker % c.nodes; taken[w]; w += c.nodes {
			}
			renamed[op.Worker], taken[w] = w, true
		}
		c.ops[i].Worker = w
	}
	if c.workers() < s.best.workers() {
		s.keeps(ctx, c, seedsPerStep)
	}
}
