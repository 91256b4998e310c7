package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/internal/exit"
)

// seedRun is what came of one seed.
type seedRun struct {
	seed      uint64
	verdict   checker.Verdict
	anomalies []checker.Anomaly
	problem   string
	err       error
	ops       int
	simulated time.Duration
	run       string // its folder, if it has one
	outside   bool   // the failure model
	may       []string
}

// failed tells whether the seed is worth a second look.
func (s seedRun) failed() bool { return s.verdict == checker.Invalid && !s.explained() }

// explained tells whether a fault outside the failure model may cause all that was
// seen: the anomalies listed for it, or no progress.
func (s seedRun) explained() bool {
	unlisted := func(name string) bool { return !slices.Contains(s.may, name) }
	return s.outside && s.verdict != checker.Valid && !slices.ContainsFunc(s.names(), unlisted)
}

func (s seedRun) names() []string {
	seen := map[string]bool{}
	for _, a := range s.anomalies {
		seen[a.Name] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// sweep runs a range of seeds on all cores.
type sweep struct {
	env      *Env
	a        asked
	first    uint64
	last     uint64
	next     atomic.Uint64
	stop     atomic.Bool
	start    time.Time
	mu       sync.Mutex
	runs     int
	ops      int
	time     time.Duration // simulated
	failures []seedRun
	unknown  []seedRun
	outside  map[string]int // anomalies that a fault outside the model explains
	broken   error
}

// parseSeeds reads A..B; both ends belong to it.
func parseSeeds(s string) (first, last uint64, err error) {
	a, b, ok := strings.Cut(s, "..")
	first, err1 := strconv.ParseUint(a, 0, 53)
	last, err2 := strconv.ParseUint(b, 0, 53)
	if !ok || err1 != nil || err2 != nil || last < first {
		return 0, 0, exit.Usagef("--seeds %s: expected a range like 1..1000", s)
	}
	return first, last, nil
}

// runSeeds runs every seed of a range.
func runSeeds(ctx context.Context, env *Env, a asked) error {
	first, last, err := parseSeeds(a.seeds)
	if err != nil {
		return err
	}
	s := &sweep{env: env, a: a, first: first, last: last, start: time.Now(), outside: map[string]int{}}
	a.seed = formatSeed(first)
	if _, err := prepare(env, a); err != nil {
		return err // what is wrong with the first is wrong with all
	}
	if err := s.all(ctx); err != nil {
		return err
	}
	s.order()
	for i := range s.failures {
		if err := s.keep(ctx, &s.failures[i]); err != nil {
			return err
		}
	}
	return s.report()
}

// gcPercent lets the many short-lived worlds be collected less often: a world holds
// a few megabytes, so this bounds the heap to about a hundred.
const gcPercent = 2000

// all runs the seeds, until they are over or one has failed.
func (s *sweep) all(ctx context.Context) error {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	s.next.Store(s.first)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() { s.work(ctx) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	s.watch(done)
	if s.broken != nil {
		return &exit.Error{Code: exit.Broken, Err: s.broken}
	}
	return nil
}

// work takes one seed after the other.
func (s *sweep) work(ctx context.Context) {
	for ctx.Err() == nil && !s.stop.Load() {
		seed := s.next.Add(1) - 1
		if seed > s.last {
			return
		}
		a := s.a
		a.seed, a.seeds = formatSeed(seed), ""
		r := trySeed(ctx, s.env, a, seed)
		s.take(r)
	}
}

func (s *sweep) take(r seedRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	s.ops += r.ops
	s.time += r.simulated
	switch {
	case r.failed():
		s.failures = append(s.failures, r)
		if !s.a.keepGoing {
			s.stop.Store(true)
		}
	case r.err != nil:
		s.broken = errors.Join(s.broken, fmt.Errorf("seed %d: %w", r.seed, r.err))
		s.stop.Store(true)
	case r.explained():
		if r.verdict == checker.Unknown {
			s.outside["unknown"]++
		}
		for _, name := range r.names() {
			s.outside[name]++
		}
	case r.problem != "" || r.verdict == checker.Unknown:
		s.unknown = append(s.unknown, r)
	}
}

// trySeed runs one seed in memory.
func trySeed(ctx context.Context, env *Env, a asked, seed uint64) (r seedRun) {
	r.seed = seed
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	p, err := prepare(env, a)
	if err != nil {
		r.err = err
		return r
	}
	r.may, r.outside = p.explained, p.record.Options["model"] == modelOutside
	tried, simulated, err := p.try(ctx)
	r.err, r.simulated, r.problem = err, simulated, tried.Problem
	if tried.History != nil {
		r.ops = tried.History.Len()
		r.verdict, r.anomalies = tried.Verdict(), tried.Anomalies()
	}
	return r
}

// try runs the test once in a simulated world, keeping nothing.
func (p *planned) try(ctx context.Context) (faultline.Tried, time.Duration, error) {
	w, err := p.simulate(false)
	if err != nil {
		return faultline.Tried{}, 0, err
	}
	defer p.over(w)
	workload, err := p.instance()
	if err != nil {
		return faultline.Tried{}, 0, err
	}
	tried, err := faultline.Try(ctx, p.test(ctx, w, workload))
	return tried, w.Simulated(), err
}

// order sorts what was found, and without --keep-going leaves the first failure.
func (s *sweep) order() {
	bySeed := func(a, b seedRun) int { return int(a.seed) - int(b.seed) } //nolint:gosec // 53 bits
	slices.SortFunc(s.failures, bySeed)
	slices.SortFunc(s.unknown, bySeed)
	if !s.a.keepGoing && len(s.failures) > 1 {
		s.failures = s.failures[:1]
	}
}

// keep runs a failed seed again, with a folder for its evidence.
func (s *sweep) keep(ctx context.Context, r *seedRun) error {
	a := s.a
	a.seed, a.seeds = formatSeed(r.seed), ""
	p, err := prepare(s.env, a)
	if err != nil {
		return err
	}
	_, folder, err := p.run(context.WithoutCancel(ctx), nil)
	if folder != nil {
		r.run = folder.Path
	}
	if !s.a.json {
		fmt.Fprintf(s.env.Stdout, "seed %d: %s\n", r.seed, strings.Join(r.names(), ", "))
		fmt.Fprintf(s.env.Stdout, "  %s\n  folder: %s\n  replay: %s\n", first(r.anomalies).Explain, r.run, p.reproduce())
	}
	return err
}

func first(a []checker.Anomaly) checker.Anomaly {
	if len(a) == 0 {
		return checker.Anomaly{}
	}
	return a[0]
}

// report prints the table, or the JSON, and sets the exit code.
func (s *sweep) report() error {
	took := time.Since(s.start)
	s.env.code = exit.Valid
	switch {
	case len(s.failures) > 0:
		s.env.code = exit.Anomalies
	case len(s.unknown) > 0 || s.runs == 0:
		s.env.code = exit.Unknown
	}
	if s.a.json {
		return s.printJSON(took)
	}
	for _, r := range s.unknown[:min(5, len(s.unknown))] {
		fmt.Fprintf(s.env.Stdout, "seed %d: unknown: %s\n", r.seed, r.problem)
	}
	fmt.Fprintf(s.env.Stdout, "\n%10s %14s %12s %10s %10s %10s %12s\n", "seeds", "simulated", "operations", "failures", "unknown", "seeds/s", "sim-s/s")
	fmt.Fprintf(s.env.Stdout, "%10d %14s %12d %10d %10d %10.1f %12.0f\n", s.runs, s.time.Round(time.Second), s.ops,
		len(s.failures), len(s.unknown), float64(s.runs)/took.Seconds(), s.time.Seconds()/took.Seconds())
	for _, name := range slices.Sorted(maps.Keys(s.outside)) {
		fmt.Fprintf(s.env.Stdout, "explained by a fault outside the failure model: %s in %d runs\n", name, s.outside[name])
	}
	return nil
}

func (s *sweep) printJSON(took time.Duration) error {
	type failure struct {
		Seed      uint64   `json:"seed"`
		Anomalies []string `json:"anomalies"`
		Run       string   `json:"run"`
	}
	out := struct {
		Seeds   int       `json:"seeds"`
		Failed  []failure `json:"failed"`
		Unknown []uint64  `json:"unknown"`
		// Explained counts anomalies that a fault outside the failure model may cause.
		Explained  map[string]int `json:"explained,omitempty"`
		Operations int            `json:"operations"`
		Simulated  time.Duration  `json:"simulated_ns"`
		Duration   time.Duration  `json:"duration_ns"`
	}{s.runs, []failure{}, []uint64{}, s.outside, s.ops, s.time, took}
	for _, r := range s.failures {
		out.Failed = append(out.Failed, failure{r.seed, r.names(), filepath.ToSlash(r.run)})
	}
	for _, r := range s.unknown {
		out.Unknown = append(out.Unknown, r.seed)
	}
	return json.NewEncoder(s.env.Stdout).Encode(out)
}

// watch tells once a second how far the sweep has come.
func (s *sweep) watch(done <-chan struct{}) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	open := false
	for {
		select {
		case <-done:
			if open {
				fmt.Fprintln(s.env.Stderr)
			}
			return
		case <-every.C:
		}
		if s.a.quiet || s.a.json {
			continue
		}
		s.mu.Lock()
		line := fmt.Sprintf("seeds %d of %d  %.0f/s  operations %d  failures %d", s.runs, s.last-s.first+1,
			float64(s.runs)/time.Since(s.start).Seconds(), s.ops, len(s.failures))
		s.mu.Unlock()
		if s.env.Terminal {
			fmt.Fprintf(s.env.Stderr, "\r\x1b[K%s", line)
			open = true
		} else if int(time.Since(s.start).Seconds())%5 == 0 {
			fmt.Fprintln(s.env.Stderr, line)
		}
	}
}
