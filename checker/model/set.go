package model

import (
	"fmt"

	"github.com/faultline-dev/faultline/history"
)

// Codes of set operations. A is the element's number, or for CodeReadSet the
// hash of all elements; B is True where CodeContains saw it.
const (
	CodeAdd uint8 = iota
	CodeRemove
	CodeContains
	CodeReadSet
)

// Set is a set with add, remove, contains and read (all elements, as an array).
func Set() Spec {
	return Spec{
		Name: "set", Doc: "add, remove, contains and read of a set",
		Ops: []string{"add", "remove", "contains", "read"},
		New: func(h *history.History) Machine { return newSet(h) },
	}
}

// set states are nodes of a tree, each one element away from its parent; two
// nodes are one state when the exclusive or of their elements' 64-bit hashes is
// the same (for 10^6 states a collision has probability below 10^-7).
type set struct {
	h     *history.History
	ids   map[uint64]State
	nodes []setNode
}

type setNode struct {
	hash   uint64
	parent State
	elem   uint64
	has    bool
}

func newSet(h *history.History) *set {
	return &set{h: h, ids: map[uint64]State{0: 0}, nodes: []setNode{{}}}
}

func (*set) Init() State { return 0 }

func (m *set) Bytes() int64 { return int64(len(m.nodes)) * 72 }

func (m *set) DescribeState(s State) string {
	n := 0
	seen := map[uint64]bool{}
	for s != 0 {
		if nd := m.nodes[s]; !seen[nd.elem] {
			seen[nd.elem] = true
			if nd.has {
				n++
			}
		}
		s = m.nodes[s].parent
	}
	return fmt.Sprintf("%d elements", n)
}

func (m *set) Decode(i int) (Op, Fate, error) {
	h := m.h
	elem := func(v history.Value) history.Value { return history.Value(HashValue(h, v)) } //nolint:gosec // bits
	switch f := h.F(i); f {
	case "add":
		return Op{Code: CodeAdd, A: elem(h.In(i))}, fate(h.Type(i)), nil
	case "remove":
		return Op{Code: CodeRemove, A: elem(h.In(i))}, fate(h.Type(i)), nil
	case "contains":
		return Op{Code: CodeContains, Pure: true, A: elem(h.In(i)), B: h.Out(i)}, pureFate(h.Type(i)), nil
	case "read":
		if h.Type(i) != history.OK {
			return Op{}, Drop, nil
		}
		list, ok := h.Go(h.Out(i)).([]any)
		if !ok && h.Out(i) != history.Nil {
			return Op{}, Drop, fmt.Errorf("event %d: a read of a set must return an array", h.Index(i))
		}
		var sum uint64
		for _, e := range list {
			sum ^= HashAny(e)
		}
		return Op{Code: CodeReadSet, Pure: true, A: history.Value(sum)}, Must, nil //nolint:gosec // bits
	default:
		return Op{}, Drop, unknownOp("set", f)
	}
}

func (m *set) has(s State, elem uint64) bool {
	for s != 0 {
		n := &m.nodes[s]
		if n.elem == elem {
			return n.has
		}
		s = n.parent
	}
	return false
}

func (m *set) Step(s State, op Op) (State, bool) {
	elem := uint64(op.A) //nolint:gosec // bits
	switch op.Code {
	case CodeContains:
		return s, m.has(s, elem) == (op.B == history.True)
	case CodeReadSet:
		return s, m.nodes[s].hash == elem
	}
	add := op.Code == CodeAdd
	if m.has(s, elem) == add {
		return s, true
	}
	hash := m.nodes[s].hash ^ elem
	id, ok := m.ids[hash]
	if !ok {
		id = State(len(m.nodes))
		m.ids[hash] = id
		m.nodes = append(m.nodes, setNode{hash, s, elem, add})
	}
	return id, true
}

// HashValue is a 64-bit hash of v that depends on its content alone.
func HashValue(h *history.History, v history.Value) uint64 {
	if n, ok := v.IsInt(); ok {
		return mix(uint64(n)) //nolint:gosec // bits
	}
	return HashAny(h.Go(v))
}

// HashAny is HashValue of a value outside a history.
func HashAny(v any) uint64 {
	if n, ok := v.(int64); ok {
		return mix(uint64(n)) //nolint:gosec // bits
	}
	x := uint64(0x9e3779b97f4a7c15)
	for _, c := range []byte(fmt.Sprintf("%T%v", v, v)) {
		x = mix(x ^ uint64(c))
	}
	return x
}

// mix is splitmix64's finalizer.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
