package docker_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/bundled"
	"github.com/faultline-dev/faultline/clients/etcd"
	"github.com/faultline-dev/faultline/clients/raft"
	"github.com/faultline-dev/faultline/clients/redis"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/dockertest"
	"github.com/faultline-dev/faultline/history"
)

// power cuts the power of all nodes at once, and starts them again.
func power(t *testing.T, c *docker.Cluster, ready func()) {
	t.Helper()
	start := time.Now()
	err := together(c, func(n string) error { return c.Kill(t.Context(), n) })
	if err != nil {
		t.Fatal(err)
	}
	cut := time.Since(start)
	if err := together(c, func(n string) error { return c.Start(t.Context(), n) }); err != nil {
		t.Fatal(err)
	}
	ready()
	t.Logf("cut in %v, serves again after %v", cut.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
}

func together(c *docker.Cluster, do func(node string) error) error {
	nodes := c.Nodes()
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { errs <- do(n.Name) }()
	}
	var first error
	for range nodes {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func breakAll(t *testing.T, c *docker.Cluster, d cluster.Disk) {
	t.Helper()
	if err := together(c, func(n string) error { return c.Break(t.Context(), "test", n, d) }); err != nil {
		t.Fatal(err)
	}
}

func damage(t *testing.T, c *docker.Cluster) (sum cluster.Damage) {
	t.Helper()
	for _, n := range c.Nodes() {
		d, err := c.Damage(t.Context(), n.Name)
		if err != nil {
			t.Fatal(err)
		}
		sum.Lost += d.Lost
		sum.Torn += d.Torn
		sum.Flipped += d.Flipped
		sum.Failed += d.Failed
		sum.Slowed += d.Slowed
	}
	return sum
}

// loss writes and cuts the power, several times, and counts acknowledged writes
// that are gone.
func loss(t *testing.T, c *docker.Cluster, crashes, writes int, ready func(), write func(key string) error, has func(key string) bool) (acknowledged, lost int) {
	t.Helper()
	breakAll(t, c, cluster.Disk{Fault: cluster.LoseUnsynced})
	for crash := range crashes {
		var keys []string
		for i := range writes {
			key := fmt.Sprintf("k%d-%d", crash, i)
			if write(key) == nil {
				keys = append(keys, key)
			}
		}
		power(t, c, ready)
		for _, k := range keys {
			if !has(k) {
				lost++
			}
		}
		acknowledged += len(keys)
	}
	t.Logf("%d of %d acknowledged writes lost; %+v", lost, acknowledged, damage(t, c))
	return acknowledged, lost
}

func TestIntegrationDiskRedis(t *testing.T) {
	s := redis.System()
	c, opts := dockertest.UpDisks(t, s, 2, map[string]string{"mode": "replicated", "fsync": "everysec"}, "")
	ready := func() {
		for _, n := range c.Nodes() {
			dockertest.Ready(t, s, clients.Target{Node: n, Cluster: c, Options: opts, Timeout: time.Second})
		}
	}
	acknowledged, lost := loss(t, c, powerCuts(), 50, ready,
		func(key string) error { _, err := redisSay(t.Context(), c, "SET "+key+" 1"); return err },
		func(key string) bool { return redisHas(t, c, key) })
	if acknowledged < 30*powerCuts() || lost == 0 {
		t.Errorf("fsync=everysec lost %d of %d acknowledged writes", lost, acknowledged)
	}
	always, err := redisSay(t.Context(), c, "CONFIG SET appendfsync always")
	if err != nil || always != "+OK" {
		t.Fatal(always, err)
	}
	acknowledged, lost = 0, 0
	for i := range 20 {
		if _, err := redisSay(t.Context(), c, fmt.Sprintf("SET always%d 1", i)); err == nil {
			acknowledged++
		}
	}
	power(t, c, ready)
	for i := range 20 {
		if !redisHas(t, c, fmt.Sprint("always", i)) {
			lost++
		}
	}
	if acknowledged != 20 || lost > 0 {
		t.Errorf("fsync=always lost %d of %d acknowledged writes", lost, acknowledged)
	}
}

func redisHas(t *testing.T, c *docker.Cluster, key string) bool {
	t.Helper()
	return eventually(t, func(ctx context.Context) (string, error) { return redisSay(ctx, c, "EXISTS "+key) }) == ":1"
}

// redisSay sends a command and returns the first line of the answer.
func redisSay(ctx context.Context, c *docker.Cluster, command string) (string, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", c.Nodes()[0].Ports["redis"])
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	line = strings.TrimSpace(line)
	if err == nil && strings.HasPrefix(line, "-") {
		err = fmt.Errorf("redis: %s", line)
	}
	return line, err
}

func TestIntegrationDiskEtcd(t *testing.T) {
	s := etcd.System()
	c, opts := dockertest.UpDisks(t, s, 3, nil, "")
	client := open[*etcd.Client](t, s, c, opts)
	noneLost(t, s, c, opts,
		func(key string) error { _, err := client().Write(t.Context(), key, 1); return err },
		func(ctx context.Context, key string) (history.Reply, error) { return client().Read(ctx, key) })
}

func TestIntegrationDiskRaft(t *testing.T) {
	s := raft.System(nil)
	c, opts := dockertest.UpDisks(t, s, 3, nil, "")
	client := open[*bundled.Client](t, s, c, opts)
	noneLost(t, s, c, opts,
		func(key string) error { _, err := client().Write(t.Context(), key, 1); return err },
		func(ctx context.Context, key string) (history.Reply, error) { return client().Read(ctx, key) })
	// The others too, one after the other, on one node.
	for _, d := range []cluster.Disk{
		{Fault: cluster.SlowSync, Delay: 100 * time.Millisecond}, {Fault: cluster.Full}, {Fault: cluster.FailIO},
	} {
		before, start := damage(t, c), time.Now()
		if err := c.Break(t.Context(), "one", "n2", d); err != nil {
			t.Fatal(err)
		}
		// The others can have acknowledged a write before n2's disk has seen it.
		after := before
		for i := 0; after.Slowed+after.Failed <= before.Slowed+before.Failed && time.Since(start) < 20*time.Second; i++ {
			_, _ = client().Write(t.Context(), fmt.Sprint(d.Fault, i), 1)
			after = damage(t, c)
		}
		if after.Slowed+after.Failed <= before.Slowed+before.Failed {
			t.Errorf("%s: %+v, before %+v", d.Fault, after, before)
		}
		if err := c.Repair(t.Context(), "one", "n2"); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context(), "n2"); err != nil { // it may have died of it
			t.Fatal(err)
		}
		t.Logf("%s: %+v in %v", d.Fault, after, time.Since(start))
	}
}

// open returns a function that gives a new client of the first node.
func open[C clients.Client](t *testing.T, s clients.System, c *docker.Cluster, opts map[string]string) func() C {
	t.Helper()
	return func() C {
		t.Helper()
		var err error
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			var cl clients.Client
			cl, err = s.Open(ctx, clients.Target{Node: c.Nodes()[0], Cluster: c, Options: opts, Timeout: 2 * time.Second})
			cancel()
			if err == nil {
				t.Cleanup(func() { _ = cl.Close() })
				return cl.(C)
			}
		}
		t.Errorf("no session: %v", err)
		panic(err) // a test without a client has no way on
	}
}

func noneLost(t *testing.T, s clients.System, c *docker.Cluster, opts map[string]string, write func(key string) error, read func(ctx context.Context, key string) (history.Reply, error)) {
	t.Helper()
	ready := func() {
		for _, n := range c.Nodes() {
			dockertest.Ready(t, s, clients.Target{Node: n, Cluster: c, Options: opts, Timeout: time.Second})
		}
	}
	acknowledged, lost := loss(t, c, powerCuts(), 15, ready, write, func(key string) bool {
		return eventually(t, func(ctx context.Context) (history.Reply, error) { return read(ctx, key) }).Value != nil
	})
	if acknowledged < 10*powerCuts() || lost > 0 {
		t.Errorf("%d of %d acknowledged writes lost", lost, acknowledged)
	}
	if err := together(c, func(n string) error { return c.Repair(t.Context(), "test", n) }); err != nil {
		t.Fatal(err)
	}
}
