// Package paxos is the bundled Paxos store as a system under test. No node leads
// it: each proposes for its own clients.
package paxos

import (
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/bundled"
	"github.com/faultline-dev/faultline/options"
)

// System is the bundled Paxos store; bugs are what it can be told to do wrong.
func System(bugs []clients.Bug) clients.System {
	s := bundled.System("paxos", bugs)
	s.Doc = "the bundled Paxos store: a rewritable register per key, after CASPaxos, without a log and without a leader"
	s.Options = []options.Option{
		{Name: "reads", Kind: options.String, Default: "linearizable", Values: []string{"linearizable", "local"}, Doc: "linearizable asks a majority, local reads what the node has accepted"},
		bundled.RecipeOption(),
	}
	return s
}
