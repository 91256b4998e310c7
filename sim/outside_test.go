package sim_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/sim"
)

// seen is what the simulator's record of messages says of a link in a time.
type seen struct {
	sent, lost, late, twice int
	delay                   time.Duration // median
}

// look reads the messages from n1 to n2.
func look(w *sim.World, from, to time.Duration) (s seen) {
	var delays []time.Duration
	var last sim.Message
	var newest time.Duration // arrival
	for _, m := range w.Messages(from, to) {
		if m.From != 0 || m.To != 1 || m.Sent < from || m.Sent > to {
			continue
		}
		if m.Sent == last.Sent && m.Label == last.Label {
			s.twice++
			continue
		}
		last = m
		s.sent++
		if m.Received == 0 {
			s.lost++
			continue
		}
		if m.Received < newest {
			s.late++
		}
		newest = max(newest, m.Received)
		delays = append(delays, m.Received-m.Sent)
	}
	if slices.Sort(delays); len(delays) > 0 {
		s.delay = delays[len(delays)/2]
	}
	return s
}

// TestFaultsFromOutside: each fault on links and processes shows in the messages
// that the nodes send each other, which no probe looks at, and is gone afterwards.
func TestFaultsFromOutside(t *testing.T) {
	const at, lasts, margin = 4 * time.Second, 4 * time.Second, 300 * time.Millisecond
	share := func(n, of int) float64 { return float64(n) / float64(max(1, of)) }
	for spec, tc := range map[string]struct {
		opts map[string]string
		bit  func(before, during seen) bool
	}{
		"partition:n1": {nil, func(_, d seen) bool { return d.lost == d.sent }},
		"kill:n1":      {nil, func(_, d seen) bool { return d.sent == 0 }},
		"pause:n1":     {nil, func(_, d seen) bool { return d.sent == 0 }},
		"delay:n1":     {map[string]string{"by": "200ms", "jitter": "1ms"}, func(b, d seen) bool { return d.delay > b.delay+150*time.Millisecond }},
		"loss:n1":      {map[string]string{"p": "0.5"}, func(b, d seen) bool { return share(d.lost, d.sent) > share(b.lost, b.sent)+0.3 }},
		"duplicate:n1": {map[string]string{"p": "0.5"}, func(b, d seen) bool { return share(d.twice, d.sent) > share(b.twice, b.sent)+0.3 }},
		"reorder:n1":   {map[string]string{"p": "0.5"}, func(b, d seen) bool { return share(d.late, d.sent) > share(b.late, b.sent)+0.05 }},
		"rate:n1":      {map[string]string{"bps": "100000"}, func(b, d seen) bool { return d.delay > 2*b.delay }},
	} {
		t.Run(spec, func(t *testing.T) {
			test, w := build(t, shape{seed: 3, nodes: 3, workers: 6, keys: 3, rate: 100, keep: true})
			defer w.Close()
			name, arg, _ := strings.Cut(spec, ":")
			test.Time = 14 * time.Second
			test.Plan = nemesis.Plan{Format: 1, Time: test.Time, Steps: []nemesis.Step{
				{ID: "x", Fault: name, Arg: arg, At: at, For: lasts, Opts: tc.opts, Seed: 1},
			}}
			var zero time.Duration
			test.Began = func(start time.Duration) { zero = start }
			if _, err := faultline.Try(context.Background(), test); err != nil {
				t.Fatal(err)
			}
			before := look(w, zero+time.Second, zero+at-margin)
			during := look(w, zero+at+margin, zero+at+lasts-margin)
			after := look(w, zero+at+lasts+3*time.Second, zero+test.Time-margin)
			t.Logf("before %+v, during %+v, after %+v", before, during, after)
			if before.sent == 0 || !tc.bit(before, during) {
				t.Errorf("it does not show: before %+v, during %+v", before, during)
			}
			if after.sent == 0 || tc.bit(before, after) {
				t.Errorf("it still shows: before %+v, after %+v", before, after)
			}
		})
	}
}
