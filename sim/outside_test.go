package sim_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/bundled"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/sim"
)

// seen is what a time of a run looks like to those who do not look through the
// nemesis.
type seen struct {
	// Of the messages from n1 to n2.
	sent, lost, late, twice, damaged int
	delay, longest                   time.Duration // median, maximum
	// heard counts the messages from n2 that arrived at n1.
	heard int
	// By node: clients' operations that succeeded there, and that a dead one refused.
	answered, refused map[string]int
	// ahead is by how much n1's clock is ahead of n2's, as the nodes tell their clients.
	ahead time.Duration
}

// look reads the simulator's record of messages, and what clients met.
func look(w *sim.World, h *history.History, zero, from, to time.Duration) seen {
	s := seen{answered: map[string]int{}, refused: map[string]int{}}
	var delays []time.Duration
	var last sim.Message
	var newest time.Duration // arrival
	for _, m := range w.Messages(zero+from, zero+to) {
		if m.Sent < zero+from || m.Sent > zero+to {
			continue
		}
		if m.From == 1 && m.To == 0 && m.Received > 0 {
			s.heard++
		}
		if m.From != 0 || m.To != 1 {
			continue
		}
		if m.Sent == last.Sent && m.Label == last.Label {
			s.twice++
			continue
		}
		last = m
		s.sent++
		if m.Label == "damaged" {
			s.damaged++
		}
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
		s.delay, s.longest = delays[len(delays)/2], delays[len(delays)-1]
	}
	for i := range h.Len() {
		if h.Invoke(i) < from || h.Done(i) > to {
			continue
		}
		switch node := h.Nodes()[h.NodeID(i)]; {
		case h.Type(i) == history.OK:
			s.answered[node]++
		case strings.Contains(h.Error(i), "refused"):
			s.refused[node]++
		}
	}
	return s
}

// ahead asks n1 and n2 for their time.
func ahead(t *testing.T, w *sim.World) time.Duration {
	t.Helper()
	var now [2]time.Duration
	for i := range now {
		s, err := bundled.New(clients.Target{Node: w.Nodes()[i], Cluster: w}).Status(context.Background())
		if err != nil {
			return 0 // it is dead, or paused
		}
		now[i] = time.Duration(s.Now)
	}
	return now[0] - now[1]
}

// TestFaultsFromOutside: each fault shows in the messages that the nodes send each
// other, in what they answer to clients and in the time that they tell, at none of
// which its probe looks, and is gone afterwards.
func TestFaultsFromOutside(t *testing.T) {
	const at, lasts, margin = 4 * time.Second, 4 * time.Second, 300 * time.Millisecond
	share := func(n, of int) float64 { return float64(n) / float64(max(1, of)) }
	type opts = map[string]string
	for _, tc := range []struct {
		spec string
		opts opts
		bit  func(before, during seen) bool
	}{
		{"partition:n1", nil, func(_, d seen) bool { return d.lost == d.sent && d.heard == 0 }},
		{"partition:one-way", opts{"way": "out"}, func(_, d seen) bool { return d.lost == d.sent && d.heard > 0 }},
		{"partition:one-way", opts{"way": "in"}, func(_, d seen) bool { return d.lost < d.sent && d.heard == 0 }},
		{"partition:clients", nil, func(_, d seen) bool { return d.answered["n1"] == 0 && d.answered["n2"] > 0 && d.lost < d.sent }},
		{"kill:n1", nil, func(_, d seen) bool { return d.sent == 0 && d.refused["n1"] > 0 }},
		{"pause:n1", nil, func(_, d seen) bool { return d.sent == 0 && d.refused["n1"] == 0 && d.answered["n1"] == 0 }},
		{"restart:n1", opts{"every": "1s", "down": "300ms"}, func(_, d seen) bool {
			return d.refused["n1"] > 0 && d.refused["n2"] == 0 && d.answered["n1"] > 0
		}},
		{"rolling", opts{"down": "500ms"}, func(_, d seen) bool {
			return d.refused["n1"] > 0 && d.refused["n2"] > 0 && d.refused["n3"] > 0 && d.answered["n1"] > 0
		}},
		{"delay:n1", opts{"by": "200ms", "jitter": "1ms"}, func(b, d seen) bool { return d.delay > b.delay+150*time.Millisecond }},
		{"loss:n1", opts{"p": "0.5"}, func(b, d seen) bool { return share(d.lost, d.sent) > share(b.lost, b.sent)+0.3 }},
		{"duplicate:n1", opts{"p": "0.5"}, func(b, d seen) bool { return share(d.twice, d.sent) > share(b.twice, b.sent)+0.3 }},
		{"reorder:n1", opts{"p": "0.5"}, func(b, d seen) bool { return share(d.late, d.sent) > share(b.late, b.sent)+0.05 }},
		{"corrupt:n1", opts{"p": "0.5"}, func(_, d seen) bool { return share(d.damaged, d.sent) > 0.3 }},
		{"rate:n1", opts{"bps": "100000"}, func(b, d seen) bool { return d.delay > 2*b.delay }},
		// A link that is much too slow holds back half a second's worth and drops the rest.
		{"rate:n1", opts{"bps": "1500"}, func(b, d seen) bool {
			return share(d.lost, d.sent) > share(b.lost, b.sent)+0.1 && d.longest > 400*time.Millisecond && d.longest < 2*time.Second
		}},
		{"clock:jump", opts{"by": "3s"}, func(b, d seen) bool { return (d.ahead - b.ahead).Abs().Round(100*time.Millisecond) == 3*time.Second }},
		{"clock:drift", opts{"rate": "2"}, func(b, d seen) bool { return (d.ahead - b.ahead).Abs() > 500*time.Millisecond }},
		{"member:remove", nil, func(b, d seen) bool { return share(d.heard, b.heard) < 0.2 && d.answered["n2"] > 0 }},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			test, w := build(t, shape{seed: 3, nodes: 3, workers: 6, keys: 3, rate: 100, keep: true})
			defer w.Close()
			step := nemesis.Step{ID: "x", At: at, For: lasts, Opts: tc.opts, Seed: 1}
			step.Fault, step.Arg, _ = strings.Cut(tc.spec, ":")
			if !strings.HasPrefix(step.Arg, "n") && step.Fault != "rolling" {
				step.Targets = []string{"n1"}
			}
			test.Time = 14 * time.Second
			test.Plan = nemesis.Plan{Format: 1, Steps: []nemesis.Step{step}}
			var zero time.Duration
			var clocks [3]time.Duration
			test.Began = func(start time.Duration) {
				zero = start
				w.Go(func() {
					for i, when := range []time.Duration{at - margin, at + lasts - margin, test.Time - margin} {
						_ = w.Sleep(context.Background(), zero+when-w.Now())
						clocks[i] = ahead(t, w)
					}
				})
			}
			tried, err := faultline.Try(context.Background(), test)
			if err != nil {
				t.Fatal(err)
			}
			before := look(w, tried.History, zero, time.Second, at-margin)
			during := look(w, tried.History, zero, at+margin, at+lasts-margin)
			after := look(w, tried.History, zero, at+lasts+3*time.Second, test.Time-margin)
			before.ahead, during.ahead, after.ahead = clocks[0], clocks[1], clocks[2]
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
