package reports

import (
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/faults"
	"github.com/faultline-dev/faultline/history"
)

// maxWitness bounds the operations that are drawn of a witness.
const maxWitness = 40

// witness is an anomaly with its operations looked up, ready to be drawn.
type witness struct {
	anomaly Anomaly
	number  int // from 1
	spans   []span
	arrows  [][2]int // pairs of spans, from and to
	left    int      // operations left out of the drawing
	from    time.Duration
	to      time.Duration // the last moment known
}

// span is one operation of a witness.
type span struct {
	history.Operation
	culprit bool // where the contradiction shows
	open    bool // nobody knows when, or whether, it ended
	// held is until when the process may have believed to hold the lock that it
	// acquired; 0 for other operations.
	held time.Duration
}

// newWitness looks the operations of an anomaly up; those that the history does
// not have are left out.
func newWitness(h *history.History, a Anomaly, number int) witness {
	w := witness{anomaly: a, number: number}
	at := map[int]int{}
	for _, index := range a.Ops {
		i := -1
		if h != nil {
			i = h.At(index)
		}
		if i < 0 || len(w.spans) >= maxWitness {
			w.left++
			continue
		}
		o := h.Op(i)
		at[index] = len(w.spans)
		w.spans = append(w.spans, span{Operation: o, open: o.Return == history.Forever, held: heldUntil(h, i)})
	}
	if len(w.spans) == 0 {
		return w
	}
	for _, f := range a.Forces {
		from, ok := at[f[0]]
		to, too := at[f[1]]
		if ok && too {
			w.arrows = append(w.arrows, [2]int{from, to})
		}
	}
	w.spans[culprit(w.spans, a.Anomaly)].culprit = true
	w.from, w.to = w.bounds()
	return w
}

// culprit is the operation with which the contradiction came into the world: the
// one that completed at the anomaly's time, or else the last to complete.
func culprit(spans []span, a checker.Anomaly) int {
	last := 0
	for i, s := range spans {
		if a.Time > 0 && s.Done == a.Time {
			return i
		}
		if !s.open && (spans[last].open || s.Done >= spans[last].Done) {
			last = i
		}
	}
	return last
}

func (w *witness) bounds() (from, to time.Duration) {
	from = w.spans[0].Invoke
	for _, s := range w.spans {
		from = min(from, s.Invoke)
		to = max(to, s.Invoke, s.held)
		if !s.open {
			to = max(to, s.Return)
		}
	}
	return from, to
}

// moments are the times at which something of the witness begins or ends,
// ascending.
func (w *witness) moments() []time.Duration {
	var t []time.Duration
	for _, s := range w.spans {
		t = append(t, s.Invoke)
		if !s.open {
			t = append(t, s.Return)
		}
		if s.held > 0 {
			t = append(t, s.held)
		}
	}
	slices.Sort(t)
	return slices.Compact(t)
}

// during are the faults that acted at some time in [from, to].
func during(faults []Fault, from, to time.Duration) []Fault {
	var d []Fault
	for _, f := range faults {
		if f.Start <= to && (f.End == 0 || f.End >= from) {
			d = append(d, f)
		}
	}
	return d
}

// heldUntil is when the hold that operation i began was given up: its process
// called release, learnt of the loss, or ended. 0 where i acquired nothing.
func heldUntil(h *history.History, i int) time.Duration {
	if h.F(i) != "acquire" || h.Type(i) != history.OK {
		return 0
	}
	for j := i + 1; j < h.Len(); j++ {
		if h.Process(j) != h.Process(i) {
			continue
		}
		if f := h.F(j); (f == "release" || f == "lost") && h.KeyID(j) == h.KeyID(i) {
			return h.Invoke(j)
		}
		if h.Type(j) == history.Info && h.Done(j) != history.Forever {
			return h.Done(j)
		}
	}
	return faults.Last(h)
}
