package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// process is a node run by Serve inside the test.
type process struct {
	cfg    Config
	cancel context.CancelFunc
	done   chan error
}

func (p *process) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan error, 1)
	go func() { p.done <- Serve(ctx, p.cfg) }()
}

func (p *process) stop(t *testing.T) {
	t.Helper()
	p.cancel()
	select {
	case err := <-p.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a node doesn't stop")
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// startCluster runs three nodes until the test ends.
func startCluster(t *testing.T, bug string) []*process {
	t.Helper()
	names := []string{"n1", "n2", "n3"}
	peers := map[string]string{}
	for _, n := range names {
		peers[n] = freeAddr(t)
	}
	var nodes []*process
	for _, n := range names {
		others := map[string]string{}
		for m, a := range peers {
			if m != n {
				others[m] = a
			}
		}
		p := &process{cfg: Config{
			Name: n, Listen: freeAddr(t), PeerListen: peers[n], Peers: others,
			Data: t.TempDir(), Bug: bug,
		}}
		p.start(t)
		t.Cleanup(func() { p.stop(t) })
		nodes = append(nodes, p)
	}
	return nodes
}

func post(t *testing.T, p *process, path string, body any) (int, map[string]any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post("http://"+p.cfg.Listen+"/v1/"+path, "application/json", bytes.NewReader(b))
	if err != nil {
		return 0, nil
	}
	defer func() { _ = r.Body.Close() }()
	var x map[string]any
	if err := json.NewDecoder(r.Body).Decode(&x); err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, x
}

// eventually posts until it succeeds.
func eventually(t *testing.T, p *process, path string, body any) map[string]any {
	t.Helper()
	var x map[string]any
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var status int
		if status, x = post(t, p, path, body); status == http.StatusOK {
			return x
		}
	}
	t.Fatalf("%s never succeeds: %v", path, x)
	return nil
}

func TestProtocol(t *testing.T) {
	nodes := startCluster(t, "")
	type m = map[string]any
	eventually(t, nodes[0], "write", m{"key": "a", "value": 1})
	for _, n := range nodes {
		if x := eventually(t, n, "read", m{"key": "a"}); x["value"] != 1.0 {
			t.Errorf("%s reads %v", n.cfg.Name, x)
		}
	}
	if x := eventually(t, nodes[1], "cas", m{"key": "a", "old": 2, "new": 3}); x["ok"] != false || x["value"] != 1.0 {
		t.Errorf("a cas that must fail returns %v", x)
	}
	if x := eventually(t, nodes[2], "cas", m{"key": "a", "old": 1, "new": 3}); x["ok"] != true {
		t.Errorf("a cas that must succeed returns %v", x)
	}
	if x := eventually(t, nodes[0], "read", m{"key": "nothing"}); x["value"] != nil {
		t.Errorf("an absent key reads %v", x)
	}
	if x := eventually(t, nodes[0], "acquire", m{"key": "l", "owner": "me", "lease_ns": 1e9}); x["ok"] != true || x["token"] != 1.0 {
		t.Errorf("acquire returns %v", x)
	}
	if status, x := post(t, nodes[0], "read", m{"key": "a", "reads": "wrong"}); status != http.StatusBadRequest || x["definite"] != true {
		t.Errorf("a bad request returns %d %v", status, x)
	}
	s := eventually(t, nodes[0], "session", m{})["session"]
	for range 2 {
		if x := eventually(t, nodes[1], "add", m{"key": "sum", "delta": 5, "session": s, "seq": 1}); x["value"] != 5.0 {
			t.Errorf("a repeated add returns %v", x)
		}
	}
}

func TestSurvivesRestart(t *testing.T) {
	nodes := startCluster(t, "")
	type m = map[string]any
	for i := range 50 {
		eventually(t, nodes[i%3], "write", m{"key": "a", "value": i})
	}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { n.stop(t) })
	}
	wg.Wait()
	for _, n := range nodes {
		n.start(t)
	}
	begin := time.Now()
	if x := eventually(t, nodes[2], "read", m{"key": "a"}); x["value"] != 49.0 {
		t.Errorf("after a restart: %v", x)
	}
	t.Logf("serving again after %v", time.Since(begin))
	if status, _ := post(t, nodes[0], "read", m{"key": "a", "reads": "local"}); status != http.StatusOK {
		t.Error("a local read fails")
	}
}
