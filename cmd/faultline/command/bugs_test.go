package command

import (
	"slices"
	"testing"

	"github.com/faultline-dev/faultline/clients"
)

// bugSeeds bounds the seeds that a bug may take; `make bugs` shows how many they
// take from several starting points.
const bugSeeds = 300

// TestBugs finds every bug of the catalogues by what it is expected to show.
func TestBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	for _, b := range bugs() {
		t.Run(b.System+"/"+b.Name, func(t *testing.T) { findBug(t, b) })
	}
}

func findBug(t *testing.T, b clients.Bug) {
	t.Helper()
	env, _ := quiet()
	a := asked{
		system: b.System, bug: b.Name, workload: b.Workload, on: onSim, time: 10e9, checkTimeout: 60e9, checkMemory: "1GiB",
		given: func(flag string) bool { return flag == "system" },
	}
	for seed := uint64(1); seed <= bugSeeds; seed++ {
		a.seed = formatSeed(seed)
		r := trySeed(t.Context(), &env, a, seed)
		if r.err != nil {
			t.Fatalf("seed %d: %v", seed, r.err)
		}
		if !r.failed() {
			continue
		}
		expected := append([]string{"election-safety", "log-matching", "leader-completeness", "state-machine-safety"}, b.Expects...)
		if !slices.ContainsFunc(r.names(), func(n string) bool { return slices.Contains(expected, n) }) {
			t.Errorf("seed %d shows %v, expected one of %v", seed, r.names(), expected)
		}
		t.Logf("seed %d: %v", seed, r.names())
		return
	}
	t.Errorf("not found in %d seeds", bugSeeds)
}
