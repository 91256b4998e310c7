package sim

import (
	"fmt"
	"time"
)

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

// What a run may take of frames between nodes: a store whose messages beget ever more
// messages would never let time pass. A correct one sends some tens of frames for a
// request, and a few a second for each pair of nodes.
const (
	framesFree    = 100_000
	framesPair    = 500 // a simulated second
	framesRequest = 60  // for each node
)

// framesMost is how many frames may have arrived by now.
func (w *World) framesMost() uint64 {
	n := uint64(len(w.nodes))
	return framesFree + uint64(w.now/time.Second)*n*n*framesPair + w.requests*n*framesRequest //nolint:gosec // positive
}

// countFrame stops all nodes for good when too many have arrived.
func (w *World) countFrame() {
	w.frames++
	if w.ran || w.frames%1024 != 0 || w.frames <= w.framesMost() {
		return
	}
	w.ran = true
	w.violated(Violation{Name: "runaway", Nodes: []string{w.nodes[0].name}, Explain: fmt.Sprintf(
		"the nodes have sent %d frames for %d requests, and would send ever more: the run was stopped", w.frames, w.requests)})
	for _, n := range w.nodes {
		n.stop("stopped: the run goes on for ever")
	}
}

// step lets the next event happen; false if there is none.
func (w *World) step() bool {
	if len(w.events) == 0 {
		return false
	}
	e := w.events.pop()
	w.now = max(w.now, e.at)
	w.count++
	e.do.fire(w)
	return true
}
