// Package zookeeper is ZooKeeper as a system under test: an ensemble whose clients
// hold one session at one server each.
//
// Which errors are definite, that is, prove that nothing happened and nothing will:
//
//	error                                          definite  why
//	no session (refused, or no answer to connect)  yes       no request was written
//	the connection was lost before                 yes       no request was written
//	no server                                      yes       the driver gives it to requests it never wrote
//	no node, node exists, bad version, not empty,  yes       the ensemble agreed on the refusal
//	ephemerals have no children, no auth, bad ACL
//	connection closed, session expired or moved    no        it may have been received
//	deadline                                       no        likewise
//	anything else                                  no
//
// A write makes the node if it is missing, in up to three requests of which at most
// one has an effect.
package zookeeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// The ports of a server.
const (
	clientPort   = "client"
	quorumPort   = "quorum"
	electionPort = "election"
)

const (
	readLocal = "local"
	readSync  = "sync"
	// The server allows sessions of 2 to 20 ticks.
	leastTicks, mostTicks = 2, 20
)

// System is ZooKeeper.
func System() clients.System {
	return clients.System{
		Name: "zookeeper",
		Doc:  "ZooKeeper, Debian's packages or an image of your own",
		Options: []options.Option{
			{
				Name: "reads", Kind: options.String, Default: readLocal, Values: []string{readLocal, readSync},
				Doc: "local answers from what the server has applied, which may be old; sync asks it to catch up with the leader first",
			},
			recipeOption(),
			{Name: "session", Kind: options.Duration, Default: "4s", Min: "1s", Max: "60s", Doc: "time-out of a session, 2 to 20 ticks"},
			{Name: "tick", Kind: options.Duration, Default: "500ms", Min: "100ms", Max: "10s", Doc: "ZooKeeper's tickTime"},
		},
		Ports: []cluster.Port{
			{Name: clientPort, Number: 2181},
			{Name: quorumPort, Number: 2888, Peer: true},
			{Name: electionPort, Number: 3888, Peer: true},
		},
		Versions: []string{"3.8.0"},
		Pod:      pod,
		Check:    check,
		Ready:    ready,
		Open:     func(ctx context.Context, t clients.Target) (clients.Client, error) { return Open(ctx, t) },
		Methods:  func() any { return &Client{} },
		Leader:   leader,
		Members:  newMembers,
		// It decides by the JVM's monotonic clock, which no fault makes wrong.
		Decisions: func(string, options.Values) []cluster.Decision { return nil },
	}
}

// check refuses what the server would change silently.
func check(o options.Values) error {
	s, t := o.Duration("session"), o.Duration("tick")
	if s < leastTicks*t || s > mostTicks*t {
		return fmt.Errorf("zookeeper: session=%v: expected %v to %v, which is %d to %d ticks of %v",
			s, leastTicks*t, mostTicks*t, leastTicks, mostTicks, t)
	}
	return nil
}

const image = "faultline/zookeeper"

func pod(l cluster.Launch) (cluster.Pod, error) {
	ref := image
	if l.Version != "" {
		ref += ":" + l.Version
	}
	o := options.Values(l.Options)
	cfg := []string{
		fmt.Sprint("tickTime=", o.Duration("tick").Milliseconds()),
		"initLimit=10", "syncLimit=5", "cnxTimeout=1", "dataDir=" + l.Dir,
		"4lw.commands.whitelist=*", "admin.enableServer=false", "quorumListenOnAllIPs=true", "maxClientCnxns=0",
	}
	if len(l.Nodes) == 1 {
		cfg = append(cfg, "standaloneEnabled=true", "clientPort=2181")
	} else {
		cfg = append(cfg, "standaloneEnabled=false", "reconfigEnabled=true")
		for i, n := range l.Nodes {
			cfg = append(cfg, serverLine(i+1, n))
		}
	}
	return cluster.Pod{Containers: []cluster.Container{{
		Name: "db", Image: ref, Data: l.Dir,
		Env: map[string]string{
			"ZOO_ID":  strconv.Itoa(slices.Index(l.Nodes, l.Node) + 1),
			"ZOO_CFG": strings.Join(cfg, "\n"),
			"ZOO_JVM": superDigest(),
		},
	}}}, nil
}

// ready opens a session, which a server grants only as part of a quorum, and
// catches up with the leader.
func ready(ctx context.Context, t clients.Target) error {
	c, err := Open(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return c.do(ctx, func() error {
		_, err := c.driver.Sync("/")
		return err
	})
}

// modeTimeout bounds the question to one server whether it leads.
const modeTimeout = 500 * time.Millisecond

// leader is the server that calls itself so.
func leader(ctx context.Context, c cluster.Cluster, rt cluster.Runtime, _ options.Values) (string, error) {
	nodes := c.Nodes()
	modes, errs := make([]string, len(nodes)), make([]error, len(nodes))
	clients.AtOnce(rt, c, func(i int, n cluster.Node) { modes[i], errs[i] = modeOf(ctx, n.Ports[clientPort]) })
	for i, mode := range modes {
		if mode == "leader" || mode == "standalone" {
			return nodes[i].Name, nil
		}
	}
	return "", errors.Join(errors.New("zookeeper: no server says that it leads"), errors.Join(errs...))
}

// modeOf asks by a four-letter word, since the driver's parser does not
// understand every version's answer.
func modeOf(ctx context.Context, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, modeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := conn.Write([]byte("srvr")); err != nil {
		return "", err
	}
	s := bufio.NewScanner(conn)
	for s.Scan() {
		if mode, ok := strings.CutPrefix(s.Text(), "Mode: "); ok {
			return mode, nil
		}
	}
	return "", s.Err()
}
