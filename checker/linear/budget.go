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
	errBeaten = errors.New("another engine was sooner")
)

// budget is what one check may use, over all keys together. It is safe for
// concurrent use.
type budget struct {
	*ledger

	beaten *atomic.Bool // set when another engine was sooner; nil where none is asked
}

type ledger struct {
	ctx    context.Context //nolint:containedctx // lives as long as one Check
	limit  int64           // bytes; 0 for none
	used   atomic.Int64
	lent   atomic.Int64 // to a process beside this one
	peak   atomic.Int64
	failed atomic.Pointer[error]
}

func newBudget(ctx context.Context, memory int64) *budget {
	return &budget{ledger: &ledger{ctx: ctx, limit: memory}}
}

// until is the same budget for an engine that stops when it is beaten.
func (b *budget) until(beaten *atomic.Bool) *budget { return &budget{b.ledger, beaten} }

// spent is the error that every engine stops with once the budget is gone.
func (b *budget) spent() error {
	if b.beaten != nil && b.beaten.Load() {
		return errBeaten
	}
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
	b.reached(u)
	if n > 0 && b.limit > 0 && u+b.lent.Load() > b.limit {
		return b.fail(errMemory)
	}
	return nil
}

func (b *budget) reached(u int64) {
	for p := b.peak.Load(); u > p && !b.peak.CompareAndSwap(p, u); {
		p = b.peak.Load()
	}
}

// lend sets aside half of the memory that is left, at most so much, for a process
// beside this one; returned takes it back and counts what was used of it. One at a time.
func (b *budget) lend(most int64) int64 {
	if b.limit > 0 {
		most = max(0, min(most, (b.limit-b.used.Load())/2))
	}
	b.lent.Store(most)
	return most
}

func (b *budget) returned(peak int64) {
	b.lent.Store(0)
	b.reached(b.used.Load() + peak)
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
