package model

import (
	"fmt"
	"strconv"

	"github.com/faultline-dev/faultline/history"
)

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

func (counter) Init() State { return 0 }

func (counter) Bytes() int64 { return 0 }

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
