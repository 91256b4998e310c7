package linear

import (
	"math/rand/v2"
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/synth"
)

// TestStream: judged event by event, small histories get brute force's verdict.
func TestStream(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 4_000
	}
	invalid := 0
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := checkertest.Config{Model: "cas-register", Ops: 2 + r.IntN(7), Processes: 1 + r.IntN(4), Ties: r.IntN(2) == 0, Observe: r.IntN(2) == 0}
		c.Values = r.IntN(2) * 2
		c.Info = 0.3 * float64(r.IntN(2))
		rows := checkertest.Random(r, c)
		for range r.IntN(4) {
			checkertest.Mutate(r, rows)
		}
		h := checkertest.History(rows)
		want, err := checkertest.Brute(h, model.CASRegister())
		if err != nil {
			t.Fatal(err)
		}
		s := NewStream(0)
		for op := range h.Ops() {
			s.Add(op)
		}
		got, _, why := s.End()
		if got != want {
			t.Fatalf("seed %d: streamed %v (%s), brute force %v\n%s", seed, got, why, want, text(h))
		}
		if got == checker.Invalid {
			invalid++
		}
	}
	t.Logf("%d invalid", invalid)
}

// TestStreamMemory: what a long run leaves behind does not grow with it.
func TestStreamMemory(t *testing.T) {
	events, err := synth.Events(synth.Options{Model: "register", Ops: 30_000, Processes: 5, Keys: 3, Info: 0.001, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := NewStream(0)
	most := 0
	for op := range events {
		if a := s.Add(op); a != nil {
			t.Fatal(a.Explain)
		}
		most = max(most, s.Waiting())
	}
	if v, _, why := s.End(); v != checker.Valid {
		t.Fatal(v, why)
	}
	if most > 100 {
		t.Errorf("%d events waited", most)
	}
}

func BenchmarkStream(b *testing.B) {
	h, err := synth.History(synth.Options{Model: "register", Ops: 20_000, Processes: 8, Keys: 4, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s := NewStream(0)
		for op := range h.Ops() {
			s.Add(op)
		}
	}
}
