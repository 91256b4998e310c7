package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/clustertest"
)

// TestOverlap: faults of links that overlap heal each by itself, and what a link does
// is what all that are active do together.
func TestOverlap(t *testing.T) {
	nodes := []string{"n1", "n2", "n3", "n4"}
	for seed := range uint64(200) {
		w := New(Config{Names: nodes, Seed: seed})
		clustertest.Overlap(t, w, nodes, seed, 60, func(l cluster.Link) clustertest.Held {
			from, to, err := w.ends(l)
			if err != nil {
				t.Fatal(err)
			}
			at := w.links[from][to]
			held := clustertest.Held{}
			for _, h := range at.holds {
				held[h.id] = clustertest.Hold{Cut: h.cut, Shape: h.shape}
			}
			if u := (clustertest.Hold{Cut: at.cut > 0, Shape: at.shape}); !clustertest.Near(u, held.Union()) {
				t.Fatalf("seed %d: %v does %+v, want %+v", seed, l, u, held.Union())
			}
			return held
		})
	}
}

// TestTakenBack: what a shape alone held back goes out when it is taken back; what
// another holds back stays, and all in order.
func TestTakenBack(t *testing.T) {
	w := New(Config{Names: []string{"n1", "n2"}, System: System{Label: func(b []byte) string { return string(b) }}, Seed: 1, Keep: true})
	links := []cluster.Link{{From: "n1", To: "n2"}}
	ctx := t.Context()
	_ = w.Shape(ctx, "long", links, cluster.Shape{Delay: time.Minute, Jitter: time.Second})
	_ = w.Shape(ctx, "short", links, cluster.Shape{Delay: 100 * time.Millisecond})
	for n := range 50 {
		w.send(0, 1, fmt.Append(nil, n))
	}
	_ = w.Mend(ctx, "long")
	for n := range 50 {
		w.send(0, 1, fmt.Append(nil, 50+n))
	}
	for range 100 {
		w.step()
	}
	var last time.Duration
	for n, m := range w.Messages(0, time.Hour) {
		if m.Label != fmt.Sprint(n) || m.Received < last || m.Received < 100*time.Millisecond || m.Received > 200*time.Millisecond {
			t.Fatalf("frame %d: %+v after one at %v", n, m, last)
		}
		last = m.Received
	}
}
