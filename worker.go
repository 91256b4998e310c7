package faultline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
)

const (
	// backOff is how long a worker waits after an operation that found its node
	// unreachable, so that a dead node makes no flood of failures.
	backOff = 100 * time.Millisecond
	// failOff is how long it waits after a definite failure that told it nothing.
	failOff = 10 * time.Millisecond
	// idleLeast and idleMost bound the pauses of a worker whose generator has nothing
	// for it until something changes.
	idleLeast = time.Millisecond
	idleMost  = 16 * time.Millisecond
)

// source is the generator that all workers share.
type source struct {
	mu    sync.Mutex
	g     generator.Generator
	rng   *rand.Rand
	seen  map[string]bool
	order []string // keys, in the order of first use
	tally tally
}

func newSource(g generator.Generator, rng *rand.Rand) *source {
	return &source{g: g, rng: rng, seen: map[string]bool{}}
}

// next takes the next operation for a worker; an operation counts as invoked once
// it is taken.
func (s *source) next(c generator.Context) generator.Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Rand = s.rng
	step, g := s.g.Next(c)
	s.g = g
	if step.Kind != generator.Do {
		return step
	}
	step.Op.Process, step.Op.Type = c.Process, history.Invoke
	if !s.seen[step.Op.Key] {
		s.seen[step.Op.Key] = true
		s.order = append(s.order, step.Op.Key)
	}
	s.g = s.g.Update(c, step.Op)
	return step
}

// complete tells the generator how an operation ended that took so long.
func (s *source) complete(c generator.Context, done history.Op, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Rand = s.rng
	s.g = s.g.Update(c, done)
	s.tally.add(done, took)
}

// restart goes on with another generator; what was counted stays.
func (s *source) restart(g generator.Generator) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.g = g
}

// watch writes how far the operations have come into a snapshot.
func (s *source) watch(into *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.fill(into)
}

func (s *source) counts() (ok, fail, info int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.ok, s.tally.fail, s.tally.info
}

func (s *source) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

// worker performs operations one after the other, each process with a client of
// its own, always at the same node.
type worker struct {
	number  int
	moved   int // how many nodes on from its first
	node    cluster.Node
	lane    *history.Lane
	process history.Process
	client  clients.Client
}

func (r *run) startWorkers() {
	nodes := r.Cluster.Nodes()
	for i := range r.Concurrency {
		r.workers = append(r.workers, &worker{
			number: i, node: nodes[i%len(nodes)], lane: r.recorder.Lane(), process: history.Process(i),
		})
	}
}

// moveWorkers lets every worker go on at another node, as many further as there are
// workers. A process is at one node for all its life, so each goes on as a new one.
func (r *run) moveWorkers() {
	nodes := r.Cluster.Nodes()
	for _, w := range r.workers {
		w.close()
		w.process += history.Process(r.Concurrency)
		w.moved += r.Concurrency
		w.node = nodes[(w.number+w.moved)%len(nodes)]
	}
}

func (r *run) closeClients() {
	for _, w := range r.workers {
		w.close()
	}
}

func (w *worker) close() {
	if w.client != nil {
		_ = w.client.Close() // its operations are over; what it says now matters to nobody
		w.client = nil
	}
}

// work lets all workers perform the source's operations, until it is over for
// each of them or ctx is done.
func (r *run) work(ctx context.Context, clock func() time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var waits []func()
	for _, w := range r.workers {
		waits = append(waits, r.Runtime.Go(func() {
			if err := r.loop(ctx, w, clock); err != nil {
				r.problems.add(err.Error())
				cancel()
			}
		}))
	}
	for _, wait := range waits {
		wait()
	}
}

