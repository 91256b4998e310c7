package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// members changes etcd's membership. A member that is removed ends by itself, and
// its data is of no use any more: added again it is a new one, with an empty disk. It is
// a learner until it has caught up, so that the others' quorum does not wait for it.
type members struct {
	cluster cluster.Cluster
	build   cluster.Rebuilder
	rt      cluster.Runtime // nil before the cluster is up

	mu    sync.Mutex
	built map[string]uint64 // by node: the member for which it was made anew

	answered atomic.Pointer[string] // who did last
}

// newMembers is a clients.System's.
func newMembers(c cluster.Cluster, rt cluster.Runtime, _ options.Values) (cluster.Members, error) {
	b, ok := c.(cluster.Rebuilder)
	if !ok {
		return nil, cluster.Missing(c, "make a node anew, as a member that is added again has to be")
	}
	return &members{cluster: c, build: b, rt: rt, built: map[string]uint64{}}, nil
}

// memberTimeout bounds what one member is asked.
const memberTimeout = time.Second

// ask lets f ask the members in turn until one answers, first the one that did last.
func (m *members) ask(ctx context.Context, but []string, f func(context.Context, pb.ClusterClient) error) error {
	err := errors.New("etcd: no member to ask")
	nodes := slices.Clone(m.cluster.Nodes())
	if last := m.answered.Load(); last != nil {
		i := slices.IndexFunc(nodes, func(n cluster.Node) bool { return n.Name == *last })
		nodes = slices.Concat(nodes[i:], nodes[:i])
	}
	for _, n := range nodes {
		if slices.Contains(but, n.Name) || ctx.Err() != nil {
			continue
		}
		if err = m.askOne(ctx, n, f); err == nil {
			m.answered.Store(&n.Name)
			return nil
		}
	}
	return errors.Join(err, ctx.Err())
}

