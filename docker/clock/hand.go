package clock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/docker/agent"
)

// watchEvery is how often the processes are looked through for new ones: a program that
// was executed has a vDSO without a stub.
const watchEvery = 20 * time.Millisecond

// Request asks the hand of a container for something.
type Request struct {
	// Skew sets the clocks; nil to read them.
	Skew *Skew `json:"skew,omitempty"`
}

// Reading is the clock of a process.
type Reading struct {
	PID int `json:"pid"`
	// Ahead is in nanoseconds.
	Ahead int64 `json:"ahead"`
}

// Answer is what the hand says.
type Answer struct {
	// Since is when the skew began, by the machine's clock.
	Since int64 `json:"since,omitempty"`
	// Readings are the clocks as they are now, in the order of the processes.
	Readings []Reading `json:"readings"`
}

// hand sets the clocks of all processes that it sees but its own.
type hand struct {
	mu    sync.Mutex
	skew  *Skew // nil before the first
	known map[int]*held
}

// held is a process and what its clocks were set to.
type held struct {
	*process
	skew Skew
}

// newHand fails where clocks cannot be set.
func newHand() (*hand, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	return &hand{known: map[int]*held{}}, nil
}

// Run sets clocks as it is asked to under the address, until ctx is done.
func Run(ctx context.Context, address string) error {
	h, err := newHand()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { h.watch(ctx) })
	err = agent.ServeSide(ctx, address, h.answer)
	cancel()
	watching.Wait()
	return err
}

// watch sets the clocks of processes that are new, until ctx is done.
func (h *hand) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.mu.Lock()
			_ = h.apply() // again at the next tick
			h.mu.Unlock()
		}
	}
}

// answer does what a request asks.
func (h *hand) answer(_ context.Context, body json.RawMessage) (any, error) {
	var q Request
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("clock: not a request: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var a Answer
	if q.Skew != nil {
		s := *q.Skew
		if s.Rate <= 0 {
			return nil, fmt.Errorf("clock: a rate of %v: it must be above 0", s.Rate)
		}
		if s.Since == 0 {
			s.Since = realtime()
		}
		a.Since, h.skew = s.Since, &s
		if err := h.apply(); err != nil {
			return nil, err
		}
	}
	var err error
	a.Readings, err = h.read()
	return a, err
}

// others are the processes but this one.
func others() ([]int, error) {
	all, err := numbers("/proc")
	all = slices.DeleteFunc(all, func(pid int) bool { return pid == os.Getpid() })
	slices.Sort(all)
	return all, err
}

// apply sets the clocks that are not set as they should be. Processes that end
// meanwhile do not matter, nor do paused ones, which are set as they go on.
func (h *hand) apply() error {
	if h.skew == nil {
		return nil
	}
	pids, err := others()
	if err != nil {
		return err
	}
	seen := map[int]*held{}
	var errs []error
	for _, pid := range pids {
		p := h.known[pid]
		if p != nil && p.skew == *h.skew && p.still() {
			seen[pid] = p
			continue
		}
		p, err := h.one(pid)
		if err != nil && alive(pid) {
			errs = append(errs, err)
		}
		if p != nil {
			seen[pid] = p
		}
	}
	h.known = seen
	return errors.Join(errs...)
}

// one sets the clocks of a process; nil for one that is left alone.
func (h *hand) one(pid int) (*held, error) {
	p, err := find(pid)
	if err != nil {
		return nil, err
	}
	if p.at == 0 && h.skew.neutral() {
		return nil, nil
	}
	if err := p.set(*h.skew); err != nil {
		if errors.Is(err, errFrozen) {
			err = nil
		}
		return nil, err
	}
	return &held{process: p, skew: *h.skew}, nil
}

// alive says whether a process runs a program: the dead that wait to be reaped,
// and the kernel's threads, have no memory.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	return err == nil && len(b) > 0
}

// read asks for the clocks of all processes.
func (h *hand) read() ([]Reading, error) {
	pids, err := others()
	if err != nil {
		return nil, err
	}
	var out []Reading
	for _, pid := range pids {
		p, err := find(pid)
		var ahead int64
		if err == nil {
			ahead, err = p.ahead()
		}
		switch {
		case err == nil:
			out = append(out, Reading{PID: pid, Ahead: ahead})
		case alive(pid):
			return nil, err
		}
	}
	return out, nil
}
