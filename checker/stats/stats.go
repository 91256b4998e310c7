// Package stats counts how operations ended and how long they took, by kind and
// by node. Its verdict is unknown where a kind of operation never succeeded.
package stats

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// Count is how operations ended.
type Count struct { //nolint:recvcheck // a value, counted up in place
	OK   int `json:"ok"`
	Fail int `json:"fail"`
	Info int `json:"info"`
}

// Total is the number of attempts.
func (c Count) Total() int { return c.OK + c.Fail + c.Info }

// Add counts one operation that ended as t.
func (c *Count) Add(t history.Type) {
	switch t {
	case history.OK:
		c.OK++
	case history.Fail:
		c.Fail++
	case history.Info, history.Invoke:
		c.Info++
	}
}

// Latency is the quantiles of the time from invocation to completion, of
// operations that were OK.
type Latency struct {
	Median time.Duration `json:"median_ns"`
	P99    time.Duration `json:"p99_ns"`
	Max    time.Duration `json:"max_ns"`
}

// Group is the figures of some operations.
type Group struct {
	Count
	Latency Latency `json:"latency"`
}

// Detail is what the checker found.
type Detail struct {
	All    Group            `json:"all"`
	ByF    map[string]Group `json:"by_f"`
	ByNode map[string]Group `json:"by_node"`
	// Rate is successes a second.
	Rate float64 `json:"ok_per_second"`
}

// New is the checker "stats".
func New() checker.Checker {
	return checker.Func("stats", func(_ context.Context, h *history.History) checker.Result {
		start := time.Now()
		r := check(h)
		r.Duration = time.Since(start)
		return r
	})
}

func check(h *history.History) checker.Result {
	r := checker.Result{Verdict: checker.Valid, Ops: h.Len()}
	d := Detail{ByF: map[string]Group{}, ByNode: map[string]Group{}}
	var all []int
	byF, byNode := make([][]int, len(h.Fs())), make([][]int, len(h.Nodes()))
	var end time.Duration
	for i := range h.Len() {
		all = append(all, i)
		byF[h.FID(i)] = append(byF[h.FID(i)], i)
		byNode[h.NodeID(i)] = append(byNode[h.NodeID(i)], i)
		if t := h.Done(i); t != history.Forever {
			end = max(end, t)
		}
	}
	d.All = group(h, all)
	var never []string
	for f, ops := range byF {
		g := group(h, ops)
		d.ByF[h.Fs()[f]] = g
		if g.OK == 0 {
			never = append(never, h.Fs()[f])
		}
	}
	for n, ops := range byNode {
		if name := h.Nodes()[n]; name != "" {
			d.ByNode[name] = group(h, ops)
		}
	}
	if end > 0 {
		d.Rate = float64(d.All.OK) / end.Seconds()
	}
	if len(never) > 0 {
		slices.Sort(never)
		r.Verdict, r.Reason = checker.Unknown, "these operations never succeeded: "+strings.Join(never, ", ")
	}
	if h.Len() == 0 {
		r.Verdict, r.Reason = checker.Unknown, "the history has no operations"
	}
	r.Detail = d
	r.Figures = map[string]float64{
		"ok_percent": percent(d.All.OK, d.All.Total()), "ok_per_second": d.Rate,
		"latency_ms_median": millis(d.All.Latency.Median), "latency_ms_p99": millis(d.All.Latency.P99), "latency_ms_max": millis(d.All.Latency.Max),
	}
	return r
}

func group(h *history.History, ops []int) Group {
	var g Group
	var ds []time.Duration
	for _, i := range ops {
		g.Add(h.Type(i))
		if h.Type(i) == history.OK {
			ds = append(ds, h.Done(i)-h.Invoke(i))
		}
	}
	g.Latency = Quantiles(ds)
	return g
}

// Quantiles sorts ds and reads its median, 99th percentile and maximum.
func Quantiles(ds []time.Duration) Latency {
	if len(ds) == 0 {
		return Latency{}
	}
	slices.Sort(ds)
	return Latency{ds[(len(ds)-1)/2], ds[(len(ds)-1)*99/100], ds[len(ds)-1]}
}

func percent(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return 100 * float64(a) / float64(b)
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// String is "12 ok, 3 failed, 1 unknown".
func (c Count) String() string {
	return fmt.Sprintf("%d ok, %d failed, %d unknown", c.OK, c.Fail, c.Info)
}
