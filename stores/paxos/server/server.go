// Package server runs a node of the bundled Paxos store as a real process.
package server

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/stores/node"
	"github.com/faultline-dev/faultline/stores/paxos"
	"github.com/faultline-dev/faultline/stores/protocol"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Config says who a node is. Name, Listen, PeerListen and Data are needed.
type Config struct {
	Name       string
	Listen     string            // host:port for clients
	PeerListen string            // host:port for other nodes
	Peers      map[string]string // other nodes: name to the address to dial
	Data       string            // folder of the log, made if need be

	Bug    string        // from paxos.Catalogue; "" is none
	Tick   time.Duration // default 10 ms
	Answer time.Duration // how long a round waits for a majority; default 20 ticks
	Reads  string        // linearizable (default) or local: of requests that don't say
	Seed   uint64        // of the waits after lost duels; 0 draws one from name and clock

	Log     *slog.Logger                 // default: none
	Started func(client, peers net.Addr) // if set, called once with the addresses in use
}

// Serve runs the node until ctx ends, which is no error, or until it can't go on.
func Serve(ctx context.Context, cfg Config) error {
	bug, err := paxos.LookupBug(cfg.Bug)
	if err != nil {
		return err
	}
	reads, err := protocol.ParseReads(cfg.Reads, replica.Linearizable)
	if err != nil {
		return err
	}
	if cfg.Tick == 0 {
		cfg.Tick = 10 * time.Millisecond
	}
	if cfg.Seed == 0 {
		cfg.Seed = node.DrawSeed(cfg.Name)
	}
	pc := paxos.Config{
		ID: cfg.Name, Nodes: append(slices.Collect(maps.Keys(cfg.Peers)), cfg.Name),
		Seed: cfg.Seed, AnswerTicks: int(cfg.Answer / cfg.Tick), Bug: bug,
	}
	return node.Serve(ctx, node.Config{
		Name: cfg.Name, Listen: cfg.Listen, PeerListen: cfg.PeerListen, Peers: cfg.Peers,
		Data: cfg.Data, Tick: cfg.Tick, Reads: reads, Log: cfg.Log, Started: cfg.Started,
		New: func(records [][]byte, damage error) (replica.Replica, error) {
			return paxos.NewReplica(pc, records, damage)
		},
	})
}
