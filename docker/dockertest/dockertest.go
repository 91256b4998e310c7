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
func Need(t testing.TB) *client.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("needs containers: not with -short")
	}
	c, err := docker.Open(t.Context())
	if err != nil {
		if os.Getenv(requireEnv) == "1" {
			t.Fatalf("%s=1: %v", requireEnv, err)
		}
		t.Skipf("needs containers: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Up brings a cluster of the system up and waits until its nodes serve. It is
// taken down when the test ends, and nothing of it may be left then.
func Up(t testing.TB, s clients.System, nodes int, given map[string]string, version string) (*docker.Cluster, options.Values) {
	t.Helper()
	engine := Need(t)
	opts, err := options.Resolve(s.Options, given)
	if err != nil {
		t.Fatal(err)
	}
	c, err := docker.New(docker.Config{
		Nodes: Names(nodes), Ports: s.Ports, Pod: s.Pod, Options: opts, Version: version,
		Progress: func(text string) { t.Log(text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range c.Nodes() {
				t.Logf("the log of %s ends with:\n%s", n.Name, c.Tail(context.Background(), n.Name))
			}
		}
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
		Clean(t, engine, c.RunID())
	})
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Init != nil {
		if err := s.Init(t.Context(), c, opts); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.Nodes() {
		Ready(t, s, clients.Target{Node: n, Cluster: c, Options: opts, Timeout: time.Second})
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
func Ready(t testing.TB, s clients.System, to clients.Target) {
	t.Helper()
	var err error
	for end := time.Now().Add(readyLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err = s.Ready(ctx, to)
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatalf("%s does not serve: %v", to.Node.Name, err)
}

// Clean fails the test if anything of the run is left in the engine.
func Clean(t testing.TB, engine *client.Client, run string) {
	t.Helper()
	for _, i := range Left(t, engine, run) {
		t.Errorf("left behind: %s", i)
	}
}

// Left is what is left of a run in the engine.
func Left(t testing.TB, engine *client.Client, run string) []docker.Item {
	t.Helper()
	all, err := docker.List(context.Background(), engine)
	if err != nil {
		t.Fatal(err)
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
