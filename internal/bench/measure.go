package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/synth"
	"github.com/faultline-dev/faultline/history"
)

// now is the time on the clock that was asked for.
func (o options) now() time.Duration {
	if !o.cpu {
		return time.Duration(time.Now().UnixNano())
	}
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// turns is how often what is compared is measured.
const turns = 7

// timed is how long work takes: it is repeated until that takes some
// milliseconds.
func (o options) timed(work func()) time.Duration {
	start := o.now()
	for n := 1; ; n++ {
		work()
		if t := o.now() - start; t > 40*time.Millisecond {
			return t / time.Duration(n)
		}
	}
}

// allocated is how many bytes work allocates.
func allocated(work func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// contest times ours and theirs in turns: ours is the median of our times, ratio
// that of theirs over ours.
func (o options) contest(ours, theirs func() time.Duration, n int) (mine, other time.Duration, ratio float64) {
	var us, them []time.Duration
	var ratios []float64
	for range n {
		runtime.GC()
		t := theirs()
		runtime.GC()
		u := ours()
		us, them, ratios = append(us, u), append(them, t), append(ratios, float64(t)/float64(u))
	}
	return median(us), median(them), median(ratios)
}

func median[T ~int64 | ~float64](xs []T) T {
	slices.Sort(xs)
	return xs[len(xs)/2]
}

// subject is a history and how it is to be judged.
type subject struct {
	synth.Options
	spec, engine string
}

func (s subject) String() string {
	what := s.Anomaly
	if what == "" {
		what = "right"
	}
	of := ""
	if s.Values > 0 {
		of = fmt.Sprintf(" of %d values", s.Values)
	}
	keys := ""
	if s.Keys > 1 {
		keys = fmt.Sprintf(", %d keys", s.Keys)
	}
	return fmt.Sprintf("%s%s: %d, %d processes%s, %g%% unknown, %s", s.spec, of, s.Ops, s.Processes, keys, 100*s.Info, what)
}

// cache keeps the last history made: rows that need the same follow each other.
type cache struct {
	sync.Mutex
	key string
	h   *history.History
}

func (c *cache) get(s subject) (*history.History, model.Spec, error) {
	c.Lock()
	defer c.Unlock()
	spec, err := model.Named(s.spec)
	if err != nil {
		return nil, spec, err
	}
	key := fmt.Sprintf("%+v", s.Options)
	if c.key == key {
		return c.h, spec, nil
	}
	c.h, c.key = nil, ""
	runtime.GC()
	if c.h, err = synth.History(s.Options); err == nil {
		c.key = key
	}
	return c.h, spec, err
}

func (s subject) check(h *history.History, spec model.Spec) checker.Result {
	return linear.Check(context.Background(), h, linear.Options{Model: spec, Engine: s.engine, Timeout: 2 * time.Minute})
}

// judged fills in a line what one check says and allocates.
func (s subject) judged(h *history.History, spec model.Spec) line {
	var r checker.Result
	bytes := allocated(func() { r = s.check(h, spec) })
	l := line{engine: fmt.Sprintf("%v %s", r.Verdict, r.Engine), bytes: float64(bytes) / float64(s.Ops)}
	if d, ok := r.Detail.(*linear.Detail); ok {
		l.wentBack = d.Exhausted > 0
	}
	want := checker.Valid
	if s.Anomaly != "" {
		want = checker.Invalid
	}
	if r.Verdict != want {
		l.failed = append(l.failed, "verdict "+r.Reason)
	}
	return l
}

// shuffled are n different integers in no order.
func shuffled(n int) []int64 {
	xs := make([]int64, n)
	for i := range xs {
		xs[i] = int64(i)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
	return xs
}

// sorting times slices.Sort of n shuffled integers, the copying apart.
func (o options) sorting(n int) func() time.Duration {
	from := shuffled(n)
	xs := make([]int64, n)
	return func() time.Duration {
		total, rounds := time.Duration(0), 0
		for total < 40*time.Millisecond {
			copy(xs, from)
			start := o.now()
			slices.Sort(xs)
			total += o.now() - start
			rounds++
		}
		return total / time.Duration(rounds)
	}
}
