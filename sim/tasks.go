package sim

import (
	"context"
	"errors"
	"iter"
	"time"
)

// task is a coroutine. It runs until it waits, and nothing else runs meanwhile.
type task struct {
	next    func() (struct{}, bool)
	stop    func()
	yield   func(struct{}) bool
	done    bool
	waiting []*waiter // for its end
}

// errStopped ends a task that is still there when its world closes.
var errStopped = errors.New("sim: the world is closed")

// fire starts a task, or lets it go on.
func (t *task) fire(w *World) {
	if t.done {
		return
	}
	outer := w.current
	w.current = t
	_, more := t.next()
	w.current = outer
	if !more {
		t.done = true
		for _, x := range t.waiting {
			x.wake(w)
		}
		t.waiting = nil
	}
}

// Now implements cluster.Runtime. No two calls return the same time, so that all
// stamps of a history differ.
func (w *World) Now() time.Duration {
	w.now++
	return w.now
}

// Go implements cluster.Runtime: f begins when the caller waits next.
func (w *World) Go(f func()) (wait func()) {
	t := &task{}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		defer func() {
			if p := recover(); p != nil && p != errStopped { //nolint:errorlint // the very value
				panic(p)
			}
		}()
		f()
	})
	w.tasks = append(w.tasks, t)
	w.after(0, t)
	return func() {
		if t.done {
			return
		}
		x := w.newWaiter(context.Background())
		t.waiting = append(t.waiting, x)
		x.wait(w)
	}
}

// waiter is what a task waits on: until somebody wakes it, its time comes, or its
// context ends, whichever is first. A caller that is no task drives the world
// meanwhile.
type waiter struct {
	t     *task           // nil for a caller that is none
	ctx   context.Context //nolint:containedctx // what the waiter waits under
	until time.Duration
	timed bool
	over  bool
}

func (w *World) newWaiter(ctx context.Context) *waiter { return &waiter{t: w.current, ctx: ctx} }

// pollEvery is how late a task notices at most that a context has ended that is
// not the world's own, as one of the standard library's WithCancel.
const pollEvery = 100 * time.Millisecond

// fire looks whether the wait is over: its time has come, or its context ended.
func (x *waiter) fire(w *World) {
	if x.over {
		return
	}
	if x.ctx.Err() != nil || x.timed && w.now >= x.until {
		x.wake(w)
		return
	}
	x.arm(w)
}

// arm schedules the next look.
func (x *waiter) arm(w *World) {
	polled := x.ctx.Done() != nil
	switch {
	case polled && x.timed:
		w.at(min(x.until, w.now+pollEvery), x)
	case polled:
		w.at(w.now+pollEvery, x)
	case x.timed:
		w.at(x.until, x)
	}
}

// wake ends the wait, and lets the task go on at once.
func (x *waiter) wake(w *World) {
	if x.over {
		return
	}
	x.over = true
	if x.t != nil {
		w.after(0, x.t)
	}
}

// wait suspends the caller until the waiter is over.
func (x *waiter) wait(w *World) {
	if v := own(x.ctx); v != nil {
		v.waiters = append(v.waiters, x)
		defer v.forget(x)
	}
	x.arm(w)
	if x.t == nil {
		for !x.over && w.step() {
		}
		return
	}
	for !x.over {
		if !x.t.yield(struct{}{}) {
			panic(errStopped)
		}
	}
}

// Sleep implements cluster.Runtime.
func (w *World) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	x := w.newWaiter(ctx)
	x.until, x.timed = w.now+d, true
	x.wait(w)
	return ctx.Err()
}

// Close ends every task that still waits. The world is of no use afterwards.
func (w *World) Close() {
	for _, t := range w.tasks {
		if !t.done {
			t.stop()
		}
	}
	w.tasks, w.events = nil, nil
}
