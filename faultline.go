// Package faultline tests the consistency of distributed stores: it drives
// operations against a system while a nemesis breaks it, records what every
// client saw, and judges that history.
//
// A Test is a value that says what to run; Run runs it. Neither knows which
// world (local processes, containers, the simulator) the cluster lives in.
package faultline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/power"
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/workloads"
)

// Test is everything that one run needs. Only System, Cluster, Workload and
// Folder must be set.
type Test struct {
	System   clients.System
	Cluster  cluster.Cluster
	Workload *workloads.Instance
	Options  options.Values // the system's
	Plan     nemesis.Plan
	// Faults are what Plan's steps ask for.
	Faults []nemesis.Fault

	Concurrency int           // workers, 10 unless set
	Time        time.Duration // of the main phase, 10 s unless set
	OpTimeout   time.Duration // of one operation, 1 s unless set
	Rate        float64       // operations a second of all workers, 0 for as many as possible
	Seed        uint64

	// Runtime is the machine's own unless set.
	Runtime cluster.Runtime
	// Folder keeps the evidence and the reports.
	Folder *reports.Folder
	// Record is test.json as far as the caller knows it; it is written before
	// anything starts.
	Record reports.Test
	// Checkers judge the history beside the workload's own.
	Checkers []checker.Checker
	// Power are the thresholds under which a run has shown nothing.
	Power power.Options
	// CheckTimeout bounds each checker, 60 s unless set.
	CheckTimeout time.Duration
	// Limits bound the stages around the main phase.
	Limits Limits
	// Progress is called about once a second, and at each change of stage; nil for
	// nobody.
	Progress func(Snapshot)
	// Warn is told what went wrong beside the test: a log that was not kept, a report
	// that could not be drawn. Nil for nobody.
	Warn func(text string)
	// Reproduce is the command that does the same again, for the reports.
	Reproduce string
	// Began is told the runtime's time at which the history begins; nil for nobody.
	Began func(start time.Duration)
	// Stream sees every recorded event in order while the run goes on; an error
	// from it ends the main phase. Nil for nobody.
	Stream func(history.Op) error
}

// Limits bound the stages of a run, so that no hang outlives them.
type Limits struct {
	Up     time.Duration // making and starting the nodes, 2 min unless set
	Ready  time.Duration // until all nodes serve, 60 s unless set
	Settle time.Duration // after the last heal until all nodes serve, 30 s unless set
	Final  time.Duration // the final phase, 30 s unless set
	Down   time.Duration // taking down, 60 s unless set
	Slack  time.Duration // over all of these, before the run counts as hanging, 60 s unless set
}

// total bounds a whole run of a main phase of length d.
func (l Limits) total(d time.Duration) time.Duration {
	return l.Up + l.Ready + d + l.Settle + l.Final + 2*l.Down + l.Slack
}

// Snapshot is how far a run has come.
type Snapshot struct {
	Stage          string // up, ready, run, settle, final, down, check
	Elapsed        time.Duration
	Total          time.Duration // how long the stage lasts, 0 if nobody knows
	OK, Fail, Info int
	Faults         []string       // acting now
	Latency        time.Duration  // median of the last successes, 0 without one
	Errors         map[string]int // failures and unknown fates, by their kind
}

func (t *Test) defaults() error {
	if t.Cluster == nil || t.Workload == nil || t.System.Open == nil {
		return errors.New("faultline: a test needs a system, a cluster and a workload")
	}
	set(&t.Concurrency, 10)
	set(&t.Time, 10*time.Second)
	set(&t.OpTimeout, time.Second)
	set(&t.CheckTimeout, time.Minute)
	set(&t.Limits.Up, 2*time.Minute)
	set(&t.Limits.Ready, time.Minute)
	set(&t.Limits.Settle, 30*time.Second)
	set(&t.Limits.Final, 30*time.Second)
	set(&t.Limits.Down, time.Minute)
	set(&t.Limits.Slack, time.Minute)
	if t.Runtime == nil {
		t.Runtime = cluster.Real()
	}
	if t.Warn == nil {
		t.Warn = func(string) {}
	}
	if t.Progress == nil {
		t.Progress = func(Snapshot) {}
	}
	return nil
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// runStream tells the runner's source of chance from others of the same seed.
const runStream = 0x6661756c74

// Run runs the test to its end: it brings the cluster up, performs workload and
// plan together, heals, performs the final phase, takes the cluster down, judges
// the history, and writes the reports.
//
// However it ends (an error, a panic, ctx cancelled, a hang), the cluster is
// healed and taken down, and what was recorded lies in the folder. When ctx is
// cancelled the main phase stops and the history so far is judged. The error says
// why the system could not be tested; the results are then those of the
// evidence there is, and never valid.
func Run(ctx context.Context, t Test) (reports.Results, error) {
	if err := t.defaults(); err != nil {
		return reports.Results{}, err
	}
	if t.Folder == nil {
		return reports.Results{}, errors.New("faultline: a run needs a folder for its evidence")
	}
	r := &run{Test: t, rng: rand.New(rand.NewPCG(t.Seed, runStream))}
	if err := t.Folder.WriteTest(t.Record); err != nil {
		return reports.Results{}, err
	}
	err := r.guarded(ctx)
	res, judgeErr := Judge(context.WithoutCancel(ctx), r.Test, r.problem(err))
	return res, errors.Join(err, judgeErr)
}

// guarded performs the run under a deadline that no hang outlives.
func (r *run) guarded(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var over atomic.Bool
	var err error
	rt := r.Runtime
	rt.Go(func() {
		defer over.Store(true)
		err = r.perform(ctx)
	})
	deadline := rt.Now() + r.Limits.total(r.Time)
	for poll := 5 * time.Millisecond; !over.Load(); poll = min(2*poll, 50*time.Millisecond) {
		_ = rt.Sleep(context.WithoutCancel(ctx), poll)
		switch now := rt.Now(); {
		case over.Load() || now < deadline:
		case ctx.Err() == nil:
			r.dump()
			cancel()
			deadline = now + r.Limits.Down
		default:
			return fmt.Errorf("faultline: the run hangs in stage %q, beyond every limit%s", r.stage.Load(), r.dumped())
		}
	}
	return err
}

const goroutinesFile = "goroutines.txt"

func (r *run) dumped() string {
	if r.Folder == nil {
		return ""
	}
	return "; its goroutines are in " + filepath.Join(r.Folder.Path, goroutinesFile)
}

// dump writes what every goroutine is doing.
func (r *run) dump() {
	if r.Folder == nil {
		return
	}
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	_ = os.WriteFile(filepath.Join(r.Folder.Path, goroutinesFile), buf, 0o600)
}
