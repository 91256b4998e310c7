package linear

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

var (
	errTime   = errors.New("time")
	errMemory = errors.New("memory")
)

// budget is what one check may use, over all keys together. It is safe for
// concurrent use.
type budget struct {
	ctx    context.Context //nolint:containedctx // lives as long as one Check
	limit  int64           // bytes; 0 for none
	used   atomic.Int64
	peak   atomic.Int64
	failed atomic.Pointer[error]
}

func newBudget(ctx context.Context, memory int64) *budget { return &budget{ctx: ctx, limit: memory} }

// spent is the error that every engine stops with once the budget is gone.
func (b *budget) spent() error {
	if e := b.failed.Load(); e != nil {
		return *e
	}
	if b.ctx.Err() != nil {
		return b.fail(errTime)
	}
	return nil
}

func (b *budget) fail(err error) error {
	b.failed.CompareAndSwap(nil, &err)
	return *b.failed.Load()
}

// grow takes n bytes, or gives back -n.
func (b *budget) grow(n int64) error {
	u := b.used.Add(n)
	for {
		p := b.peak.Load()
		if u <= p || b.peak.CompareAndSwap(p, u) {
			break
		}
	}
	if n > 0 && b.limit > 0 && u > b.limit {
		return b.fail(errMemory)
	}
	return nil
}

func (b *budget) describe(err error, o Options) string {
	switch {
	case errors.Is(err, errMemory):
		return fmt.Sprintf("the memory limit of %s was reached", size(o.Memory))
	case errors.Is(err, errTime) && o.Timeout > 0 && !errors.Is(b.ctx.Err(), context.Canceled):
		return fmt.Sprintf("the time limit of %v was reached", o.Timeout)
	case errors.Is(err, errTime):
		return "checking was stopped"
	}
	return err.Error()
}

func size(n int64) string {
	for _, u := range []struct {
		n    int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.n && n%u.n == 0 {
			return fmt.Sprintf("%d %s", n/u.n, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// ms is d as it is said to people: 2.103 s.
func ms(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
