package faultline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports"
)

// Power are the thresholds under which a run has shown nothing.
type Power struct{}

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
		return res, errors.Join(err, t.Folder.WriteResults(res))
	}
	t.Progress(Snapshot{Stage: "check"})
	res.Ops = reports.CountOps(h)
	res.Faults = reports.FaultsOf(h)
	res.Availability = reports.Measure(h, res.Faults)
	if h.Len() > 0 {
		res.Duration = lastTime(h)
	}
	for _, c := range slices.Concat(t.Workload.Checkers, t.Checkers) {
		if e := res.Add(check(ctx, c, h, t.CheckTimeout)); e != nil {
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
	if e := reports.Render(t.Folder); e != nil {
		err = errors.Join(err, fmt.Errorf("the verdict stands, but a report could not be drawn: %w", e))
	}
	return res, err
}

// outline is what the results say of the test itself.
func outline(t Test) reports.Results {
	rec := t.Record
	return reports.Results{
		System: rec.System, Version: rec.Version, Bug: rec.Bug, Workload: rec.Workload, Nemesis: rec.Nemesis,
		On: rec.On, Seed: rec.Seed, Nodes: len(rec.Nodes), Concurrency: rec.Concurrency, Started: rec.Started,
		Reproduce: t.Reproduce,
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func lastTime(h *history.History) time.Duration {
	var last time.Duration
	for i := range h.Len() {
		last = max(last, h.Invoke(i))
		if d := h.Done(i); d != history.Forever {
			last = max(last, d)
		}
	}
	return last
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
