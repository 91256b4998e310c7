package faultline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/nemesis"
)

// flushEvery is how far the history on disk may lag behind the run.
const flushEvery = 10 * time.Millisecond

// run is a Test being run.
type run struct {
	Test
	rng      *rand.Rand
	stage    atomic.Value // string
	recorder *history.Recorder
	workers  []*worker
	source   *source
	stall    stall
	active   activeFaults
	problems problems
	executed nemesis.Plan    // the plan as it was carried out
	kept     history.Builder // of a run without a folder
}

// problem is why the run shows less than it was asked to, "" for no reason.
func (r *run) problem(err error) string {
	if err != nil {
		return err.Error()
	}
	return r.problems.String()
}

func (r *run) enter(stage string) {
	r.stage.Store(stage)
	r.progress()
}

func (r *run) progress() {
	s := Snapshot{Elapsed: r.Runtime.Now(), Faults: r.active.names()}
	s.Stage, _ = r.stage.Load().(string)
	if r.source != nil {
		r.source.watch(&s)
	}
	if s.Stage == "run" {
		s.Total = r.Time
	}
	r.Progress(s)
}

// perform is the run itself, from up to down.
func (r *run) perform(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("faultline: panic: %v\n%s", p, debug.Stack())
		}
		// A fresh context: taking down is owed on every path.
		down, cancel := r.Runtime.WithTimeout(context.WithoutCancel(ctx), r.Limits.Down)
		defer cancel()
		r.enter("down")
		r.collectLogs(down)
		if e := r.Cluster.Down(down); e != nil {
			err = errors.Join(err, fmt.Errorf("faultline: taking the cluster down: %w", e))
		}
	}()
	if err := r.up(ctx); err != nil {
		return err
	}
	return r.record(ctx)
}

// up brings the cluster up and waits until every node serves.
func (r *run) up(ctx context.Context) error {
	r.enter("up")
	upCtx, cancel := r.Runtime.WithTimeout(ctx, r.Limits.Up)
	defer cancel()
	if err := r.Cluster.Up(upCtx); err != nil {
		return fmt.Errorf("faultline: the cluster does not come up: %w", err)
	}
	if r.System.Init != nil {
		if err := r.System.Init(upCtx, r.Cluster, r.Options); err != nil {
			return fmt.Errorf("faultline: the nodes cannot be joined: %w", err)
		}
	}
	r.enter("ready")
	return r.ready(ctx, r.Limits.Ready, true)
}

// errEnded is a node whose processes have ended before it served.
var errEnded = errors.New("its processes have ended")

// ready waits until all nodes serve. Where nobody is going to start them, alive ends
// the waiting at the first node that is dead.
func (r *run) ready(ctx context.Context, limit time.Duration, alive bool) error {
	if r.System.Ready == nil {
		return nil
	}
	ctx, cancel := r.Runtime.WithTimeout(ctx, limit)
	defer cancel()
	nodes := r.Cluster.Nodes()
	errs := make([]error, len(nodes))
	var waits []func()
	for i, n := range nodes {
		waits = append(waits, r.Runtime.Go(func() {
			if errs[i] = r.readyNode(ctx, n, alive); errors.Is(errs[i], errEnded) {
				cancel()
			}
		}))
	}
	for _, wait := range waits {
		wait()
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return errors.Is(err, errEnded) }); i >= 0 {
		return errs[i] // the others wait for it
	}
	return errors.Join(errs...)
}

// looks is how many failures lie between two looks whether a node is alive.
const looks = 10

func (r *run) readyNode(ctx context.Context, n cluster.Node, alive bool) error {
	observer, _ := r.Cluster.(cluster.Observer)
	for tries := 1; ; tries++ {
		try, cancel := r.Runtime.WithTimeout(ctx, time.Second)
		err := r.System.Ready(try, r.target(n))
		cancel()
		if err == nil {
			return nil
		}
		if alive && observer != nil && tries%looks == 0 {
			if s, e := observer.State(ctx, n.Name); e == nil && s == cluster.Dead {
				return fmt.Errorf("faultline: %s does not serve: %w%s", n.Name, errEnded, r.lastLines(ctx, n.Name))
			}
		}
		if r.Runtime.Sleep(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("faultline: %s does not serve: %w%s", n.Name, err, r.lastLines(ctx, n.Name))
		}
	}
}

