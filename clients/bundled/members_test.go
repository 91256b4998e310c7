package bundled

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// fixed is a cluster that consists of addresses.
type fixed struct {
	cluster.Cluster
	nodes []cluster.Node
}

func (f fixed) Nodes() []cluster.Node { return f.nodes }

// TestLeaderAmongMute: nodes that take connections and never answer, as paused ones
// do, keep nobody from finding the leader; of two that say so the newest term leads.
func TestLeaderAmongMute(t *testing.T) {
	var f fixed
	add := func(addr string) {
		f.nodes = append(f.nodes, cluster.Node{Name: fmt.Sprintf("n%d", len(f.nodes)+1), Ports: map[string]string{ClientPort: addr}})
	}
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts for it
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		add(ln.Addr().String())
	}
	for _, status := range []string{
		`{"node":"n3","role":"leader","term":3}`,
		`{"node":"n4","role":"leader","term":2}`,
		`{"node":"n5","role":"follower","term":3}`,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, status) }))
		defer s.Close()
		add(strings.TrimPrefix(s.URL, "http://"))
	}
	var got string
	var err error
	for range 3 { // as the nemesis does: a busy machine may miss the bound
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		got, err = Leader(ctx, f, cluster.Real(), nil)
		cancel()
		if err == nil && got == "n3" {
			return
		}
	}
	t.Errorf("%q leads (%v), want n3", got, err)
}
