package workloads

import (
	"context"
	"errors"
	"time"
)

type (
	stallKey struct{}
	sleepKey struct{}
)

// WithSleep gives Sleep its meaning for the operations performed under ctx.
func WithSleep(ctx context.Context, sleep func(context.Context, time.Duration) error) context.Context {
	return context.WithValue(ctx, sleepKey{}, sleep)
}

// Sleep waits within an operation, by the clock of the world that it is performed
// in; it returns early with ctx' error when ctx is done. Where ctx belongs to no
// world there is nothing to wait for, which is an error too.
func Sleep(ctx context.Context, d time.Duration) error {
	if sleep, ok := ctx.Value(sleepKey{}).(func(context.Context, time.Duration) error); ok {
		return sleep(ctx, d)
	}
	return errNoClock
}

var errNoClock = errors.New("workloads: no clock to wait by")

// WithStall gives Stall its meaning for the operations performed under ctx.
func WithStall(ctx context.Context, stall func(context.Context) context.Context) context.Context {
	return context.WithValue(ctx, stallKey{}, stall)
}

// Stall stands where a client has just checked that it may do something, and is
// about to do it: the place where a long pause of the client breaks a lock. A
// workload calls it there and does the step under the context that it returns. It
// returns at once, and ctx itself, unless a fault stalls this worker.
func Stall(ctx context.Context) context.Context {
	if stall, ok := ctx.Value(stallKey{}).(func(context.Context) context.Context); ok {
		return stall(ctx)
	}
	return ctx
}
