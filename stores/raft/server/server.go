// Package server runs a node of the bundled Raft store as a real process.
package server

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/stores/node"
	"github.com/faultline-dev/faultline/stores/protocol"
	"github.com/faultline-dev/faultline/stores/raft"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Config says who a node is. Name, Listen, PeerListen and Data are needed.
type Config struct {
	Name       string
	Listen     string            // host:port for clients
	PeerListen string            // host:port for other nodes
	Peers      map[string]string // other nodes: name to the address to dial
	Voters     []string          // of a new cluster; default Name and Peers
	Data       string            // folder of the log, made if need be

	Bug           string        // from raft.Catalogue; "" is none
	Tick          time.Duration // default 10 ms
	Election      time.Duration // least election timeout, twice that is the most; default 30 ticks
	Heartbeat     time.Duration // default 5 ticks
	Reads         string        // linearizable (default), lease, local: of requests that don't say
	SnapshotEvery uint64        // entries between two snapshots; default 10,000
	Once          bool          // nodes send commands again under sessions of their own, until answered
	Seed          uint64        // of election timeouts; 0 draws one from name and clock

	Log     *slog.Logger                 // default: none
	Started func(client, peers net.Addr) // if set, called once with the addresses in use
}

// Serve runs the node until ctx ends, which is no error, or until it can't go on.
func Serve(ctx context.Context, cfg Config) error {
	rc, err := replicaConfig(&cfg)
	if err != nil {
		return err
	}
	reads, err := protocol.ParseReads(cfg.Reads, replica.Linearizable)
	if err != nil {
		return err
	}
	return node.Serve(ctx, node.Config{
		Name: cfg.Name, Listen: cfg.Listen, PeerListen: cfg.PeerListen, Peers: cfg.Peers,
		Data: cfg.Data, Tick: cfg.Tick, Reads: reads, Log: cfg.Log, Started: cfg.Started,
		New: func(records [][]byte, damage error) (replica.Replica, error) {
			return raft.NewReplica(rc, records, damage)
		},
	})
}

func replicaConfig(cfg *Config) (raft.ReplicaConfig, error) {
	bug, err := raft.LookupBug(cfg.Bug)
	if err != nil {
		return raft.ReplicaConfig{}, err
	}
	if cfg.Tick == 0 {
		cfg.Tick = 10 * time.Millisecond
	}
	if cfg.Election == 0 {
		cfg.Election = 30 * cfg.Tick
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 5 * cfg.Tick
	}
	if cfg.Voters == nil {
		cfg.Voters = append(slices.Collect(maps.Keys(cfg.Peers)), cfg.Name)
	}
	if cfg.Seed == 0 {
		cfg.Seed = node.DrawSeed(cfg.Name)
	}
	return raft.ReplicaConfig{
		SnapshotEvery: cfg.SnapshotEvery, Once: cfg.Once, Bug: bug,
		Core: raft.Config{
			ID: cfg.Name, Voters: cfg.Voters, Seed: cfg.Seed, TickLength: cfg.Tick,
			ElectionTicks:  int(cfg.Election / cfg.Tick),
			HeartbeatTicks: int(cfg.Heartbeat / cfg.Tick),
		},
	}, nil
}
