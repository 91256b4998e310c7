package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/dockertest"
)

// TestIntegrationThroughput: an agent that shapes nothing costs a link next to no
// throughput, against containers without one, in turns on the same machine; and how
// much passes through the agent where it does shape.
func TestIntegrationThroughput(t *testing.T) {
	engine := dockertest.Need(t)
	c, err := docker.New(docker.Config{Nodes: dockertest.Names(2), Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := func(container string) int {
		t.Helper()
		in, err := engine.ContainerInspect(t.Context(), container, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return in.Container.State.Pid
	}
	agent := [2]int{pid("faultline-" + c.RunID() + "-n1"), pid("faultline-" + c.RunID() + "-n2")}
	in, err := engine.ContainerInspect(t.Context(), "faultline-"+c.RunID()+"-n1", client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := "faultline-bare-" + c.RunID()
	bareLink(t, in.Container.Config.Image, name)
	bare := [2]int{pid(name + "-n1"), pid(name + "-n2")}
	const enough = 0.97
	rounds := 5
	if os.Getenv("FAULTLINE_LONG") != "" {
		rounds = 61
	}
	var ratios, with, without []float64
	for i := 0; i < rounds; i++ {
		var a, b float64
		if i%2 == 0 { // each in turn goes first
			a, b = throughput(t, agent), throughput(t, bare)
		} else {
			b, a = throughput(t, bare), throughput(t, agent)
		}
		with, without, ratios = append(with, a), append(without, b), append(ratios, a/b)
		if _, high := bounds(ratios); i == 4 && high < enough {
			rounds = max(rounds, 31) // five may say so by chance
		}
	}
	shape(t, c, cluster.Shape{Delay: time.Millisecond}, link("n1", "n2"), link("n2", "n1"))
	shaped := throughput(t, agent)
	low, high := bounds(ratios)
	t.Logf("with an agent %.0f MB/s, without %.0f MB/s (medians of %d); ratio %.3f (median of pairs; 95 %% sure: %.3f to %.3f); through the agent's queue %.0f MB/s",
		median(with), median(without), rounds, median(ratios), low, high, shaped)
	if high < enough {
		t.Errorf("with an agent a link carries at most %.3f of what it does without, want %v", high, enough)
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// bounds are those between which the true median lies with 95 %: as many values are
// above it as heads in so many throws of a coin.
func bounds(v []float64) (low, high float64) {
	s := slices.Sorted(slices.Values(v))
	off := int(0.98*math.Sqrt(float64(len(s)))) + 1
	mid := len(s) / 2
	return s[max(0, mid-off)], s[min(len(s)-1, mid+off)]
}

// bareLink makes two containers in a network of their own whose agents make no
// rules, since they may not.
func bareLink(t *testing.T, image, name string) {
	t.Helper()
	say := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput(); err != nil {
			t.Skipf("docker %v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		_ = exec.CommandContext(context.Background(), "docker", "rm", "-f", name+"-n1", name+"-n2").Run()
		_ = exec.CommandContext(context.Background(), "docker", "network", "rm", name).Run()
	})
	say("network", "create", name)
	for _, n := range []string{"n1", "n2"} {
		say("run", "-d", "-i", "--name", name+"-"+n, "--network", name, "--cap-drop", "ALL", image, "agent")
	}
}

// within runs f in the network namespace of a process.
func within(pid int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			defer func() { _ = ns.Close() }()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// throughput sends between two containers by sockets in their networks, in MB/s.
func throughput(t *testing.T, pids [2]int) float64 {
	t.Helper()
	const lasts = 200 * time.Millisecond
	var l net.Listener
	err := within(pids[1], func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "0.0.0.0:0")
		return err
	})
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("the containers' networks cannot be entered here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	received := make(chan int64, 1)
	go func() {
		in, err := l.Accept()
		if err != nil {
			received <- 0
			return
		}
		defer func() { _ = in.Close() }()
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 1<<20))
		received <- n
	}()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	var out net.Conn
	err = within(pids[0], func() (err error) {
		out, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp4", net.JoinHostPort(address(t, pids[1]), port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	start := time.Now()
	for time.Since(start) < lasts {
		if _, err := out.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	_ = out.Close()
	n := <-received
	return float64(n) / 1e6 / time.Since(start).Seconds()
}

// address is a container's, as its own network has it.
func address(t *testing.T, pid int) (found string) {
	t.Helper()
	err := within(pid, func() error {
		all, err := net.InterfaceAddrs()
		for _, a := range all {
			if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
				found = ip.IP.String()
			}
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("process %s has no address: %v", strconv.Itoa(pid), err)
	}
	return found
}
