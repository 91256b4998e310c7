package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/suites"
)

type suiteFlags struct {
	shard, junit, markdown, figures, runs, seed string
	json, quiet, failFast, resume               bool
	annotations, dry, keep                      bool
	parallel                                    int

	part, of int
	base     uint64
}

func newSuiteCmd(env *Env) *cobra.Command {
	f := &suiteFlags{}
	c := &cobra.Command{
		Use:   "suite FILE.yaml…",
		Short: "Run a matrix of tests with expected verdicts",
		Long: `Suite runs all tests that its files ask for and compares each verdict, and the
anomalies found, with what the file expects. A name without a file is one of the
suites that come along: ` + strings.Join(suites.Names(), ", ") + `.

Exit codes: 0 all as expected, 1 something unexpected, 255 something could not be
tested, 2 an unexpected unknown, 254 bad input; then nothing was run.`,
		Example: `  faultline suite smoke
  faultline suite --parallel 2 --junit junit.xml --markdown "$GITHUB_STEP_SUMMARY" suite.yaml
  faultline suite --shard 2/4 suite.yaml
  faultline suite --resume soak`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			return runSuites(cmd.Context(), env, f, args)
		},
	}
	c.Flags().StringVar(&f.shard, "shard", "1/1", "run only part i of n, as i/n: whole cases, about as long as the other parts")
	c.Flags().StringVar(&f.junit, "junit", "", "write JUnit XML to this file")
	c.Flags().StringVar(&f.markdown, "markdown", "", "write a summary in Markdown to this file")
	c.Flags().StringVar(&f.figures, "figures", "", "write what was found, with figures, in Markdown to this file")
	c.Flags().StringVar(&f.runs, "runs", "runs", "folder that keeps the runs")
	c.Flags().StringVar(&f.seed, "seed", "", "what all seeds are drawn from (default: the suite's, or a fresh one)")
	c.Flags().BoolVar(&f.json, "json", false, "print what came of each case as JSON, and nothing else")
	c.Flags().BoolVar(&f.annotations, "annotations", false, "print what is unexpected as annotations for a CI service as well")
	c.Flags().BoolVar(&f.quiet, "quiet", false, "no progress, only the end")
	c.Flags().BoolVar(&f.failFast, "fail-fast", false, "start no further run once a case has failed")
	c.Flags().BoolVar(&f.resume, "resume", false, "go on with the newest execution of the same suite that was interrupted")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "check the suites and list what they would run")
	c.Flags().BoolVar(&f.keep, "keep-clusters", false, "leave a cluster of containers up for the next run without faults that wants the same one")
	c.Flags().IntVar(&f.parallel, "parallel", 1, "tests that run at the same time")
	return c
}

func (f *suiteFlags) parse() error {
	i, n, ok := strings.Cut(f.shard, "/")
	var err1, err2 error
	f.part, err1 = strconv.Atoi(i)
	f.of, err2 = strconv.Atoi(n)
	if !ok || err1 != nil || err2 != nil || f.part < 1 || f.part > f.of || f.of > 10_000 {
		return exit.Usagef("--shard %s: expected i/n with 1 ≤ i ≤ n, like 2/4", f.shard)
	}
	if f.parallel < 1 || f.parallel > 256 {
		return exit.Usagef("--parallel %d: expected 1 to 256", f.parallel)
	}
	if f.keep && f.parallel > 1 {
		return exit.Usagef("--keep-clusters: a cluster serves one run at a time; leave --parallel %d away", f.parallel)
	}
	var err error
	f.base, err = parseSeed(f.seed)
	return err
}

// readSuites reads all files and checks all that can be known before a run.
func readSuites(env *Env, f *suiteFlags, paths []string) ([]suites.Suite, error) {
	var all []suites.Suite
	for _, path := range paths {
		s, err := suites.Open(path)
		if err != nil {
			return nil, &exit.Error{Code: exit.Usage, Err: err}
		}
		for _, c := range s.Cases {
			if _, err = prepareArgs(env, f.runs, c.Args(1)); err != nil {
				return nil, exit.Usagef("%s: %s: %w", c.Pos, c.Name, err)
			}
		}
		all = append(all, s.Shard(f.part, f.of))
	}
	return all, nil
}

