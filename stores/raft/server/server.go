// Package server runs a node of the bundled Raft store as a real process.
package server

import (
	"context"

	"github.com/faultline-dev/faultline/stores/node"
	"github.com/faultline-dev/faultline/stores/raft"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Timers of a node, in ticks.
const (
	electionTicks  = 30
	heartbeatTicks = 5
)

// Serve runs the node until ctx ends, which is no error, or until it can't go on.
// The bugs are raft.Catalogue's.
func Serve(ctx context.Context, cfg node.Config) error {
	bug, err := raft.LookupBug(cfg.Bug)
	if err != nil {
		return err
	}
	return node.Serve(ctx, cfg, func(c node.Config, records [][]byte, damage error) (replica.Replica, error) {
		return raft.NewReplica(raft.ReplicaConfig{
			Bug: bug,
			Core: raft.Config{
				ID: c.Name, Voters: c.Names(), Seed: c.Seed, TickLength: c.Tick,
				ElectionTicks: electionTicks, HeartbeatTicks: heartbeatTicks,
			},
		}, records, damage)
	})
}
