package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/reports"
)

// A failure on real nodes comes and goes, so it is shrunk by its rate: each
// candidate runs several times, and is kept while the anomaly shows in at least a
// given share of them.

// shrinkFile is where the result's folder says what was tried, with the rates.
const shrinkFile = "shrink.json"

// loose is a candidate: what a run on real nodes is made of and can do without.
type loose struct {
	time    time.Duration
	workers int
	keys    int
	plan    nemesis.Plan
}

func (c loose) String() string {
	var faults []string
	for _, s := range c.plan.Steps {
		faults = append(faults, fmt.Sprintf("%s for %v", s.ID, s.For.Round(time.Millisecond)))
	}
	return fmt.Sprintf("%d faults (%s), %v, %d processes, %d keys",
		len(faults), strings.Join(faults, ", "), c.time.Round(time.Millisecond), c.workers, c.keys)
}

// trial is what came of one candidate.
type trial struct {
	What string `json:"what"`
	Hits int    `json:"hits"`
	Runs int    `json:"runs"`
	Kept bool   `json:"kept"`
	Left string `json:"left"` // the candidate
}

// rates are how often a candidate runs, and how often it must fail.
type rates struct {
	runs  int
	bound float64
}

// need is the least number of hits that reaches the bound, at least one.
func (r rates) need() int {
	n := int(r.bound * float64(r.runs))
	if float64(n) < r.bound*float64(r.runs) {
		n++
	}
	return max(1, n)
}

// liveShrinker looks for the smallest run on real nodes that shows an anomaly.
type liveShrinker struct {
	env    *Env
	view   asked
	folder *reports.Folder
	test   reports.Test
	target string
	rates  rates
	until  time.Time
	best   loose
	trials []trial
	// run performs a candidate once and says whether the anomaly showed.
	run func(ctx context.Context, c loose) bool
}

func newLiveShrinker(env *Env, f *reports.Folder, view asked, limit time.Duration, r rates) (*liveShrinker, error) {
	s := &liveShrinker{env: env, folder: f, view: view, rates: r, until: time.Now().Add(limit)}
	s.run = s.perform
	var err error
	if s.test, s.target, err = failure(f); err != nil {
		return nil, err
	}
	p, err := recorded(env, f, view)
	if err != nil {
		return nil, err
	}
	s.best = loose{s.test.Time, s.test.Concurrency, s.test.Keys, p.plan}
	return s, nil
}

// shrink makes the run smaller until nothing can go or the time is over, and leaves
// the smallest in a folder.
func (s *liveShrinker) shrink(ctx context.Context) error {
	s.say("%s: each candidate runs for up to %v, up to %d times; ends %v from now at the latest, with the smallest until then",
		s.target, s.test.Time, s.rates.runs, time.Until(s.until).Round(time.Second))
	if !s.begin(ctx) {
		return exit.Brokenf("%s does not show %s often enough when it is run again: %s; ask for less with --keep, or for more runs with --tries",
			s.folder.Name(), s.target, s.rate())
	}
	s.smaller(ctx)
	if ctx.Err() != nil {
		return exit.Brokenf("stopped before the end, so no folder is left; %s showed with %s", s.target, s.best)
	}
	return s.leave(ctx)
}

// smaller leaves away what it can, until nothing can go or the time is over.
func (s *liveShrinker) smaller(ctx context.Context) {
	for {
		before := len(s.kept())
		s.fewerFaults(ctx)
		s.earlier(ctx)
		s.shorter(ctx)
		s.fewer(ctx, "processes", func(c *loose) *int { return &c.workers }, len(s.test.Nodes))
		s.fewer(ctx, "keys", func(c *loose) *int { return &c.keys }, 1)
		if len(s.kept()) == before || s.spent(ctx) {
			return
		}
	}
}

func (s *liveShrinker) spent(ctx context.Context) bool {
	return ctx.Err() != nil || time.Now().After(s.until)
}

func (s *liveShrinker) kept() []trial {
	return slices.DeleteFunc(slices.Clone(s.trials), func(t trial) bool { return !t.Kept })
}

// begin measures the rate of what was recorded: with the nodes that were hit, or
// with nodes chosen anew by the same words.
func (s *liveShrinker) begin(ctx context.Context) bool {
	if s.keeps(ctx, "as recorded", s.best) {
		return true
	}
	c := s.best
	c.plan = c.plan.Unpinned()
	return s.keeps(ctx, "nodes chosen anew", c)
}

