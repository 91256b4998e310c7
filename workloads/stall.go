package workloads

import "context"

type stallKey struct{}

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
