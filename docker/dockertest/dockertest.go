// Package dockertest is for tests that need a container engine.
package dockertest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/options"
)

// requireEnv makes a skipped container test a failure.
const requireEnv = "FAULTLINE_REQUIRE_DOCKER"

// Need skips the test where no container engine answers, or fails it where one is
// required. Under -short it always skips.
func Need(tb testing.TB) *client.Client {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs containers: not with -short")
	}
	c, err := docker.Open(tb.Context())
	if err != nil {
		if os.Getenv(requireEnv) == "1" {
			tb.Fatalf("%s=1: %v", requireEnv, err)
		}
		tb.Skipf("needs containers: %v", err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// Up brings a cluster of the system up and waits until its nodes serve. It is
// taken down when the test ends, and nothing of it may be left then.
func Up(tb testing.TB, s clients.System, nodes int, given map[string]string, version string) (*docker.Cluster, options.Values) {
	tb.Helper()
	return bringUp(tb, s, nodes, given, version, false)
}

// UpDisks is Up with disks that can fail; it skips the test where that is
// impossible.
func UpDisks(tb testing.TB, s clients.System, nodes int, given map[string]string, version string) (*docker.Cluster, options.Values) {
	tb.Helper()
	Need(tb)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		tb.Skipf("needs failing disks: %v", err)
	}
	return bringUp(tb, s, nodes, given, version, true)
}

func bringUp(tb testing.TB, s clients.System, nodes int, given map[string]string, version string, disks bool) (*docker.Cluster, options.Values) {
	tb.Helper()
	engine := Need(tb)
	opts, err := options.Resolve(s.Options, given)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := docker.New(docker.Config{
		Nodes: Names(nodes), Ports: s.Ports, Pod: s.Pod, Options: opts, Version: version, Disks: disks,
		Progress: func(text string) { tb.Log(text) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			for _, n := range c.Nodes() {
				tb.Logf("the log of %s ends with:\n%s", n.Name, c.Tail(context.Background(), n.Name))
			}
		}
		if err := c.Down(context.Background()); err != nil {
			tb.Error(err)
		}
		Clean(tb, engine, c.RunID())
	})
	if err := c.Up(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if s.Init != nil {
		if err := s.Init(tb.Context(), c, opts); err != nil {
			tb.Fatal(err)
		}
	}
	for _, n := range c.Nodes() {
		Ready(tb, s, clients.Target{Node: n, Cluster: c, Options: opts, Timeout: time.Second})
	}
	return c, opts
}

// Names are n1, n2, ...
func Names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, "n"+string(rune('1'+i)))
	}
	return out
}

// readyLimit is how long a node may take until it serves.
const readyLimit = 30 * time.Second

// Ready waits until a node serves.
func Ready(tb testing.TB, s clients.System, to clients.Target) {
	tb.Helper()
	var err error
	for end := time.Now().Add(readyLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(tb.Context(), time.Second)
		err = s.Ready(ctx, to)
		cancel()
		if err == nil {
			return
		}
	}
	tb.Fatalf("%s does not serve: %v", to.Node.Name, err)
}

// Clean fails the test if anything of the run is left in the engine.
func Clean(tb testing.TB, engine *client.Client, run string) {
	tb.Helper()
	for _, i := range Left(tb, engine, run) {
		tb.Errorf("left behind: %s", i)
	}
}

// Left is what is left of a run in the engine.
func Left(tb testing.TB, engine *client.Client, run string) []docker.Item {
	tb.Helper()
	all, err := docker.List(context.Background(), engine)
	if err != nil {
		tb.Fatal(err)
	}
	var own []docker.Item
	for _, i := range all {
		if i.Run == run {
			own = append(own, i)
		}
	}
	return own
}

// All are the links between all nodes, in both directions.
func All(nodes []cluster.Node) []cluster.Link {
	var out []cluster.Link
	for _, a := range nodes {
		for _, b := range nodes {
			if a.Name != b.Name {
				out = append(out, cluster.Link{From: a.Name, To: b.Name})
			}
		}
	}
	return out
}
