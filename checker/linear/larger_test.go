package linear

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
)

// TestAgreeWithPorcupine compares the fast engines and the search with Porcupine
// on larger random histories. FAULTLINE_HISTORIES sets how many, for long runs.
func TestAgreeWithPorcupine(t *testing.T) {
	n := 2_000
	if testing.Short() {
		n = 300
	}
	if s, err := strconv.Atoi(os.Getenv("FAULTLINE_HISTORIES")); err == nil {
		n = s
	}
	specs := []model.Spec{model.Register(), model.CASRegister(), model.ExcludingRegister(), model.OwnerMutex(), model.Queue(), model.KV(), model.Set(), model.Counter()}
	counts := map[checker.Verdict]int{}
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 5))
		spec := specs[r.IntN(len(specs))]
		c := checkertest.Config{
			Model: spec.Name, Ops: 10 + r.IntN(30), Processes: 2 + r.IntN(4), Ties: r.IntN(2) == 0, Observe: r.IntN(2) == 0,
			Values: r.IntN(3) / 2 * 3, Info: 0.1 * float64(r.IntN(3)),
		}
		rows := checkertest.Random(r, c)
		for range r.IntN(3) {
			checkertest.Mutate(r, rows)
		}
		h := checkertest.History(rows)
		want := Check(t.Context(), h, Options{Model: spec, Engine: Porcupine, Timeout: 200 * time.Millisecond, MaxAnomalies: -1})
		if counts[want.Verdict]++; want.Verdict == checker.Unknown {
			continue
		}
		for _, name := range []string{Auto, Search} {
			if got := engine(h, spec, name); got.Verdict != want.Verdict {
				t.Fatalf("seed %d: %s of %s says %v (%s), porcupine %v (%s):\n%s", seed, name, spec.Name, got.Verdict, got.Reason, want.Verdict, want.Reason, text(h))
			}
		}
	}
	t.Log(counts)
}
