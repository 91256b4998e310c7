package bundled

import (
	"context"
	"errors"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

const (
	// askMax bounds asking one node how it stands: one that is cut off or paused must
	// not use up the time of all.
	askMax = 300 * time.Millisecond
	// changeMax is how long a leader may work on a change of the membership.
	changeMax = 2 * time.Second
)

// Members is a clients.System's, for a bundled store with leaders. A node that was
// removed goes on running with its data, and takes no part until it is added again.
func Members(c cluster.Cluster, rt cluster.Runtime, _ options.Values) (cluster.Members, error) {
	return members{c, rt}, nil
}

type members struct {
	cluster cluster.Cluster
	rt      cluster.Runtime
}

// Members implements cluster.Members: they are what the leader of the newest term
// knows to be committed.
func (m members) Members(ctx context.Context) ([]string, error) {
	_, s, err := m.leader(ctx)
	return s.Voters, err
}

// Remove implements cluster.Members.
func (m members) Remove(ctx context.Context, nodes []string) error {
	return m.change(ctx, request{Remove: nodes})
}

// Add implements cluster.Members.
func (m members) Add(ctx context.Context, nodes []string) error {
	return m.change(ctx, request{Add: nodes})
}

// change asks the leader, once.
func (m members) change(ctx context.Context, q request) error {
	n, _, err := m.leader(ctx)
	if err != nil {
		return err
	}
	c := New(clients.Target{Node: n, Cluster: m.cluster, Timeout: changeMax})
	defer func() { _ = c.Close() }()
	_, err = c.do(ctx, "members", q)
	return err
}

// Leader is a clients.System's, for a bundled store with leaders.
func Leader(ctx context.Context, c cluster.Cluster, rt cluster.Runtime, _ options.Values) (string, error) {
	n, _, err := members{c, rt}.leader(ctx)
	return n.Name, err
}

// leader is the node that says it leads in the newest term, and what else it says.
func (m members) leader(ctx context.Context) (leader cluster.Node, best Status, err error) {
	nodes := m.cluster.Nodes()
	said := make([]Status, len(nodes))
	clients.AtOnce(m.rt, m.cluster, func(i int, n cluster.Node) {
		if s, err := m.ask(ctx, n); err == nil {
			said[i] = s
		}
	})
	for i, s := range said {
		if s.Role == "leader" && s.Term >= best.Term {
			leader, best = nodes[i], s
		}
	}
	if best.Node == "" {
		return leader, best, errors.Join(errors.New("no node says that it leads"), ctx.Err())
	}
	return leader, best, nil
}

func (m members) ask(ctx context.Context, n cluster.Node) (Status, error) {
	ctx, cancel := m.rt.WithTimeout(ctx, askMax)
	defer cancel()
	c := New(clients.Target{Node: n, Cluster: m.cluster})
	defer func() { _ = c.Close() }()
	return c.Status(ctx)
}