// keeps runs a candidate until it is certain whether it reaches the bound, and
// makes it the best if it does.
func (s *liveShrinker) keeps(ctx context.Context, what string, c loose) bool {
	if s.spent(ctx) {
		return false
	}
	t := trial{What: what, Left: c.String()}
	need := s.rates.need()
	for t.Hits < need && t.Runs-t.Hits <= s.rates.runs-need && ctx.Err() == nil {
		t.Runs++
		if s.run(ctx, c) {
			t.Hits++
		}
	}
	if t.Kept = t.Hits >= need; t.Kept {
		s.best = c
	}
	s.trials = append(s.trials, t)
	word := "put back"
	if t.Kept {
		word = "kept"
	}
	s.say("%-24s %s showed in %d of %d runs: %s: %s", what, s.target, t.Hits, t.Runs, word, t.Left)
	return t.Kept
}

// say tells people how it goes.
func (s *liveShrinker) say(format string, args ...any) {
	if !s.view.quiet && !s.view.json {
		fmt.Fprintf(s.env.Stderr, format+"\n", args...)
	}
}

// rate sums up the last trial.
func (s *liveShrinker) rate() string {
	t := s.trials[len(s.trials)-1]
	return fmt.Sprintf("in %d of %d runs, where %d of %d are asked for", t.Hits, t.Runs, s.rates.need(), s.rates.runs)
}

// fewerFaults tries starts alone first, also for longer than they lasted, since one
// long fault is less than several short ones. Then it leaves away halves, quarters
// and so on.
func (s *liveShrinker) fewerFaults(ctx context.Context) {
	steps := s.best.plan.Steps
	if len(steps) > 2 {
		for _, st := range s.nearest() {
			c, longer := s.best, s.best
			c.plan = c.plan.Only(st)
			longer.plan = c.plan.Lasting(st, c.time-warmUp)
			if s.keeps(ctx, "only "+st, c) || s.keeps(ctx, "only "+st+", longer", longer) {
				break
			}
		}
	}
	for part := (len(s.best.plan.Steps) + 1) / 2; part >= 1; part /= 2 {
		for from := 0; from < len(s.best.plan.Steps) && !s.spent(ctx); {
			var ids []string
			for _, st := range s.best.plan.Steps[from:min(from+part, len(s.best.plan.Steps))] {
				ids = append(ids, st.ID)
			}
			c := s.best
			c.plan = c.plan.Without(ids...)
			if !s.keeps(ctx, "without "+strings.Join(ids, ", "), c) {
				from += part
			}
		}
	}
}

// nearestMax bounds how many starts are tried alone.
const nearestMax = 3

// nearest are the starts that acted closest before the recorded anomaly existed.
func (s *liveShrinker) nearest() []string {
	at := s.test.Time
	if res, err := s.folder.Results(); err == nil {
		for _, a := range res.Anomalies {
			if a.Name == s.target && a.Time > 0 {
				at = a.Time
				break
			}
		}
	}
	steps := slices.DeleteFunc(slices.Clone(s.best.plan.Steps), func(st nemesis.Step) bool { return st.At > at })
	slices.SortStableFunc(steps, func(a, b nemesis.Step) int { return cmp.Compare(b.At, a.At) })
	var ids []string
	for _, st := range steps[:min(nearestMax, len(steps))] {
		ids = append(ids, st.ID)
	}
	return ids
}

// warmUp is how long a shrunk run goes on before its first fault.
const warmUp = 500 * time.Millisecond

// earlier lets the first fault begin soon, and the run end soon after the last.
func (s *liveShrinker) earlier(ctx context.Context) {
	c := s.best
	first, end := c.time, warmUp
	for _, st := range c.plan.Steps {
		first = min(first, st.At)
	}
	if by := first - warmUp; by > 0 {
		c.plan = c.plan.Earlier(by)
	}
	for _, st := range c.plan.Steps {
		end = max(end, st.At+st.For)
	}
	if c.time = min(c.time, end+warmUp); c.time < s.best.time-warmUp {
		c.plan.Time = c.time
		s.keeps(ctx, "earlier", c)
	}
}

