package lock

import (
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker/lock"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
)

// locks generates the operations of all workers, each of which has at most one
// lock at a time.
type locks struct {
	keys    int
	ttl     time.Duration
	hold    time.Duration // the longest
	watch   bool
	updates int
	next    int64 // the next value to write
	workers []holder
}

// stage is where a worker is.
type stage uint8

const (
	idle stage = iota
	acquiring
	holding
	leaving // with a release to come
	gone    // it learnt of a loss that is not recorded yet
)

// holder is a worker and the lock that it has or wants.
type holder struct {
	stage    stage
	process  history.Process
	attempts int // to acquire, by this process
	key      string
	owner    any
	token    any
	asked    time.Duration // when the acquire was handed out
	deadline time.Duration // by its own clock; 0 for none
	after    time.Duration // when it goes on
	end      time.Duration // when it wants to release
	left     int           // updates to come
	tries    int           // releases tried
}

func (l locks) of(worker int) holder {
	if worker < len(l.workers) {
		return l.workers[worker]
	}
	return holder{}
}

func (l locks) with(worker int, h holder) locks {
	l.workers = slices.Clone(l.workers)
	for len(l.workers) <= worker {
		l.workers = append(l.workers, holder{})
	}
	l.workers[worker] = h
	return l
}

// Next implements generator.Generator.
func (l locks) Next(c generator.Context) (generator.Step, generator.Generator) {
	h := l.of(c.Worker)
	if h.process != c.Process {
		// The session is over, and with it the hold.
		h = holder{process: c.Process, after: h.after}
	}
	if c.Now < h.after && (h.stage == idle || h.stage == holding) {
		return generator.Step{Kind: generator.Wait, At: h.after}, l
	}
	switch h.stage {
	case idle:
		h, op := l.acquire(c, h)
		return generator.Step{Kind: generator.Do, Op: op, At: c.Now}, l.with(c.Worker, h)
	case holding:
		if l.watch && h.deadline > 0 && c.Now >= h.deadline {
			h.stage = gone
		} else if h.left == 0 {
			h.stage = leaving
		} else {
			h.left--
			op := history.Op{F: lock.Update, Key: h.key, Value: map[string]any{"owner": h.owner, "token": h.token, "write": l.next}}
			l.next++
			return generator.Step{Kind: generator.Do, Op: op, At: c.Now}, l.with(c.Worker, h)
		}
	case acquiring, leaving, gone:
	}
	op := history.Op{F: lock.Release, Key: h.key, Value: map[string]any{"owner": h.owner, "token": h.token}}
	if h.stage == gone {
		op.F, h.stage = lock.Lost, leaving
	} else {
		h.tries++
	}
	return generator.Step{Kind: generator.Do, Op: op, At: c.Now}, l.with(c.Worker, h)
}

// acquire asks for one of the locks.
func (l locks) acquire(c generator.Context, h holder) (holder, history.Op) {
	h.attempts++
	h.stage, h.asked, h.tries = acquiring, c.Now, 0
	h.key = generator.KeyName(c.Rand.IntN(l.keys))
	h.owner = fmt.Sprintf("p%d.%d", c.Process, h.attempts)
	return h, history.Op{F: lock.Acquire, Key: h.key, Value: map[string]any{"owner": h.owner, "ttl_ns": int64(l.ttl)}}
}

// Update implements generator.Generator.
func (l locks) Update(c generator.Context, e history.Op) generator.Generator {
	h := l.of(c.Worker)
	if e.Type == history.Invoke || e.Process != h.process || e.Key != h.key {
		return l
	}
	switch e.F {
	case lock.Acquire:
		h = l.acquired(c, h, e)
	case lock.Update:
		if e.Type == history.Fail && e.Observed != nil {
			h.stage = gone
		}
		h.after = min(h.end, c.Now+l.part(c, h.end-c.Now))
		if h.left == 0 {
			h.after = h.end
		}
	case lock.Release:
		if e.Type == history.OK || e.Observed != nil || h.tries >= maxReleases {
			h.stage, h.after = idle, c.Now+l.part(c, l.hold/8)
		}
	}
	return l.with(c.Worker, h)
}

// maxReleases is how often a release that fails is tried.
const maxReleases = 3

// acquired learns what came of an acquire.
func (l locks) acquired(c generator.Context, h holder, e history.Op) holder {
	v, _ := e.Value.(map[string]any)
	if e.Type != history.OK {
		// Others hold it: come back when it may be free.
		rivals := max(1, c.Workers/max(1, l.keys))
		h.stage, h.after = idle, c.Now+l.hold/16+l.part(c, l.hold/6*time.Duration(rivals))
		return h
	}
	h.stage, h.left = holding, l.updates
	if v["owner"] != nil {
		h.owner = v["owner"]
	}
	h.token = v["token"]
	h.deadline = 0
	if lease, ok := v["lease_ns"].(int64); ok && lease > 0 {
		h.deadline = h.asked + time.Duration(lease)
	}
	// Many holds are short, so that there are many, and some are as long as allowed.
	longest := l.hold
	if c.Rand.IntN(2) == 0 {
		longest /= 8
	}
	h.end = c.Now + l.part(c, longest)
	h.after = c.Now + l.part(c, h.end-c.Now)
	return h
}

// part is a random part of d.
func (locks) part(c generator.Context, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(c.Rand.Int64N(int64(d) + 1))
}
