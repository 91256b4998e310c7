package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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
	// Failed are the runs that could not be performed; they show nothing.
	Failed int           `json:"failed,omitempty"`
	Kept   bool          `json:"kept"`
	Left   string        `json:"left"` // the candidate
	Took   time.Duration `json:"took_ns"`

	loose loose
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
	limit  time.Duration
	start  time.Time
	best   loose
	trials []trial
	nodes  keeper // of a run that did not fail, for the next
	broken error  // why a candidate could not be run at all
	// run performs a candidate once and says whether the anomaly showed.
	run func(ctx context.Context, c loose) (bool, error)
}

func newLiveShrinker(env *Env, f *reports.Folder, view asked, limit time.Duration, r rates) (*liveShrinker, error) {
	s := &liveShrinker{env: env, folder: f, view: view, rates: r, limit: limit, start: time.Now()}
	s.run = s.try
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
	s.say("%s: each candidate runs up to %d times, and is kept when %d show it; ends after %v at the latest, with the smallest until then",
		s.target, s.rates.runs, s.rates.need(), s.limit)
	shown := s.alone(ctx) || s.begin(ctx)
	if shown {
		s.say("%s", s.estimate())
		s.smaller(ctx)
	}
	err := s.nodes.drop(context.WithoutCancel(ctx))
	if s.broken != nil && !shown {
		err = errors.Join(s.broken, err)
	}
	switch {
	case err != nil:
		return exit.Brokenf("%w", err)
	case shown && ctx.Err() != nil:
		return s.stopped()
	case shown:
		return s.leave(ctx)
	case s.spent(ctx):
		return exit.Brokenf("stopped after %v, before anything had shown %s often enough: %s; give it longer with --limit, or ask for less with --keep or --tries",
			time.Since(s.start).Round(time.Second), s.target, s.rate())
	default:
		return exit.Brokenf("%s does not show %s often enough when it is run again: %s; ask for less with --keep, or for more runs with --tries",
			s.folder.Name(), s.target, s.rate())
	}
}

// alone tries single starts in runs that begin and end with them: most failures need
// no more, and such a run costs a few seconds where the recorded one may cost minutes.
func (s *liveShrinker) alone(ctx context.Context) bool {
	for _, st := range s.nearest() {
		c := s.best
		c.plan = c.plan.Only(st).Unpinned()
		if s.keeps(ctx, "only "+st+", at once", c.early()) {
			return true
		}
	}
	return false
}

// estimate is how long the rest may take.
func (s *liveShrinker) estimate() string {
	var runs int
	var over time.Duration // beyond the runs' own time
	for _, t := range s.trials {
		runs += t.Runs
		over += t.Took - time.Duration(t.Runs)*t.loose.time
	}
	n := 6 // the time, processes and keys
	if k := len(s.best.plan.Steps); k > 1 {
		n += 2 * k
	}
	n += 2 * min(2, len(s.best.plan.Steps)) // they become shorter
	each := s.best.time + over/time.Duration(max(1, runs))
	took := time.Duration(n*s.rates.need()) * each
	return fmt.Sprintf("about %d more candidates, of %d runs or more of %v each: some %v", n, s.rates.need(), each.Round(100*time.Millisecond), took.Round(time.Second))
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
	return ctx.Err() != nil || s.broken != nil || time.Since(s.start) > s.limit
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
	if s.spent(ctx) || s.pointless(c) {
		return false
	}
	t := trial{What: what, Left: c.String(), loose: c}
	need, start := s.rates.need(), time.Now()
	for t.Hits < need && t.Runs-t.Hits <= s.rates.runs-need && !s.spent(ctx) {
		shows, err := s.run(ctx, c)
		if ctx.Err() != nil {
			break
		}
		t.Runs++
		if shows {
			t.Hits++
		}
		if err != nil {
			t.Failed++
			s.say("a run of %s failed: %v", c, err)
			if t.Failed == t.Runs && t.Hits == 0 && t.Failed >= need {
				s.broken = err
			}
		}
	}
	if t.Kept = t.Hits >= need; t.Kept {
		s.best = c
	}
	t.Took = time.Since(start)
	s.trials = append(s.trials, t)
	word := "put back"
	switch {
	case t.Kept:
		word = "kept"
	case s.spent(ctx):
		word = "stopped"
	}
	s.say("%5s  %-24s %s showed in %d of %d runs: %s: %s", time.Since(s.start).Round(time.Second), what, s.target, t.Hits, t.Runs, word, t.Left)
	return t.Kept
}

// pointless is what was put back before, and a run without faults once any was.
func (s *liveShrinker) pointless(c loose) bool {
	return slices.ContainsFunc(s.trials, func(t trial) bool {
		return !t.Kept && (t.Left == c.String() || len(t.loose.plan.Steps)+len(c.plan.Steps) == 0)
	})
}

