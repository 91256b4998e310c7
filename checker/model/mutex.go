package model

import (
	"fmt"

	"github.com/faultline-dev/faultline/history"
)

// Codes of mutex operations; A is the owner, 0 in a plain mutex.
const (
	CodeAcquire uint8 = iota
	CodeRelease
)

// Mutex is a lock without owners: acquire needs it free, release needs it held.
func Mutex() Spec {
	return Spec{
		Name: "mutex", Doc: "acquire and release of a lock that knows no owners",
		Ops: []string{"acquire", "release"},
		New: func(h *history.History) Machine { return &mutex{h: h} },
	}
}

// OwnerMutex is a lock that only its owner may release. The owner is the one
// that the operation names, {"owner":…}, else the process.
func OwnerMutex() Spec {
	return Spec{
		Name: "owner-mutex", Doc: "acquire and release of a lock that only its owner may release",
		Ops: []string{"acquire", "release"},
		New: func(h *history.History) Machine {
			return &mutex{h: h, owners: map[string]State{}, seen: map[history.Value]State{}, processes: map[history.Process]State{}}
		},
	}
}

type mutex struct {
	h      *history.History
	owners map[string]State // nil: a plain mutex
	names  []string
	// seen are owners by the value that names them, processes those without one:
	// a history holds equal values once.
	seen      map[history.Value]State
	processes map[history.Process]State
}

func (*mutex) Init() State { return 0 }

func (m *mutex) Bytes() int64 { return int64(len(m.names))*80 + int64(len(m.seen)+len(m.processes))*48 }

func (m *mutex) DescribeState(s State) string {
	switch {
	case s == 0:
		return "free"
	case m.owners == nil:
		return "held"
	}
	return "held by " + m.names[s-1]
}

func (m *mutex) Decode(i int) (Op, Fate, error) {
	op := Op{A: 1}
	switch f := m.h.F(i); f {
	case "acquire":
		op.Code = CodeAcquire
	case "release":
		op.Code = CodeRelease
	default:
		return Op{}, Drop, unknownOp("mutex", f)
	}
	ft := fate(m.h.Type(i))
	if m.owners != nil && ft != Drop {
		op.A = history.Value(m.owner(i))
	}
	return op, ft, nil
}

// owner is the number of who operation i acts for.
func (m *mutex) owner(i int) State {
	for _, v := range []history.Value{m.h.Out(i), m.h.In(i)} {
		if v == history.None || v == history.Nil || v.IsPair() {
			continue
		}
		id, ok := m.seen[v]
		if !ok {
			if name, named := ownerIn(m.h, v); named {
				id = m.named(name)
			}
			m.seen[v] = id
		}
		if id != 0 {
			return id
		}
	}
	p := m.h.Process(i)
	id, ok := m.processes[p]
	if !ok {
		id = m.named(fmt.Sprintf("process %d", p))
		m.processes[p] = id
	}
	return id
}

// named is the number of an owner, from 1.
func (m *mutex) named(name string) State {
	id, ok := m.owners[name]
	if !ok {
		m.names = append(m.names, name)
		id = State(len(m.names))
		m.owners[name] = id
	}
	return id
}

func (*mutex) Step(s State, op Op) (State, bool) {
	if op.Code == CodeAcquire {
		return State(op.A), s == 0
	}
	return 0, s == State(op.A)
}

// ownerOf is the owner that operation i names in its completion or invocation.
func ownerOf(h *history.History, i int) (string, bool) {
	for _, v := range []history.Value{h.Out(i), h.In(i)} {
		if name, ok := ownerIn(h, v); ok {
			return name, true
		}
	}
	return "", false
}

func ownerIn(h *history.History, v history.Value) (string, bool) {
	if m, ok := h.Go(v).(map[string]any); ok {
		if o, ok := m["owner"]; ok {
			return fmt.Sprint(o), true
		}
	}
	return "", false
}

func hasOwners(h *history.History) bool {
	for i := range h.Len() {
		if _, ok := ownerOf(h, i); ok {
			return true
		}
	}
	return false
}

// Owner is who operation i acts for: the owner it names, else its process.
func Owner(h *history.History, i int) string {
	if o, ok := ownerOf(h, i); ok {
		return o
	}
	return fmt.Sprintf("process %d", h.Process(i))
}
