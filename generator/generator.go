// Package generator makes the operations of a test. A generator is a value: it
// is asked for the next operation and answers with that and with what it is
// afterwards, so that asking does not change it and a run can be repeated from
// its seed without clocks or threads (see Simulate).
//
// The model is Jepsen's (jepsen.generator), turned around: a worker that is free
// asks for its next operation, so no scheduling thread stands between workers.
package generator

import (
	"math/rand/v2"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// Context is what a generator knows when it is asked.
type Context struct {
	Now time.Duration // since the start of the run
	// Worker is who asks, 0 to Workers-1. A worker goes on for the whole run, under
	// a new Process when the old one has ended.
	Worker  int
	Workers int
	Process history.Process
	// Rand is the run's; draw from it only what the answer needs.
	Rand *rand.Rand
}

// Step is a generator's answer to a worker.
type Step struct {
	Kind Kind
	// Op is the operation, for Do. Its F, Key and Value matter; the rest is filled
	// in by who performs it.
	Op history.Op
	// At is when to perform Op (Do), or when to ask again (Wait); the past means at
	// once. A Wait without At means to ask again when something has changed.
	At time.Duration
}

// Kind says what a Step is.
type Kind uint8

const (
	// Done means that there is nothing more for this worker, ever.
	Done Kind = iota
	// Do means that Op is to be performed at At.
	Do
	// Wait means that there is nothing for this worker now.
	Wait
)

// Generator is a sequence of operations for many workers.
type Generator interface {
	// Next answers the worker in c, and returns the generator as it is once the
	// answer has been taken. The receiver is unchanged, and may be asked again
	// instead. A step of Done or Wait leaves no trace that matters.
	Next(c Context) (Step, Generator)
	// Update returns the generator as it is after a worker's operation has been
	// invoked or completed.
	Update(c Context, event history.Op) Generator
}
