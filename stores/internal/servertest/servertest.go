// Package servertest is the test that every bundled store's server must pass, on
// real sockets and files.
package servertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/stores/node"
	"github.com/faultline-dev/faultline/stores/wal"
)

// Serve runs a node until ctx ends.
type Serve func(ctx context.Context, cfg node.Config) error

// Run runs all tests.
func Run(t *testing.T, serve Serve) {
	t.Helper()
	t.Run("Protocol", func(t *testing.T) { protocol(t, serve) })
	t.Run("Restart", func(t *testing.T) { restart(t, serve) })
	t.Run("DamagedLog", func(t *testing.T) { damagedLog(t, serve) })
	t.Run("Kill", kill)
	t.Run("UnknownBug", func(t *testing.T) {
		if serve(t.Context(), node.Config{Name: "n1", Data: t.TempDir(), Bug: "nonsense"}) == nil {
			t.Error("a bug that doesn't exist is taken")
		}
	})
}

// Node is a node run inside the test.
type Node struct {
	node.Config

	serve  Serve
	cancel context.CancelFunc
	done   chan error
}

// Start starts the node (again).
func (n *Node) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan error, 1)
	go func() { n.done <- n.serve(ctx, n.Config) }()
}

// Stop stops the node, and waits until it has.
func (n *Node) Stop(t *testing.T) {
	t.Helper()
	n.cancel()
	select {
	case err := <-n.done:
		if err != nil {
			t.Error(err)
		}
		n.done <- nil
	case <-time.After(5 * time.Second):
		t.Error("a node doesn't stop")
	}
}

// freeAddr is an address that nobody listens on. Its port is none of those that
// connections are given, so that none takes it while its node is dead.
func freeAddr(t *testing.T) string {
	t.Helper()
	const first, ports = 10000, 22000
	rng := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(time.Now().UnixNano())))
	var lc net.ListenConfig
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", first+rng.IntN(ports))
		if l, err := lc.Listen(t.Context(), "tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// layout finds places for three nodes.
func layout(t *testing.T) []*Node {
	t.Helper()
	peers := map[string]string{"n1": freeAddr(t), "n2": freeAddr(t), "n3": freeAddr(t)}
	var nodes []*Node
	for _, name := range []string{"n1", "n2", "n3"} {
		n := &Node{Config: node.Config{
			Name: name, Listen: freeAddr(t), PeerListen: peers[name], Data: t.TempDir(), Peers: map[string]string{},
		}}
		for m, a := range peers {
			if m != name {
				n.Peers[m] = a
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// Cluster runs three nodes until the test ends.
func Cluster(t *testing.T, serve Serve) []*Node {
	t.Helper()
	nodes := layout(t)
	for _, n := range nodes {
		n.serve = serve
		n.Start()
		t.Cleanup(func() { n.Stop(t) })
	}
	return nodes
}

// Body is a request or a response.
type Body = map[string]any

// Post sends one request; status 0 says that the connection failed.
func (n *Node) Post(t *testing.T, path string, body Body) (status int, answer Body) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.Listen+"/v1/"+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := http.Client{Timeout: 5 * time.Second}
	r, err := c.Do(q)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = r.Body.Close(); c.CloseIdleConnections() }()
	if json.NewDecoder(r.Body).Decode(&answer) != nil {
		return 0, nil // the node died while it answered
	}
	return r.StatusCode, answer
}

// Eventually posts until it succeeds.
func (n *Node) Eventually(t *testing.T, path string, body Body) Body {
	t.Helper()
	var x Body
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var status int
		if status, x = n.Post(t, path, body); status == http.StatusOK {
			return x
		}
	}
	t.Fatalf("%s never succeeds at %s: %v", path, n.Name, x)
	return nil
}

// protocol tries every operation of the client protocol.
func protocol(t *testing.T, serve Serve) {
	t.Helper()
	nodes := Cluster(t, serve)
	steps := []struct {
		node int
		path string
		body Body
		want Body
	}{
		{0, "write", Body{"key": "a", "value": 1}, Body{"ok": true}},
		{1, "read", Body{"key": "a"}, Body{"value": 1.0}},
		{2, "read", Body{"key": "a"}, Body{"value": 1.0}},
		{1, "cas", Body{"key": "a", "old": 2, "new": 3}, Body{"ok": false, "value": 1.0}},
		{2, "cas", Body{"key": "a", "old": 1, "new": 3}, Body{"ok": true, "value": 3.0}},
		{0, "read", Body{"key": "nothing"}, Body{"value": nil, "version": nil}},
		{0, "cas", Body{"key": "b", "old": nil, "new": Body{"x": 1}}, Body{"ok": true}},
		{1, "delete", Body{"key": "b"}, Body{"ok": true}},
		{2, "read", Body{"key": "b"}, Body{"value": nil}},
		{0, "acquire", Body{"key": "l", "owner": "me", "lease_ns": 1e10}, Body{"ok": true, "token": 1.0}},
		{1, "acquire", Body{"key": "l", "owner": "you", "lease_ns": 1e10}, Body{"ok": false, "owner": "me"}},
		{1, "release", Body{"key": "l", "owner": "you"}, Body{"ok": false, "owner": "me"}},
		{2, "release", Body{"key": "l", "owner": "me"}, Body{"ok": true}},
		{1, "acquire", Body{"key": "l", "owner": "you", "lease_ns": 1e10}, Body{"ok": true, "token": 2.0}},
		{0, "update", Body{"key": "l", "value": 7, "token": 1}, Body{"ok": false}},
		{0, "update", Body{"key": "l", "value": 8, "token": 2}, Body{"ok": true}},
		{2, "read", Body{"key": "l"}, Body{"value": 8.0}},
	}
	for _, s := range steps {
		got := nodes[s.node].Eventually(t, s.path, s.body)
		for k, v := range s.want {
			if got[k] != v {
				t.Errorf("%s %v: got %v, want %s = %v", s.path, s.body, got, k, v)
			}
		}
	}
	nodes[0].Eventually(t, "write", Body{"key": "short", "value": 1, "ttl_ns": 3e8})
	time.Sleep(400 * time.Millisecond)
	if x := nodes[1].Eventually(t, "read", Body{"key": "short"}); x["value"] != nil {
		t.Errorf("a value lives longer than its TTL: %v", x)
	}
	session := nodes[0].Eventually(t, "session", Body{})["session"]
	for i := range 2 {
		body := Body{"key": "sum", "delta": 5, "session": session, "seq": 1}
		if x := nodes[1+i].Eventually(t, "add", body); x["value"] != 5.0 {
			t.Errorf("a repeated add returns %v", x)
		}
	}
	if status, x := nodes[0].Post(t, "read", Body{"key": "a", "reads": "wrong"}); status != http.StatusBadRequest || x["definite"] != true {
		t.Errorf("a bad request returns %d %v", status, x)
	}
}

// restart stops all nodes and starts them again: nothing acknowledged is lost.
func restart(t *testing.T, serve Serve) {
	t.Helper()
	nodes := Cluster(t, serve)
	for i := range 50 {
		nodes[i%3].Eventually(t, "write", Body{"key": "a", "value": i})
	}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { n.Stop(t) })
	}
	wg.Wait()
	for _, n := range nodes {
		n.Start()
	}
	begin := time.Now()
	if x := nodes[2].Eventually(t, "read", Body{"key": "a"}); x["value"] != 49.0 {
		t.Errorf("after a restart: %v", x)
	}
	t.Logf("serving again after %v", time.Since(begin))
	if status, _ := nodes[0].Post(t, "read", Body{"key": "a", "reads": "local"}); status != http.StatusOK {
		t.Error("a local read fails")
	}
}

