package bundled

import (
	"maps"
	"slices"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// System is what all bundled stores have in common, under a store's name.
func System(name string, bugs []clients.Bug) clients.System {
	process := func(l cluster.Launch) (cluster.Command, error) { //nolint:unparam // as System wants it
		args := []string{
			"node", name, "--name", l.Node, "--data", l.Dir,
			"--listen", l.Listen[ClientPort], "--peer-listen", l.Listen["peer"],
		}
		for _, peer := range slices.Sorted(maps.Keys(l.Dial)) {
			if peer != l.Node {
				args = append(args, "--peer", peer+"="+l.Dial[peer]["peer"])
			}
		}
		if l.Bug != "" {
			args = append(args, "--bug", l.Bug)
		}
		return cluster.Command{Args: args}, nil
	}
	return clients.System{
		Name:    name,
		Bugs:    bugs,
		Ports:   []cluster.Port{{Name: ClientPort, Number: 7000}, {Name: "peer", Number: 7001, Peer: true}},
		Framed:  true,
		Process: process,
		Pod: func(l cluster.Launch) (cluster.Pod, error) {
			c, err := process(l)
			return cluster.Pod{Containers: []cluster.Container{{Name: "db", Args: c.Args, Data: l.Dir}}}, err
		},
		Ready: Ready,
		Decisions: func(string, options.Values) []cluster.Decision {
			return []cluster.Decision{{Clock: cluster.Monotonic, What: "elections"}, {Clock: cluster.Monotonic, What: "leases and expiry"}}
		},
		Open:    Open,
		Methods: func() any { return &Client{} },
	}
}
