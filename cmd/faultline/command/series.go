package command

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
)

// A series runs a range of seeds against real nodes, one after the other, each
// with a folder of its own. With reuse=true the containers are kept from one run
// to the next, and made anew only after one that failed.

// series is one of them.
type series struct {
	env *Env
	a   asked
	keeper

	start  time.Time
	runs   int
	failed []seriesRun
	whole  int // runs that healed and left whole nodes
	slow   time.Duration
}

// seriesRun is a run that is worth a second look.
type seriesRun struct {
	Seed      uint64          `json:"seed"`
	Verdict   checker.Verdict `json:"verdict"`
	Anomalies []string        `json:"anomalies,omitempty"`
	Problem   string          `json:"problem,omitempty"`
	Run       string          `json:"run"`
	broken    bool
}

// runSeries runs the seeds of a range until one finds an anomaly or fails, or with
// --keep-going all of them.
func runSeries(ctx context.Context, env *Env, a asked) error {
	first, last, err := parseSeeds(a.seeds)
	if err != nil {
		return err
	}
	s := &series{env: env, a: a, start: time.Now()}
	s.a.seeds = ""
	defer func() { _ = s.drop(context.WithoutCancel(ctx)) }()
	for seed := first; seed <= last && ctx.Err() == nil; seed++ {
		over, err := s.one(ctx, seed)
		if err != nil {
			return err
		}
		if over {
			break
		}
	}
	if err := s.drop(context.WithoutCancel(ctx)); err != nil {
		return &exit.Error{Code: exit.Broken, Err: err}
	}
	return s.report()
}

// one runs a seed; over says that the series ends with it. Its error is one of what
// was asked for.
func (s *series) one(ctx context.Context, seed uint64) (over bool, err error) {
	s.a.seed = formatSeed(seed)
	p, err := prepare(s.env, s.a)
	if err != nil {
		return true, err
	}
	if p.reuse {
		if err := s.lend(ctx, p); err != nil {
			return true, err
		}
	}
	res, folder, err := p.run(ctx, nil)
	if folder == nil {
		return true, err
	}
	r := seriesRun{Seed: seed, Verdict: res.Verdict, Run: filepath.ToSlash(folder.Path)}
	for name := range res.AnomalyCounts() {
		r.Anomalies = append(r.Anomalies, name)
	}
	slices.Sort(r.Anomalies)
	r.Problem = problemOf(res, err)
	r.broken = r.Problem != ""
	s.take(r, res)
	if r.broken || res.Verdict == checker.Invalid {
		if err := s.drop(context.WithoutCancel(ctx)); err != nil {
			return true, exit.Brokenf("%w", err)
		}
		return !s.a.keepGoing, nil
	}
	return false, nil
}

// problemOf says why a run did not leave whole nodes behind: that it found too
// little is none.
func problemOf(res reports.Results, err error) string {
	if err != nil {
		return err.Error()
	}
	var left []string
	for _, f := range res.Faults {
		if !f.Healed {
			left = append(left, f.ID+" was not proven healed")
		}
	}
	if res.Error != "" {
		left = append(left, res.Error)
	}
	return strings.Join(left, "; ")
}

func (s *series) take(r seriesRun, res reports.Results) {
	s.runs++
	if !r.broken {
		s.whole++
	}
	if r.broken || r.Verdict != checker.Valid {
		r.Problem = firstOf(r.Problem, res.Reason)
		s.failed = append(s.failed, r)
	}
	if s.a.quiet || s.a.json {
		return
	}
	served := ""
	if s.kept != nil && s.kept.served > 0 {
		served = fmt.Sprintf(", served again after %v", s.kept.served.Round(10*time.Millisecond))
		s.slow = max(s.slow, s.kept.served)
	}
	fmt.Fprintf(s.env.Stderr, "seed %d: %s, %d faults, %d operations%s %s\n", r.Seed, r.Verdict, len(res.Faults), res.Ops.Total, served, r.Problem)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// report prints the outcome and sets the exit code: a run that did not leave whole
// nodes behind is one that could not be tested.
func (s *series) report() error {
	broken, unknown, invalid := 0, 0, 0
	for _, r := range s.failed {
		switch {
		case r.Verdict == checker.Invalid:
			invalid++
		case r.broken:
			broken++
		default:
			unknown++
		}
	}
	switch {
	case invalid > 0:
		s.env.code = exit.Anomalies
	case broken > 0:
		s.env.code = exit.Broken
	case unknown > 0 || s.runs == 0:
		s.env.code = exit.Unknown
	}
	if s.a.json {
		return s.printJSON()
	}
	for _, r := range s.failed {
		if r.Verdict == checker.Invalid || r.broken {
			fmt.Fprintf(s.env.Stdout, "seed %d: %s %s\n  folder: %s\n", r.Seed, strings.Join(r.Anomalies, ", "), r.Problem, r.Run)
		}
	}
	fmt.Fprintf(s.env.Stdout, "%d runs in %v: %d healed and left every node whole, %d anomalies, %d unknown",
		s.runs, time.Since(s.start).Round(time.Second), s.whole, invalid, unknown)
	if s.made > 0 {
		fmt.Fprintf(s.env.Stdout, "; %d clusters were made", s.made)
	}
	if s.slow > 0 {
		fmt.Fprintf(s.env.Stdout, "; reads and writes on every node at most %v after the last heal", s.slow.Round(10*time.Millisecond))
	}
	fmt.Fprintln(s.env.Stdout)
	return nil
}

func (s *series) printJSON() error {
	out := struct {
		Seeds     int           `json:"seeds"`
		Failed    []seriesRun   `json:"failed"`
		Unknown   []uint64      `json:"unknown"`
		Simulated time.Duration `json:"simulated_ns"`
		Duration  time.Duration `json:"duration_ns"`
	}{s.runs, []seriesRun{}, []uint64{}, 0, time.Since(s.start)}
	for _, r := range s.failed {
		if r.Verdict == checker.Invalid || r.broken {
			out.Failed = append(out.Failed, r)
		} else {
			out.Unknown = append(out.Unknown, r.Seed)
		}
	}
	return json.NewEncoder(s.env.Stdout).Encode(out)
}
