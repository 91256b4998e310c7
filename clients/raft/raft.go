// Package raft is the bundled Raft store as a system under test.
package raft

import (
	"context"
	"maps"
	"slices"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/bundled"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// System is the bundled Raft store; bugs are what it can be told to do wrong.
func System(bugs []clients.Bug) clients.System {
	return clients.System{
		Name: "raft",
		Doc:  "the bundled Raft store: registers, locks and expiring keys over a replicated log",
		Options: []options.Option{
			{Name: "reads", Kind: options.String, Default: "linearizable", Values: []string{"linearizable", "lease", "local"}, Doc: "linearizable asks a quorum, lease trusts clocks, local reads what the node has applied"},
		},
		Bugs:    bugs,
		Ports:   []cluster.Port{{Name: bundled.ClientPort, Number: 7000}, {Name: "peer", Number: 7001, Peer: true}},
		Framed:  true,
		Process: process,
		Pod:     pod,
		Ready:   bundled.Ready,
		Open:    bundled.Open,
		Methods: func() any { return &bundled.Client{} },
		Leader: func(ctx context.Context, c cluster.Cluster, _ options.Values) (string, error) {
			return bundled.Leader(ctx, c)
		},
	}
}

func process(l cluster.Launch) (cluster.Command, error) {
	args := []string{
		"node", "raft", "--name", l.Node, "--data", l.Dir,
		"--listen", l.Listen[bundled.ClientPort], "--peer-listen", l.Listen["peer"],
	}
	for _, peer := range slices.Sorted(maps.Keys(l.Dial)) {
		args = append(args, "--peer", peer+"="+l.Dial[peer]["peer"])
	}
	if l.Bug != "" {
		args = append(args, "--bug", l.Bug)
	}
	return cluster.Command{Args: args}, nil
}

func pod(l cluster.Launch) (cluster.Pod, error) {
	c, err := process(l)
	if err != nil {
		return cluster.Pod{}, err
	}
	return cluster.Pod{Containers: []cluster.Container{{Name: "db", Args: c.Args, Data: l.Dir}}}, nil
}
