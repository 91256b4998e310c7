// Package availability measures how much of what was asked succeeded, at each
// node and during each fault, and how soon after a fault's end. It only
// measures: its verdict is always valid.
package availability

import (
	"context"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/faults"
	"github.com/faultline-dev/faultline/checker/stats"
	"github.com/faultline-dev/faultline/history"
)

// During is what succeeded while a fault acted.
type During struct {
	faults.Span
	stats.Count
	// Nodes are the same counts by node.
	Nodes map[string]stats.Count `json:"nodes"`
	// Outage is the longest time within the fault without a success.
	Outage time.Duration `json:"longest_outage_ns"`
	// Recovery is the time from the fault's end to the first success invoked
	// after it, -1 without one.
	Recovery time.Duration `json:"recovery_ns"`
	Latency  stats.Latency `json:"latency"`
}

// Detail is what the checker found.
type Detail struct {
	OK     float64                `json:"ok"` // share of all attempts
	Nodes  map[string]stats.Count `json:"nodes"`
	Faults []During               `json:"faults"`
}

// New is the checker "availability".
func New() checker.Checker {
	return checker.Func("availability", func(_ context.Context, h *history.History) checker.Result {
		start := time.Now()
		d := Measure(h)
		r := checker.Result{Verdict: checker.Valid, Ops: h.Len(), Detail: d, Figures: map[string]float64{"ok_percent": 100 * d.OK}}
		r.Duration = time.Since(start)
		return r
	})
}

// Measure takes one pass over the operations for each fault.
func Measure(h *history.History) Detail {
	d := Detail{Nodes: map[string]stats.Count{}, Faults: []During{}}
	var all stats.Count
	nodes := make([]stats.Count, len(h.Nodes()))
	for i := range h.Len() {
		all.Add(h.Type(i))
		nodes[h.NodeID(i)].Add(h.Type(i))
	}
	if n := all.Total(); n > 0 {
		d.OK = float64(all.OK) / float64(n)
	}
	d.Nodes = named(h, nodes)
	for _, s := range faults.Spans(h) {
		d.Faults = append(d.Faults, during(h, s))
	}
	return d
}

func named(h *history.History, counts []stats.Count) map[string]stats.Count {
	m := map[string]stats.Count{}
	for n, c := range counts {
		if name := h.Nodes()[n]; name != "" && c.Total() > 0 {
			m[name] = c
		}
	}
	return m
}

func during(h *history.History, s faults.Span) During {
	d := During{Span: s, Recovery: -1}
	nodes := make([]stats.Count, len(h.Nodes()))
	var took, dones []time.Duration
	for i := range h.Len() {
		at, ok := h.Invoke(i), h.Type(i) == history.OK
		if at >= s.Start && at < s.End {
			d.Add(h.Type(i))
			nodes[h.NodeID(i)].Add(h.Type(i))
			if ok {
				took = append(took, h.Done(i)-at)
			}
		}
		if ok && h.Done(i) >= s.Start && h.Done(i) < s.End {
			dones = append(dones, h.Done(i))
		}
		if ok && at >= s.End && (d.Recovery < 0 || h.Done(i)-s.End < d.Recovery) {
			d.Recovery = h.Done(i) - s.End
		}
	}
	d.Nodes, d.Latency = named(h, nodes), stats.Quantiles(took)
	dones = append(dones, s.End)
	_ = stats.Quantiles(dones) // sorts
	from := s.Start
	for _, t := range dones {
		d.Outage = max(d.Outage, t-from)
		from = t
	}
	return d
}
