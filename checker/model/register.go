package model

import (
	"fmt"

	"github.com/faultline-dev/faultline/history"
)

// Codes of register operations. Arguments: CodeRead and CodeNot A is the value;
// CodeWrite A; CodeCAS A the old value, B the new.
const (
	CodeRead uint8 = iota
	CodeWrite
	CodeCAS
	CodeNot // a failed compare-and-set that asserts "the value is not A"
)

// Register is a register with reads and writes (and compare-and-set, in Jepsen's
// meaning). It holds nothing (null) at first.
func Register() Spec {
	return Spec{
		Name: "register", Doc: "read, write and delete of one value a key",
		Ops: []string{"read", "write", "delete"},
		New: func(h *history.History) Machine { return register{h: h, canon: newCanon(h)} },
	}
}

// CASRegister is a register with compare-and-set, in Jepsen's meaning: a failed
// one did not happen, unless it carries the value it observed, which makes it a
// read of that value.
func CASRegister() Spec {
	s := Register()
	s.Name, s.Doc, s.Ops = "cas-register", "a register with compare-and-set; a failed one did not happen", append(s.Ops, "cas")
	return s
}

// ExcludingRegister is a register whose failed compare-and-set asserts that the
// value was not the expected one: the meaning in Porcupine's and etcd's models.
func ExcludingRegister() Spec {
	s := CASRegister()
	s.Name, s.Doc = "excluding-register", "a register with compare-and-set; a failed one says that the value was another"
	s.New = func(h *history.History) Machine { return register{h: h, canon: newCanon(h), excluding: true} }
	return s
}

type register struct {
	h         *history.History
	canon     *canon
	excluding bool
}

func (register) Init() State    { return State(history.Nil) }
func (m register) Bytes() int64 { return m.canon.bytes() }

func (m register) DescribeState(s State) string { return Text(m.h, history.Value(s)) }

// Decode decides by operation kind and fate; an indeterminate read is dropped,
// since it had no effect and nobody knows what it saw.
func (m register) Decode(i int) (Op, Fate, error) {
	op, f, err := m.decode(i)
	if f != Drop {
		op.A, op.B = m.canon.of(op.A), m.canon.of(op.B)
	}
	return op, f, err
}

func (m register) decode(i int) (Op, Fate, error) {
	h := m.h
	switch f := h.F(i); f {
	case "read":
		return Op{Code: CodeRead, Pure: true, A: h.Out(i)}, pureFate(h.Type(i)), nil
	case "write":
		return Op{Code: CodeWrite, A: h.In(i)}, fate(h.Type(i)), nil
	case "delete":
		return Op{Code: CodeWrite, A: history.Nil}, fate(h.Type(i)), nil
	case "cas":
		if !h.In(i).IsPair() {
			return Op{}, Drop, fmt.Errorf("event %d: the value of a cas must be [old,new]", h.Index(i))
		}
		u, v := h.Pair(h.In(i))
		if h.Type(i) != history.Fail {
			return Op{Code: CodeCAS, A: u, B: v}, fate(h.Type(i)), nil
		}
		if o := h.Observed(i); o != history.None {
			return Op{Code: CodeRead, Pure: true, A: o}, Must, nil
		}
		if m.excluding {
			return Op{Code: CodeNot, Pure: true, A: u}, Must, nil
		}
		return Op{}, Drop, nil
	default:
		return Op{}, Drop, unknownOp("register", f)
	}
}

func (register) Step(s State, op Op) (State, bool) {
	switch op.Code {
	case CodeRead:
		return s, s == State(op.A)
	case CodeWrite:
		return State(op.A), true
	case CodeCAS:
		return State(op.B), s == State(op.A)
	default:
		return s, s != State(op.A)
	}
}

// Gives is the value that op leaves behind, if it has an effect at all.
func (register) Gives(op Op) (history.Value, bool) {
	switch op.Code {
	case CodeWrite:
		return op.A, true
	case CodeCAS:
		return op.B, true
	}
	return history.None, false
}

// Wants is the value that op needs to be there; other is true where it needs only
// some other value than s.
func (register) Wants(s State, op Op) (v history.Value, some, other bool) {
	switch op.Code {
	case CodeRead, CodeCAS:
		return op.A, true, false
	case CodeNot:
		return history.None, false, s == State(op.A)
	}
	return history.None, false, false
}

// Keyed machines hold one value at a time, so that a search need consider only
// the indeterminate operations that give what another one wants.
type Keyed interface {
	Gives(op Op) (v history.Value, ok bool)
	Wants(s State, op Op) (v history.Value, some, other bool)
}

// canon gives equal Values to equal arrays of two, the only values that a
// History does not intern.
type canon struct {
	h     *history.History
	pairs map[[2]history.Value]history.Value
}

func newCanon(h *history.History) *canon { return &canon{h: h} }

func (c *canon) bytes() int64 { return int64(len(c.pairs)) * 48 }

func (c *canon) of(v history.Value) history.Value {
	if !v.IsPair() || v < 0 {
		return v
	}
	a, b := c.h.Pair(v)
	k := [2]history.Value{c.of(a), c.of(b)}
	if first, ok := c.pairs[k]; ok {
		return first
	}
	if c.pairs == nil {
		c.pairs = map[[2]history.Value]history.Value{}
	}
	c.pairs[k] = v
	return v
}
