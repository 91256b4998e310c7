package sim_test

import (
	"context"
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/cluster"
)

// TestDiskFaults: a correct store bears every fault of its disks, and they do
// damage; a store that acknowledges before its disk has synced is found out.
func TestDiskFaults(t *testing.T) {
	var sum cluster.Damage
	for seed := range uint64(12) {
		tried, w := try(t, shape{seed: seed, nodes: 3, workers: 10, keys: 10, faults: "kill,disk:lose-unsynced,disk:torn,disk:eio,disk:slow"})
		for _, a := range tried.Anomalies() {
			t.Errorf("seed %d: %s: %s", seed, a.Name, a.Explain)
		}
		for _, n := range names(3) {
			d, err := w.Damage(context.Background(), n)
			if err != nil {
				t.Fatal(err)
			}
			sum.Lost += d.Lost
			sum.Torn += d.Torn
			sum.Failed += d.Failed
			sum.Slowed += d.Slowed
		}
	}
	if sum.Lost == 0 || sum.Torn == 0 || sum.Failed == 0 || sum.Slowed == 0 {
		t.Errorf("some faults did nothing: %+v", sum)
	}
	for seed := range uint64(100) {
		tried, _ := try(t, shape{seed: seed, nodes: 3, workers: 10, keys: 10, faults: "kill,disk:lose-unsynced", bug: "ack-before-fsync"})
		if tried.Verdict() == checker.Invalid {
			t.Logf("ack-before-fsync shows at seed %d", seed)
			return
		}
	}
	t.Error("ack-before-fsync goes unnoticed in 100 seeds")
}
