package linear

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

func text(h *history.History) string {
	s := ""
	for i := range h.Len() {
		o := h.Op(i)
		s += fmt.Sprintf("%d: p%d %v %s %v -> %v obs %v [%d, %d]\n", i, o.Process, o.Type, o.F, o.In, o.Out, o.Observed, o.Invoke, o.Return)
	}
	return s
}

func engine(h *history.History, spec model.Spec, name string) checker.Result {
	return Check(context.Background(), h, Options{Model: spec, Engine: name})
}

// TestAgreeWithBrute compares every engine with brute force on small random
// histories of every model, right ones and mutated ones.
func TestAgreeWithBrute(t *testing.T) {
	t.Parallel()
	n := 4000
	if !testing.Short() {
		n = 40000
	}
	for _, spec := range model.All() {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			counts := map[checker.Verdict]int{}
			fast := 0
			for seed := range uint64(n) {
				r := rand.New(rand.NewPCG(seed, 1))
				c := checkertest.Config{
					Model: spec.Name, Ops: 2 + r.IntN(7), Processes: 1 + r.IntN(4),
					Ties: r.IntN(2) == 0, Observe: r.IntN(2) == 0,
				}
				if r.IntN(3) == 0 {
					c.Values = 2
				}
				if r.IntN(2) == 0 {
					c.Info = 0.3
				}
				rows := checkertest.Random(r, c)
				mutated := r.IntN(4)
				for range mutated {
					checkertest.Mutate(r, rows)
				}
				if r.IntN(3) == 0 { // the system claims anything
					for i := range rows {
						rows[i].Version = r.Int64N(6)
					}
				}
				h := checkertest.History(rows)
				want, err := checkertest.Brute(h, spec)
				if err != nil {
					t.Fatal(err)
				}
				if mutated == 0 && want != checker.Valid {
					t.Fatalf("seed %d: the simulation is wrong:\n%s", seed, text(h))
				}
				counts[want]++
				for _, name := range []string{Fast, Search, Porcupine, Auto} {
					got := engine(h, spec, name)
					if name == Fast && got.Verdict == checker.Unknown {
						continue
					}
					if name == Fast {
						fast++
					}
					if got.Verdict != want {
						t.Fatalf("seed %d: %s says %v (%s), brute force %v:\n%s", seed, name, got.Verdict, got.Reason, want, text(h))
					}
					for _, a := range got.Anomalies {
						checkWitness(t, h, a)
					}
				}
			}
			t.Logf("%v, %d by the fast engine", counts, fast)
		})
	}
}

// checkWitness wants a non-empty witness with words.
func checkWitness(t *testing.T, h *history.History, a checker.Anomaly) {
	t.Helper()
	if len(a.Ops) == 0 || a.Explain == "" || a.Name == "" || strings.Contains(a.Explain, ms(history.Forever)) {
		t.Fatalf("an anomaly without evidence: %+v\n%s", a, text(h))
	}
	for i, x := range a.Ops {
		if h.At(x) < 0 || i > 0 && a.Ops[i-1] >= x {
			t.Fatalf("a bad witness %v:\n%s", a.Ops, text(h))
		}
	}
}
