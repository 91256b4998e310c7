package docker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/faultline-dev/faultline/clients/raft"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/dockertest"
	"github.com/faultline-dev/faultline/docker/images"
)

// childEnv makes the test binary a harness that is to be killed.
const childEnv = "FAULTLINE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

// child brings a cluster up, says its run id, and waits to be killed.
func child() {
	s := raft.System(nil)
	c, err := docker.New(docker.Config{Nodes: dockertest.Names(2), Ports: s.Ports, Pod: s.Pod, Options: map[string]string{"reads": "local"}})
	if err == nil {
		err = c.Up(context.Background())
	}
	fmt.Println(c.RunID(), err)
	_, _ = io.Copy(io.Discard, os.Stdin)
	time.Sleep(time.Minute)
}

func link(from, to string) cluster.Link { return cluster.Link{From: from, To: to} }

func TestIntegrationCluster(t *testing.T) {
	c, _ := dockertest.Up(t, raft.System(nil), 3, nil, "")
	t.Run("cuts", func(t *testing.T) { cuts(t, c) })
	t.Run("clients", func(t *testing.T) { clientLinks(t, c) })
	t.Run("processes", func(t *testing.T) { processes(t, c) })
	t.Run("shapes", func(t *testing.T) { shapes(t, c) })
	t.Run("logs", func(t *testing.T) { logs(t, c) })
	t.Run("delay of a cut", func(t *testing.T) { cutLatency(t, c) })
	t.Run("first datagram", func(t *testing.T) { firstDatagram(t, c) })
}

// reach fails the test unless exactly the closed links are closed. It looks again
// for a while: on a busy machine a probe can be late, and a change takes effect for
// what is sent after it.
func reach(t *testing.T, c *docker.Cluster, links []cluster.Link, closed ...cluster.Link) {
	t.Helper()
	var wrong []string
	for range 5 {
		got, err := c.Reach(t.Context(), links)
		if err != nil {
			t.Fatal(err)
		}
		wrong = nil
		for _, l := range links {
			if want := !slices.Contains(closed, l); got[l] != want {
				wrong = append(wrong, fmt.Sprintf("%s: something passes: %v, want %v", l, got[l], want))
			}
		}
		if wrong == nil {
			return
		}
	}
	t.Errorf("%s", strings.Join(wrong, "; "))
}

func cuts(t *testing.T, c *docker.Cluster) {
	t.Helper()
	all := dockertest.All(c.Nodes())
	reach(t, c, all)
	one := []cluster.Link{link("n1", "n2")}
	cut(t, c, "a", one...)
	reach(t, c, all, one...)
	// A second cut that shares the link; healing one leaves the other.
	both := []cluster.Link{link("n1", "n2"), link("n2", "n1")}
	cut(t, c, "b", both...)
	reach(t, c, all, both...)
	mend(t, c, "b")
	reach(t, c, all, one...)
	// The same id again replaces what it was.
	cut(t, c, "a", link("n3", "n1"))
	reach(t, c, all, link("n3", "n1"))
	mend(t, c, "a")
	mend(t, c, "unknown")
	reach(t, c, all)
	cut(t, c, "c", all...)
	reach(t, c, all, all...)
	if err := c.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	reach(t, c, all)
}

func cut(t *testing.T, c *docker.Cluster, id string, links ...cluster.Link) {
	t.Helper()
	if err := c.Cut(t.Context(), id, links); err != nil {
		t.Fatal(err)
	}
}

