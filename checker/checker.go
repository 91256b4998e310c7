// Package checker judges histories. A checker is a pure function of a history:
// it opens no file and no socket, and it keeps to the budget it was given.
package checker

import (
	"context"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// Verdict is what a checker can say. Its zero value is Unknown.
type Verdict uint8

const (
	// Unknown means that the checker could not decide; Result.Reason says why.
	Unknown Verdict = iota
	// Valid means that the history satisfies what was checked.
	Valid
	// Invalid means that it provably does not.
	Invalid
)

// String is valid, invalid or unknown.
func (v Verdict) String() string {
	switch v {
	case Valid:
		return "valid"
	case Invalid:
		return "invalid"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// MarshalText is String.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (v *Verdict) UnmarshalText(b []byte) error {
	for _, x := range []Verdict{Unknown, Valid, Invalid} {
		if x.String() == string(b) {
			*v = x
			return nil
		}
	}
	return fmt.Errorf("verdict %q is not one of valid, invalid, unknown", b)
}

// Merge is the verdict of two judgements together: Invalid outranks Unknown,
// Unknown outranks Valid.
func Merge(a, b Verdict) Verdict {
	if a == Invalid || b == Invalid {
		return Invalid
	}
	if a == Unknown || b == Unknown {
		return Unknown
	}
	return Valid
}

// Anomaly is one thing that must not have happened.
type Anomaly struct {
	// Name is the field's name for it: stale-read, lost-write, double-hold, ...
	Name string `json:"name"`
	Key  string `json:"key"`
	// Ops is the witness: a minimal set of operations that cannot all be right,
	// each given by the history index of its invocation, ascending.
	Ops []int `json:"ops"`
	// Explain says in a sentence or two why the witness is impossible.
	Explain string `json:"explain"`
	// Time is the earliest moment at which the violation exists, since the start
	// of the run.
	Time time.Duration `json:"time_ns,omitempty"`
	// Forces lists pairs of the witness (invocation indices) of which the first
	// must come before the second; reports draw them as arrows.
	Forces [][2]int `json:"forces,omitempty"`
}

// Result is one checker's judgement of one history.
type Result struct {
	Checker   string        `json:"checker"`
	Engine    string        `json:"engine,omitempty"`
	Verdict   Verdict       `json:"verdict"`
	Anomalies []Anomaly     `json:"anomalies,omitempty"`
	Reason    string        `json:"reason,omitempty"` // why unknown, or what was left out
	Ops       int           `json:"ops"`              // operations judged
	Duration  time.Duration `json:"duration_ns"`
	PeakBytes int64         `json:"peak_bytes"` // memory that checking needed beyond the history
	// Figures are numbers beside the verdict, by name with unit: overlaps,
	// lost_updates_percent, stale_ms_p99, ...
	Figures map[string]float64 `json:"figures,omitempty"`
	// Detail is what a report may show beyond the figures; it marshals to JSON.
	Detail any `json:"detail,omitempty"`
}

// Checker judges histories. Check returns soon after ctx is done, with Unknown
// where it could not finish. Implementations are safe for concurrent use and
// leave no goroutine behind.
type Checker interface {
	Name() string
	Check(ctx context.Context, h *history.History) Result
}

// Budget is what a whole check may use; zero means no bound.
type Budget struct {
	Time   time.Duration
	Memory int64 // bytes beyond the loaded history
}

// Func makes a Checker of a function.
func Func(name string, check func(context.Context, *history.History) Result) Checker {
	return funcChecker{name, check}
}

type funcChecker struct {
	name  string
	check func(context.Context, *history.History) Result
}

func (f funcChecker) Name() string { return f.name }

func (f funcChecker) Check(ctx context.Context, h *history.History) Result {
	start := time.Now()
	r := f.check(ctx, h)
	r.Checker, r.Duration = f.name, time.Since(start)
	return r
}