// say tells people how it goes.
func (s *liveShrinker) say(format string, args ...any) {
	if !s.view.quiet && !s.view.json {
		fmt.Fprintf(s.env.Stderr, format+"\n", args...)
	}
}

// rate sums up the last trial.
func (s *liveShrinker) rate() string {
	if len(s.trials) == 0 {
		return "nothing was run"
	}
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

// early is the candidate with its first fault soon, and its end soon after the last.
func (c loose) early() loose {
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
	c.time = min(c.time, end+warmUp)
	c.plan.Time = c.time
	return c
}

// earlier lets the first fault begin soon, and the run end soon after the last.
func (s *liveShrinker) earlier(ctx context.Context) {
	if c := s.best.early(); c.time < s.best.time-warmUp {
		s.keeps(ctx, "earlier", c)
	}
}

// shortest is the least time of a fault.
const shortest = 200 * time.Millisecond

// shorter makes faults as short as can be, or halves what they last, and what the run
// does.
func (s *liveShrinker) shorter(ctx context.Context) {
	for _, st := range s.best.plan.Steps {
		shorter := func(to time.Duration) bool {
			c := s.best
			c.plan = c.plan.Shortened(st.ID, to)
			return s.keeps(ctx, "shorter "+st.ID, c)
		}
		if st.For < 2*shortest || shorter(shortest) {
			continue
		}
		for to := st.For / 2; to >= 2*shortest && shorter(to); to /= 2 {
		}
	}
	for to := s.best.time / 2; to >= 2*shortest && !s.spent(ctx); to /= 2 {
		c := s.best
		c.time, c.plan = to, c.plan.Until(to)
		if len(c.plan.Steps) < len(s.best.plan.Steps) || !s.keeps(ctx, "shorter run", c) {
			break
		}
	}
}

// fewer makes a number the least, or halves it.
func (s *liveShrinker) fewer(ctx context.Context, what string, of func(*loose) *int, least int) {
	to := func(n int) bool {
		c := s.best
		*of(&c) = n
		return s.keeps(ctx, "fewer "+what, c)
	}
	if *of(&s.best) <= least || to(least) {
		return
	}
	for n := *of(&s.best) / 2; n > least && to(n); n /= 2 {
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

// try runs a candidate once, keeping nothing but nodes that may serve the next.
func (s *liveShrinker) try(ctx context.Context, c loose) (shows bool, err error) {
	p, err := s.prepare(c)
	if err != nil {
		return false, err
	}
	if s.test.On == onDocker {
		if err := s.nodes.lend(ctx, p); err != nil {
			return false, err
		}
	}
	dir, err := os.MkdirTemp("", "faultline-shrink-*")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tried, err := p.tryIn(ctx, dir)
	shows = err == nil && slices.ContainsFunc(tried.Anomalies(), func(a checker.Anomaly) bool { return a.Name == s.target })
	if err != nil || tried.Verdict() == checker.Invalid {
		// What went wrong in these nodes may go on in them.
		err = errors.Join(err, s.nodes.drop(context.WithoutCancel(ctx)))
	}
	return shows, err
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
	t := p.test(ctx, c, workload)
	if p.kept != nil {
		t.Progress = p.kept.watch
	}
	return faultline.Try(ctx, t)
}

// leave runs the smallest until it fails once more, which it does at its rate, and
// leaves that run's folder with all trials. These nodes are new; should the smallest not
// fail on such, those kept before it are run.
func (s *liveShrinker) leave(ctx context.Context) error {
	kept, latest := s.kept(), reports.LatestIn(s.view.runs)
	for _, t := range slices.Backward(kept) {
		s.best = t.loose
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
				if err := folder.Discard(latest); err != nil {
					return err
				}
				if ctx.Err() != nil {
					return s.stopped()
				}
				continue
			}
			if err := s.write(folder); err != nil {
				return err
			}
			s.env.code = exit.Of(res.Verdict)
			s.print()
			return printEnd(s.env, s.view, folder, res)
		}
		s.say("%s did not show %s again in %d runs on new nodes", t.What, s.target, 4*s.rates.runs)
	}
	return exit.Brokenf("no candidate showed %s again in %d runs", s.target, 4*s.rates.runs)
}

// print says what is left, and at which rate it showed.
func (s *liveShrinker) print() {
	if s.view.json {
		return
	}
	for _, t := range s.kept() {
		if t.Left == s.best.String() {
			fmt.Fprintf(s.env.Stdout, "%s is left with %s; it showed in %d of %d runs (kept while at least %d of %d show it)\n",
				s.target, t.Left, t.Hits, t.Runs, s.rates.need(), s.rates.runs)
			return
		}
	}
}

// stopped says how far it came.
func (s *liveShrinker) stopped() error {
	s.print()
	return exit.Brokenf("stopped before the end, so no folder is left")
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
