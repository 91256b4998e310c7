package nemesis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
)

const (
	// healTries is how often a heal that fails is tried again.
	healTries = 5
	// goneMax bounds the wait for a healed fault to be gone.
	goneMax = 5 * time.Second
	// probePause is the least time between two probes of one fault, and pauseMax the
	// greatest.
	probePause = 50 * time.Millisecond
	pauseMax   = 400 * time.Millisecond
	// skipPause is the time between two attempts at a start that the rules of the plan
	// forbid for now.
	skipPause = 200 * time.Millisecond
)

// Run executes the plan, whose times count from env.Began or now, and returns it with what
// came of each step. It ends when all steps have, or when ctx is done, and heals
// everything before it returns, ctx or not. The error says what could not be
// healed or was asked for in vain; a fault that did not bite is no error.
//
// A fault that has not been tested yet, since it did not bite or nothing was served
// while it acted, may start late and last longer than planned, into the first half of
// the quiet end: overlapping faults hide each other.
//
// Steps run beside each other, in tasks of rt; nothing here waits but by rt.
func Run(ctx context.Context, rt cluster.Runtime, plan Plan, env Env) (Plan, error) {
	done := plan
	done.Steps = append([]Step(nil), plan.Steps...)
	e := env.Prepare(rt)
	x := &executor{env: e, base: cmp.Or(env.Began, rt.Now()), tested: map[string]bool{}}
	x.latest = x.base + plan.Time - quietEnd(plan.Time)/2
	for _, s := range plan.Steps {
		if _, err := Find(e.Faults, s.Fault); err != nil {
			return done, fmt.Errorf("step %s: %w", s.ID, err)
		}
	}
	var waits []func()
	for i := range done.Steps {
		s := &done.Steps[i]
		s.Done = nil
		waits = append(waits, rt.Go(func() { x.step(ctx, s) }))
	}
	for _, wait := range waits {
		wait()
	}
	if len(waits) > 0 {
		x.fail(x.retry(context.WithoutCancel(ctx), e.restore))
	}
	return done, errors.Join(x.errs...)
}

// executor is one Run.
type executor struct {
	env    *Env
	base   time.Duration
	latest time.Duration // until when a fault that has not been tested yet may act

	mu     sync.Mutex // for Record and what is below; never held while something waits
	errs   []error
	tested map[string]bool // faults of which a start has bitten, and met operations
}

// patience is until when a step may try to start and to bite.
func (x *executor) patience(s *Step) time.Duration {
	planned := x.base + s.At + s.For
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tested[s.Fault] {
		return planned
	}
	return max(planned, x.latest)
}

func (x *executor) fail(err error) {
	if err == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.errs = append(x.errs, err)
}

