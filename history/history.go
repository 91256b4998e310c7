package history

import (
	"fmt"
	"iter"
	"math"
	"time"
)

// Value is a value in a History's columns. Nil, booleans, integers of up to 61
// bits, and interned others are equal exactly when their Values are; a Pair (an
// array of two) is not interned: compare its parts.
type Value int64

// The low two bits of a Value say how the rest is to be read.
const (
	tagSpecial = iota
	tagInt
	tagPair
	tagOther
)

const (
	// Nil is JSON's null, an absent key.
	Nil Value = 0
	// False is a boolean.
	False Value = 1 << 2
	// True is the other.
	True Value = 2 << 2
	// None stands where nothing was recorded at all, as opposed to null.
	None Value = 3 << 2
)

// Int is the Value of n, which must lie within 61 bits.
func Int(n int64) Value { return Value(n<<2 | tagInt) }

// IsInt says whether v is an integer, and which.
func (v Value) IsInt() (int64, bool) { return int64(v) >> 2, v&3 == tagInt }

// IsPair says whether v is an array of two, to be read by History.Pair.
func (v Value) IsPair() bool { return v&3 == tagPair }

// History is a run's operations, each an invocation paired with its completion,
// in the order of their invocations, as columns: ten million fit in memory. The
// zero value is empty; a Builder makes others. It is read-only once built, and
// then safe for concurrent use.
type History struct {
	// Ended says that the history has its last line; without it the run was cut
	// short, and all operations without completion are of unknown fate.
	Ended bool
	// Faults are the nemesis' events, in order.
	Faults []Op

	invoke, done []int64
	in, out      []Value
	observed     []Value // nil while no operation has one
	version      []int64 // nil while no operation has one
	errors       []int32 // nil while no operation has one
	process      []int32
	key          []int32
	invIdx       []int32
	retIdx       []int32
	node         []uint16
	kind         []uint8 // f, interned
	typ          []Type

	fs, keys, nodes, errs table
	pairs                 [][2]Value
	others                []any
	events                int
	tied                  bool
}

// table interns strings.
type table struct {
	names []string
	index map[string]int32
}

func (t *table) of(s string) int32 {
	if i, ok := t.index[s]; ok {
		return i
	}
	if t.index == nil {
		t.index = map[string]int32{}
	}
	i := int32(len(t.names)) //nolint:gosec // bounded by the number of events, an int32
	t.names = append(t.names, s)
	t.index[s] = i
	return i
}

// Operation is one row of a History.
type Operation struct {
	Process Process
	Type    Type // OK, Fail or Info; Info also where there is no completion
	F, Key  string
	In, Out any // what was asked, what came back
	// Observed is what a failed compare-and-set saw, or nil.
	Observed *Seen
	Invoke   time.Duration
	// Return is when the operation was over, Forever where that is not known.
	Return time.Duration
	// Done is when the completion was recorded, Forever without one; other than
	// Return also for operations of unknown fate.
	Done    time.Duration
	Node    string
	Error   string
	Version int64
	Index   int // of the invocation in the history
	Ret     int // of the completion, -1 without one
}

// Len is the number of operations.
func (h *History) Len() int { return len(h.invoke) }

// Events is the number of lines, those of the nemesis included.
func (h *History) Events() int { return h.events }

// Columns are a History's, by operation number, for engines that read them all.
// The caller must not change them.
type Columns struct {
	Index, Ret []int32 // see History.Index and History.Ret
	In, Out    []Value
	Kind       []uint8 // see History.FID
	Type       []Type
	Key        []int32 // see History.KeyID
}

// Columns are the columns of all operations.
func (h *History) Columns() Columns {
	return Columns{h.invIdx, h.retIdx, h.in, h.out, h.kind, h.typ, h.key}
}

// Tied says whether some operation was invoked at the very stamp of a completion
// before it. Where none was, indexes are in the order of time, and one operation
// precedes another iff its Ret is below the other's Index.
func (h *History) Tied() bool { return h.tied }

// The columns, by operation number 0 to Len()-1. Each is O(1).

// Invoke is when operation i was invoked.
func (h *History) Invoke(i int) time.Duration { return time.Duration(h.invoke[i]) }

