package sim

import (
	"context"
	"slices"
	"time"
)

// deadline is a context that ends at a virtual time. It offers the standard
// library AfterFunc, so that context.WithCancel on top of it starts no goroutine.
type deadline struct {
	w       *World
	parent  context.Context //nolint:containedctx // it is a context
	at      time.Duration
	done    chan struct{}
	err     error
	waiters []*waiter
	calls   []*afterCall
}

type afterCall struct{ f func() }

// ownKey finds the nearest context of a world's own.
type ownKey struct{}

func own(ctx context.Context) *deadline {
	d, _ := ctx.Value(ownKey{}).(*deadline)
	return d
}

// WithTimeout implements cluster.Runtime.
func (w *World) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	c := &deadline{w: w, parent: ctx, at: w.now + max(d, 0), done: make(chan struct{})}
	if p := own(ctx); p != nil && ctx.Done() != nil {
		c.at = min(c.at, p.at)
	}
	w.at(c.at, c)
	return c, func() { c.end(context.Canceled) }
}

// fire ends the context when its time has come, and looks at its parent before.
func (c *deadline) fire(w *World) {
	if c.err != nil {
		return
	}
	if c.Err() == nil && w.now >= c.at {
		c.end(context.DeadlineExceeded)
	}
	if c.err == nil && len(c.calls) > 0 {
		w.at(min(c.at, w.now+pollEvery), c)
	}
}

// end is idempotent.
func (c *deadline) end(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	for _, x := range slices.Clone(c.waiters) {
		x.wake(c.w)
	}
	for _, call := range c.calls {
		call.f()
	}
	c.waiters, c.calls = nil, nil
}

func (c *deadline) forget(x *waiter) {
	if i := slices.Index(c.waiters, x); i >= 0 {
		c.waiters = slices.Delete(c.waiters, i, i+1)
	}
}

// Err notices the end of its parent when it is asked.
func (c *deadline) Err() error {
	if c.err == nil {
		if err := c.parent.Err(); err != nil {
			c.end(err)
		}
	}
	return c.err
}

// Done implements context.Context.
func (c *deadline) Done() <-chan struct{} { return c.done }

// Deadline implements context.Context. A virtual time is none that others could
// wait for.
func (c *deadline) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (c *deadline) Value(key any) any {
	if key == (ownKey{}) {
		return c
	}
	return c.parent.Value(key)
}

// AfterFunc calls f when the context ends; the standard library asks for it.
func (c *deadline) AfterFunc(f func()) (stop func() bool) {
	if c.Err() != nil {
		f()
		return func() bool { return false }
	}
	call := &afterCall{f}
	c.calls = append(c.calls, call)
	if c.parent.Done() != nil {
		c.w.at(min(c.at, c.w.now+pollEvery), c)
	}
	return func() bool {
		i := slices.Index(c.calls, call)
		if i < 0 {
			return false
		}
		c.calls = slices.Delete(c.calls, i, i+1)
		return true
	}
}