// loop performs operations one after the other. Its error is a panic of the
// client's or the workload's.
func (r *run) loop(ctx context.Context, w *worker, clock func() time.Duration) error {
	idle := idleLeast
	for ctx.Err() == nil {
		c := generator.Context{Now: clock(), Worker: w.number, Workers: len(r.workers), Process: w.process}
		step := r.source.next(c)
		switch step.Kind {
		case generator.Done:
			return nil
		case generator.Wait:
			pause := idle
			idle = min(2*idle, idleMost)
			if step.At > c.Now {
				pause = min(step.At-c.Now, idleMost)
			}
			_ = r.Runtime.Sleep(ctx, pause)
		case generator.Do:
			idle = idleLeast
			if step.At > c.Now && r.Runtime.Sleep(ctx, step.At-c.Now) != nil || ctx.Err() != nil {
				continue // over
			}
			pause, err := r.operate(ctx, w, c, step.Op)
			if err != nil {
				return err
			}
			if pause > 0 {
				_ = r.Runtime.Sleep(ctx, pause)
			}
		}
	}
	return nil
}

// operate performs one operation and records it; it returns how long the worker
// should leave its node alone. Its error is a panic.
func (r *run) operate(ctx context.Context, w *worker, c generator.Context, op history.Op) (pause time.Duration, broken error) {
	err := r.open(ctx, w)
	opened := err == nil
	op.Node = w.node.Name
	op = w.lane.Record(op)
	var reply history.Reply
	if opened {
		reply, err, broken = r.attempt(ctx, w, op)
	}
	done := w.lane.Record(r.completion(op, reply, err))
	r.source.complete(c, done, done.Time-op.Time)
	// After an answer that did not come the session is no use either: what comes
	// next on it may be that answer.
	lost := history.IsSessionLost(err) || history.TypeOf(err) == history.Info
	if lost {
		w.close()
		w.process += history.Process(r.Concurrency)
	}
	switch {
	case err == nil || done.Observed != nil:
		return 0, broken
	case !opened || lost:
		return backOff, broken
	default:
		return failOff, broken
	}
}

// attempt performs one operation with the worker's client. A panic leaves the
// fate of the operation unknown.
func (r *run) attempt(ctx context.Context, w *worker, op history.Op) (reply history.Reply, err, broken error) {
	ctx, cancel := r.stall.context(ctx, r.Runtime, r.OpTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			broken = fmt.Errorf("performing %s for process %d panicked: %v\n%s", op.F, op.Process, p, debug.Stack())
		}
	}()
	reply, err = r.Workload.Perform(ctx, w.client, op)
	if err != nil && ctx.Err() != nil {
		// Whatever the fate of the operation, a session that let a deadline pass is
		// not trusted with another: a stuck connection would never be left.
		err = history.SessionLost(err)
	}
	return reply, err, nil
}

// open gives the worker a client if it has none. Its failure is definite: the
// operation was not sent.
func (r *run) open(ctx context.Context, w *worker) error {
	if w.client != nil {
		return nil
	}
	ctx, cancel := r.Runtime.WithTimeout(ctx, r.OpTimeout)
	defer cancel()
	client, err := r.System.Open(ctx, r.target(w.node))
	if err != nil {
		return history.Definite(fmt.Errorf("no session: %w", err))
	}
	w.client = client
	return nil
}

// completion is the event that ends op.
func (r *run) completion(op history.Op, reply history.Reply, err error) history.Op {
	done := op
	done.Type = history.TypeOf(err)
	done.Observed = reply.Observed
	done.Version = reply.Version
	switch {
	case done.Type == history.OK:
		done.Value = reply.Value
		return done
	case done.Type == history.Info && r.Workload.Pure != nil && r.Workload.Pure(op.F):
		done.Type = history.Fail // it had no effect, whatever became of it
	case done.Type == history.Info:
		done.Observed = nil
	}
	if err != nil {
		done.Error = oneLine(err)
	}
	return done
}

// maxError bounds the error text of an event.
const maxError = 300

func oneLine(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "timed out"
	}
	text := []byte(err.Error())
	for i, b := range text {
		if b == '\n' || b == '\t' {
			text[i] = ' '
		}
	}
	return string(text[:min(len(text), maxError)])
}
