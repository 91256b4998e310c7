// Package faults reads a history's nemesis events as spans: what was broken,
// when, whether it bit and whether it was healed.
package faults

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// Span is one fault from its start to its end.
type Span struct { //nolint:recvcheck // a value, folded in place
	ID      string        `json:"id,omitempty"`
	Fault   string        `json:"fault"`
	Targets []string      `json:"targets"`
	Start   time.Duration `json:"start_ns"`
	// End is when it was healed, or the history's end where Ended is false.
	End   time.Duration `json:"end_ns"`
	Ended bool          `json:"-"`
	// Bit says that a probe saw it take effect, Healed that one saw it gone.
	Bit    bool `json:"bit"`
	Healed bool `json:"healed"`
	// Irrelevant says that it took effect on something that nothing reads.
	Irrelevant bool `json:"-"`
	// Outage says that the fault's evidence measured one: a quorum was taken.
	Outage bool `json:"outage,omitempty"`
	// Evidence is what the probes measured, Gone what was measured after healing.
	Evidence any `json:"-"`
	Gone     any `json:"-"`
}

// Kind is the fault's name without its options: partition of partition:one.
func (s Span) Kind() string {
	kind, _, _ := strings.Cut(s.Fault, ":")
	return kind
}

// Spans folds the nemesis' events of h, in the order of their starts. Events of
// one fault share an id, or else the name and the targets. A probe that says
// "bit": true proves that it took effect, a gone event with "healed": true that
// it was taken back.
func Spans(h *history.History) []Span {
	var spans []Span
	open := map[string]int{}
	for _, op := range h.Faults {
		v, ok := op.Value.(map[string]any)
		if !ok {
			continue
		}
		key := op.F + fmt.Sprint(" ", v["targets"])
		id := ""
		if v["id"] != nil {
			id = fmt.Sprint(v["id"])
			key = op.F + " " + id
		}
		i, known := open[key]
		if !known || v["phase"] == "start" && op.Type == history.Invoke {
			spans = append(spans, Span{ID: id, Fault: op.F, Targets: texts(v["targets"]), Start: op.Time, End: -1})
			i = len(spans) - 1
			open[key] = i
		}
		spans[i].take(op, v)
	}
	end := Last(h)
	for i := range spans {
		if spans[i].Ended = spans[i].End >= 0; !spans[i].Ended {
			spans[i].End = end
		}
	}
	sort.SliceStable(spans, func(i, j int) bool { return spans[i].Start < spans[j].Start })
	return spans
}

func (s *Span) take(op history.Op, v map[string]any) {
	yes := func(m map[string]any, name string) bool { b, _ := m[name].(bool); return b }
	if s.Targets == nil {
		s.Targets = texts(v["targets"])
	}
	if e, ok := v["evidence"].(map[string]any); ok && yes(e, "outage") || yes(v, "outage") {
		s.Outage = true
	}
	if e := v["evidence"]; e != nil {
		if v["phase"] == "heal" || v["phase"] == "gone" {
			s.Gone = e
		} else {
			s.Evidence = e
		}
	}
	switch v["phase"] {
	case "probe":
		s.Bit = s.Bit || yes(v, "bit")
		s.Irrelevant = v["relevant"] == false
	case "heal":
		s.End = op.Time
	case "gone":
		s.Healed = s.Healed || yes(v, "healed")
		if s.End < 0 {
			s.End = op.Time
		}
	}
}

func texts(v any) []string {
	list, _ := v.([]any)
	var s []string
	for _, e := range list {
		s = append(s, fmt.Sprint(e))
	}
	return s
}

// Last is the time of the last event of h.
func Last(h *history.History) time.Duration {
	var t time.Duration
	for i := range h.Len() {
		t = max(t, h.Invoke(i))
		if d := h.Done(i); d != history.Forever {
			t = max(t, d)
		}
	}
	for _, f := range h.Faults {
		t = max(t, f.Time)
	}
	return t
}
