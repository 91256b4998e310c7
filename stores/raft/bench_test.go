package raft

import (
	"testing"

	"github.com/faultline-dev/faultline/stores/internal/chaos"
)

// BenchmarkWorld runs ten simulated seconds of five nodes under faults.
func BenchmarkWorld(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		o := world(uint64(i), "")
		o.Nodes, o.Steps = 5, 700
		if r := chaos.Run(o); len(r.Broken) > 0 {
			b.Fatal(r.Broken)
		}
	}
}
