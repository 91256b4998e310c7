package model

import (
	"encoding/binary"
	"fmt"
	"sort"
	"strconv"
	"strings"

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

func (*mutex) Init() State    { return 0 }
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

func (*kv) Init() State    { return State(history.Nil) }
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

func (*set) Init() State    { return 0 }
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

// Codes of counter operations; A is the number as an Int.
const (
	CodeIncrement uint8 = iota
	CodeReadCount
)

// Counter is a number, 0 at first, with add n (n may be negative) and read.
func Counter() Spec {
	return Spec{
		Name: "counter", Doc: "add and read of a number that starts at 0",
		Ops: []string{"add", "read"},
		New: func(h *history.History) Machine { return counter{h} },
	}
}

type counter struct{ h *history.History }

func (counter) Init() State                  { return 0 }
func (counter) Bytes() int64                 { return 0 }
func (counter) DescribeState(s State) string { return strconv.FormatInt(int64(s), 10) }

func (m counter) Decode(i int) (Op, Fate, error) {
	h := m.h
	switch f := h.F(i); f {
	case "add":
		if _, ok := h.In(i).IsInt(); !ok {
			return Op{}, Drop, fmt.Errorf("event %d: add needs an integer", h.Index(i))
		}
		return Op{Code: CodeIncrement, A: h.In(i)}, fate(h.Type(i)), nil
	case "read":
		out := h.Out(i)
		if out == history.Nil {
			out = history.Int(0)
		}
		if _, ok := out.IsInt(); !ok && h.Type(i) == history.OK {
			return Op{}, Drop, fmt.Errorf("event %d: a read of a counter must return an integer", h.Index(i))
		}
		return Op{Code: CodeReadCount, Pure: true, A: out}, pureFate(h.Type(i)), nil
	default:
		return Op{}, Drop, unknownOp("counter", f)
	}
}

func (counter) Step(s State, op Op) (State, bool) {
	n, _ := op.A.IsInt()
	if op.Code == CodeIncrement {
		return s + State(n), true
	}
	return s, s == State(n)
}

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

func (*queue) Init() State    { return 0 }
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
