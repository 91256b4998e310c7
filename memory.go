package faultline

import (
	"context"
	"io"
	"math/rand/v2"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/nemesis"
)

// Tried is what a run showed that left nothing on disk.
type Tried struct {
	History *history.History
	// Plan is the plan as executed.
	Plan nemesis.Plan
	// Checks are the judgements of the workload's checkers and the test's own.
	Checks []checker.Result
	// Problem says why the run shows less than it was asked to, "" for no reason.
	Problem string
}

// Verdict is that of all checks.
func (t Tried) Verdict() checker.Verdict {
	v := checker.Valid
	for _, c := range t.Checks {
		v = checker.Merge(v, c.Verdict)
	}
	return v
}

// Anomalies are those of all checks.
func (t Tried) Anomalies() []checker.Anomaly {
	var all []checker.Anomaly
	for _, c := range t.Checks {
		all = append(all, c.Anomalies...)
	}
	return all
}

// Try runs the test as Run does, but keeps everything in memory: it needs no
// Folder, and writes no report. It is for worlds where a run can be had again.
func Try(ctx context.Context, t Test) (Tried, error) {
	t.Folder = nil
	if err := t.defaults(); err != nil {
		return Tried{}, err
	}
	r := &run{Test: t, rng: rand.New(rand.NewPCG(t.Seed, runStream))}
	err := r.guarded(ctx)
	tried := Tried{Plan: r.executed, Problem: r.problem(err)}
	if err != nil {
		return tried, err
	}
	tried.History = r.kept.History(true)
	for _, c := range append(append([]checker.Checker{}, t.Workload.Checkers...), t.Checkers...) {
		tried.Checks = append(tried.Checks, check(context.WithoutCancel(ctx), c, tried.History, t.CheckTimeout))
	}
	return tried, nil
}

// journal is where a history is written.
type journal interface {
	io.WriteCloser
	Sync() error
}

// nowhere is the journal of a run that is kept in memory.
type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Sync() error                 { return nil }
func (nowhere) Close() error                { return nil }

// openJournal opens the history's file, if the run has a folder.
func (r *run) openJournal() (journal, error) {
	if r.Folder == nil {
		return nowhere{}, nil
	}
	return r.Folder.CreateHistory()
}

// keep lets a run without a folder keep its history in memory.
func (r *run) keep(op history.Op) {
	if err := r.kept.Add(op); err != nil {
		r.problems.add("the history cannot be kept: " + err.Error())
	}
}
