package faultline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/faults"
	"github.com/faultline-dev/faultline/checker/logs"
	"github.com/faultline-dev/faultline/checker/power"
	"github.com/faultline-dev/faultline/checker/stats"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports"
)

// Judge checks the history in t's folder with all of t's checkers and writes the
// results and reports. Problem says why the run shows less than it was asked to;
// then the verdict is at best unknown. The history must not change any more.
//
// A checker that crashes is an unknown of its own and does not keep the others
// from judging; a report that cannot be drawn does not change the verdict.
func Judge(ctx context.Context, t Test, problem string) (reports.Results, error) {
	if err := t.defaults(); err != nil {
		return reports.Results{}, err
	}
	res := outline(t)
	h, err := t.Folder.History()
	if err != nil {
		res.Error = firstOf(problem, err.Error())
		if problem != "" {
			err = nil // there is no history because the run came to nothing: that has been said
		}
		err = errors.Join(err, t.Folder.WriteResults(res))
		t.draw()
		return res, err
	}
	t.Progress(Snapshot{Stage: "check"})
	res.Ops = reports.CountOps(h)
	res.Faults = reports.FaultsOf(h)
	res.Availability = reports.Measure(h, res.Faults)
	if h.Len() > 0 {
		res.Duration = faults.Last(h)
	}
	judges := slices.Concat(t.Workload.Checkers, t.Checkers, []checker.Checker{stats.New(), powerOf(t), logsOf(t.Folder)}, t.Workload.Measures)
	for _, c := range judges {
		r := check(ctx, c, h, t.CheckTimeout)
		if e := res.Add(r); e != nil {
			err = errors.Join(err, e)
		}
	}
	if problem != "" {
		res.Verdict = checker.Merge(res.Verdict, checker.Unknown)
		res.Reason = firstOf(problem, res.Reason)
	}
	if e := t.Folder.WriteResults(res); e != nil {
		return res, errors.Join(err, e)
	}
	t.draw()
	return res, err
}

// draw writes the reports that are drawn from the results. A failure changes
// nothing of the verdict.
func (t *Test) draw() {
	if err := reports.Render(t.Folder); err != nil {
		t.Warn(fmt.Sprintf("the verdict stands, but a report could not be drawn: %v", err))
	}
}

// outline is what the results say of the test itself.
func outline(t Test) reports.Results {
	rec := t.Record
	return reports.Results{
		System: rec.System, Version: rec.Version, Bug: rec.Bug, Workload: rec.Workload, Nemesis: rec.Nemesis, Options: rec.Options,
		On: rec.On, Seed: rec.Seed, Nodes: len(rec.Nodes), Concurrency: rec.Concurrency, Started: rec.Started,
		Reproduce: t.Reproduce,
	}
}

// powerOf asks whether the run could have found anything.
func powerOf(t Test) checker.Checker {
	o := t.Power
	o.Nodes, o.Kinds = t.Record.Nodes, t.Workload.Sometimes
	if o.Faults == nil {
		o.Faults = t.Record.Nemesis
	}
	return power.New(o)
}

// logsOf looks through the nodes' logs for what no healthy node prints.
func logsOf(f *reports.Folder) checker.Checker {
	return checker.Func("logs", func(ctx context.Context, h *history.History) checker.Result {
		files, err := filepath.Glob(filepath.Join(f.Path, reports.NodesDir, "*", "*"))
		if err != nil {
			return checker.Result{Reason: err.Error()}
		}
		var all []logs.Log
		for _, path := range files {
			file, err := os.Open(path)
			if err != nil {
				return checker.Result{Reason: err.Error()}
			}
			defer file.Close()
			all = append(all, logs.Log{Node: filepath.Base(filepath.Dir(path)), Name: filepath.Base(path), Reader: file})
		}
		return logs.New(all).Check(ctx, h)
	})
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// check runs one checker under its time limit; its panic is its own unknown.
func check(ctx context.Context, c checker.Checker, h *history.History, limit time.Duration) (r checker.Result) {
	defer func() {
		if p := recover(); p != nil {
			r = checker.Result{Checker: c.Name(), Reason: fmt.Sprintf("the checker crashed: %v\n%s", p, debug.Stack())}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.Check(ctx, h)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// tailBytes bounds how much of a log is read for its last lines.
const tailBytes = 1 << 20

// tail is the last n lines of r, indented.
func tail(r io.Reader, n int) string {
	text, err := io.ReadAll(io.LimitReader(r, tailBytes))
	if err != nil && len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-n):]
	return "  " + strings.Join(lines, "\n  ")
}
