package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/ladder"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
)

type checkFlags struct {
	model, engine, format, memory string
	timeout                       time.Duration
	json, ladder                  bool
	edn                           string // write the history to this file

	spec  *model.Spec // nil for auto
	bytes int64
}

func newCheckCmd(env *Env) *cobra.Command {
	var f checkFlags
	c := &cobra.Command{
		Use:   "check HISTORY…",
		Short: "Judge recorded histories: is what the clients saw linearizable?",
		Long: `Check judges histories: files, or folders of runs. It prints a line for each,
separated by tabs: file, verdict, model, engine, operations, milliseconds; then
its anomalies in words. Files may be faultline's own, Jepsen's EDN or text log,
Porcupine's key-value log, or elle-cli's JSON.

Exit codes: 0 all valid, 1 an anomaly in at least one, 2 none, but at least one
is unknown, 254 bad input.`,
		Example: `  faultline check runs/latest
  faultline check --model cas-register --engine search history.edn
  faultline check --timeout 5s --memory 512MiB --json history.jsonl
  faultline check --edn history.edn runs/latest`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			return check(cmd.Context(), env, &f, args)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.ladder, "ladder", false, "also say which weaker models hold, and how stale reads were")
	c.Flags().StringVar(&f.edn, "edn", "", "also write the one history to this file as Jepsen's EDN, for other checkers to judge")
	c.Flags().BoolVar(&f.json, "json", false, "print each judgement as an object of results.json, and nothing else")
	return c
}

// add adds the flags that say how to judge.
func (f *checkFlags) add(c *cobra.Command) {
	var names []string
	for _, s := range model.All() {
		names = append(names, s.Name)
	}
	c.Flags().StringVar(&f.model, "model", "auto", "what the object is: auto|"+strings.Join(names, "|"))
	c.Flags().StringVar(&f.engine, "engine", linear.Auto, "auto|fast|search|porcupine; auto takes the cheapest that is exact, key by key")
	c.Flags().StringVar(&f.format, "format", "auto", "auto|"+strings.Join(history.Formats(), "|"))
	c.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "for checking one history, all its keys together; 0 is no limit")
	c.Flags().StringVar(&f.memory, "memory", "2GiB", "that checking may need beyond the loaded history")
}

func (f *checkFlags) parse() error {
	var err error
	if f.bytes, err = parseBytes("--memory", f.memory); err != nil {
		return err
	}
	if f.timeout < 0 {
		return exit.Usagef("--timeout %v: expected a time of 0 or more", f.timeout)
	}
	if f.model != "auto" && f.model != "" {
		spec, err := model.Named(f.model)
		if err != nil {
			return exit.Usagef("--model: %w", err)
		}
		f.spec = &spec
	}
	switch f.engine {
	case linear.Auto, linear.Fast, linear.Search, linear.Porcupine:
	default:
		return exit.Usagef("--engine: unknown engine %q; there are auto, fast, search, porcupine", f.engine)
	}
	if f.format != "auto" {
		if slices.Contains(history.Formats(), f.format) {
			return nil
		}
		return exit.Usagef("--format: unknown format %q; there are auto, %s", f.format, strings.Join(history.Formats(), ", "))
	}
	return nil
}

// judged is one history and what was found.
type judged struct {
	name, path, format string
	h                  *history.History
	spec               model.Spec
	result             checker.Result
	ladder             *checker.Result
	err                error
}

// load reads a history, or that of a run's folder.
func (f *checkFlags) load(path string) judged {
	j := judged{name: path}
	folder, err := reports.Open(path)
	if err != nil {
		j.err = err
		return j
	}
	j.path = folder.HistoryPath()
	file, err := os.Open(j.path)
	if err != nil {
		j.err = err
		return j
	}
	defer file.Close()
	j.h, j.format, j.err = history.Decode(file, j.path, f.format)
	if j.err != nil {
		return j
	}
	j.spec, j.err = f.specOf(j.h, j.format)
	if j.err != nil {
		j.err = fmt.Errorf("%s: %w", path, j.err)
	}
	return j
}

// specOf is the model asked for, or the one that fits. Jepsen's text logs of
// registers take a failed compare-and-set for an observation, as those who
// published verdicts on them do.
func (f *checkFlags) specOf(h *history.History, format string) (model.Spec, error) {
	if f.spec != nil {
		return *f.spec, nil
	}
	spec, err := model.Guess(h)
	if err == nil && spec.Name == "cas-register" && format == "jepsen-log" {
		spec = model.ExcludingRegister()
	}
	return spec, err
}

func (f *checkFlags) judge(ctx context.Context, j *judged, workers int) {
	j.result = linear.Check(ctx, j.h, linear.Options{
		Model: j.spec, Engine: f.engine, Timeout: f.timeout, Memory: f.bytes, Workers: workers, Porcupine: new(children).run,
	})
}

