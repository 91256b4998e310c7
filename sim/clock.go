package sim

import (
	"context"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// epoch is what all nodes' clocks show at the start of the world: not zero, so
// that one may be behind.
const epoch = 1000 * time.Hour

// clock is a node's. Its own rate is a little wrong by nature; faults add a skew.
type clock struct {
	own    float64       // how fast it runs without faults
	offset time.Duration // what faults have added up to since
	rate   float64       // how much faster faults let it run from then on
	since  time.Duration // world time of the last change
}

// wrong is by how much faults have put it ahead.
func (c *clock) wrong(now time.Duration) time.Duration {
	return c.offset + time.Duration(float64(now-c.since)*c.own*(c.rate-1))
}

// at is what it shows at a world time.
func (c *clock) at(now time.Duration) time.Duration {
	return epoch + time.Duration(float64(now)*c.own) + c.wrong(now)
}

// span is how much world time passes while it goes on by d.
func (c *clock) span(d time.Duration) time.Duration {
	return max(1, time.Duration(float64(d)/(c.own*c.rate)))
}

// Skew implements cluster.Clocks.
func (w *World) Skew(_ context.Context, name string, s cluster.Skew) error {
	n, err := w.node(name)
	if err != nil {
		return err
	}
	if s.Rate == 0 {
		s.Rate = 1
	}
	n.clock.offset, n.clock.rate, n.clock.since = s.Offset, s.Rate, w.now
	n.logf("its clock is off by %v, and runs at %v", s.Offset, s.Rate)
	return nil
}

// Moves implements cluster.Clocks: a simulated node has one clock for everything.
func (w *World) Moves(cluster.Skew) []cluster.Clock {
	return []cluster.Clock{cluster.RealTime, cluster.Monotonic}
}

// Reset implements cluster.Clocks.
func (w *World) Reset(ctx context.Context, name string) error {
	w.healed()
	return w.Skew(ctx, name, cluster.Skew{})
}

// Offsets implements cluster.Clocks. How fast a clock runs by nature belongs to the
// world and not to a fault, and is left out.
func (w *World) Offsets(_ context.Context, names []string) (map[string]time.Duration, error) {
	offsets := map[string]time.Duration{}
	for _, name := range names {
		n, err := w.node(name)
		if err != nil {
			return nil, err
		}
		if n.state == cluster.Running {
			offsets[name] = n.clock.wrong(w.now)
		}
	}
	return offsets, nil
}
