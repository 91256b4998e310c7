package suites

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports"
)

// State is what has come of a run, or of a case.
type State string

// What comes of a run.
const (
	Waiting    State = "waiting"
	Running    State = "running"
	Expected   State = "expected"   // the verdict and anomalies that were expected
	Unexpected State = "unexpected" // another verdict, or an expected anomaly was not found
	Undecided  State = "unknown"    // an unknown that was not expected
	Untested   State = "not tested" // the system could not be tested
	Skipped    State = "not run"    // time or patience was out
)

// Outcome is one run of a case.
type Outcome struct {
	Case   int           `json:"case"` // place in the suite
	Repeat int           `json:"repeat"`
	Seed   uint64        `json:"seed"`
	State  State         `json:"state"`
	Folder string        `json:"folder,omitempty"`
	Took   time.Duration `json:"took_ns"`
	Error  string        `json:"error,omitempty"`
	// Results lack the details of checkers.
	Results reports.Results `json:"results"`
	// Tries are the runs before this one that came out unknown.
	Tries []Try `json:"tries,omitempty"`
}

// Try is a run that came out unknown and was done once more, with the same seed.
type Try struct {
	Why    string        `json:"why"`
	Folder string        `json:"folder,omitempty"`
	Took   time.Duration `json:"took_ns"`
}

// failure is why the run could not be tested, or nil.
func (o Outcome) failure() error {
	if o.Error == "" {
		return nil
	}
	return errors.New(o.Error)
}

// Runner runs one test. The error says why it could not be tested; the results
// and the folder may stand nevertheless.
type Runner func(ctx context.Context, args []string) (r reports.Results, folder string, err error)

// Options shape Execute.
type Options struct {
	Run      Runner
	Seed     uint64
	Parallel int
	FailFast bool
	// Done are outcomes of an earlier, interrupted execution.
	Done []Outcome
	// Update hears of every run that starts and ends; calls do not overlap.
	Update func(Outcome)
	// Now is the clock.
	Now func() time.Time
}

// Execute runs all of the suite that is not done yet and returns the outcomes of
// all its runs, in order. It starts no run after the suite's budget or after ctx
// is done; with FailFast neither after the first run that tips a case.
func Execute(ctx context.Context, s Suite, o Options) []Outcome {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	x := &execution{s: s, o: o, begun: o.Now()}
	x.plan()
	work := make(chan int)
	var wg sync.WaitGroup
	for range max(1, o.Parallel) {
		wg.Go(func() {
			for i := range work {
				x.one(ctx, i)
				if o.FailFast && x.lost(x.outcomes[i].Case) {
					stop()
				}
			}
		})
	}
	for i := range x.outcomes {
		if x.outcomes[i].State != Waiting {
			continue
		}
		select {
		case work <- i:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	for i := range x.outcomes {
		if x.outcomes[i].State == Waiting {
			x.outcomes[i].State = Skipped
		}
	}
	return x.outcomes
}

type execution struct {
	s        Suite
	o        Options
	begun    time.Time
	mu       sync.Mutex
	outcomes []Outcome
}

// plan lists all runs, and takes over what is done.
func (x *execution) plan() {
	type place struct{ c, r int }
	done := map[place]Outcome{}
	for _, d := range x.o.Done {
		if d.State != Skipped && d.State != Running && d.State != Waiting {
			done[place{d.Case, d.Repeat}] = d
		}
	}
	for c, k := range x.s.Cases {
		for r := range k.Of {
			out, ok := done[place{c, r}]
			if !ok {
				out = Outcome{Case: c, Repeat: r, Seed: SeedOf(x.o.Seed, k, r), State: Waiting}
			}
			x.outcomes = append(x.outcomes, out)
		}
	}
}

// SeedOf is the seed of a case's run: its own, counted up, or one drawn from the
// suite's and the case's name, so that other cases do not change it.
func SeedOf(suite uint64, c Case, repeat int) uint64 {
	const mask = 1<<53 - 1
	if own, err := strconv.ParseUint(c.Flag("seed"), 0, 64); err == nil {
		return (own + uint64(repeat)) & mask //nolint:gosec // not negative
	}
	h := fnv.New64a()
	for _, n := range []uint64{suite, uint64(repeat)} { //nolint:gosec // not negative
		for b := range 8 {
			_, _ = h.Write([]byte{byte(n >> (8 * b))}) // a hash takes everything
		}
	}
	_, _ = h.Write([]byte(c.Name))
	return h.Sum64() & mask
}

func (x *execution) set(i int, change func(*Outcome)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change(&x.outcomes[i])
	if x.o.Update != nil {
		x.o.Update(x.outcomes[i])
	}
}

func (x *execution) one(ctx context.Context, i int) {
	if x.over(ctx) {
		x.set(i, func(o *Outcome) { o.State = Skipped })
		return
	}
	c := x.s.Cases[x.outcomes[i].Case]
	x.set(i, func(o *Outcome) { o.State = Running })
	for {
		last := x.try(ctx, c, x.outcomes[i])
		if last.State != Undecided || len(last.Tries) == c.Retries || x.over(ctx) {
			x.set(i, func(o *Outcome) { *o = last })
			return
		}
		x.set(i, func(o *Outcome) { o.Tries = append(o.Tries, Try{last.Why(), last.Folder, last.Took}) })
	}
}

// over says that nothing more is to start.
func (x *execution) over(ctx context.Context) bool {
	return ctx.Err() != nil || x.s.Budget > 0 && x.o.Now().Sub(x.begun) > x.s.Budget
}

// try runs o once and says what came of it.
func (x *execution) try(ctx context.Context, c Case, o Outcome) Outcome {
	begun := x.o.Now()
	res, folder, err := x.o.Run(ctx, c.Args(o.Seed))
	for k := range res.Checks {
		res.Checks[k].Detail = nil
	}
	o.Results, o.Folder, o.Took = res, folder, x.o.Now().Sub(begun)
	if err == nil && res.Error != "" {
		err = errors.New(res.Error)
	}
	if err != nil {
		o.Error = err.Error()
	}
	o.State = judge(c.Expect, res, o.failure())
	if ctx.Err() != nil && o.State != Expected {
		o.State = Skipped // cut short, not judged
	}
	return o
}

// judge compares a run with what was expected. A violation that was found counts,
// also where something failed afterwards.
func judge(e Expect, r reports.Results, err error) State {
	switch {
	case err != nil && r.Verdict != checker.Invalid:
		return Untested
	case e.Met(r):
		return Expected
	case r.Verdict == checker.Unknown:
		return Undecided
	}
	return Unexpected
}

// lost says whether a case can no longer come out as expected.
func (x *execution) lost(c int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	bad := 0
	for _, o := range x.outcomes {
		if o.Case == c && o.State != Waiting && o.State != Running && o.State != Expected {
			bad++
		}
	}
	return bad > x.s.Cases[c].Of-x.s.Cases[c].Need
}
