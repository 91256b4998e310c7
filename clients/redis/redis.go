// Package redis is Redis as a system under test, alone or in one of the ways in
// which it is replicated.
//
// Clients find the node that takes their writes when they open, as applications do:
// the first node (replicated), whom the node's own sentinel names (sentinel), who
// owns the key's slot in the view of the client's node (cluster). They make one
// attempt an operation there and follow no redirection; one that is refused since
// the primary moved ends the session, and the next one asks again.
//
// Which errors are definite, that is, prove that nothing happened and nothing will:
//
//	error                                     definite  why
//	no session (refused, no answer to HELLO)  yes       no request was written
//	nothing was written to the connection     yes       the connection says so
//	an error reply (READONLY, LOADING,        yes       each operation is one command, refused or
//	CLUSTERDOWN, MOVED, OOM, MISCONF, …)                  failed as a whole
//	too few replicas acknowledged (wait=N)    no        the primary has it
//	deadline, EOF, reset after writing        no        it may have been received
//	anything else                             no
package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// The ports of a node.
const (
	redisPort    = "redis"
	sentinelPort = "sentinel"
	busPort      = "bus"
)

// decisions are all by the time of day: Redis' own milliseconds are that.
func decisions(workload string, o options.Values) []cluster.Decision {
	var d []cluster.Decision
	if workload == "lock" || workload == "cache" {
		d = append(d, cluster.Decision{Clock: cluster.RealTime, What: "expiry of keys"})
	}
	switch o.String("mode") {
	case replicated:
		d = append(d, cluster.Decision{Clock: cluster.RealTime, What: "time-outs of replication"})
	case sentinel, clustered:
		d = append(d, cluster.Decision{Clock: cluster.RealTime, What: "fail-over"})
	}
	return d
}

// The words of the option mode.
const (
	single      = "single"
	replicated  = "replicated"
	sentinel    = "sentinel"
	clustered   = "cluster"
	independent = "independent"
)

// replicaReads is the word of the option reads for reads at the client's own node.
const replicaReads = "replica"

// System is Redis.
func System() clients.System {
	return clients.System{
		Name: "redis",
		Doc:  "Redis, Debian's package or an image of your own: alone, replicated, with Sentinel, as a cluster",
		Options: []options.Option{
			{
				Name: "mode", Kind: options.String, Default: sentinel,
				Values: []string{single, replicated, sentinel, clustered, independent},
				Doc:    "how the nodes belong together; independent ones know nothing of each other",
			},
			{
				Name: "reads", Kind: options.String, Default: "primary", Values: []string{"primary", replicaReads},
				Doc: "primary reads where writes go, replica at the client's own node (replicated and sentinel)",
			},
			recipeOption(),
			{Name: "wait", Kind: options.Int, Default: "0", Min: "0", Max: "8", Doc: "how many replicas must acknowledge a write (WAIT)"},
			{
				Name: "fsync", Kind: options.String, Default: "everysec", Values: []string{"always", "everysec", "no"},
				Doc: "when the append-only file is forced to disk",
			},
			{Name: "down-after", Kind: options.Duration, Default: "1s", Min: "100ms", Max: "60s", Doc: "silence after which a sentinel takes a primary for down"},
		},
		Ports: []cluster.Port{
			{Name: redisPort, Number: 6379},
			{Name: sentinelPort, Number: 26379},
			{Name: busPort, Number: 16379, Peer: true},
		},
		Versions:  []string{"7.0.15"},
		Pod:       pod,
		Nodes:     nodes,
		Check:     check,
		Init:      initialize,
		Ready:     ready,
		Open:      func(ctx context.Context, t clients.Target) (clients.Client, error) { return Open(ctx, t) },
		Methods:   func() any { return &Client{} },
		Leader:    leader,
		Decisions: decisions,
	}
}

