package sim

import "time"

// epoch is what all nodes' clocks show at the start of the world: not zero, so
// that one may be behind.
const epoch = 1000 * time.Hour

// clock is a node's.
type clock struct {
	rate float64       // how fast it runs
	base time.Duration // what it showed at since
	from time.Duration // world time
	set  bool
}

// at is what it shows at a world time.
func (c *clock) at(now time.Duration) time.Duration {
	return epoch + c.base + time.Duration(float64(now-c.from)*c.rate)
}

// span is how much world time passes while it goes on by d.
func (c *clock) span(d time.Duration) time.Duration {
	return max(1, time.Duration(float64(d)/c.rate))
}

// adjust changes rate and adds a jump, from a world time on.
func (c *clock) adjust(now time.Duration, rate float64, jump time.Duration) {
	c.base = c.at(now) - epoch + jump
	c.from, c.rate = now, rate
}