// prepareArgs prepares a run from its flags.
func prepareArgs(env *Env, runs string, args []string) (*planned, error) {
	var a asked
	set := pflag.NewFlagSet("run", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	a.add(set)
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	a.given, a.runs, a.quiet = set.Changed, runs, true
	a.argv = append([]string{"run"}, args...)
	return prepare(env, a)
}

func runSuites(ctx context.Context, env *Env, f *suiteFlags, paths []string) error {
	all, err := readSuites(env, f, paths)
	if err != nil {
		return err
	}
	if f.dry {
		return listRuns(env, all)
	}
	var sums []suites.Summary
	for _, s := range all {
		m, e := runSuite(ctx, env, f, s)
		err = errors.Join(err, e)
		if m.Cases == nil {
			return err // it was not run
		}
		sums = append(sums, m)
		if f.failFast && m.State() != suites.Expected || ctx.Err() != nil {
			break
		}
	}
	env.code = suiteCode(sums)
	if f.junit != "" {
		err = errors.Join(err, writeFile(f.junit, func(w io.Writer) error { return suites.WriteJUnit(w, sums...) }))
	}
	if f.markdown != "" {
		err = errors.Join(err, writeEach(f.markdown, sums, suites.Summary.WriteMarkdown))
	}
	if f.figures != "" {
		err = errors.Join(err, writeEach(f.figures, sums, suites.Summary.WriteFigures))
	}
	if f.annotations {
		for _, m := range sums {
			err = errors.Join(err, m.WriteAnnotations(env.Stderr))
		}
	}
	if f.json {
		err = errors.Join(err, printSuites(env, sums))
	}
	return err
}

// writeEach writes all summaries to one file.
func writeEach(path string, sums []suites.Summary, write func(suites.Summary, io.Writer) error) error {
	return writeFile(path, func(w io.Writer) error {
		for _, m := range sums {
			if err := write(m, w); err != nil {
				return err
			}
		}
		return nil
	})
}

// listRuns prints what suites would run: suite, case, how often, what is expected
// and the flags, separated by tabs.
func listRuns(env *Env, all []suites.Suite) error {
	for _, s := range all {
		for _, c := range s.Cases {
			args := c.Args(0)
			if _, err := fmt.Fprintf(env.Stdout, "%s\t%s\t%d of %d\t%s\t%s\n",
				s.Name, c.Name, c.Need, c.Of, c.Expect, strings.Join(args[:len(args)-1], " ")); err != nil {
				return err
			}
		}
	}
	return nil
}

// runSuite runs one suite and prints its end.
func runSuite(ctx context.Context, env *Env, f *suiteFlags, s suites.Suite) (m suites.Summary, err error) {
	begun := time.Now()
	seed := f.base
	if f.seed == "" && s.Seed != 0 {
		seed = s.Seed
	}
	j, err := f.journal(env, s, seed, begun)
	if err != nil {
		return suites.Summary{}, &exit.Error{Code: exit.Usage, Err: err}
	}
	defer func() {
		err = errors.Join(err, j.Close())
	}()
	loud := !f.quiet && !f.json
	if loud {
		fmt.Fprintf(env.Stderr, "seed %d: suite %s, %d runs\n", j.Seed, s.Name, s.Runs())
	}
	view, stop := watchSuite(env, loud, s, begun)
	var failed error
	var k *keeper
	if f.keep {
		k = &keeper{}
		defer func() { err = errors.Join(err, k.drop(context.WithoutCancel(ctx))) }()
	}
	outcomes := suites.Execute(ctx, s, suites.Options{
		Seed: j.Seed, Parallel: f.parallel, FailFast: f.failFast, Done: j.Done, Now: time.Now,
		Run: func(ctx context.Context, args []string) (reports.Results, string, error) {
			return runCase(ctx, env, f.runs, args, k)
		},
		Update: func(o suites.Outcome) {
			failed = errors.Join(failed, j.Add(o))
			if loud {
				view.Update(o)
			}
		},
	})
	stop()
	m = suites.Sum(s, outcomes)
	m.Seed, m.Took = j.Seed, time.Since(begun).Round(time.Second)
	m.Link = func(folder string) string { return "../" + filepath.Base(folder) }
	page := filepath.Join(j.Dir, suites.PageFile)
	err = errors.Join(failed, writeFile(page, m.WriteHTML), writeFile(filepath.Join(j.Dir, reports.SuiteFile), m.WriteJSON))
	if !f.json {
		err = errors.Join(err, m.WriteText(env.Stdout))
		fmt.Fprintf(env.Stdout, "summary:   %s\n", page)
	}
	return m, err
}

// watchSuite makes the view of a suite, which on a terminal goes on while a run lasts.
func watchSuite(env *Env, loud bool, s suites.Suite, begun time.Time) (view *suites.View, stop func()) {
	if !env.Terminal || !loud {
		return suites.NewView(env.Stderr, nil, s), func() {}
	}
	view = suites.NewView(env.Stderr, env.size, s)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				view.Tick(time.Since(begun))
			case <-over:
				return
			}
		}
	}()
	return view, func() {
		close(over)
		<-ended
		view.Tick(time.Since(begun))
	}
}

// journal is a fresh one, or that of an interrupted execution to go on with.
func (f *suiteFlags) journal(env *Env, s suites.Suite, seed uint64, now time.Time) (*suites.Journal, error) {
	if f.resume {
		j, err := suites.Resume(f.runs, s)
		if j != nil || err != nil {
			return j, err
		}
		fmt.Fprintf(env.Stderr, "nothing to resume of the suite %s in %s: starting afresh\n", s.Name, f.runs)
	}
	return suites.NewJournal(f.runs, s, seed, now)
}

// runCase runs one test of a suite, on nodes that are kept if k says so and it has no
// faults; after one that came to nothing they are not.
func runCase(ctx context.Context, env *Env, runs string, args []string, k *keeper) (reports.Results, string, error) {
	p, err := prepareArgs(env, runs, args)
	if err != nil {
		return reports.Results{}, "", err
	}
	if k != nil && p.record.On == onDocker && len(p.plan.Steps) == 0 {
		if err := k.lend(ctx, p); err != nil {
			return reports.Results{}, "", err
		}
	}
	res, folder, err := p.run(ctx, func(faultline.Snapshot) {})
	if k != nil && problemOf(res, err) != "" {
		err = errors.Join(err, k.drop(context.WithoutCancel(ctx)))
	}
	if folder == nil {
		return res, "", err
	}
	return res, folder.Path, err
}

// suiteCode is the exit code of suites: what is unexpected outranks what could not
// be tested, and that an unknown.
func suiteCode(sums []suites.Summary) int {
	worst := map[suites.State]bool{}
	for _, m := range sums {
		worst[m.State()] = true
	}
	switch {
	case worst[suites.Unexpected]:
		return exit.Anomalies
	case worst[suites.Untested], worst[suites.Skipped]:
		return exit.Broken
	case worst[suites.Undecided]:
		return exit.Unknown
	}
	return exit.Valid
}

// printSuites prints what came of each case as JSON.
func printSuites(env *Env, sums []suites.Summary) error {
	out := []suites.Report{}
	for _, m := range sums {
		out = append(out, m.Report())
	}
	e := json.NewEncoder(env.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
