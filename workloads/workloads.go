// Package workloads says what a workload is: which operations to perform, what
// of a client it needs to perform them, and who judges the outcome. Each folder
// below it is one workload; workloads/all lists them.
package workloads

import (
	"context"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// Params are what a workload may shape itself by.
type Params struct {
	Options     options.Values
	Keys        int // how many keys are in use at once
	Concurrency int // workers
	Nodes       []string
	// System are the options of the system: which recipe it was asked for, how it
	// reads.
	System options.Values
	// Opened is a client like those that operations will be given, closed or never
	// connected: the workload asks it for methods only.
	Opened any
	// Budget bounds each checker.
	Budget checker.Budget
}

// Workload is one kind of load. It is a value.
type Workload struct {
	Name    string
	Doc     string
	Options []options.Option
	// Recipes or modes that a system must name among its options are the system's.
	New func(Params) (*Instance, error)
}

// Instance is a workload made for one run.
type Instance struct {
	// Main are the operations of the run.
	Main generator.Generator
	// Final are the operations after the last heal, given the keys that Main used;
	// nil for none.
	Final func(keys []string) generator.Generator
	// Perform does one operation with a client. The reply is recorded with the
	// completion, whose type follows from the error (history.TypeOf).
	Perform func(ctx context.Context, client any, op history.Op) (history.Reply, error)
	// Pure says that operations of kind f have no effect, so that one of unknown
	// outcome may be recorded as failed.
	Pure func(f string) bool
	// Checkers judge the history.
	Checkers []checker.Checker
	// Online, where it is not nil, judges events while they happen, in their order
	// and from one task; its error is the first violation.
	Online func(history.Op) error
	// Measures measure it beside the verdict, where a report is written.
	Measures []checker.Checker
	// Model is the name under which `faultline check --model` judges the same.
	Model string
	// Sometimes are the kinds of operation without whose success nothing was tested.
	Sometimes []string
	// ClockBound is how far apart the nodes' clocks may be for what the checkers
	// take as promised; 0 for any distance. A world that makes clocks up keeps to it.
	ClockBound time.Duration
}
