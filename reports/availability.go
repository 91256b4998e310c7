package reports

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// Availability is how much of what was asked succeeded.
type Availability struct {
	// OK is the share of all attempts that succeeded.
	OK     float64             `json:"ok"`
	Nodes  map[string]Count    `json:"nodes"`
	Faults []FaultAvailability `json:"faults"`
}

func (a *Availability) fill() {
	if a.Nodes == nil {
		a.Nodes = map[string]Count{}
	}
	a.Faults = filled(a.Faults)
}

// FaultAvailability is what succeeded while a fault acted, and how soon after it.
type FaultAvailability struct {
	ID     string        `json:"id,omitempty"`
	Fault  string        `json:"fault"`
	Start  time.Duration `json:"start_ns"`
	During Count         `json:"during"`
	// Outage is the longest time within the fault in which nothing succeeded.
	Outage time.Duration `json:"outage_ns"`
	// Recovery is the time from the fault's end to the first success of each of
	// the nodes that had one before it, the slowest of them; -1 where one never
	// came back before the next fault or the end.
	Recovery time.Duration `json:"recovery_ns"`
}

// Measure computes the availability of h under the given faults in one pass over
// its operations for each fault.
func Measure(h *history.History, faults []Fault) Availability {
	a := Availability{Nodes: map[string]Count{}}
	var all Count
	nodes := make([]Count, len(h.Nodes()))
	for i := range h.Len() {
		one := count(h.Type(i))
		all = all.plus(one)
		nodes[h.NodeID(i)] = nodes[h.NodeID(i)].plus(one)
	}
	a.OK = all.Share()
	for i, n := range h.Nodes() {
		if n != "" {
			a.Nodes[n] = nodes[i]
		}
	}
	for _, f := range faults {
		a.Faults = append(a.Faults, measureFault(h, f, faults))
	}
	return a
}

func measureFault(h *history.History, f Fault, all []Fault) FaultAvailability {
	end := f.End
	if end == 0 {
		end = lastTime(h)
	}
	m := FaultAvailability{ID: f.ID, Fault: f.Fault, Start: f.Start, Recovery: -1}
	var done []time.Duration // successes during the fault
	until := nextStart(h, all, end)
	before, back := make([]bool, len(h.Nodes())), make([]time.Duration, len(h.Nodes()))
	for i := range h.Len() {
		inv, node := h.Invoke(i), h.NodeID(i)
		if inv >= f.Start && inv < end {
			m.During = m.During.plus(count(h.Type(i)))
		}
		if h.Type(i) != history.OK {
			continue
		}
		d := h.Done(i)
		switch {
		case d < f.Start:
			before[node] = true
		case d < end:
			done = append(done, d)
		case inv >= end && d < until && (back[node] == 0 || d < back[node]):
			back[node] = d
		}
	}
	m.Outage = longestGap(done, f.Start, end)
	m.Recovery = slowest(before, back, end)
	return m
}

// slowest is the time from end until the last of the nodes seen before was back,
// -1 if one was not.
func slowest(before []bool, back []time.Duration, end time.Duration) time.Duration {
	worst, seen := time.Duration(0), false
	for i, b := range before {
		switch {
		case !b:
		case back[i] == 0:
			return -1
		default:
			seen = true
			worst = max(worst, back[i]-end)
		}
	}
	if !seen {
		return -1
	}
	return worst
}

func nextStart(h *history.History, all []Fault, after time.Duration) time.Duration {
	next := lastTime(h) + 1
	for _, f := range all {
		if f.Start > after {
			next = min(next, f.Start)
		}
	}
	return next
}

func longestGap(done []time.Duration, start, end time.Duration) time.Duration {
	slices.Sort(done)
	longest, last := time.Duration(0), start
	for _, d := range done {
		longest = max(longest, d-last)
		last = d
	}
	return max(longest, end-last)
}

// lastTime is the time of the last event of h.
func lastTime(h *history.History) time.Duration {
	var last time.Duration
	for i := range h.Len() {
		last = max(last, h.Invoke(i))
		if d := h.Done(i); d != history.Forever {
			last = max(last, d)
		}
	}
	if n := len(h.Faults); n > 0 {
		last = max(last, h.Faults[n-1].Time)
	}
	return last
}

// FaultsOf folds the nemesis' events of h into faults, in the order of their
// starts. The events of one fault share an id, or else f and targets. A probe
// whose value has "bit": true proves that the fault took effect, a gone event
// with "healed": true that it was taken back.
func FaultsOf(h *history.History) []Fault {
	var faults []Fault
	open := map[string]int{}
	for _, op := range h.Faults {
		v, ok := op.Value.(map[string]any)
		if !ok {
			continue
		}
		id, _ := v["id"].(string)
		if id == "" && v["id"] != nil {
			id = fmt.Sprint(v["id"])
		}
		at := op.F + " " + id
		if id == "" {
			at += fmt.Sprint(v["targets"])
		}
		phase, _ := v["phase"].(string)
		i, known := open[at]
		if phase == "start" || !known {
			if known && phase == "start" && op.Type != history.Invoke {
				faults[i].complete(phase, op, v)
				continue
			}
			faults = append(faults, Fault{ID: id, Fault: op.F, Start: op.Time})
			i = len(faults) - 1
			open[at] = i
		}
		faults[i].complete(phase, op, v)
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return cmp.Compare(a.Start, b.Start) })
	return faults
}

// complete takes one event of the fault in.
func (f *Fault) complete(phase string, op history.Op, v map[string]any) {
	if f.Targets == nil {
		f.Targets = texts(v["targets"])
	}
	yes := func(name string) bool { b, _ := v[name].(bool); return b }
	switch phase {
	case "probe":
		f.Bit = f.Bit || yes("bit")
	case "heal":
		f.End = op.Time
	case "gone":
		f.Healed = f.Healed || yes("healed")
		if f.End == 0 {
			f.End = op.Time
		}
	}
	if e := v["evidence"]; e != nil {
		if phase == "heal" || phase == "gone" {
			f.Gone = e
		} else {
			f.Evidence = e
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
