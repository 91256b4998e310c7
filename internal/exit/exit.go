// Package exit holds faultline's exit codes, which are Jepsen's, and errors that
// carry one.
package exit

import (
	"errors"
	"fmt"

	"github.com/faultline-dev/faultline/checker"
)

const (
	// Valid says that everything asked for was tested, and no anomaly was found.
	Valid = 0
	// Anomalies says that at least one history violates what it was judged by.
	Anomalies = 1
	// Unknown says that there was no anomaly, but a budget was spent, nothing succeeded, or a fault
	// did not bite.
	Unknown = 2
	// Usage says that arguments or input were bad, and nothing was written.
	Usage = 254
	// Broken says that the test could not be carried out.
	Broken = 255
)

// Error is an error with an exit code.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Usagef is an error for bad arguments or input.
func Usagef(format string, args ...any) error {
	return &Error{Usage, fmt.Errorf(format, args...)}
}

// Brokenf is an error for a test that could not be carried out.
func Brokenf(format string, args ...any) error {
	return &Error{Broken, fmt.Errorf(format, args...)}
}

// Code is the exit code for err: its own, or Broken for errors without one.
func Code(err error) int {
	if err == nil {
		return Valid
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Broken
}

// Of is the exit code of a verdict.
func Of(v checker.Verdict) int {
	switch v {
	case checker.Valid:
		return Valid
	case checker.Invalid:
		return Anomalies
	case checker.Unknown:
		return Unknown
	}
	return Unknown
}
