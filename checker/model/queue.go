package model

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/faultline-dev/faultline/history"
)

// Codes of queue operations; A is the element, Nil where a dequeue found the
// queue empty.
const (
	CodeEnqueue uint8 = iota
	CodeDequeue
)

// Queue is a FIFO queue; a dequeue of an empty one returns nothing.
func Queue() Spec {
	return Spec{
		Name: "queue", Doc: "enqueue and dequeue, first in, first out",
		Ops: []string{"enqueue", "dequeue"},
		New: func(h *history.History) Machine {
			return &queue{h: h, ids: map[string]State{"": 0}, states: []string{""}}
		},
	}
}

// queue states are interned strings of element hashes, eight bytes each.
type queue struct {
	h      *history.History
	ids    map[string]State
	states []string
	bytes  int64
}

func (*queue) Init() State { return 0 }

func (m *queue) Bytes() int64 { return m.bytes }

func (m *queue) DescribeState(s State) string {
	return fmt.Sprintf("%d elements", len(m.states[s])/8)
}

func (m *queue) Decode(i int) (Op, Fate, error) {
	h := m.h
	switch f := h.F(i); f {
	case "enqueue":
		return Op{Code: CodeEnqueue, A: history.Value(HashValue(h, h.In(i)))}, fate(h.Type(i)), nil //nolint:gosec // bits
	case "dequeue":
		ft := fate(h.Type(i))
		if ft == Must && h.Out(i) == history.Nil {
			return Op{Code: CodeDequeue, Pure: true, A: history.Nil}, Must, nil
		}
		if ft == May {
			return Op{Code: CodeDequeue, A: history.None}, May, nil
		}
		return Op{Code: CodeDequeue, A: history.Value(HashValue(h, h.Out(i)))}, ft, nil //nolint:gosec // bits
	default:
		return Op{}, Drop, unknownOp("queue", f)
	}
}

func (m *queue) Step(s State, op Op) (State, bool) {
	text := m.states[s]
	var elem [8]byte
	binary.LittleEndian.PutUint64(elem[:], uint64(op.A)) //nolint:gosec // bits
	switch {
	case op.Code == CodeEnqueue:
		return m.intern(text + string(elem[:])), true
	case op.Pure:
		return s, text == ""
	case op.A == history.None: // of unknown result: whatever is first, if anything
		if text == "" {
			return s, true
		}
		return m.intern(text[8:]), true
	default:
		if !strings.HasPrefix(text, string(elem[:])) {
			return s, false
		}
		return m.intern(text[8:]), true
	}
}

// Line appends the elements of s, the first one first.
func (m *queue) Line(s State, elements []history.Value) []history.Value {
	for text := m.states[s]; text != ""; text = text[8:] {
		elements = append(elements, history.Value(binary.LittleEndian.Uint64([]byte(text[:8])))) //nolint:gosec // bits
	}
	return elements
}

// Lined machines hold elements that leave in the order in which they came, so that
// a search can see that one will not leave in time. Their operations are CodeEnqueue
// and CodeDequeue.
type Lined interface {
	// Line appends the elements of s to a slice, the first one first.
	Line(s State, elements []history.Value) []history.Value
}

func (m *queue) intern(t string) State {
	id, ok := m.ids[t]
	if !ok {
		id = State(len(m.states))
		m.states = append(m.states, t)
		m.ids[t] = id
		m.bytes += int64(len(t)) + 80
	}
	return id
}