// damagedLog damages a synced record in the middle of a node's log. With other nodes
// it starts and fetches again what it lost; alone it refuses to start, and names the
// file. Either way what was damaged is kept until all is there again.
func damagedLog(t *testing.T, serve Serve) {
	t.Helper()
	nodes := Cluster(t, serve)
	for i := range 20 {
		nodes[0].Eventually(t, "write", Body{"key": "a", "value": i})
	}
	victim := nodes[2]
	victim.Stop(t)
	data := damage(t, victim.Data)

	alone := victim.Config
	alone.Peers, alone.Data = nil, t.TempDir()
	if err := os.CopyFS(alone.Data, os.DirFS(victim.Data)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := serve(ctx, alone); !errors.Is(err, wal.ErrCorrupt) || !strings.Contains(err.Error(), "damaged-") {
		t.Errorf("alone, with a damaged log: %v", err)
	}
	if kept := read(t, alone.Data, "damaged-*"); !bytes.Equal(kept, data) {
		t.Errorf("of %d damaged bytes %d are kept", len(data), len(kept))
	}

	victim.Start()
	nodes[1].Stop(t) // the next majority needs the damaged node
	nodes[1].Start()
	if x := victim.Eventually(t, "read", Body{"key": "a"}); x["value"] != 19.0 {
		t.Errorf("the damaged node reads %v", x)
	}
	nodes[0].Stop(t)
	if x := victim.Eventually(t, "read", Body{"key": "a"}); x["value"] != 19.0 {
		t.Errorf("without the node that took the writes: %v", x)
	}
	nodes[0].Start()
	victim.Stop(t)
	if left, _ := filepath.Glob(filepath.Join(victim.Data, "damaged-*")); len(left) > 0 {
		t.Errorf("repaired, and %v is still there", left)
	}
	victim.Start()
}

// damage flips a bit in the middle of the log in a folder, and returns what is there
// then.
func damage(t *testing.T, dir string) []byte {
	t.Helper()
	data := read(t, dir, "log-*")
	data[len(data)/2] ^= 0x10
	logs, _ := filepath.Glob(filepath.Join(dir, "log-*"))
	if err := os.WriteFile(logs[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	return data
}

// read is the one file that fits a pattern.
func read(t *testing.T, dir, pattern string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}