// shorter halves what faults and run last.
func (s *liveShrinker) shorter(ctx context.Context) {
	const least = 200 * time.Millisecond
	for _, st := range s.best.plan.Steps {
		for to := st.For / 2; to >= least && !s.spent(ctx); to /= 2 {
			c := s.best
			c.plan = c.plan.Shortened(st.ID, to)
			if !s.keeps(ctx, "shorter "+st.ID, c) {
				break
			}
		}
	}
	for to := s.best.time / 2; to >= 2*least && !s.spent(ctx); to /= 2 {
		c := s.best
		c.time, c.plan = to, c.plan.Until(to)
		if len(c.plan.Steps) < len(s.best.plan.Steps) || !s.keeps(ctx, "shorter run", c) {
			break
		}
	}
}

// fewer halves a number down to a least.
func (s *liveShrinker) fewer(ctx context.Context, what string, of func(*loose) *int, least int) {
	for !s.spent(ctx) {
		c := s.best
		n := of(&c)
		if *n <= least {
			return // the nodes need a process each, and there is one key at least
		}
		*n = max(least, *n/2)
		if !s.keeps(ctx, "fewer "+what, c) {
			return
		}
	}
}

// prepare makes a run of a candidate.
func (s *liveShrinker) prepare(c loose) (*planned, error) {
	t := s.test
	t.Time, t.Concurrency, t.Keys, t.Nemesis = c.time, c.workers, c.keys, nil
	t.Options = withoutFaults(s.test.Options) // the steps have their own
	a := askedOf(t)
	a.runs, a.argv = s.view.runs, []string{"shrink", s.folder.Name()}
	p, err := prepare(s.env, a)
	if err != nil {
		return nil, err
	}
	p.plan, p.fixed = c.plan, true
	p.record.Nemesis = c.plan.Faults()
	return p, nil
}

// perform runs a candidate once, keeping nothing. One that could not be run does not
// show the anomaly, and is told.
func (s *liveShrinker) perform(ctx context.Context, c loose) bool {
	shows, err := s.try(ctx, c)
	if err != nil && ctx.Err() == nil {
		s.say("a run of %s failed: %v", c, err)
	}
	return shows
}

func (s *liveShrinker) try(ctx context.Context, c loose) (shows bool, err error) {
	p, err := s.prepare(c)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "faultline-shrink-*")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tried, err := p.tryIn(ctx, dir)
	return err == nil && slices.ContainsFunc(tried.Anomalies(), func(a checker.Anomaly) bool { return a.Name == s.target }), err
}

// tryIn runs the test once on real nodes that live in dir, keeping nothing else.
func (p *planned) tryIn(ctx context.Context, dir string) (faultline.Tried, error) {
	workload, err := p.instance()
	if err != nil {
		return faultline.Tried{}, err
	}
	c, err := p.world(ctx, dir)
	if err != nil {
		return faultline.Tried{}, err
	}
	return faultline.Try(ctx, p.test(ctx, c, workload))
}

// leave runs the smallest until it fails once more, which it does at its rate, and
// leaves that run's folder with all trials.
func (s *liveShrinker) leave(ctx context.Context) error {
	for range 4 * s.rates.runs {
		p, err := s.prepare(s.best)
		if err != nil {
			return err
		}
		res, folder, err := p.run(ctx, nil)
		if folder == nil {
			return err
		}
		if res.AnomalyCounts()[s.target] == 0 {
			if err := os.RemoveAll(folder.Path); err != nil {
				return err
			}
			continue
		}
		if err := s.write(folder); err != nil {
			return err
		}
		s.env.code = exit.Of(res.Verdict)
		if !s.view.json {
			last := s.kept()[len(s.kept())-1]
			fmt.Fprintf(s.env.Stdout, "%s is left with %s; it showed in %d of %d runs (kept while at least %d of %d show it)\n",
				s.target, s.best, last.Hits, last.Runs, s.rates.need(), s.rates.runs)
		}
		return printEnd(s.env, s.view, folder, res)
	}
	return exit.Brokenf("the smallest run did not show %s again in %d runs", s.target, 4*s.rates.runs)
}

func (s *liveShrinker) write(folder *reports.Folder) error {
	b, err := json.MarshalIndent(map[string]any{
		"from": s.folder.Name(), "anomaly": s.target, "runs": s.rates.runs, "bound": s.rates.bound, "trials": s.trials,
	}, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(folder.Path, shrinkFile), append(b, '\n'), 0o644) //nolint:gosec // for everyone to read
	}
	return err
}
