// Package model has sequential specifications: what an object does when its
// operations come one after another. A consistency checker asks whether
// concurrent operations can be put in an order that the specification allows.
package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/faultline-dev/faultline/history"
)

// State is a state of an object: the machine that made it knows what it stands
// for. Equal states are equal numbers.
type State int64

// Fate says what a checker must do with an operation.
type Fate uint8

const (
	// Drop means that the operation did nothing and saw nothing, or nothing is known of it.
	Drop Fate = iota
	// Must means that the operation took effect between its invocation and its return.
	Must
	// May means that it took effect at some time after its invocation, or never.
	May
)

// Op is an operation as a machine understands it.
type Op struct {
	Code uint8
	// Pure operations change the state in no state; they only assert something.
	Pure bool
	// A and B are arguments and results, as Code says.
	A, B history.Value
}

// Machine is one object of a Spec, for the operations of one history. It is not
// safe for concurrent use: it interns states.
type Machine interface {
	// Init is the state before the first operation.
	Init() State
	// Decode reads operation i of the history.
	Decode(i int) (Op, Fate, error)
	// Step is the state after op, if op may happen in s.
	Step(s State, op Op) (State, bool)
	// DescribeState says s in words.
	DescribeState(s State) string
	// Bytes is what the machine's tables hold, about.
	Bytes() int64
}

// Spec is a sequential specification.
type Spec struct {
	Name string
	Doc  string
	// Ops are the kinds of operation it knows.
	Ops []string
	// New makes an object for the operations of h.
	New func(h *history.History) Machine
}

// All are the specifications, by name in the order in which people are shown
// them.
func All() []Spec {
	return []Spec{
		Register(), CASRegister(), ExcludingRegister(), Mutex(), OwnerMutex(), KV(), Set(), Counter(), Queue(),
	}
}

// Named is the specification with the given name.
func Named(name string) (Spec, error) {
	var names []string
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Spec{}, fmt.Errorf("unknown model %q; there are %s", name, strings.Join(names, ", "))
}

// Guess finds the specification that fits the kinds of operation in h: the
// first in All that knows all of them.
func Guess(h *history.History) (Spec, error) {
	for _, s := range All() {
		if s.Name == "excluding-register" || s.Name == "mutex" && hasOwners(h) {
			continue
		}
		if s.knows(h) {
			return s, nil
		}
	}
	return Spec{}, fmt.Errorf("no model knows all of these operations: %s; name one", strings.Join(h.Fs(), ", "))
}

func (s Spec) knows(h *history.History) bool {
	arrays := false
	for i := range h.Len() {
		if h.F(i) == "read" && h.Type(i) == history.OK {
			_, arrays = h.Go(h.Out(i)).([]any)
			break
		}
	}
	for _, f := range h.Fs() {
		if !s.has(f) {
			return false
		}
		if f == "read" && arrays != (s.Name == "set") {
			return false
		}
	}
	return true
}

func (s Spec) has(f string) bool {
	return slices.Contains(s.Ops, f)
}

func unknownOp(spec, f string) error {
	return fmt.Errorf("the %s model knows no operation %q", spec, f)
}

// fate is the usual one of an operation with an effect.
func fate(t history.Type) Fate {
	switch t {
	case history.OK:
		return Must
	case history.Info:
		return May
	case history.Fail, history.Invoke:
	}
	return Drop
}

// pureFate is the one of an operation without effect: only its result counts.
func pureFate(t history.Type) Fate {
	if t == history.OK {
		return Must
	}
	return Drop
}

// Text is v as it is said to people.
func Text(h *history.History, v history.Value) string {
	switch x := h.Go(v).(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%q", x)
	case float64:
		return fmt.Sprint(x)
	case []any, map[string]any:
		return strings.ReplaceAll(strings.ReplaceAll(fmt.Sprint(x), "map[", "{"), "<nil>", "nothing")
	default:
		return fmt.Sprint(x)
	}
}

// Describe says operation i of h in words: "wrote 17", "read nothing", "tried to
// write 17".
func Describe(h *history.History, i int) string {
	in, out := Text(h, h.In(i)), Text(h, h.Out(i))
	ok, tried := h.Type(i) == history.OK, ""
	if !ok {
		tried = "tried to "
	}
	pick := func(past, plain string) string {
		if ok {
			return past
		}
		return tried + plain
	}
	switch f := h.F(i); f {
	case "read", "get", "dequeue":
		past := map[string]string{"read": "read", "get": "got", "dequeue": "dequeued"}[f]
		if ok {
			return past + " " + out
		}
		return tried + f
	case "write", "put", "set", "enqueue", "add", "remove", "append":
		past := map[string]string{
			"write": "wrote", "put": "put", "set": "set", "enqueue": "enqueued", "add": "added", "remove": "removed", "append": "appended",
		}[f]
		return pick(past, f) + " " + in
	case "cas":
		return describeCAS(h, i, pick("changed", "change"))
	case "contains":
		if ok {
			return fmt.Sprintf("saw that contains %s is %s", in, out)
		}
		return tried + "see whether it contains " + in
	case "acquire":
		return pick("acquired", "acquire") + owner(h, i)
	case "release":
		return pick("released", "release") + owner(h, i)
	default:
		return pick("did", "do") + " " + f + " " + in
	}
}

func describeCAS(h *history.History, i int, verb string) string {
	if !h.In(i).IsPair() {
		return verb + " " + Text(h, h.In(i))
	}
	u, v := h.Pair(h.In(i))
	if o := h.Observed(i); h.Type(i) == history.Fail && o != history.None {
		return fmt.Sprintf("could not change %s to %s, seeing %s", Text(h, u), Text(h, v), Text(h, o))
	}
	return fmt.Sprintf("%s %s to %s", verb, Text(h, u), Text(h, v))
}

func owner(h *history.History, i int) string {
	if o, ok := ownerOf(h, i); ok {
		return " as " + o
	}
	return ""
}
