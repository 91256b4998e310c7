package nemesistest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// Virtual runs f and all that it starts in virtual time: tasks take turns, one at
// a time, in an order that does not depend on the machine; time passes only when
// all wait. It returns the time that passed, and an error when f has returned and
// some tasks have not, or when all wait for each other.
func Virtual(f func(rt cluster.Runtime)) (time.Duration, error) {
	v := &virtual{}
	main := v.task(func() { f(v) })
	v.ready = append(v.ready, main)
	v.schedule()
	<-main.over
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.stuck:
		return v.now, errors.New("nemesistest: all tasks wait for each other")
	case v.alive > 0:
		return v.now, errors.New("nemesistest: tasks go on after the end")
	}
	return v.now, nil
}

// virtual is the runtime.
type virtual struct {
	mu       sync.Mutex
	now      time.Duration
	ready    []*task
	sleeping []*task
	timers   []*deadline
	running  *task
	alive    int
	stuck    bool
}

// task is a goroutine that runs only while it is the running one.
type task struct {
	turn chan struct{}
	over chan struct{}
	wake time.Duration
	ctx  context.Context //nolint:containedctx // of the sleep it is in
	done bool
	join []*task // who waits for its end
}

type deadline struct {
	context.Context //nolint:containedctx // it is one

	at      time.Duration
	cancel  context.CancelFunc
	expired bool
}

func (d *deadline) Err() error {
	if d.expired {
		return context.DeadlineExceeded
	}
	return d.Context.Err()
}

func (v *virtual) task(f func()) *task {
	t := &task{turn: make(chan struct{}), over: make(chan struct{})}
	v.alive++
	go func() {
		<-t.turn
		f()
		v.mu.Lock()
		t.done = true
		v.alive--
		v.ready = append(v.ready, t.join...)
		v.mu.Unlock()
		close(t.over)
		v.schedule()
	}()
	return t
}

// schedule hands the turn to the next task; the caller gives up its own.
func (v *virtual) schedule() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.running = nil
	for len(v.ready) == 0 {
		if !v.advance() {
			v.stuck = v.alive > 0
			return
		}
	}
	v.running, v.ready = v.ready[0], v.ready[1:]
	close(v.running.turn)
}

// advance wakes whom a context woke, or else lets time pass to the next event.
func (v *virtual) advance() bool {
	next := time.Duration(-1)
	for _, t := range v.sleeping {
		if t.ctx.Err() != nil {
			next = v.now
		} else if next < 0 || t.wake < next {
			next = t.wake
		}
	}
	for _, d := range v.timers {
		if next >= 0 && d.at < next && d.Context.Err() == nil {
			next = d.at
		}
	}
	if next < 0 {
		return false
	}
	v.now = max(v.now, next)
	var timers []*deadline
	for _, d := range v.timers {
		if d.at <= v.now && d.Context.Err() == nil {
			d.expired = true
			d.cancel()
		}
		if d.Context.Err() == nil {
			timers = append(timers, d)
		}
	}
	v.timers = timers
	var still []*task
	for _, t := range v.sleeping {
		if t.wake <= v.now || t.ctx.Err() != nil {
			v.ready = append(v.ready, t)
		} else {
			still = append(still, t)
		}
	}
	v.sleeping = still
	return true
}

// wait gives up the turn until somebody hands it back.
func (v *virtual) wait(t *task) {
	turn := t.turn
	v.schedule()
	<-turn
}

// Now is the virtual time.
func (v *virtual) Now() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Sleep lets virtual time pass.
func (v *virtual) Sleep(ctx context.Context, d time.Duration) error {
	v.mu.Lock()
	t := v.running
	t.turn, t.wake, t.ctx = make(chan struct{}), v.now+max(d, 0), ctx
	v.sleeping = append(v.sleeping, t)
	v.mu.Unlock()
	v.wait(t)
	return ctx.Err()
}

// WithTimeout ends the context at a virtual time.
func (v *virtual) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancel(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	t := &deadline{Context: inner, at: v.now + d, cancel: cancel}
	v.timers = append(v.timers, t)
	return t, cancel
}

// Go starts a task.
func (v *virtual) Go(f func()) (wait func()) {
	v.mu.Lock()
	t := v.task(f)
	v.ready = append(v.ready, t)
	v.mu.Unlock()
	return func() {
		v.mu.Lock()
		if t.done {
			v.mu.Unlock()
			return
		}
		me := v.running
		me.turn = make(chan struct{})
		t.join = append(t.join, me)
		v.mu.Unlock()
		v.wait(me)
	}
}