func (m *members) askOne(ctx context.Context, n cluster.Node, f func(context.Context, pb.ClusterClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	c, err := Open(ctx, clients.Target{Node: n, Cluster: m.cluster, Timeout: memberTimeout})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := f(ctx, pb.NewClusterClient(c.driver.ActiveConnection())); err != nil {
		return fmt.Errorf("etcd: members by %s: %w", n.Name, err)
	}
	return nil
}

// list is who the members are, by quorum.
func (m *members) list(ctx context.Context) (all []*pb.Member, err error) {
	err = m.ask(ctx, nil, func(ctx context.Context, c pb.ClusterClient) error {
		r, err := c.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		all = r.GetMembers()
		return err
	})
	return all, err
}

// nodeOf is the node that a member lives on: one that was never started has an
// address, but no name.
func nodeOf(m *pb.Member) string {
	for _, u := range m.GetPeerURLs() {
		host, _, _ := strings.Cut(strings.TrimPrefix(u, "http://"), ":")
		return host
	}
	return m.GetName()
}

// Members implements cluster.Members.
func (m *members) Members(ctx context.Context) ([]string, error) {
	all, err := m.list(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, x := range all {
		if !x.GetIsLearner() {
			names = append(names, nodeOf(x))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Remove implements cluster.Members.
func (m *members) Remove(ctx context.Context, nodes []string) error {
	all, err := m.list(ctx)
	if err != nil {
		return err
	}
	for _, x := range all {
		if slices.Contains(nodes, nodeOf(x)) {
			if err := m.remove(ctx, nodes, x.GetID()); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove asks members that stay: one that goes may end before it answers.
func (m *members) remove(ctx context.Context, but []string, id uint64) error {
	return m.ask(ctx, but, func(ctx context.Context, c pb.ClusterClient) error {
		_, err := c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		return err
	})
}

// Add implements cluster.Members. etcd takes one learner at a time, so one that is there
// already comes first; and a node that cannot join does not keep the others from it.
func (m *members) Add(ctx context.Context, nodes []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.list(ctx)
	if err != nil {
		return err
	}
	waits := func(node string) bool { return learner(all, node) != nil }
	first := slices.Clone(nodes)
	slices.SortStableFunc(first, func(a, b string) int {
		switch {
		case waits(a) && !waits(b):
			return -1
		case waits(b) && !waits(a):
			return 1
		}
		return 0
	})
	var errs []error
	for _, n := range first {
		if voter := slices.ContainsFunc(all, func(x *pb.Member) bool { return nodeOf(x) == n && !x.GetIsLearner() }); !voter {
			errs = append(errs, m.add(ctx, n, learner(all, n)))
		}
	}
	return errors.Join(errs...)
}

// learner is the one that lives on a node, nil for none.
func learner(all []*pb.Member, node string) *pb.Member {
	for _, x := range all {
		if nodeOf(x) == node && x.GetIsLearner() {
			return x
		}
	}
	return nil
}

// add makes a node a member, of the learner that it may be already.
func (m *members) add(ctx context.Context, node string, was *pb.Member) error {
	wanted := m.build.Wanted(node)
	if was != nil && wanted == cluster.Running && m.built[node] == was.GetID() && m.runs(ctx, node) {
		return m.promote(ctx, node, was.GetID())
	}
	if was != nil {
		// It was added in vain, and is in the way of others. It may not begin twice with
		// an empty disk: it has to be another member.
		if err := m.remove(ctx, []string{node}, was.GetID()); err != nil {
			return err
		}
	}
	if wanted != cluster.Running {
		return fmt.Errorf("etcd: %s cannot join while another fault holds it %s", node, wanted)
	}
	return m.join(ctx, node)
}

func (m *members) runs(ctx context.Context, node string) bool {
	o, ok := m.cluster.(cluster.Observer)
	if !ok {
		return true
	}
	s, err := o.State(ctx, node)
	return err != nil || s == cluster.Running
}

// join adds a learner, starts it with an empty disk and makes it a member.
func (m *members) join(ctx context.Context, node string) error {
	var added *pb.MemberAddResponse
	err := m.ask(ctx, []string{node}, func(ctx context.Context, c pb.ClusterClient) (err error) {
		added, err = c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{peerURL(node)}, IsLearner: true})
		return err
	})
	if err != nil {
		return err
	}
	var initial []string
	for _, x := range added.GetMembers() {
		initial = append(initial, nodeOf(x)+"="+peerURL(nodeOf(x)))
	}
	err = m.build.Rebuild(ctx, node, func(p *cluster.Pod) { joining(p.Containers[0].Args, strings.Join(initial, ",")) })
	if err != nil {
		return err
	}
	id := added.GetMember().GetID()
	m.built[node] = id
	return m.promote(ctx, node, id)
}

// promotePause is the time between two attempts at making a learner a member.
const promotePause = 50 * time.Millisecond

// promote makes a learner a member, which etcd does once it has caught up: from then on
// it can be killed and started like any other.
func (m *members) promote(ctx context.Context, node string, id uint64) error {
	for {
		var behind error
		err := m.ask(ctx, []string{node}, func(ctx context.Context, c pb.ClusterClient) error {
			_, err := c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
			switch err := rpctypes.Error(err); {
			case errors.Is(err, rpctypes.ErrMemberNotLearner): // an answer was lost
				return nil
			case errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
				behind = err
				return nil
			default:
				return err
			}
		})
		if err == nil && behind == nil {
			return nil
		}
		if m.rt.Sleep(ctx, promotePause) != nil {
			return errors.Join(fmt.Errorf("etcd: %s has not joined yet", node), behind, err)
		}
	}
}

func peerURL(node string) string { return fmt.Sprintf("http://%s:%d", node, peerNumber) }

// joining changes a member's arguments to those of one that joins a cluster.
func joining(args []string, members string) {
	for i, a := range args[:len(args)-1] {
		switch a {
		case "--initial-cluster":
			args[i+1] = members
		case "--initial-cluster-state":
			args[i+1] = "existing"
		}
	}
}
