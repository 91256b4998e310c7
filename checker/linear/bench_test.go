package linear

import (
	"testing"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/synth"
)

// BenchmarkZones times the register engine; internal/bench compares it.
func BenchmarkZones(b *testing.B) {
	for _, keys := range []int{1, 100} {
		h, err := synth.History(synth.Options{Model: "register", Ops: 1_000_000, Processes: 8, Keys: keys, Seed: 1})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(map[int]string{1: "one key", 100: "100 keys"}[keys], func(b *testing.B) {
			for b.Loop() {
				Check(b.Context(), h, Options{Model: model.Register(), Workers: 1})
			}
		})
	}
}