// event writes down what a step did.
func (x *executor) event(s *Step, typ history.Type, phase string, more map[string]any, err error) {
	v := map[string]any{"id": s.ID, "phase": phase}
	if s.Arg != "" {
		v["arg"] = s.Arg
	}
	if s.Done != nil && s.Done.Targets != nil {
		v["targets"] = plain(s.Done.Targets)
	}
	for k, m := range more {
		v[k] = plain(m)
	}
	op := history.Op{Process: history.Nemesis, Type: typ, F: s.Fault, Value: v}
	if err != nil {
		op.Error = err.Error()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.env.Record(op)
}

// step runs one step from its start to the proof of its end.
func (x *executor) step(ctx context.Context, s *Step) {
	rt := x.env.Runtime
	if rt.Sleep(ctx, x.base+s.At-rt.Now()) != nil {
		return // ended before its time: it never started
	}
	s.Done = &Report{ID: s.ID, Fault: s.Fault, Arg: s.Arg}
	x.event(s, history.Invoke, "start", nil, nil)
	active, err := x.start(ctx, s)
	s.Done.Start = rt.Now()
	if err != nil {
		x.failed(ctx, s, err)
		return
	}
	s.Done.Targets = active.Targets()
	x.event(s, history.OK, "start", nil, nil)
	end := rt.Now() + s.For
	if planned := x.base + s.At + s.For; planned < x.latest {
		end = min(end, x.latest) // it may have started late
	}
	served := x.served()
	x.probe(ctx, s, active, end)
	x.last(ctx, s, active, end)
	x.linger(ctx, s, served)
	x.heal(context.WithoutCancel(ctx), s, active)
}

// start injects the fault, as soon as the rules of the plan allow it.
func (x *executor) start(ctx context.Context, s *Step) (Active, error) {
	f, err := Find(x.env.Faults, s.Fault)
	if err != nil {
		return nil, err
	}
	rt := x.env.Runtime
	for {
		active, err := f.Start(ctx, x.env, *s)
		if !errors.Is(err, errSkipped) {
			return active, err
		}
		x.env.unclaim(s.ID) // it chose in vain, and may choose others
		if rt.Now()+skipPause > x.patience(s) || rt.Sleep(ctx, skipPause) != nil {
			return nil, err
		}
	}
}

// failed cleans up after a start that failed.
func (x *executor) failed(ctx context.Context, s *Step, err error) {
	s.Done.Error = err.Error()
	x.event(s, history.Fail, "start", nil, err)
	heal := x.retry(context.WithoutCancel(ctx), func(c context.Context) error { return x.env.Release(c, s.ID) })
	s.Done.End, s.Done.Healed = x.env.Runtime.Now(), heal == nil
	x.event(s, outcome(heal == nil, heal), "heal", nil, heal)
	if heal != nil {
		x.fail(fmt.Errorf("nemesis: %s could not be healed after a failed start: %w", s.ID, heal))
	}
	if errors.Is(err, errSkipped) && s.Done.Healed { // it broke nothing, so nothing is left
		x.event(s, history.OK, "gone", map[string]any{"healed": true, "evidence": map[string]any{"skipped": err.Error()}}, nil)
	}
	if !errors.Is(err, errSkipped) && ctx.Err() == nil {
		x.fail(fmt.Errorf("nemesis: %s could not be started: %w", s.ID, err))
	}
}

// probe measures until the fault has bitten, or its time and all patience are over.
func (x *executor) probe(ctx context.Context, s *Step, active Active, end time.Duration) {
	rt := x.env.Runtime
	var err error
	for pause := probePause; ; pause = min(2*pause, pauseMax) {
		c, cancel := x.env.deadline(ctx)
		var bit bool
		var evidence any
		bit, evidence, err = active.Probe(c)
		cancel()
		if evidence != nil {
			s.Done.Evidence = plain(evidence)
		}
		s.Done.Bit = bit && err == nil
		if s.Done.Bit || ctx.Err() != nil || rt.Now()+pause > max(end, x.patience(s)) || rt.Sleep(ctx, pause) != nil {
			break
		}
	}
	found := map[string]any{"bit": s.Done.Bit, "evidence": s.Done.Evidence}
	if a, ok := active.(Aimed); ok && s.Done.Bit && !a.Relevant() {
		s.Done.Relevant = new(bool)
		found["relevant"] = false
	}
	x.event(s, outcome(s.Done.Bit, err), "probe", found, err)
}

// last lets the fault act until its end.
func (x *executor) last(ctx context.Context, s *Step, active Active, end time.Duration) {
	rt := x.env.Runtime
	d, ok := active.(Driver)
	if !ok {
		_ = rt.Sleep(ctx, end-rt.Now())
		return
	}
	if err := d.Drive(ctx, end); err != nil && ctx.Err() == nil {
		s.Done.Error = err.Error()
		x.event(s, history.Info, "drive", nil, err)
	}
}

// linger lets a fault that bit go on until something is served, so that it was
// tested, unless it takes nodes or links away itself; and notes that it was.
func (x *executor) linger(ctx context.Context, s *Step, served int) {
	rt := x.env.Runtime
	for s.Done.Bit && x.env.Served != nil && x.served() == served && !x.env.takes(s.ID) {
		if rt.Now()+pauseMax > x.patience(s) || rt.Sleep(ctx, pauseMax) != nil {
			return
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tested[s.Fault] = x.tested[s.Fault] || s.Done.Bit
}

// served counts the operations that have succeeded so far.
func (x *executor) served() int {
	if x.env.Served == nil {
		return 0
	}
	return x.env.Served()
}

// heal takes the fault back and proves that it is gone.
func (x *executor) heal(ctx context.Context, s *Step, active Active) {
	rt := x.env.Runtime
	x.event(s, history.Invoke, "heal", nil, nil)
	err := x.retry(ctx, active.Heal)
	if err != nil {
		err = errors.Join(err, x.env.Release(ctx, s.ID))
		x.fail(fmt.Errorf("nemesis: %s could not be healed: %w", s.ID, err))
		s.Done.Error = err.Error()
	}
	x.env.unclaim(s.ID)
	s.Done.End = rt.Now()
	x.event(s, outcome(err == nil, err), "heal", nil, err)
	x.gone(ctx, s, active)
}

// retry calls f until it succeeds, at most healTries times.
func (x *executor) retry(ctx context.Context, f func(context.Context) error) error {
	var err error
	for try := range healTries {
		c, cancel := x.env.deadline(ctx)
		err = f(c)
		cancel()
		if err == nil || x.env.Runtime.Sleep(ctx, time.Duration(try+1)*probePause) != nil {
			break
		}
	}
	return err
}

// gone measures until nothing of the fault is left, or goneMax has passed.
func (x *executor) gone(ctx context.Context, s *Step, active Active) {
	rt := x.env.Runtime
	end := rt.Now() + goneMax
	var err error
	for pause := probePause; ; pause = min(2*pause, pauseMax) {
		c, cancel := x.env.deadline(ctx)
		var healed bool
		healed, s.Done.Gone, err = active.Gone(c)
		cancel()
		s.Done.Gone = plain(s.Done.Gone)
		s.Done.Healed = healed && err == nil
		if s.Done.Healed || rt.Now()+pause > end || rt.Sleep(ctx, pause) != nil {
			break
		}
	}
	if !s.Done.Healed {
		x.fail(fmt.Errorf("nemesis: %s is not gone %v after healing: %s", s.ID, goneMax, words(s.Done.Gone, err)))
	}
	x.event(s, outcome(s.Done.Healed, err), "gone", map[string]any{"healed": s.Done.Healed, "evidence": s.Done.Gone}, err)
}

func words(evidence any, err error) string {
	if err != nil {
		return err.Error()
	}
	b, err := json.Marshal(evidence)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// outcome of something measured: what could not be measured is unknown.
func outcome(yes bool, err error) history.Type {
	switch {
	case yes:
		return history.OK
	case err != nil:
		return history.Info
	default:
		return history.Fail
	}
}

// plain turns evidence into what a history can hold: what it reads back as from
// JSON, whole numbers as int64.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		return err.Error()
	}
	return numbers(out)
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}