// CacheOptions are those of a Redis that is a cache before another store.
func CacheOptions() []options.Option {
	own := slices.DeleteFunc(System().Options, func(o options.Option) bool { return !slices.Contains([]string{"mode", "fsync", "down-after"}, o.Name) })
	own[0].Default, own[0].Values = single, []string{single, sentinel}
	own[0].Doc = "how the caches belong together: one alone, or replicas with sentinels"
	return own
}

// Single says whether there is only one server with these options.
func Single(o options.Values) bool { return o.String("mode") == single }

func nodes(o options.Values) (least, most int) {
	switch o.String("mode") {
	case single:
		return 1, 1
	case replicated:
		return 2, 9
	case sentinel:
		return 3, 9
	case clustered:
		return 6, 9
	}
	return 1, 9
}

func check(o options.Values) error {
	mode := o.String("mode")
	if o.String("reads") == replicaReads && mode != replicated && mode != sentinel {
		return fmt.Errorf("redis: reads=replica needs mode=replicated or mode=sentinel, not mode=%s", mode)
	}
	if mode == independent && o.String("recipe") != redlock {
		return errors.New("redis: mode=independent is for recipe=redlock: its masters know nothing of each other")
	}
	if o.String("recipe") == redlock && mode != independent {
		return fmt.Errorf("redis: recipe=redlock needs mode=independent, not mode=%s", mode)
	}
	if o.Int("wait") > 0 && (mode == single || mode == independent) {
		return fmt.Errorf("redis: wait=%d needs replicas, which mode=%s has not", o.Int("wait"), mode)
	}
	return nil
}

const (
	image = "faultline/redis"
	// masterName is what sentinels call the primary.
	masterName = "faultline"
)

// keepConf starts a server with a configuration that is written only once, since
// Redis and Sentinel rewrite theirs when roles change, and that a power cut does not
// lose.
const keepConf = `f=/data/$NAME.conf; test -s $f || { echo "$CONF" | dd of=$f.new conv=fsync 2>/dev/null && mv $f.new $f; }; exec redis-server $f $FLAGS`

func pod(l cluster.Launch) (cluster.Pod, error) {
	ref := image
	if l.Version != "" {
		ref += ":" + l.Version
	}
	o := options.Values(l.Options)
	server := func(name, flags string, conf []string) cluster.Container {
		return cluster.Container{
			Name: name, Image: ref, Entrypoint: []string{"sh", "-c", keepConf}, Data: l.Dir,
			Env: map[string]string{"NAME": name, "FLAGS": flags, "CONF": strings.Join(conf, "\n")},
		}
	}
	conf := []string{
		"port 6379", "protected-mode no", "dir " + l.Dir, "save \"\"", "appendonly yes", "appendfsync " + o.String("fsync"),
		"repl-diskless-sync-delay 0", "repl-ping-replica-period 1", "repl-timeout 5",
	}
	mode := o.String("mode")
	if mode == replicated || mode == sentinel {
		conf = append(conf, "replica-announce-ip "+l.Node)
		if l.Node != l.Nodes[0] {
			conf = append(conf, "replicaof "+l.Nodes[0]+" 6379")
		}
	}
	if mode == clustered {
		conf = append(conf, "cluster-enabled yes", "cluster-node-timeout 2000",
			"cluster-announce-hostname "+l.Node, "cluster-preferred-endpoint-type hostname")
	}
	p := cluster.Pod{Containers: []cluster.Container{server("db", "", conf)}}
	if mode == sentinel {
		p.Containers = append(p.Containers, server("sentinel", "--sentinel", sentinelConf(l, o)))
	}
	return p, nil
}

func sentinelConf(l cluster.Launch, o options.Values) []string {
	set := "sentinel %s " + masterName + " %d"
	return []string{
		"port 26379", "protected-mode no", "dir " + l.Dir,
		"sentinel resolve-hostnames yes", "sentinel announce-hostnames yes", "sentinel announce-ip " + l.Node,
		fmt.Sprintf("sentinel monitor %s %s 6379 %d", masterName, l.Nodes[0], len(l.Nodes)/2+1),
		fmt.Sprintf(set, "down-after-milliseconds", o.Duration("down-after").Milliseconds()),
		fmt.Sprintf(set, "failover-timeout", 3000), fmt.Sprintf(set, "parallel-syncs", 1),
	}
}

