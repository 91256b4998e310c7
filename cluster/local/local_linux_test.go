package local

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/local/localtest"
)

func ctx() context.Context { return context.Background() }

// up is a running cluster of n helpers.
func up(t *testing.T, n int, framed bool) *local {
	t.Helper()
	c, err := New(Config{Names: Names(n), Ports: localtest.Ports(), Framed: framed, Command: localtest.Command(localtest.Node), Dir: t.TempDir(), Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(ctx()); err != nil {
			t.Error(err)
		}
	})
	return c.(*local)
}

func must(t *testing.T, c *local, node, line string) string {
	t.Helper()
	s, err := localtest.Ask(c, node, line)
	if err != nil {
		t.Fatalf("%s at %s: %v", line, node, err)
	}
	return s
}

// got waits until node has count frames of from; it returns how many it has.
func got(t *testing.T, c *local, node, from string, count int) int {
	t.Helper()
	n := -1
	for range 50 {
		n, _ = strconv.Atoi(must(t, c, node, "got "+from))
		if n >= count {
			return n
		}
		time.Sleep(10 * time.Millisecond)
	}
	return n
}

func TestFramesCutOneWay(t *testing.T) {
	c := up(t, 2, true)
	link, back := cluster.Link{From: "n1", To: "n2"}, cluster.Link{From: "n2", To: "n1"}
	must(t, c, "n1", "send n2 10")
	must(t, c, "n2", "send n1 10")
	if a, b := got(t, c, "n2", "n1", 10), got(t, c, "n1", "n2", 10); a != 10 || b != 10 {
		t.Fatalf("before: %d and %d frames arrived, want 10 and 10", a, b)
	}
	if err := c.Cut(ctx(), "a", []cluster.Link{link}); err != nil {
		t.Fatal(err)
	}
	if err := c.Cut(ctx(), "b", []cluster.Link{link}); err != nil {
		t.Fatal(err)
	}
	if s := must(t, c, "n1", "send n2 10"); s != "sent" {
		t.Fatalf("a cut shows at the sender: %s", s)
	}
	must(t, c, "n2", "send n1 10")
	if a, b := got(t, c, "n1", "n2", 20), got(t, c, "n2", "n1", 11); a != 20 || b != 10 {
		t.Fatalf("cut: %d there want 10, %d back want 20", b, a)
	}
	for _, id := range []string{"a", "a", "nobody"} {
		reach, err := c.Reach(ctx(), []cluster.Link{link, back})
		if err != nil || reach[link] || !reach[back] {
			t.Fatalf("reach %v, %v: want only n2>n1", reach, err)
		}
		if err := c.Mend(ctx(), id); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Mend(ctx(), "b")
	reach, err := c.Reach(ctx(), []cluster.Link{link, back})
	if err != nil || !reach[link] || !reach[back] {
		t.Fatalf("after: reach %v, %v", reach, err)
	}
	must(t, c, "n1", "send n2 10")
	if n := got(t, c, "n2", "n1", 20); n != 20 {
		t.Fatalf("after: %d frames, want 20 (none of those sent while cut)", n)
	}
}

func TestConnectedWhileCut(t *testing.T) {
	c := up(t, 2, true)
	_ = c.Cut(ctx(), "a", []cluster.Link{{From: "n1", To: "n2"}})
	must(t, c, "n1", "send n2 5") // connects and introduces itself into the void
	time.Sleep(50 * time.Millisecond)
	_ = c.Heal(ctx())
	must(t, c, "n1", "send n2 5")
	if n := got(t, c, "n2", "n1", 5); n != 5 {
		t.Fatalf("%d frames, want 5", n)
	}
}

func TestReceiverRestarts(t *testing.T) {
	c := up(t, 2, true)
	must(t, c, "n1", "send n2 5")
	got(t, c, "n2", "n1", 5)
	if err := c.Kill(ctx(), "n2"); err != nil {
		t.Fatal(err)
	}
	if s := must(t, c, "n1", "send n2 5"); s != "sent" {
		t.Fatalf("the receiver's death shows at the sender: %s", s)
	}
	if err := c.Start(ctx(), "n2"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * redialAfter)
	must(t, c, "n1", "send n2 7")
	if n := got(t, c, "n2", "n1", 7); n != 7 {
		t.Fatalf("%d frames after the restart, want 7", n)
	}
	if s := must(t, c, "n2", "starts"); s != "2" {
		t.Fatalf("%s starts on the same data, want 2", s)
	}
}

func TestKillPause(t *testing.T) {
	c := up(t, 1, true)
	state := func(want cluster.State) {
		t.Helper()
		if s, err := c.State(ctx(), "n1"); s != want || err != nil {
			t.Fatalf("state %s, %v; want %s", s, err, want)
		}
	}
	state(cluster.Running)
	for range 2 {
		if err := c.Pause(ctx(), "n1"); err != nil {
			t.Fatal(err)
		}
	}
	state(cluster.Paused)
	if _, err := localtest.Ask(c, "n1", "ping"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("ping of a paused node: %v, want a timeout", err)
	}
	for range 2 {
		if err := c.Resume(ctx(), "n1"); err != nil {
			t.Fatal(err)
		}
	}
	state(cluster.Running)
	must(t, c, "n1", "ping")
	_ = c.Pause(ctx(), "n1")
	for range 2 {
		if err := c.Kill(ctx(), "n1"); err != nil {
			t.Fatal(err)
		}
	}
	state(cluster.Dead)
	start := time.Now()
	if s, err := localtest.Ask(c, "n1", "ping"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > 200*time.Millisecond {
		t.Fatalf("ping of a dead node: %q, %v; want a broken connection at once", s, err)
	}
	for range 2 {
		if err := c.Start(ctx(), "n1"); err != nil {
			t.Fatal(err)
		}
	}
	state(cluster.Running)
	must(t, c, "n1", "ping")
	logs, err := c.Logs(ctx(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(logs["node.log"])
	_ = logs["node.log"].Close()
	if strings.Count(string(b), "started n1") != 2 {
		t.Fatalf("log %q, want both starts", b)
	}
}

func TestClientsCut(t *testing.T) {
	c := up(t, 1, true)
	there, back := cluster.Link{From: cluster.Clients, To: "n1"}, cluster.Link{From: "n1", To: cluster.Clients}
	for _, l := range []cluster.Link{there, back} {
		_ = c.Cut(ctx(), "x", []cluster.Link{l})
		if _, err := localtest.Ask(c, "n1", "ping"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s cut: %v, want a timeout", l, err)
		}
		reach, err := c.Reach(ctx(), []cluster.Link{there, back})
		if err != nil || reach[l] || !reach[cluster.Link{From: l.To, To: l.From}] {
			t.Fatalf("%s cut: reach %v, %v", l, reach, err)
		}
		_ = c.Mend(ctx(), "x")
		must(t, c, "n1", "ping")
	}
}

func TestStreamsBetweenPeers(t *testing.T) {
	c := up(t, 2, false)
	link := cluster.Link{From: "n1", To: "n2"}
	if err := c.Shape(ctx(), "x", []cluster.Link{link}, cluster.Shape{Loss: 0.1}); err == nil || !strings.Contains(err.Error(), "byte stream") {
		t.Fatalf("loss on a byte stream: %v, want a refusal", err)
	}
	_ = c.Cut(ctx(), "x", []cluster.Link{link})
	must(t, c, "n1", "send n2 5")
	if n := got(t, c, "n2", "n1", 1); n != 0 {
		t.Fatalf("%d frames passed a cut", n)
	}
	_ = c.Mend(ctx(), "x")
	if n := got(t, c, "n2", "n1", 5); n != 5 {
		t.Fatalf("%d frames after mending, want the 5 that stalled", n)
	}
}

func TestUpFails(t *testing.T) {
	dir := t.TempDir()
	c, err := New(Config{Names: Names(3), Ports: localtest.Ports(), Command: localtest.Command(localtest.Crash), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "told to crash") || !strings.Contains(err.Error(), "exit status 3") {
		t.Fatalf("got %v, want the node's last words and status", err)
	}
	if _, err := os.Stat(dir + "/n1/data"); !os.IsNotExist(err) {
		t.Errorf("data is left behind: %v", err)
	}
	if err := c.Down(ctx()); err != nil {
		t.Error(err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Names: Names(10), Ports: localtest.Ports(), Command: localtest.Command(localtest.Node), Dir: "x"},
		{Names: []string{"clients"}, Ports: localtest.Ports(), Command: localtest.Command(localtest.Node), Dir: "x"},
		{Names: Names(1), Ports: localtest.Ports(), Dir: "x"},
		{Names: Names(1), Command: localtest.Command(localtest.Node), Dir: "x"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// TestPortsKept: a port stays its node's while the node is dead.
func TestPortsKept(t *testing.T) {
	p, err := keep()
	if err != nil {
		t.Fatal(err)
	}
	defer p.release()
	for range 3 {
		if c, err := net.Dial("tcp", p.address()); err == nil {
			_ = c.Close()
			t.Fatal("connected to a port that nobody serves")
		}
		ln, err := net.Listen("tcp", p.address())
		if err != nil {
			t.Fatalf("the node cannot listen on its own port: %v", err)
		}
		open, err := listening([]int{p.number, 1})
		if err != nil || !open[p.number] || open[1] {
			t.Errorf("listening: %v, %v", open, err)
		}
		_ = ln.Close()
	}
	others := map[int]bool{}
	for range 200 {
		q, err := keep()
		if err != nil {
			t.Fatal(err)
		}
		defer q.release()
		if q.number == p.number || others[q.number] {
			t.Fatal("the same port was given twice")
		}
		others[q.number] = true
	}
}

// TestHarnessKilled: nodes die with a harness that had no time for anything.
func TestHarnessKilled(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOCAL_TEST_HARNESS=1", "DIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewScanner(out)
	var pids []int
	for len(pids) < 2 && r.Scan() {
		pid, err := strconv.Atoi(r.Text())
		if err != nil {
			t.Fatal(r.Text())
		}
		pids = append(pids, pid)
	}
	if len(pids) < 2 {
		t.Fatal("the harness did not come up")
	}
	_ = syscall.Kill(pids[1], syscall.SIGSTOP) // also one that is paused
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, pid := range pids {
		for i := 0; ; i++ {
			if s, _, err := stat(pid); err != nil || s == "Z" {
				break
			}
			if i == 300 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Fatalf("node %d outlived its harness by 3 s", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func TestDownWhileUsed(t *testing.T) {
	c := up(t, 3, true)
	must(t, c, "n1", "send n2 100")
	_ = c.Pause(ctx(), "n2")
	_ = c.Shape(ctx(), "s", []cluster.Link{{From: "n1", To: "n3"}}, cluster.Shape{Delay: time.Minute})
	must(t, c, "n1", "send n3 100")
	_ = c.Cut(ctx(), "c", []cluster.Link{{From: cluster.Clients, To: "n1"}})
	conn, err := net.Dial("tcp", c.Nodes()[0].Ports["client"])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	start := time.Now()
	if err := c.Down(ctx()); err != nil || time.Since(start) > 3*time.Second {
		t.Fatalf("down: %v after %v", err, time.Since(start))
	}
	if err := c.Start(ctx(), "n1"); err == nil {
		t.Error("a node of a cluster that is down was started")
	}
}
