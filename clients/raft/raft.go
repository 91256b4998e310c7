// Package raft is the bundled Raft store as a system under test.
package raft

import (
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/bundled"
	"github.com/faultline-dev/faultline/options"
)

// System is the bundled Raft store; bugs are what it can be told to do wrong.
func System(bugs []clients.Bug) clients.System {
	s := bundled.System("raft", bugs)
	s.Doc = "the bundled Raft store: registers, locks and expiring keys over a replicated log"
	s.Options = []options.Option{
		{Name: "reads", Kind: options.String, Default: "linearizable", Values: []string{"linearizable", "lease", "local"}, Doc: "linearizable asks a quorum, lease trusts clocks, local reads what the node has applied"},
		bundled.RecipeOption(),
	}
	s.Members = bundled.Members
	s.Leader = bundled.Leader
	return s
}