// ready says whether the node serves in its role.
func ready(ctx context.Context, t clients.Target) error {
	c, err := dial(ctx, t.Node, redisPort, t.Timeout)
	if err != nil {
		return err
	}
	defer c.close()
	mode := t.Options.String("mode")
	switch mode {
	case clustered:
		info, err := c.rdb.ClusterInfo(ctx).Result()
		if err == nil && !strings.Contains(info, "cluster_state:ok") {
			err = errors.New("redis: the cluster is not in order yet")
		}
		return err
	case replicated, sentinel:
		if err := c.linked(ctx); err != nil {
			return err
		}
	}
	if mode == sentinel {
		return sentinelReady(ctx, t)
	}
	return c.rdb.Ping(ctx).Err()
}

// linked: a primary, or a replica that hears its primary.
func (c *conn) linked(ctx context.Context) error {
	info, err := c.rdb.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
		return errors.New("redis: the replica has no link to its primary yet")
	}
	return nil
}

// sentinelReady: the node's sentinel knows all the others, and the primary that it
// names is one.
func sentinelReady(ctx context.Context, t clients.Target) error {
	s, err := dial(ctx, t.Node, sentinelPort, t.Timeout)
	if err != nil {
		return err
	}
	defer s.close()
	// It looks around every 10 s otherwise. Versions that lack this are just slower.
	_ = s.rdb.Do(ctx, "SENTINEL", "DEBUG", "info-period", 500, "ping-period", 250, "ask-period", 250,
		"publish-period", 500, "election-timeout", 2000, "tilt-trigger", 5000).Err()
	m, err := s.rdb.Do(ctx, "SENTINEL", "MASTER", masterName).StringSlice()
	if err != nil {
		return fmt.Errorf("redis: sentinel: %w", err)
	}
	field := func(name string) string {
		if i := slices.Index(m, name); i >= 0 && i+1 < len(m) {
			return m[i+1]
		}
		return ""
	}
	others := strconv.Itoa(len(t.Cluster.Nodes()) - 1)
	if field("flags") != "master" || field("num-slaves") != others || field("num-other-sentinels") != others {
		return fmt.Errorf("redis: the sentinel of %s sees a primary that is %q, %s replicas and %s other sentinels",
			t.Node.Name, field("flags"), field("num-slaves"), field("num-other-sentinels"))
	}
	return nil
}

// askTimeout bounds the question to one node whether it leads.
const askTimeout = 500 * time.Millisecond

// leader is the primary with the most replicas.
func leader(ctx context.Context, c cluster.Cluster, rt cluster.Runtime, _ options.Values) (string, error) {
	nodes := c.Nodes()
	replicas, errs := make([]int, len(nodes)), make([]error, len(nodes))
	clients.AtOnce(rt, c, func(i int, n cluster.Node) { replicas[i], errs[i] = replicasOf(ctx, n) })
	who, most := "", -1
	for i, n := range nodes {
		if errs[i] == nil && replicas[i] > most {
			who, most = n.Name, replicas[i]
		}
	}
	if who == "" {
		return "", errors.Join(errors.New("redis: no node says that it is a primary"), errors.Join(errs...))
	}
	return who, nil
}

// errReplica is a node that is no primary.
var errReplica = errors.New("it is a replica")

func replicasOf(ctx context.Context, n cluster.Node) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := dial(ctx, n, redisPort, askTimeout)
	if err != nil {
		return 0, err
	}
	defer c.close()
	role, err := c.rdb.Do(ctx, "ROLE").Slice()
	switch {
	case err != nil:
		return 0, err
	case len(role) != 3 || role[0] != "master":
		return 0, fmt.Errorf("redis: %s: %w", n.Name, errReplica)
	}
	replicas, _ := role[2].([]any)
	return len(replicas), nil
}
