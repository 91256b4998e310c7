// Package lock judges the histories of locks and of the data that they guard.
//
// What counts as an anomaly follows from what the lock's recipe promises, since
// any lock that ends by a lease can be held twice in time. Whatever the promise,
// the figures say how often and for how long holds overlapped, and how many
// updates of the guarded data were lost.
//
// Only certain holds count. One begins when its acquire has returned, and ends
// at the earliest of
//
//   - the invocation of its release: of the last one that succeeded; if none did, of
//     the first, since from then on the holder relies on it no more;
//   - the invocation of a release that saw another holder;
//   - the holder learning that it no longer holds it (a lost operation), or the end of
//     its process, that is the last completion of the session; of either, its own
//     deadline counts if that was sooner, and then the end of its last update if that
//     was later: a holder that heeds its lease need not have come to say so;
//   - under a promise that a lease bounds, its own deadline by its own clock: the
//     invocation of the acquire, plus the lease, less what clocks may be off.
//
// An acquire of unknown fate is a hold for nobody: the session has ended with it.
// Two events with one stamp are concurrent, so holds that only touch do not
// overlap. Hence no order of grants and releases within the operations' intervals
// explains an overlap of certain holds: the alarm is proof.
package lock

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// Promise is what a lock's recipe promises its users.
type Promise string

const (
	// Exclusion means that no two hold the lock at a time. Any overlap is a double-hold, any
	// lost update an anomaly.
	Exclusion Promise = "exclusion"
	// WithinLease means that no two hold it before the earlier one's lease has run out by
	// its own clock.
	WithinLease Promise = "exclusion-within-lease"
	// FencedData means that holds may overlap, but no update of the guarded data is lost, and
	// none is taken under a token older than one already used.
	FencedData Promise = "fenced-data"
)

// The kinds of operation.
const (
	Acquire = "acquire"
	Release = "release"
	Update  = "update"
	Lost    = "lost"
)

// Anomalies.
const (
	DoubleHold      = "double-hold"
	FenceRegression = "fence-regression"
	LostUpdate      = "lost-update-under-lock"
)

// Options say what is promised.
type Options struct {
	// Promise is Exclusion unless set.
	Promise Promise
	// Drift is by what share a lease may end early because clocks run at different
	// rates, Clocks by how much because they show different times.
	Drift  float64
	Clocks time.Duration
	// MaxAnomalies bounds how many of each name are told; 16 unless set.
	MaxAnomalies int
}

// Overlap is two holds at a time.
type Overlap struct {
	Key    string        `json:"key"`
	Owners [2]string     `json:"owners"` // the earlier holder first
	Start  time.Duration `json:"start_ns"`
	Length time.Duration `json:"length_ns"`
	// Expired says that the earlier holder's lease had run out by its own clock.
	Expired bool `json:"expired"`
}

// Loss is a lost update of the guarded data.
type Loss struct {
	Key string `json:"key"`
	// Owners are who wrote, the one whose write is lost first, as far as that is known:
	// both replaced the same value.
	Owners [2]string `json:"owners"`
	// Wrote are the values that they wrote.
	Wrote [2]string `json:"wrote"`
	// At is when both writes had been acknowledged.
	At time.Duration `json:"at_ns"`
}

const (
	// maxOverlaps bounds the overlaps that Detail lists, maxLosses the losses.
	maxOverlaps = 100
	maxLosses   = 1000
)

// Detail is what the figures were counted from.
type Detail struct {
	Promise  Promise   `json:"promise"`
	Overlaps []Overlap `json:"overlaps,omitempty"` // the first of them
	Losses   []Loss    `json:"losses,omitempty"`   // likewise
}

// New is the checker "lock".
func New(o Options) checker.Checker {
	if o.Promise == "" {
		o.Promise = Exclusion
	}
	return checker.Func("lock", func(_ context.Context, h *history.History) checker.Result { return judge(h, o) })
}

// judgement is the state of a check.
type judgement struct {
	*checker.Findings

	h   *history.History
	o   Options
	ops []grant // what the history says, decoded
	// ends are the last completions of processes and what completed.
	ends map[history.Process]moment

	detail Detail
	length time.Duration // of all overlaps
}

// moment is a time and the operation that it belongs to.
type moment struct {
	at time.Duration
	op int
}

// judge decides h. O(n log n) for a bounded number of holds at a time.
func judge(h *history.History, o Options) checker.Result {
	found, ok := checker.Find(h, "holds", o.MaxAnomalies, "holds", "overlaps", "overlaps_within_lease", "overlap_ms_max", "lost_updates", "lost_updates_percent", "fence_regressions", "updates_refused")
	if !ok {
		return found.Done()
	}
	j := &judgement{Findings: found, h: h, o: o, detail: Detail{Promise: o.Promise}}
	j.read()
	for key, ops := range j.byKey() {
		holds := j.holds(ops)
		j.overlaps(h.Keys()[key], holds)
		j.fences(h.Keys()[key], ops)
		j.updates(h.Keys()[key], ops, holds)
	}
	return j.finish()
}

// byKey are the operations of each key.
func (j *judgement) byKey() [][]grant {
	keys := make([][]grant, len(j.h.Keys()))
	for i, g := range j.ops {
		k := j.h.KeyID(i)
		keys[k] = append(keys[k], g)
	}
	return keys
}

// finish rounds the result off.
func (j *judgement) finish() checker.Result {
	f := j.Figures
	f["overlap_ms_sum"] = ms(j.length)
	if n := f["updates"]; n > 0 {
		f["lost_updates_percent"] = 100 * f["lost_updates"] / n
	}
	slices.SortStableFunc(j.detail.Overlaps, func(a, b Overlap) int { return cmp.Compare(a.Start, b.Start) })
	if f["holds"] == 0 && j.Verdict == checker.Valid {
		j.Unknown("nobody ever held a lock")
	}
	slices.SortStableFunc(j.detail.Losses, func(a, b Loss) int { return cmp.Compare(a.At, b.At) })
	j.Detail = j.detail
	return j.Done()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// who is the process of an operation, where it was, and the name under which it
// held the lock.
func (j *judgement) who(g grant) string {
	who := fmt.Sprintf("process %d", j.h.Process(g.op))
	name := ""
	if g.owner != who {
		name = fmt.Sprintf(" (as %s)", g.owner)
	}
	if node := j.h.Nodes()[j.h.NodeID(g.op)]; node != "" {
		who += " at " + node
	}
	return who + name
}