// check judges all histories. A few small ones are judged at a time; each result
// is printed in the order of the arguments.
func check(ctx context.Context, env *Env, f *checkFlags, paths []string) error {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return exit.Usagef("%w", err)
		}
	}
	if f.edn != "" && len(paths) != 1 {
		return exit.Usagef("--edn: expected one history, found %d", len(paths))
	}
	limitHeap(f.bytes)
	verdict, bad := checker.Valid, false
	parallel := 1
	if len(paths) > 16 {
		parallel = runtime.GOMAXPROCS(0)
		// Address space that is never touched: the garbage collector, which runs when
		// the heap has grown by half, does so every 32 MiB instead of for each few
		// small histories.
		ballast := make([]byte, 64<<20)
		defer runtime.KeepAlive(ballast)
	}
	var failed error
	each(paths, parallel, func(p string) outcome {
		j := f.load(p)
		if j.err == nil && f.edn != "" {
			j.err = writeFile(f.edn, func(w io.Writer) error { return history.WriteEDN(w, j.h) })
		}
		if j.err == nil {
			if parallel == 1 {
				holdHeap(f.bytes)
			}
			f.judge(ctx, &j, max(1, runtime.GOMAXPROCS(0)/parallel))
			if f.ladder {
				f.climb(ctx, &j)
			}
		}
		return f.render(&j)
	}, func(o outcome) {
		if o.err != nil {
			fmt.Fprintf(env.Stderr, "faultline: %v\n", o.err)
			bad = true
			return
		}
		verdict = checker.Merge(verdict, o.verdict)
		if _, err := env.Stdout.Write(o.text); err != nil {
			failed = err
		}
	})
	if failed != nil {
		return failed
	}
	if env.code = exit.Of(verdict); bad {
		env.code = exit.Usage
	}
	return nil
}

type outcome struct {
	verdict checker.Verdict
	text    []byte
	err     error
}

// each applies work to all paths, so many at a time, and hands the outcomes over
// in the order of the paths.
func each(paths []string, parallel int, work func(string) outcome, emit func(outcome)) {
	if parallel <= 1 {
		for _, p := range paths {
			emit(work(p))
		}
		return
	}
	slots := make([]chan outcome, len(paths))
	for i := range slots {
		slots[i] = make(chan outcome, 1)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(paths)); i = next.Add(1) - 1 {
				slots[i] <- work(paths[i])
			}
		})
	}
	for i := range slots {
		emit(<-slots[i])
		slots[i] = nil
	}
	wg.Wait()
}

func (f *checkFlags) render(j *judged) outcome {
	if j.err != nil {
		return outcome{err: j.err}
	}
	var b bytes.Buffer
	var err error
	if f.json {
		err = writeResultsJSON(&b, j)
	} else {
		writeLine(&b, j)
	}
	return outcome{verdict: j.result.Verdict, text: b.Bytes(), err: err}
}

// results is the judgement as results.json has it.
func (j *judged) results() (reports.Results, error) {
	r := reports.Results{Run: j.name, Ops: reports.CountOps(j.h), Faults: reports.FaultsOf(j.h), Nodes: len(j.h.Nodes())}
	r.Availability = reports.Measure(j.h, r.Faults)
	r.Reason = j.result.Reason
	if err := r.Add(j.result); err != nil || j.ladder == nil {
		return r, err
	}
	return r, r.Add(*j.ladder)
}

// climb judges the other rungs of the ladder, where the history is of registers.
func (f *checkFlags) climb(ctx context.Context, j *judged) {
	switch j.spec.Name {
	case "register", "cas-register", "excluding-register":
		r := ladder.New(ladder.Options{Timeout: f.timeout, Memory: f.bytes, Linear: &j.result}).Check(ctx, j.h)
		j.ladder = &r
	}
}

func writeResultsJSON(w io.Writer, j *judged) error {
	r, err := j.results()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err = r.Encode(&b); err != nil {
		return err
	}
	var line bytes.Buffer
	if err = json.Compact(&line, b.Bytes()); err != nil {
		return err
	}
	_, err = w.Write(append(line.Bytes(), '\n'))
	return err
}

func writeLine(w io.Writer, j *judged) {
	r := j.result
	engine := r.Engine
	if engine == "" {
		engine = "-"
	}
	fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%d\t%.3f\n", j.name, r.Verdict, j.spec.Name, engine, r.Ops, float64(r.Duration.Microseconds())/1000)
	if r.Reason != "" {
		fmt.Fprintf(w, "  unknown: %s\n", r.Reason)
	}
	for _, a := range r.Anomalies {
		fmt.Fprintf(w, "  %s%s: %s\n", a.Name, onKey(a.Key), a.Explain)
	}
	writeLadder(w, j.ladder)
	if d, ok := r.Detail.(*linear.Detail); ok {
		for _, a := range d.VersionRegressions {
			fmt.Fprintf(w, "  beside the verdict, %s%s: %s\n", a.Name, onKey(a.Key), a.Explain)
		}
		for why, n := range d.Why {
			if r.Engine != linear.Fast && r.Verdict != checker.Valid {
				fmt.Fprintf(w, "  the fast engine did not apply to %d keys: %s\n", n, why)
			}
		}
	}
}

// writeLadder says which rungs hold, and how stale reads were.
func writeLadder(w io.Writer, r *checker.Result) {
	if r == nil {
		return
	}
	l, ok := r.Detail.(ladder.Ladder)
	if !ok {
		return
	}
	for _, n := range ladder.Names() {
		rung := l.Rungs[n]
		fmt.Fprintf(w, "  %-20s %v", n, rung.Verdict)
		switch {
		case rung.Reason != "" && rung.Verdict == checker.Unknown:
			fmt.Fprintf(w, ": %s", rung.Reason)
		case rung.Anomaly != nil && n != ladder.Linearizable:
			fmt.Fprintf(w, ": %s", rung.Anomaly.Explain)
		}
		fmt.Fprintln(w)
	}
	s := l.Staleness.All
	fmt.Fprintf(w, "  stale reads          %d of %d; behind by (median, p99, max) %d, %d, %d versions and %v, %v, %v\n", s.Behind, s.Reads,
		s.Versions.Median, s.Versions.P99, s.Versions.Max, s.Time.Median, s.Time.P99, s.Time.Max)
}

func onKey(k string) string {
	if k == "" {
		return ""
	}
	return " on " + k
}
