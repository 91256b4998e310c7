package local

import (
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/clustertest"
)

// TestOverlap: faults of links that overlap heal each by itself, and a frame meets all
// that are active.
func TestOverlap(t *testing.T) {
	c := up(t, 4, true)
	for seed := range uint64(100) {
		clustertest.Overlap(t, c, c.cfg.Names, seed, 60, func(l cluster.Link) clustertest.Held {
			w := c.wires[l]
			held := clustertest.Held{}
			for id := range w.cuts {
				held[id] = clustertest.Hold{Cut: true}
			}
			for _, s := range w.shapes {
				held[s.id] = clustertest.Hold{Shape: s.Shape}
			}
			meets(t, l, w, held.Union())
			return held
		})
	}
}

// meets lets a frame enter a wire: what is certain under the shape must happen, and
// what it does not do must not.
func meets(t *testing.T, l cluster.Link, w *wire, u clustertest.Hold) {
	t.Helper()
	now := time.Now()
	fates := w.fates(now, 64, false)
	wrong := func(p float64, happened bool) bool { return p == 1 && !happened || p == 0 && happened }
	lost := u.Shape.Loss
	if u.Cut {
		lost = 1
	}
	if wrong(lost, len(fates) == 0) {
		t.Fatalf("%v under %+v: %v", l, u, fates)
	}
	for _, f := range fates {
		early := u.Shape.Jitter == 0 && f.due.Sub(now) < u.Shape.Delay
		if early || wrong(u.Shape.Corrupt, f.flip >= 0) || wrong(u.Shape.Duplicate, len(fates) > 1) {
			t.Fatalf("%v under %+v: %+v", l, u, fates)
		}
	}
}
