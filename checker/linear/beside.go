package linear

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/faultline-dev/faultline/checker"
)

// Porcupine's order is at times the luckier one, as where an element is in a queue
// many times and dequeues have no known result. So it is asked as well where a search
// does not end soon, and the first answer counts.

const (
	// grace is how long a search is alone.
	grace = 200 * time.Millisecond
	// besideMost and besideLeast bound the memory that Porcupine is given then, bytes.
	besideMost, besideLeast = 1 << 30, 64 << 20
)

// decide judges a problem by the search or, where that takes long, no engine was asked
// for and the caller gave a way to run Porcupine, by the sooner of both: by says which.
// Porcupine does not tell which operation cannot be explained, bad is -1 then.
func (p *plan) decide(pr *problem) (out outcome, by string, err error) {
	if p.o.Engine != Auto || p.o.Porcupine == nil {
		out, err = runSearch(pr, p.b)
		return out, Search, err
	}
	var beaten atomic.Bool
	ctx, cancel := context.WithCancel(p.b.ctx)
	defer cancel()
	said := make(chan checker.Verdict, 1)
	go func() {
		v := p.late(ctx, pr.v)
		beaten.Store(v != checker.Unknown)
		said <- v
	}()
	out, err = runSearch(pr, p.b.until(&beaten))
	cancel()
	switch v := <-said; {
	case v == checker.Unknown:
		return out, Search, err
	case err == nil && out.valid != (v == checker.Valid):
		return out, Search, errors.New("internal error: porcupine and the search disagree")
	case err == nil:
		return out, Search, nil
	default:
		return outcome{valid: v == checker.Valid, bad: -1, passed: out.passed, exhausted: out.exhausted}, Porcupine, nil
	}
}

// late runs Porcupine on v once the search has had its time; unknown where that was
// enough, or where it found no answer. One runs at a time.
func (p *plan) late(ctx context.Context, v view) checker.Verdict {
	select {
	case <-ctx.Done():
		return checker.Unknown
	case <-time.After(grace):
	}
	select {
	case <-ctx.Done():
		return checker.Unknown
	case p.beside <- struct{}{}:
		defer func() { <-p.beside }()
	}
	memory := p.b.lend(besideMost)
	if memory < besideLeast {
		return checker.Unknown
	}
	said, peak, err := p.o.Porcupine(ctx, Job{Model: p.o.Model.Name, History: v.h, Ops: v.ops, Cut: v.cut, Memory: memory})
	p.b.returned(peak)
	p.measured.Store(true)
	if err != nil {
		return checker.Unknown // the search goes on alone
	}
	return said
}
