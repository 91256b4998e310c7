package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// DiskFaults implements cluster.Disks.
func (w *World) DiskFaults(f cluster.DiskFault) error {
	switch f {
	case cluster.LoseUnsynced, cluster.TornWrites, cluster.FailIO, cluster.Full, cluster.SlowSync:
		return nil
	case cluster.FlipBits:
		return fmt.Errorf("sim: a node that finds a flipped bit in its log refuses to start, and nothing repairs it; there are %s, %s, %s, %s, %s",
			cluster.LoseUnsynced, cluster.TornWrites, cluster.FailIO, cluster.Full, cluster.SlowSync)
	}
	return fmt.Errorf("sim: unknown disk fault %q", f)
}

// Break implements cluster.Disks.
func (w *World) Break(_ context.Context, id, name string, d cluster.Disk) error {
	n, err := w.node(name)
	if err != nil {
		return err
	}
	if err := w.DiskFaults(d.Fault); err != nil {
		return err
	}
	if d.P <= 0 {
		d.P = 1
	}
	if n.disk == nil {
		n.disk = map[string]cluster.Disk{}
	}
	n.disk[id] = d
	return nil
}

// Repair implements cluster.Disks.
func (w *World) Repair(_ context.Context, id, name string) error {
	n, err := w.node(name)
	if err == nil {
		delete(n.disk, id)
	}
	return err
}

// Damage implements cluster.Disks; what was lost is counted in bytes.
func (w *World) Damage(_ context.Context, name string) (cluster.Damage, error) {
	n, err := w.node(name)
	if err != nil {
		return cluster.Damage{}, err
	}
	return n.damage, nil
}

// faulty is the disk's fault of one of these kinds that strikes now, if any.
func (n *node) faulty(kinds ...cluster.DiskFault) (cluster.Disk, bool) {
	for _, id := range slices.Sorted(maps.Keys(n.disk)) {
		if d := n.disk[id]; slices.Contains(kinds, d.Fault) && n.w.chance(d.P) {
			return d, true
		}
	}
	return cluster.Disk{}, false
}

// cut is what a power cut does to the disk of a node that dies.
func (n *node) cut() {
	d, ok := n.faulty(cluster.LoseUnsynced, cluster.TornWrites)
	if !ok {
		return
	}
	before, _ := n.fs.Sizes()
	n.fs.Crash(n.w.rng)
	n.fs.Restart()
	after, _ := n.fs.Sizes()
	n.damage.Lost += before - after
	if d.Fault == cluster.TornWrites && before > after {
		n.damage.Torn++
	}
}

// writable fails where the disk does.
func (n *node) writable() error {
	d, ok := n.faulty(cluster.FailIO, cluster.Full)
	if !ok {
		return nil
	}
	n.damage.Failed++
	return fmt.Errorf("%w: %s", errDisk, d.Fault)
}

// slower is how much longer a sync takes.
func (n *node) slower() time.Duration {
	d, ok := n.faulty(cluster.SlowSync)
	if !ok {
		return 0
	}
	n.damage.Slowed++
	return d.Delay
}
