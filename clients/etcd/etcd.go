// Package etcd is etcd as a system under test: one to nine members, each reached by
// clients that make one attempt an operation at one member.
//
// Which errors are definite, that is, prove that nothing happened and nothing will:
//
//	error                                      definite  why
//	no session (refused, no HTTP/2 handshake)  yes       no request was written
//	the request's headers were never written   yes       the driver says so, by its statistics
//	etcdserver: no leader                      yes       refused before it was proposed (we require a leader)
//	etcdserver: too many requests              yes       refused before it was proposed
//	etcdserver: … invalid argument             yes       refused before it was proposed
//	unimplemented                              yes       no handler saw it
//	etcdserver: request timed out              no        it may be in a log already
//	etcdserver: leader changed                 no        likewise
//	etcdserver: mvcc: database space exceeded  no        the write that exceeds the quota is carried out
//	deadline exceeded, canceled                no        it may have been received
//	EOF, reset after the request               no        likewise
//	anything else                              no
//
// The same table stands in classify.go and is tested.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// The ports of a member.
const (
	clientPort = "client"
	peerPort   = "peer"
	// peerNumber is its number.
	peerNumber = 2380
)

// The words of the option reads.
const (
	linearizable = "linearizable"
	serializable = "serializable"
)

// System is etcd.
func System() clients.System {
	return clients.System{
		Name: "etcd",
		Doc:  "etcd 3.4 and newer, built from its Go modules",
		Options: []options.Option{
			{
				Name: "reads", Kind: options.String, Default: linearizable, Values: []string{linearizable, serializable, "local"},
				Doc: "linearizable asks a quorum; serializable, or local, answers from what the member has applied, which may be old",
			},
			recipeOption(),
			{
				Name: "strict-reconfig", Kind: options.Bool, Default: "false",
				Doc: "etcd's --strict-reconfig-check: refuse to change the membership unless all members were connected for 5 s",
			},
			{Name: "heartbeat", Kind: options.Duration, Default: "50ms", Min: "10ms", Max: "1s", Doc: "etcd's --heartbeat-interval"},
			{Name: "election", Kind: options.Duration, Default: "500ms", Min: "50ms", Max: "50s", Doc: "etcd's --election-timeout"},
		},
		Ports: []cluster.Port{
			{Name: clientPort, Number: 2379},
			{Name: peerPort, Number: peerNumber, Peer: true},
		},
		Versions: []string{"3.6.16", "3.7.3", "3.6.0", "3.5.35", "3.5.2", "3.5.0", "3.4.23", "3.4.3"},
		Pod:      pod,
		Check:    check,
		Ready:    ready,
		Open:     func(ctx context.Context, t clients.Target) (clients.Client, error) { return Open(ctx, t) },
		Methods:  func() any { return &Client{} },
		Leader:   leader,
		Members:  newMembers,
		Decisions: func(string, options.Values) []cluster.Decision {
			return []cluster.Decision{{Clock: cluster.Monotonic, What: "elections"}, {Clock: cluster.Monotonic, What: "expiry of leases"}}
		},
	}
}

// check refuses what etcd itself would, later and in other words.
func check(o options.Values) error {
	if h, e := o.Duration("heartbeat"), o.Duration("election"); e < 5*h {
		return fmt.Errorf("etcd: election=%v: expected at least five times heartbeat=%v", e, h)
	}
	return nil
}

// image is the name of the recipe; a version follows it.
const image = "faultline/etcd"

func pod(l cluster.Launch) (cluster.Pod, error) {
	ref := image
	if l.Version != "" {
		ref += ":" + l.Version
	}
	ms := func(name string) string {
		d := options.Values(l.Options).Duration(name)
		return strconv.FormatInt(d.Milliseconds(), 10)
	}
	url := func(node, port string) string { return "http://" + l.Dial[node][port] }
	var members []string
	for _, n := range l.Nodes {
		members = append(members, n+"="+url(n, peerPort))
	}
	args := []string{
		"--name", l.Node, "--data-dir", l.Dir + "/etcd",
		"--listen-client-urls", "http://" + l.Listen[clientPort], "--advertise-client-urls", url(l.Node, clientPort),
		"--listen-peer-urls", "http://" + l.Listen[peerPort], "--initial-advertise-peer-urls", url(l.Node, peerPort),
		"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new", "--initial-cluster-token", "faultline",
		"--logger", "zap",
	}
	if strict := l.Options["strict-reconfig"]; strict != "" {
		args = append(args, "--strict-reconfig-check="+strict)
	}
	if l.Options["heartbeat"] != "" && l.Options["election"] != "" {
		args = append(args, "--heartbeat-interval", ms("heartbeat"), "--election-timeout", ms("election"))
	}
	return cluster.Pod{Containers: []cluster.Container{
		{Name: "db", Image: ref, Entrypoint: []string{"/usr/local/bin/etcd"}, Args: args, Data: l.Dir},
	}}, nil
}

// readyKey is only read.
const readyKey = "faultline/ready"

// ready reads by quorum: the member serves, and there is a leader.
func ready(ctx context.Context, t clients.Target) error {
	c, err := Open(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := clients.Limited(ctx, c.limit)
	defer cancel()
	_, err = c.driver.Get(ctx, readyKey)
	return err
}

// statusTimeout bounds the question to one member who leads.
const statusTimeout = 500 * time.Millisecond

// leader is the member that calls itself leader in the highest term.
func leader(ctx context.Context, c cluster.Cluster, rt cluster.Runtime, _ options.Values) (string, error) {
	var (
		mu   sync.Mutex
		who  string
		term uint64
		errs error
	)
	clients.AtOnce(rt, c, func(_ int, n cluster.Node) {
		leads, t, err := leads(ctx, clients.Target{Node: n, Cluster: c, Timeout: statusTimeout})
		mu.Lock()
		defer mu.Unlock()
		errs = errors.Join(errs, err)
		if leads && t >= term {
			who, term = n.Name, t
		}
	})
	if who == "" {
		return "", errors.Join(errors.New("etcd: no member says that it leads"), errs)
	}
	return who, nil
}

func leads(ctx context.Context, t clients.Target) (bool, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	c, err := Open(ctx, t)
	if err != nil {
		return false, 0, err
	}
	defer func() { _ = c.Close() }()
	// Over our own connection: the driver's Status would dial another.
	s, err := pb.NewMaintenanceClient(c.driver.ActiveConnection()).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return false, 0, fmt.Errorf("etcd: status of %s: %w", t.Node.Name, err)
	}
	return s.Leader != 0 && s.Leader == s.Header.MemberId, s.RaftTerm, nil
}
