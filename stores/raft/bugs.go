package raft

import (
	"fmt"

	"github.com/faultline-dev/faultline/stores/kv"
)

// Bug is one broken line of the protocol, for the harness to find. The zero value
// is none.
type Bug uint8

// The core's and the replica's bugs. Catalogue says what each breaks.
const (
	BugNone Bug = iota
	BugStaleRead
	BugAckBeforeCommit
	bugState // everything from here on is a bug of the state machine
)

// BugInfo describes a switch of the bug catalogue.
type BugInfo struct {
	Name     string   // for --bug
	Doc      string   // what the code does wrong
	Rule     string   // the rule it breaks, and who states it
	Workload string   // the workload that shows it
	Expects  []string // anomalies, any of which counts as found
	Nemesis  string   // the faults that bring it out, as in --nemesis

	bug Bug
	kv  kv.Bug
}

// Catalogue lists every bug of the Raft store, in the order of the docs.
func Catalogue() []BugInfo {
	return []BugInfo{
		{
			Name: "stale-read", bug: BugStaleRead,
			Doc:      "A leader answers reads from its own state, without asking a quorum whether it still leads, and goes on doing so when it is cut off.",
			Rule:     "Raft §8: a leader must exchange heartbeats with a majority before it responds to a read-only request.",
			Workload: "register", Nemesis: "partition,kill",
			Expects: []string{"stale-read", "nonlinearizable"},
		},
		{
			Name: "ack-before-commit", bug: BugAckBeforeCommit,
			Doc:      "A leader acknowledges a write once it is in its own log, before a majority has it.",
			Rule:     "Raft §5.3: the leader applies an entry and returns the result when the entry has been safely replicated.",
			Workload: "register", Nemesis: "partition,kill",
			Expects: []string{"lost-write", "stale-read", "nonlinearizable"},
		},
	}
}

// LookupBug finds a bug by name; "" is no bug at all. It returns what to give to
// a Replica's Config.
func LookupBug(name string) (BugInfo, error) {
	if name == "" {
		return BugInfo{}, nil
	}
	for _, b := range Catalogue() {
		if b.Name == name {
			return b, nil
		}
	}
	return BugInfo{}, fmt.Errorf("raft: no bug is called %q", name)
}
