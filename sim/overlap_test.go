package sim

import (
	"testing"

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