func (r *run) target(n cluster.Node) clients.Target {
	return clients.Target{Node: n, Cluster: r.Cluster, Options: r.Options, Timeout: r.OpTimeout}
}

// record runs main and final phase with the history open. The nemesis heals
// before record returns, whatever happens.
func (r *run) record(ctx context.Context) (err error) {
	file, err := r.openJournal()
	if err != nil {
		return err
	}
	defer file.Close()
	start := r.Runtime.Now()
	if r.Began != nil {
		r.Began(start)
	}
	clock := func() time.Duration { return r.Runtime.Now() - start }
	if r.Folder != nil {
		r.Record.Started = r.Record.Started.Add(start) // the wall clock at the history's zero
		if err := r.Folder.WriteTest(r.Record); err != nil {
			return err
		}
	}
	r.recorder = history.NewRecorder(file, clock)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	mainCtx, endMain := context.WithCancel(ctx)
	defer endMain()
	r.tee(endMain)
	r.source = newSource(generator.TimeLimit(r.Time, generator.Rate(r.Rate, r.Workload.Main)), r.rng)
	stopFlushing := r.flush(ctx, cancel)
	defer func() {
		stopFlushing()
		r.closeClients()
		err = errors.Join(err, r.recorder.Close(), file.Sync())
	}()
	r.startWorkers()
	return r.phases(ctx, mainCtx, clock)
}

// tee keeps the events where there is no folder, and lets Stream see each; it ends
// the main phase when Stream objects.
func (r *run) tee(stop func()) {
	over := r.Stream == nil
	r.recorder.Tee(func(op history.Op) {
		if r.Folder == nil {
			r.keep(op)
		}
		if over {
			return
		}
		if err := r.Stream(op); err != nil {
			over = true
			r.problems.add("stopped early: " + err.Error())
			stop()
		}
	})
}

// flush writes the history to disk until it is told to stop; when it cannot, it
// ends the run, since what is not recorded need not be tested.
func (r *run) flush(ctx context.Context, cancel func()) (stop func()) {
	flushCtx, end := context.WithCancel(context.WithoutCancel(ctx))
	wait := r.Runtime.Go(func() {
		for last := r.Runtime.Now(); r.Runtime.Sleep(flushCtx, flushEvery) == nil; {
			if err := r.recorder.Flush(); err != nil {
				cancel()
				return
			}
			if now := r.Runtime.Now(); now-last >= time.Second {
				r.progress()
				last = now
			}
		}
	})
	return func() { end(); wait() }
}

// phases performs workload and nemesis together, until mainCtx is done, and then
// the final phase.
func (r *run) phases(ctx, mainCtx context.Context, clock func() time.Duration) error {
	r.enter("run")
	waitNemesis, nemesisErr := r.startNemesis(mainCtx, r.Runtime.Now()-clock())
	r.work(mainCtx, clock)
	waitNemesis()
	if err := *nemesisErr; err != nil {
		r.problems.add("the nemesis failed: " + err.Error())
	}
	if err := context.Cause(ctx); err != nil {
		if e := r.recorder.Err(); e != nil {
			return fmt.Errorf("faultline: the history cannot be written: %w", e)
		}
		if r.problems.String() == "" {
			r.problems.add("interrupted before its end")
		}
		return nil
	}
	r.enter("settle")
	if err := r.ready(ctx, r.Limits.Settle, false); err != nil {
		r.problems.add(fmt.Sprintf("not all nodes serve %v after the last heal: %v", r.Limits.Settle, err))
	}
	return r.final(ctx, clock)
}

