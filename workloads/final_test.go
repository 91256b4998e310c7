package workloads_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/workloads"
)

// TestAgreeing: what nodes see alike is read once; what one that lags behind sees is
// read until it has caught up, or for five seconds.
func TestAgreeing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		behind   int // so often worker 2 sees something else than the others
		from, to int // how often it reads it
		lasts    time.Duration
	}{
		"all agree":      {0, 1, 1, 0},
		"one lags":       {10, 11, 11, time.Second},
		"one never will": {1000, 45, 55, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reads, now := map[string]int{}, time.Duration(0)
			answer := func(_ *rand.Rand, op history.Op) (history.Op, time.Duration) {
				op.Type, op.Value = history.OK, []any{int64(1)}
				if op.Process != 2 {
					return op, time.Millisecond
				}
				if reads[op.Key]++; op.Key == "y" && reads["y"] <= c.behind {
					op.Value = nil
				}
				return op, time.Millisecond
			}
			for _, op := range generator.Simulate(workloads.Agreeing([]history.Op{{F: "read", Key: "x"}, {F: "read", Key: "y"}}), 3, 1, 10_000, answer) {
				now = op.Time
			}
			if reads["x"] != 1 || reads["y"] < c.from || reads["y"] > c.to || now < c.lasts || now > c.lasts+time.Second/5 {
				t.Errorf("%v reads until %v", reads, now)
			}
		})
	}
}
