package reports

import (
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker/faults"
	"github.com/faultline-dev/faultline/history"
)

// Availability is how much of what was asked succeeded.
type Availability struct {
	// OK is the share of all attempts that succeeded.
	OK float64 `json:"ok"`
	// Latency is that of all successes.
	Latency Latency             `json:"latency"`
	Nodes   map[string]Count    `json:"nodes"`
	Faults  []FaultAvailability `json:"faults"`
}

func (a *Availability) fill() {
	if a.Nodes == nil {
		a.Nodes = map[string]Count{}
	}
	a.Faults = filled(a.Faults)
}

// Latency is how long operations took that succeeded; 0 where none did.
type Latency struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

// latencyOf sorts d.
func latencyOf(d []time.Duration) Latency {
	if len(d) == 0 {
		return Latency{}
	}
	slices.Sort(d)
	return Latency{d[len(d)/2], d[len(d)*99/100]}
}

// FaultAvailability is what succeeded while a fault acted, and how soon after it.
type FaultAvailability struct {
	ID     string        `json:"id,omitempty"`
	Fault  string        `json:"fault"`
	Start  time.Duration `json:"start_ns"`
	During Count         `json:"during"`
	// Latency is that of the operations that were called within the fault and
	// succeeded.
	Latency Latency `json:"latency"`
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
	took := make([]time.Duration, 0, h.Len())
	for i := range h.Len() {
		one := count(h.Type(i))
		if one.OK > 0 {
			took = append(took, h.Done(i)-h.Invoke(i))
		}
		all = all.plus(one)
		nodes[h.NodeID(i)] = nodes[h.NodeID(i)].plus(one)
	}
	a.OK, a.Latency = all.Share(), latencyOf(took)
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
		end = faults.Last(h)
	}
	m := FaultAvailability{ID: f.ID, Fault: f.Fault, Start: f.Start, Recovery: -1}
	var done, took []time.Duration // successes during the fault, and of those called in it
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
		if inv >= f.Start && inv < end {
			took = append(took, d-inv)
		}
		switch {
		case d < f.Start:
			before[node] = true
		case d < end:
			done = append(done, d)
		case inv >= end && d < until && (back[node] == 0 || d < back[node]):
			back[node] = d
		}
	}
	m.Latency = latencyOf(took)
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
	next := faults.Last(h) + 1
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

// FaultsOf are the faults of h, in the order of their starts.
func FaultsOf(h *history.History) []Fault {
	var all []Fault
	for _, s := range faults.Spans(h) {
		f := Fault{
			ID: s.ID, Fault: s.Fault, Targets: s.Targets, Start: s.Start, End: s.End,
			Bit: s.Bit, Healed: s.Healed, Evidence: s.Evidence, Gone: s.Gone,
		}
		if s.Irrelevant {
			f.Relevant = new(bool)
		}
		if !s.Ended {
			f.End = 0
		}
		all = append(all, f)
	}
	return all
}
