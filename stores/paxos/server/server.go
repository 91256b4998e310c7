// Package server runs a node of the bundled Paxos store as a real process.
package server

import (
	"context"

	"github.com/faultline-dev/faultline/stores/node"
	"github.com/faultline-dev/faultline/stores/paxos"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Serve runs the node until ctx ends, which is no error, or until it can't go on.
// The bugs are paxos.Catalogue's.
func Serve(ctx context.Context, cfg node.Config) error {
	bug, err := paxos.LookupBug(cfg.Bug)
	if err != nil {
		return err
	}
	return node.Serve(ctx, cfg, func(c node.Config, records [][]byte, damage error) (replica.Replica, error) {
		return paxos.NewReplica(paxos.Config{ID: c.Name, Nodes: c.Names(), Seed: c.Seed, Bug: bug}, records, damage)
	})
}
