// Package history is what a test saw: operations as they were invoked and
// completed, their journal on disk and their paired, columnar form in memory.
//
// It knows the standard library only, so that checkers built on it work without
// a cluster, a client or a command line.
package history

import (
	"errors"
	"fmt"
	"time"
)

// Type says what an event tells of its operation.
type Type uint8

const (
	// Invoke is the moment before an operation is sent.
	Invoke Type = iota
	// OK means that the operation took effect and its result is known.
	OK
	// Fail means that the operation certainly did not and never will take effect.
	Fail
	// Info means that nobody knows whether the operation took effect, or when.
	Info
)

// String is Jepsen's word for t.
func (t Type) String() string {
	switch t {
	case Invoke:
		return "invoke"
	case OK:
		return "ok"
	case Fail:
		return "fail"
	case Info:
		return "info"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType is the inverse of String.
func ParseType(s string) (Type, error) {
	for t := Invoke; t <= Info; t++ {
		if t.String() == s {
			return t, nil
		}
	}
	return 0, fmt.Errorf("type %q is not one of invoke, ok, fail, info", s)
}

// Process is a client's session with one node (>= 0), or the nemesis. After an
// Info, or when its session is lost, a process ends and its worker goes on as
// the process numbered one concurrency higher.
type Process int

// Nemesis is the process of fault events.
const Nemesis Process = -1

// Forever is the return time of an operation whose fate is unknown.
const Forever = time.Duration(1<<63 - 1)

// Op is one event: the invocation of an operation or its completion.
//
// Value and Observed hold what JSON can: nil, bool, int64, float64, string,
// []any and map[string]any of these.
type Op struct {
	Index   int           // position in the history, from 0
	Time    time.Duration // since the start of the run, on one monotonic clock
	Process Process
	Type    Type
	F       string // read, write, cas, acquire, ...
	Key     string
	Value   any
	// Observed is what a compare-and-set saw instead of the value it expected,
	// nil where comparison and observation are not one atomic step.
	Observed *Seen
	Node     string
	Error    string
	// Version is the order that the system itself claims for the operation, a
	// revision, zxid or log index; 0 where it claims none. It lies within the
	// 53 bits that every JSON reader keeps.
	Version int64
}

// Seen wraps an observed value, since nil is a value too (an absent key).
type Seen struct{ Value any }

// Reply is what a client's method returns of a successful operation, or of a
// failed one that saw something.
type Reply struct {
	Value    any
	Observed *Seen
	Version  int64
}

var (
	errDefinite = errors.New("definite")
	errSession  = errors.New("session lost")
)

type marked struct {
	err  error
	mark error
}

func (m marked) Error() string   { return m.err.Error() }
func (m marked) Unwrap() []error { return []error{m.err, m.mark} }

// Definite marks err as proof that the operation did not take effect and never
// will. Marking an error that is no such proof makes checkers lie.
func Definite(err error) error {
	if err == nil {
		return nil
	}
	return marked{err, errDefinite}
}

// SessionLost marks err as the end of the client's session: the process ends
// with it, whatever the fate of the operation.
func SessionLost(err error) error {
	if err == nil {
		return nil
	}
	return marked{err, errSession}
}

// TypeOf says how an operation that returned err completed: OK for nil, Fail for
// a Definite error, Info, the safe default, for anything else.
func TypeOf(err error) Type {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, errDefinite):
		return Fail
	default:
		return Info
	}
}

// IsSessionLost says whether err was marked by SessionLost.
func IsSessionLost(err error) bool { return errors.Is(err, errSession) }
