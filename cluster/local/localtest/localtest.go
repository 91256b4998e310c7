// Package localtest has a small node for tests of the local world: a process that
// speaks the bundled stores' wire format (one-way frames, the first of which names
// the sender), sends what it is told to, and counts what it got. The test binary
// itself is the node: its TestMain calls Main first.
package localtest

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
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

const roleVar = "LOCALTEST_ROLE"

// Roles of the process.
const (
	Node  = "node"
	Crash = "crash" // says so and ends with status 3
)

// Main does not return when the process was started as a node.
func Main() {
	switch os.Getenv(roleVar) {
	case Node:
		run()
		os.Exit(1) //nolint:forbidigo // a process of its own
	case Crash:
		fmt.Println("panic: the node was told to crash") //nolint:forbidigo // its log
		os.Exit(3)                                       //nolint:forbidigo // a process of its own
	}
}

// Command starts the running binary in a role, for local.Config.
func Command(role string) func(cluster.Launch) (cluster.Command, error) {
	return func(l cluster.Launch) (cluster.Command, error) {
		env := []string{
			roleVar + "=" + role, "NODE=" + l.Node, "DATA=" + l.Dir,
			"CLIENT=" + l.Listen["client"], "PEER=" + l.Listen["peer"],
		}
		for name, ports := range l.Dial {
			env = append(env, "DIAL_"+name+"="+ports["peer"])
		}
		return cluster.Command{Env: env}, nil
	}
}

// Ports are what a node serves on.
func Ports() []cluster.Port {
	return []cluster.Port{{Name: "client", Number: 1}, {Name: "peer", Number: 2, Peer: true}}
}

// askMax bounds a question.
const askMax = 300 * time.Millisecond

// Ask sends a line to a node's client port and returns its answer: "ping" → pong,
// "pid" → its number, "starts" → how often it was started on its data,
// "send <peer> <count>" → sent, or what went wrong; "got <peer>" → how many
// different frames came from there, "twice <peer>" repeated ones,
// "late <peer>" overtaken ones, "bad <peer>" damaged ones.
func Ask(c cluster.Cluster, node, line string) (string, error) {
	for _, n := range c.Nodes() {
		if n.Name != node {
			continue
		}
		conn, err := net.DialTimeout("tcp", n.Ports["client"], askMax) //nolint:noctx // a test's
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(askMax))
		if _, err = fmt.Fprintln(conn, line); err != nil {
			return "", err
		}
		s, err := bufio.NewReader(conn).ReadString('\n')
		return strings.TrimSpace(s), err
	}
	return "", fmt.Errorf("localtest: no node %q", node)
}

// node is the process.
type node struct {
	mu   sync.Mutex
	from map[string]*counts
	out  map[string]net.Conn
	sent map[string]int
}

// counts is what came from one peer.
type counts struct {
	seen             map[int]bool
	last             int
	twice, late, bad int
}

func run() {
	n := &node{from: map[string]*counts{}, out: map[string]net.Conn{}, sent: map[string]int{}}
	peer, err := net.Listen("tcp", os.Getenv("PEER")) //nolint:noctx // a node's
	if err != nil {
		fmt.Println("panic:", err) //nolint:forbidigo // its log
		return
	}
	client, err := net.Listen("tcp", os.Getenv("CLIENT")) //nolint:noctx // a node's
	if err != nil {
		fmt.Println("panic:", err) //nolint:forbidigo // its log
		return
	}
	fmt.Println("started", os.Getenv("NODE")) //nolint:forbidigo // its log
	f, err := os.OpenFile(os.Getenv("DATA")+"/starts", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = fmt.Fprintln(f, "start")
		_ = f.Close()
	}
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

func readFrame(r io.Reader) (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	b := make([]byte, min(1<<20, binary.BigEndian.Uint32(head[:])))
	_, err := io.ReadFull(r, b)
	return string(b), err
}

func writeFrame(w io.Writer, s string) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(s))) //nolint:gosec // short
	_, err := w.Write(append(b, s...))
	return err
}

// payload is what frame number seq carries.
func payload(seq int) string { return fmt.Sprintf("%08d and so on %08d", seq, seq) }

func (n *node) receive(c net.Conn) {
	defer func() { _ = c.Close() }()
	from, err := readFrame(c)
	if err != nil {
		return
	}
	r := bufio.NewReader(c)
	for {
		s, err := readFrame(r)
		if err != nil {
			return
		}
		n.count(from, s)
	}
}

func (n *node) count(from, s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.from[from]
	if k == nil {
		k = &counts{seen: map[int]bool{}}
		n.from[from] = k
	}
	seq, err := strconv.Atoi(s[:min(8, len(s))])
	switch {
	case err != nil || s != payload(seq):
		k.bad++
		return
	case k.seen[seq]:
		k.twice++
	case seq < k.last:
		k.late++
	}
	k.seen[seq] = true
	k.last = max(k.last, seq)
}

func (n *node) obey(c net.Conn) {
	defer func() { _ = c.Close() }()
	for r := bufio.NewScanner(c); r.Scan(); {
		f := append(strings.Fields(r.Text()), "", "")
		if _, err := fmt.Fprintln(c, n.answer(f[0], f[1], f[2])); err != nil {
			return
		}
	}
}

func (n *node) answer(what, peer, count string) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.from[peer]
	if k == nil {
		k = &counts{}
	}
	switch what {
	case "ping":
		return "pong"
	case "pid":
		return os.Getpid()
	case "starts":
		b, _ := os.ReadFile(os.Getenv("DATA") + "/starts")
		return strings.Count(string(b), "start")
	case "send":
		c, _ := strconv.Atoi(count)
		return n.send(peer, c)
	case "got":
		return len(k.seen)
	case "twice":
		return k.twice
	case "late":
		return k.late
	case "bad":
		return k.bad
	}
	return "what?"
}

func (n *node) send(to string, count int) string {
	for range count {
		c := n.out[to]
		if c == nil {
			var err error
			if c, err = net.Dial("tcp", os.Getenv("DIAL_"+to)); err != nil { //nolint:noctx // a node's
				return err.Error()
			}
			n.out[to] = c
			if err := writeFrame(c, os.Getenv("NODE")); err != nil {
				return err.Error()
			}
		}
		n.sent[to]++
		if err := writeFrame(c, payload(n.sent[to])); err != nil {
			_ = c.Close()
			n.out[to] = nil
			return err.Error()
		}
	}
	return "sent"
}