// final performs the final operations at every node: where there are fewer workers
// than nodes, they move on until each node has had one.
func (r *run) final(ctx context.Context, clock func() time.Duration) error {
	if r.Workload.Final == nil {
		return nil
	}
	r.enter("final")
	ctx, cancel := r.Runtime.WithTimeout(ctx, r.Limits.Final)
	defer cancel()
	keys := r.source.keys()
	for visited := 0; visited < len(r.Cluster.Nodes()); visited += r.Concurrency {
		if visited > 0 {
			r.moveWorkers()
		}
		r.source.restart(r.Workload.Final(keys))
		r.work(ctx, clock)
	}
	if ctx.Err() != nil {
		r.problems.add("the final phase did not end in time")
	}
	return nil
}

// startNemesis runs the plan beside the workload; its times count from the history's
// zero. It ends early with ctx.
func (r *run) startNemesis(ctx context.Context, zero time.Duration) (wait func(), failed *error) {
	failed = new(error)
	if len(r.Plan.Steps) == 0 {
		return func() {}, failed
	}
	lane := r.recorder.Lane()
	env := nemesis.Env{
		Faults:  r.Faults,
		Cluster: r.Cluster,
		Leader: func(ctx context.Context) (string, error) {
			if r.System.Leader == nil {
				return "", fmt.Errorf("%s cannot say who leads", r.System.Name)
			}
			return r.System.Leader(ctx, r.Cluster, r.Runtime, r.Options)
		},
		Record: func(op history.Op) {
			op.Process = history.Nemesis
			r.active.see(op)
			lane.Record(op)
		},
		Workers: &r.stall,
		Served: func() int {
			ok, _, _ := r.source.counts()
			return ok
		},
		Began: zero,
	}
	if r.System.Members != nil {
		if m, err := r.System.Members(r.Cluster, r.Runtime, r.Options); err == nil {
			env.Members = m // else a fault that needs it says so when it starts
		}
	}
	if r.System.Decisions != nil {
		env.Decisions = append([]cluster.Decision{}, r.System.Decisions(r.Record.Workload, r.Options)...)
	}
	wait = r.Runtime.Go(func() {
		executed, err := nemesis.Run(ctx, r.Runtime, r.Plan, env)
		r.executed = executed
		if r.Folder != nil {
			err = errors.Join(err, r.Folder.WritePlan(executed))
		}
		*failed = err
	})
	return wait, failed
}

// collectLogs copies the nodes' logs into the run's folder.
func (r *run) collectLogs(ctx context.Context) {
	logs, ok := r.Cluster.(cluster.Logs)
	if !ok || r.Folder == nil {
		return
	}
	for _, n := range r.Cluster.Nodes() {
		files, err := logs.Logs(ctx, n.Name)
		if err != nil {
			r.Warn(fmt.Sprintf("the logs of %s are not to be had: %v", n.Name, err))
		}
		for name, from := range files {
			r.copyLog(n.Name, name, from)
		}
	}
}

func (r *run) copyLog(node, name string, from io.ReadCloser) {
	defer from.Close()
	to, err := r.Folder.NodeLog(node, name)
	if err == nil {
		_, err = io.Copy(to, from)
		err = errors.Join(err, to.Close())
	}
	if err != nil {
		r.Warn(fmt.Sprintf("the log %s of %s was not kept: %v", name, node, err))
	}
}

// lastLines are the last of a node's log lines, for an error.
func (r *run) lastLines(ctx context.Context, node string) string {
	logs, ok := r.Cluster.(cluster.Logs)
	if !ok {
		return ""
	}
	ctx, cancel := r.Runtime.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	files, err := logs.Logs(ctx, node)
	if err != nil {
		return ""
	}
	var text strings.Builder
	for _, name := range sortedKeys(files) {
		text.WriteString(tail(files[name], 10))
		files[name].Close()
	}
	if text.Len() == 0 {
		return ""
	}
	return "; the last it said:\n" + text.String()
}