// Return is when operation i was over, Forever if its fate is unknown.
func (h *History) Return(i int) time.Duration {
	if h.typ[i] == Info {
		return Forever
	}
	return time.Duration(h.done[i])
}

// Done is when the completion of operation i was recorded, Forever without one.
func (h *History) Done(i int) time.Duration { return time.Duration(h.done[i]) }

// Type is how operation i ended: OK, Fail or Info.
func (h *History) Type(i int) Type { return h.typ[i] }

// Process is whose operation i is.
func (h *History) Process(i int) Process { return Process(h.process[i]) }

// F is the kind of operation i; the same string for the same kind.
func (h *History) F(i int) string { return h.fs.names[h.kind[i]] }

// KeyID is the number of operation i's key, 0 to len(Keys())-1, in the order of
// first use.
func (h *History) KeyID(i int) int { return int(h.key[i]) }

// Keys are all keys, in the order of first use. The caller must not change it.
func (h *History) Keys() []string { return h.keys.names }

// Fs are all kinds of operation, in the order of first use.
func (h *History) Fs() []string { return h.fs.names }

// FID is the number of operation i's kind in Fs.
func (h *History) FID(i int) int { return int(h.kind[i]) }

// Nodes are all nodes that operations were sent to; may include "".
func (h *History) Nodes() []string { return h.nodes.names }

// NodeID is the number of operation i's node in Nodes.
func (h *History) NodeID(i int) int { return int(h.node[i]) }

// In is what operation i asked for.
func (h *History) In(i int) Value { return h.in[i] }

// Out is what operation i's completion carries; None without a completion.
func (h *History) Out(i int) Value { return h.out[i] }

// Observed is what a failed compare-and-set saw, or None.
func (h *History) Observed(i int) Value {
	if h.observed == nil {
		return None
	}
	return h.observed[i]
}

// Version is the order that the system claims for operation i, 0 for none.
func (h *History) Version(i int) int64 {
	if h.version == nil {
		return 0
	}
	return h.version[i]
}

// HasVersions says whether any operation has a version.
func (h *History) HasVersions() bool { return h.version != nil }

// Error is the error of operation i's completion, or "".
func (h *History) Error(i int) string {
	if h.errors == nil {
		return ""
	}
	return h.errs.names[h.errors[i]]
}

// Index is the position of operation i's invocation in the history.
func (h *History) Index(i int) int { return int(h.invIdx[i]) }

// Ret is the position of operation i's completion, -1 without one.
func (h *History) Ret(i int) int { return int(h.retIdx[i]) }

// Pair are the two parts of a value that IsPair.
func (h *History) Pair(v Value) (a, b Value) {
	p := h.pairs[v>>2]
	return p[0], p[1]
}

// Go is v as nil, bool, int64, float64, string, []any or map[string]any.
func (h *History) Go(v Value) any {
	switch int(v & 3) {
	case tagInt:
		return int64(v) >> 2
	case tagPair:
		a, b := h.Pair(v)
		return []any{h.Go(a), h.Go(b)}
	case tagOther:
		return h.others[v>>2]
	}
	if v == False || v == True {
		return v == True
	}
	return nil
}

// Op is operation i as a row.
func (h *History) Op(i int) Operation {
	o := Operation{
		Process: h.Process(i), Type: h.typ[i], F: h.F(i), Key: h.keys.names[h.key[i]],
		In: h.Go(h.in[i]), Out: h.Go(h.out[i]),
		Invoke: h.Invoke(i), Return: h.Return(i), Done: h.Done(i),
		Node: h.nodes.names[h.node[i]], Error: h.Error(i), Version: h.Version(i), Index: h.Index(i), Ret: h.Ret(i),
	}
	if v := h.Observed(i); v != None {
		o.Observed = &Seen{h.Go(v)}
	}
	return o
}