func mend(t *testing.T, c *docker.Cluster, id string) {
	t.Helper()
	if err := c.Mend(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func clientLinks(t *testing.T, c *docker.Cluster) {
	t.Helper()
	in, out := link(cluster.Clients, "n1"), link("n1", cluster.Clients)
	all := append(dockertest.All(c.Nodes()), in, out, link(cluster.Clients, "n2"), link("n2", cluster.Clients))
	reach(t, c, all)
	for _, closed := range [][]cluster.Link{{in}, {out}, {in, out}} {
		cut(t, c, "clients", closed...)
		reach(t, c, all, closed...)
	}
	mend(t, c, "clients")
	reach(t, c, all)
}

func processes(t *testing.T, c *docker.Cluster) {
	t.Helper()
	n := c.Nodes()[0]
	ports := maps.Clone(n.Ports)
	do := func(what string, f func(context.Context, string) error, want cluster.State) {
		t.Helper()
		start := time.Now()
		for range 2 { // doing it again does nothing
			if err := f(t.Context(), n.Name); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		got, err := c.State(t.Context(), n.Name)
		if err != nil || got != want {
			t.Errorf("after %s: %v, %v; want %v", what, got, err, want)
		}
		t.Logf("%s twice: %v", what, time.Since(start).Round(time.Millisecond))
	}
	do("pause", c.Pause, cluster.Paused)
	do("resume", c.Resume, cluster.Running)
	do("kill", c.Kill, cluster.Dead)
	do("resume of the dead", c.Resume, cluster.Dead)
	do("start", c.Start, cluster.Running)
	do("pause", c.Pause, cluster.Paused)
	do("kill of the paused", c.Kill, cluster.Dead)
	do("start", c.Start, cluster.Running)
	if !maps.Equal(ports, c.Nodes()[0].Ports) {
		t.Errorf("ports were %v and are %v", ports, c.Nodes()[0].Ports)
	}
	conn, err := net.DialTimeout("tcp", ports["client"], time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	reach(t, c, dockertest.All(c.Nodes()))
}

func logs(t *testing.T, c *docker.Cluster) {
	t.Helper()
	files, err := c.Logs(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range files {
		b, err := io.ReadAll(f)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "db.log" && strings.Count(string(b), "msg=serving") < 2 {
			t.Errorf("%s lacks what the node said before it was killed:\n%s", name, b)
		}
		_ = f.Close()
	}
	if _, ok := files["db.log"]; !ok {
		t.Errorf("there is no db.log, but %v", slices.Collect(maps.Keys(files)))
	}
}

// cutLatency measures how long a cut and its mending take to ask for.
func cutLatency(t *testing.T, c *docker.Cluster) {
	t.Helper()
	var took []time.Duration
	for range 50 {
		start := time.Now()
		cut(t, c, "quick", dockertest.All(c.Nodes())...)
		took = append(took, time.Since(start))
		mend(t, c, "quick")
	}
	slices.Sort(took)
	t.Logf("cutting all links: median %v, worst %v", took[25], took[49])
	if took[25] > 50*time.Millisecond {
		t.Errorf("half of the cuts take more than %v", took[25])
	}
}

func TestIntegrationNodeThatRefusesItsOptions(t *testing.T) {
	dockertest.Need(t)
	c, err := docker.New(docker.Config{
		Nodes: dockertest.Names(1),
		Pod: func(cluster.Launch) (cluster.Pod, error) {
			return cluster.Pod{Containers: []cluster.Container{{Name: "db", Args: []string{"node", "nonsense"}}}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err = c.Up(t.Context()); err == nil {
		// It was still about to die.
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			s, _ := c.State(t.Context(), "n1")
			if s == cluster.Dead {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the node is %s", s)
			}
		}
		err = fmt.Errorf("%s", c.Tail(t.Context(), "n1"))
	}
	if !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("the error lacks what the node said: %v", err)
	}
	engine := dockertest.Need(t)
	if err := c.Down(t.Context()); err != nil {
		t.Error(err)
	}
	dockertest.Clean(t, engine, c.RunID())
}

func TestIntegrationUpThatIsCancelled(t *testing.T) {
	engine := dockertest.Need(t)
	s := raft.System(nil)
	for _, after := range []time.Duration{200 * time.Millisecond, 600 * time.Millisecond, 1200 * time.Millisecond} {
		c, err := docker.New(docker.Config{Nodes: dockertest.Names(3), Ports: s.Ports, Pod: s.Pod, Options: map[string]string{"reads": "local"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), after)
		err = c.Up(ctx)
		cancel()
		if err == nil {
			err = c.Down(t.Context())
			if err != nil {
				t.Error(err)
			}
		}
		time.Sleep(500 * time.Millisecond)
		dockertest.Clean(t, engine, c.RunID())
	}
}

func TestIntegrationHarnessThatIsKilled(t *testing.T) {
	engine := dockertest.Need(t)
	t.Run("the janitor cleans up", func(t *testing.T) {
		run, kill := startChild(t)
		kill()
		gone(t, engine, run)
	})
	t.Run("the sweep cleans up where the janitor was killed too", func(t *testing.T) {
		run, kill := startChild(t)
		for _, i := range dockertest.Left(t, engine, run) {
			if i.Role == "janitor" {
				if _, err := engine.ContainerKill(t.Context(), i.ID, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
					t.Fatal(err)
				}
			}
			if i.Fate != docker.Alive {
				t.Errorf("%s: its owner lives", i)
			}
		}
		if _, err := docker.Sweep(t.Context(), engine); err != nil {
			t.Fatal(err)
		}
		if len(dockertest.Left(t, engine, run)) == 0 {
			t.Fatal("the sweep removed what belongs to a living process")
		}
		kill()
		// Another run on this engine may sweep at the same time.
		if _, err := docker.Sweep(t.Context(), engine); err != nil {
			t.Fatal(err)
		}
		gone(t, engine, run)
	})
}

func startChild(t *testing.T) (run string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	run, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || rest != "<nil>" {
		t.Fatalf("the child said %q: %v", line, err)
	}
	return run, func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
}

// gone waits until nothing of a run is left.
func gone(t *testing.T, engine *client.Client, run string) {
	t.Helper()
	start := time.Now()
	for time.Since(start) < 30*time.Second {
		if len(dockertest.Left(t, engine, run)) == 0 {
			t.Logf("everything was gone after %v", time.Since(start).Round(10*time.Millisecond))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	dockertest.Clean(t, engine, run)
}

func TestIntegrationImages(t *testing.T) {
	engine := dockertest.Need(t)
	b := images.Builder{Engine: engine, Progress: func(s string) { t.Log(s) }}
	first, err := b.Ensure(t.Context(), images.Self)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Ensure(t.Context(), images.Self); err != nil || again != first {
		t.Errorf("the second time: %s, %v; the first: %s", again, err, first)
	}
	// An image that a container uses is never stale, nor is this build's; one of another
	// build that nothing uses is once it is old enough.
	other := images.Self + ":of-another-build"
	if _, err := engine.ImageTag(t.Context(), client.ImageTagOptions{Source: first, Target: other}); err != nil {
		t.Fatal(err)
	}
	stale := func(age time.Duration) bool {
		t.Helper()
		old, err := b.Stale(t.Context(), first, age)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(old, func(i images.Image) bool { return i.Ref == first }) {
			t.Errorf("%s is stale, although of this build", first)
		}
		return slices.ContainsFunc(old, func(i images.Image) bool { return i.Ref == other })
	}
	if stale(time.Hour * 24 * 365) {
		t.Errorf("%s is a year old", other)
	}
	c, err := docker.New(docker.Config{Nodes: dockertest.Names(1), Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stale(0) {
		t.Errorf("%s is stale while a container uses it", other)
	}
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !stale(0) {
		t.Errorf("%s is not stale though nothing uses it", other)
	}
	if gone, err := b.Remove(t.Context(), []images.Image{{Ref: other}}); err != nil || len(gone) != 1 || stale(0) {
		t.Errorf("removed %v; %v", gone, err)
	}
	if _, err := engine.ImageInspect(t.Context(), first); err != nil {
		t.Errorf("%s went with %s: %v", first, other, err)
	}
	for ref, want := range map[string]error{
		"faultline/etcd:3.6.999":   images.ErrVersion,
		"faultline/etcd:9.9":       images.ErrVersion,
		"faultline/etcd:latest!":   images.ErrVersion,
		"faultline/redis:1.0":      images.ErrVersion,
		"nobody/has-this:tag-here": images.ErrMissing,
	} {
		if _, err := b.Ensure(t.Context(), ref); err == nil || !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("%s: %v, want %v", ref, err, want)
		}
	}
}
