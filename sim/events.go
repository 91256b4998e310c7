package sim

import "time"

// action is what happens at an event's time.
type action interface{ fire(w *World) }

// event is an action at a moment. Those of one moment come in the order in which
// they were scheduled.
type event struct {
	at  time.Duration
	seq uint64
	do  action
}

func (e *event) before(o *event) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	return e.seq < o.seq
}

// queue is a binary heap of events, the least first.
type queue []event

func (q *queue) push(e event) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
	*q = h
}

func (q *queue) pop() event {
	h := *q
	least, last := h[0], h[len(h)-1]
	h[len(h)-1] = event{}
	h = h[:len(h)-1]
	*q = h
	if len(h) == 0 {
		return least
	}
	i := 0
	for {
		kid := 2*i + 1
		if kid >= len(h) {
			break
		}
		if r := kid + 1; r < len(h) && h[r].before(&h[kid]) {
			kid = r
		}
		if !h[kid].before(&last) {
			break
		}
		h[i] = h[kid]
		i = kid
	}
	h[i] = last
	return least
}

// after schedules an action.
func (w *World) after(d time.Duration, do action) { w.at(w.now+max(d, 0), do) }

func (w *World) at(t time.Duration, do action) {
	w.seq++
	w.events.push(event{max(t, w.now), w.seq, do})
}

// eventsMax bounds a run: a store whose messages beget ever more messages would
// never let time pass. A run of 10 s has some ten thousand.
const eventsMax = 3_000_000

// runAway stops all nodes for good.
func (w *World) runAway() {
	w.violated(Violation{Name: "runaway", Nodes: []string{w.nodes[0].name}, Explain: "the nodes send ever more messages: the run was stopped after so many events that it would never have ended"})
	for _, n := range w.nodes {
		n.stop("stopped: the run goes on for ever")
	}
}

// step lets the next event happen; false if there is none.
func (w *World) step() bool {
	if len(w.events) == 0 {
		return false
	}
	if w.count == eventsMax {
		w.runAway()
	}
	e := w.events.pop()
	w.now = max(w.now, e.at)
	w.count++
	e.do.fire(w)
	return true
}