// At is the number of the operation whose invocation has the given index in the
// history, or -1. O(log n).
func (h *History) At(index int) int {
	lo, hi := 0, len(h.invIdx)
	for lo < hi {
		if m := (lo + hi) / 2; int(h.invIdx[m]) < index {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(h.invIdx) && int(h.invIdx[lo]) == index {
		return lo
	}
	return -1
}

// Builder makes a History of events in their order. The zero value is ready.
type Builder struct {
	h     History
	open  map[Process]int32 // the operation each process has open
	gone  map[Process]bool  // processes that ended with an info
	index map[string]Value  // interned others, by their JSON
	last  time.Duration
	done  time.Duration // the last completion's time
}

// Add takes the next event. It refuses, without effect, what no run can have
// recorded: an index out of order, a time that runs backwards, a completion
// without its invocation, a process with two operations open or that goes on
// after an info.
func (b *Builder) Add(op Op) error {
	if err := b.check(op); err != nil {
		return err
	}
	b.last = op.Time
	b.h.events++
	switch {
	case op.Process == Nemesis:
		b.h.Faults = append(b.h.Faults, op)
		return nil
	case op.Type == Invoke:
		return b.invoke(op)
	default:
		return b.complete(op)
	}
}

func (b *Builder) check(op Op) error {
	if op.Index != b.h.events {
		return fmt.Errorf("index %d, but %d was expected: events are numbered from 0 without gaps", op.Index, b.h.events)
	}
	if op.Index >= math.MaxInt32 {
		return fmt.Errorf("more than %d events", math.MaxInt32)
	}
	if op.Time < b.last {
		return fmt.Errorf("time %d runs backwards: the event before it has %d", int64(op.Time), int64(b.last))
	}
	if op.Process == Nemesis {
		return nil
	}
	i, busy := b.open[op.Process]
	switch {
	case op.Type == Invoke && busy:
		return fmt.Errorf("process %d invokes %s while its %s, event %d, is open", op.Process, op.F, b.h.F(int(i)), b.h.invIdx[i])
	case op.Type == Invoke && b.gone[op.Process]:
		return fmt.Errorf("process %d goes on after an info: a process ends with it", op.Process)
	case op.Type != Invoke && !busy:
		return fmt.Errorf("%s of %s by process %d, which has no operation open", op.Type, op.F, op.Process)
	case op.Type != Invoke && (b.h.F(int(i)) != op.F || b.h.keys.names[b.h.key[i]] != op.Key):
		return fmt.Errorf("process %d completes %s %q, but it invoked %s %q, event %d",
			op.Process, op.F, op.Key, b.h.F(int(i)), b.h.keys.names[b.h.key[i]], b.h.invIdx[i])
	}
	return nil
}

func (b *Builder) invoke(op Op) error {
	h := &b.h
	f, node := h.fs.of(op.F), h.nodes.of(op.Node)
	if f > math.MaxUint8 || node > math.MaxUint16 {
		return fmt.Errorf("more than %d kinds of operation or %d nodes", math.MaxUint8+1, math.MaxUint16+1)
	}
	in, err := b.value(op.Value)
	if err != nil {
		return err
	}
	if b.open == nil {
		b.open, b.gone = map[Process]int32{}, map[Process]bool{}
	}
	h.tied = h.tied || op.Time == b.done && len(h.invoke) > len(b.open)
	b.open[op.Process] = int32(len(h.invoke)) //nolint:gosec // bounded by events
	h.invoke = append(h.invoke, int64(op.Time))
	h.done = append(h.done, int64(Forever))
	h.in = append(h.in, in)
	h.out = append(h.out, None)
	h.process = append(h.process, int32(op.Process)) //nolint:gosec // refused by the decoder above an int32
	h.key = append(h.key, h.keys.of(op.Key))
	h.invIdx = append(h.invIdx, int32(op.Index)) //nolint:gosec // bounded by check
	h.retIdx = append(h.retIdx, -1)
	h.node = append(h.node, uint16(node)) //nolint:gosec // bounded above
	h.kind = append(h.kind, uint8(f))     //nolint:gosec // bounded above
	h.typ = append(h.typ, Info)
	if h.observed != nil {
		h.observed = append(h.observed, None)
	}
	if h.version != nil {
		h.version = append(h.version, 0)
	}
	if h.errors != nil {
		h.errors = append(h.errors, 0)
	}
	return nil
}

func (b *Builder) complete(op Op) error {
	h, i := &b.h, b.open[op.Process]
	out, err := b.value(op.Value)
	if err != nil {
		return err
	}
	delete(b.open, op.Process)
	b.done = op.Time
	h.done[i], h.typ[i], h.out[i], h.retIdx[i] = int64(op.Time), op.Type, out, int32(op.Index) //nolint:gosec // bounded by check
	if op.Type == Info {
		b.gone[op.Process] = true
	}
	if op.Observed != nil {
		if h.observed == nil {
			h.observed = make([]Value, len(h.invoke), cap(h.invoke))
			for j := range h.observed {
				h.observed[j] = None
			}
		}
		if h.observed[i], err = b.value(op.Observed.Value); err != nil {
			return err
		}
	}
	if op.Version != 0 {
		if h.version == nil {
			h.version = make([]int64, len(h.invoke), cap(h.invoke))
		}
		h.version[i] = op.Version
	}
	if op.Error != "" {
		if h.errors == nil {
			h.errs.of("")
			h.errors = make([]int32, len(h.invoke), cap(h.invoke))
		}
		h.errors[i] = h.errs.of(op.Error)
	}
	return nil
}

func (b *Builder) value(v any) (Value, error) {
	switch v := v.(type) {
	case nil:
		return Nil, nil
	case bool:
		if v {
			return True, nil
		}
		return False, nil
	case int:
		return b.value(int64(v))
	case int64:
		if v<<2>>2 == v {
			return Int(v), nil
		}
	case []any:
		if len(v) == 2 {
			return b.pair(v[0], v[1])
		}
	}
	return b.other(v)
}

func (b *Builder) pair(x, y any) (Value, error) {
	p, err := b.value(x)
	if err != nil {
		return 0, err
	}
	q, err := b.value(y)
	if err != nil {
		return 0, err
	}
	b.h.pairs = append(b.h.pairs, [2]Value{p, q})
	return Value((len(b.h.pairs)-1)<<2 | tagPair), nil
}

func (b *Builder) other(v any) (Value, error) {
	text, err := appendValue(nil, v, 0)
	if err != nil {
		return 0, err
	}
	if i, ok := b.index[string(text)]; ok {
		return i, nil
	}
	if b.index == nil {
		b.index = map[string]Value{}
	}
	i := Value(len(b.h.others)<<2 | tagOther)
	b.h.others = append(b.h.others, v)
	b.index[string(text)] = i
	return i, nil
}

// History is what was added so far; ended says whether the run was seen to its
// end. The builder must not be used afterwards.
func (b *Builder) History(ended bool) *History {
	b.h.Ended = ended
	return &b.h
}

// Of builds a History of events in their order, numbering them afresh.
func Of(events ...Op) (*History, error) {
	var b Builder
	for i, op := range events {
		op.Index = i
		if err := b.Add(op); err != nil {
			return nil, fmt.Errorf("history: event %d: %w", i, err)
		}
	}
	return b.History(true), nil
}

// Ops are the events of h in order.
func (h *History) Ops() iter.Seq[Op] {
	return func(yield func(Op) bool) {
		at := make([]int32, h.events) // operation+1, negative for its completion, 0 for a fault
		for i := range h.Len() {
			at[h.invIdx[i]] = int32(i + 1) //nolint:gosec // bounded by events
			if r := h.retIdx[i]; r >= 0 {
				at[r] = -int32(i + 1) //nolint:gosec // bounded by events
			}
		}
		fault := 0
		for index, n := range at {
			var op Op
			switch {
			case n > 0:
				i := int(n - 1)
				op = Op{Time: h.Invoke(i), Type: Invoke, Value: h.Go(h.in[i])}
				h.fill(&op, i)
			case n < 0:
				i := int(-n - 1)
				op = Op{Time: h.Done(i), Type: h.typ[i], Value: h.Go(h.out[i]), Error: h.Error(i), Version: h.Version(i)}
				if o := h.Observed(i); o != None {
					op.Observed = &Seen{h.Go(o)}
				}
				h.fill(&op, i)
			case fault < len(h.Faults):
				op = h.Faults[fault]
				fault++
			}
			op.Index = index
			if !yield(op) {
				return
			}
		}
	}
}

func (h *History) fill(op *Op, i int) {
	op.Process, op.F, op.Key, op.Node = h.Process(i), h.F(i), h.keys.names[h.key[i]], h.nodes.names[h.node[i]]
}
