package local

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/faultline-dev/faultline/cluster"
)

// The test binary is also the node: a process with the bundled stores' wire
// format that sends what it is told to and counts what it got.
func TestMain(m *testing.M) {
	switch os.Getenv("LOCAL_TEST_ROLE") {
	case "node":
		helperNode()
	case "crash":
		fmt.Println("panic: the helper was told to crash")
		os.Exit(3)
	case "harness":
		helperHarness()
	default:
		goleak.VerifyTestMain(m)
	}
}

// command starts the test binary as a node; role as in TestMain.
func command(role string) func(cluster.Launch) (cluster.Command, error) {
	return func(l cluster.Launch) (cluster.Command, error) {
		env := []string{
			"LOCAL_TEST_ROLE=" + role, "NODE=" + l.Node, "DATA=" + l.Dir,
			"CLIENT=" + l.Listen["client"], "PEER=" + l.Listen["peer"],
		}
		for name, ports := range l.Dial {
			env = append(env, "DIAL_"+name+"="+ports["peer"])
		}
		return cluster.Command{Env: env}, nil
	}
}

func ports() []cluster.Port {
	return []cluster.Port{{Name: "client", Number: 1}, {Name: "peer", Number: 2, Peer: true}}
}

// node is the helper's state.
type node struct {
	mu  sync.Mutex
	got map[string]int
	out map[string]net.Conn
}

func helperNode() {
	n := &node{got: map[string]int{}, out: map[string]net.Conn{}}
	peer, err := net.Listen("tcp", os.Getenv("PEER"))
	if err != nil {
		fmt.Println("panic:", err)
		os.Exit(1)
	}
	client, err := net.Listen("tcp", os.Getenv("CLIENT"))
	if err != nil {
		fmt.Println("panic:", err)
		os.Exit(1)
	}
	fmt.Println("started", os.Getenv("NODE"))
	f, _ := os.OpenFile(os.Getenv("DATA")+"/starts", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	fmt.Fprintln(f, "start")
	f.Close()
	go serve(peer, n.receive)
	serve(client, n.obey)
}

func serve(ln net.Listener, f func(net.Conn)) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go f(c)
	}
}

func (n *node) receive(c net.Conn) {
	defer c.Close()
	hello, err := readFrame(c)
	if err != nil {
		return
	}
	from := string(hello[4:])
	for {
		b, err := readFrame(c)
		if err != nil {
			return
		}
		n.mu.Lock()
		n.got[from]++
		n.got["bytes"] += len(b) - 4
		n.mu.Unlock()
	}
}

// obey understands "ping", "send <peer> <count>", "got <peer>", "starts", "pid".
func (n *node) obey(c net.Conn) {
	defer c.Close()
	r := bufio.NewScanner(c)
	for r.Scan() {
		f := strings.Fields(r.Text())
		switch f[0] {
		case "ping":
			fmt.Fprintln(c, "pong")
		case "pid":
			fmt.Fprintln(c, os.Getpid())
		case "send":
			count, _ := strconv.Atoi(f[2])
			fmt.Fprintln(c, n.send(f[1], count))
		case "got":
			n.mu.Lock()
			fmt.Fprintln(c, n.got[f[1]])
			n.mu.Unlock()
		case "starts":
			b, _ := os.ReadFile(os.Getenv("DATA") + "/starts")
			fmt.Fprintln(c, strings.Count(string(b), "start"))
		}
	}
}

func (n *node) send(to string, count int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range count {
		c := n.out[to]
		if c == nil {
			var err error
			if c, err = net.Dial("tcp", os.Getenv("DIAL_"+to)); err != nil {
				return err.Error()
			}
			n.out[to] = c
			writeFrame(c, os.Getenv("NODE"))
		}
		if err := writeFrame(c, "0123456789abcdef"); err != nil {
			c.Close()
			n.out[to] = nil
			return err.Error()
		}
	}
	return "sent"
}

func writeFrame(w io.Writer, s string) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(s)))
	_, err := w.Write(append(b, s...))
	return err
}

// helperHarness brings a cluster up, prints the pids and waits to be killed.
func helperHarness() {
	c, err := New(Config{Names: Names(2), Ports: ports(), Framed: true, Command: command("node"), Dir: os.Getenv("DIR")})
	if err == nil {
		err = c.Up(ctx())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, n := range c.(*local).procs {
		fmt.Println(n.current().pid)
	}
	time.Sleep(time.Minute)
}
