package model

import (
	"sort"
	"strconv"
	"strings"

	"github.com/faultline-dev/faultline/history"
)

// KV is one key of a key-value store: get, put, append, delete, and compare and
// set. An absent key and an empty string are the same.
func KV() Spec {
	return Spec{
		Name: "kv", Doc: "get, put, append, delete and cas on the keys of a store",
		Ops: []string{"get", "put", "append", "delete", "cas", "read", "write"},
		New: func(h *history.History) Machine {
			return &kv{h: h, canon: newCanon(h), ids: map[string]history.Value{"": history.Nil}, steps: map[[2]history.Value]history.Value{}}
		},
	}
}

// kv states are Values; strings are interned by text, since appending makes new
// ones that are in no column.
type kv struct {
	h     *history.History
	canon *canon
	ids   map[string]history.Value
	texts []string
	steps map[[2]history.Value]history.Value // appends already made
	bytes int64
	// reads are the texts read, sorted once decoding is over. All texts of which
	// no read shows an extension are one state, unseen: until it is replaced, no
	// read can succeed in any of them.
	reads  []string
	sorted bool
}

const codeAppend = CodeNot + 1

// unseen is no text that any read shows the beginning of.
const unseen = history.None

func (*kv) Init() State { return State(history.Nil) }

func (m *kv) Bytes() int64 { return m.bytes + int64(len(m.steps))*48 }

func (m *kv) DescribeState(s State) string {
	if s == State(unseen) {
		return "something that nobody read"
	}
	if t, ok := m.text(history.Value(s)); ok {
		return strconv.Quote(t)
	}
	return Text(m.h, history.Value(s))
}

// own is the Value of the i-th interned string: negative, with the tag of a
// pair, which no Value of a history is.
func own(i int) history.Value { return history.Value(-i-1)<<2 | 2 }

func (m *kv) text(v history.Value) (string, bool) {
	if v < 0 && v&3 == 2 {
		return m.texts[-(v>>2)-1], true
	}
	return "", v == history.Nil
}

func (m *kv) intern(t string) history.Value {
	if v, ok := m.ids[t]; ok {
		return v
	}
	v := own(len(m.texts))
	m.texts = append(m.texts, t)
	m.ids[t] = v
	m.bytes += int64(len(t)) + 64
	return v
}

func (m *kv) value(v history.Value) history.Value {
	if _, ok := v.IsInt(); ok {
		return v
	}
	if t, ok := m.h.Go(v).(string); ok {
		return m.intern(t)
	}
	if v == history.None {
		return history.Nil
	}
	return m.canon.of(v)
}

func (m *kv) Decode(i int) (Op, Fate, error) {
	h := m.h
	switch f := h.F(i); f {
	case "get", "read":
		if h.Type(i) != history.OK {
			return Op{}, Drop, nil
		}
		v := m.value(h.Out(i))
		if t, ok := m.text(v); ok {
			m.reads, m.sorted = append(m.reads, t), false
		}
		return Op{Code: CodeRead, Pure: true, A: v}, Must, nil
	case "put", "write":
		return Op{Code: CodeWrite, A: m.value(h.In(i))}, fate(h.Type(i)), nil
	case "delete":
		return Op{Code: CodeWrite, A: history.Nil}, fate(h.Type(i)), nil
	case "append":
		return Op{Code: codeAppend, A: m.value(h.In(i))}, fate(h.Type(i)), nil
	case "cas":
		op, ft, err := register{h: h}.decode(i)
		if ft != Drop {
			op.A, op.B = m.value(op.A), m.value(op.B)
		}
		return op, ft, err
	default:
		return Op{}, Drop, unknownOp("kv", f)
	}
}

func (m *kv) Step(s State, op Op) (State, bool) {
	if op.Code != codeAppend {
		return register{}.Step(s, op)
	}
	if s == State(unseen) {
		return s, true
	}
	k := [2]history.Value{history.Value(s), op.A}
	v, ok := m.steps[k]
	if !ok {
		a, okA := m.text(history.Value(s))
		b, okB := m.text(op.A)
		if !okA || !okB {
			return s, false
		}
		v = unseen
		if m.seen(a + b) {
			v = m.intern(a + b)
		}
		m.steps[k] = v
	}
	return State(v), true
}

// seen says whether some read shows t or an extension of it.
func (m *kv) seen(t string) bool {
	if !m.sorted {
		sort.Strings(m.reads)
		m.sorted = true
	}
	i := sort.SearchStrings(m.reads, t)
	return i < len(m.reads) && strings.HasPrefix(m.reads[i], t)
}

// Resets says whether op replaces the state rather than extend it.
func (*kv) Resets(op Op) bool { return op.Code == CodeWrite || op.Code == CodeCAS }

// Leads says whether s can become what op wants by extension alone.
func (m *kv) Leads(s State, op Op) bool {
	want, ok := m.text(op.A)
	if !ok || s == State(unseen) {
		return !ok
	}
	have, ok := m.text(history.Value(s))
	return ok && strings.HasPrefix(want, have)
}

// Growing machines have operations that only extend the state, so that a search
// can give up where what must be seen soon cannot be reached.
type Growing interface {
	Resets(op Op) bool
	Leads(s State, op Op) bool
}
