package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/stores/disk"
)

// errDisk marks errors that a fault on the disk made.
var errDisk = errors.New("the disk failed")

// drive is a node's disk: one in memory that loses what is not synced, and fails
// as faults tell it to.
type drive struct {
	*disk.Mem
	w      *World
	holds  []diskHold
	damage cluster.Damage
}

type diskHold struct {
	id string
	cluster.Disk
}

// acts draws whether a fault strikes an operation.
func (d *drive) acts(f cluster.DiskFault) (cluster.Disk, bool) {
	for _, h := range d.holds {
		if h.Fault == f && (h.P == 0 || h.P >= 1 || d.w.rng.Float64() < h.P) {
			return h.Disk, true
		}
	}
	return cluster.Disk{}, false
}

func (d *drive) has(f cluster.DiskFault) bool {
	return slices.ContainsFunc(d.holds, func(h diskHold) bool { return h.Fault == f })
}

func (d *drive) fail(err error) error {
	d.damage.Failed++
	return fmt.Errorf("%w: %w", errDisk, err)
}

// Create implements disk.FS.
func (d *drive) Create(name string) (disk.File, error) {
	if _, bad := d.acts(cluster.FailIO); bad {
		return nil, d.fail(syscall.EIO)
	}
	if _, bad := d.acts(cluster.Full); bad {
		return nil, d.fail(syscall.ENOSPC)
	}
	f, err := d.Mem.Create(name)
	return &file{f, d}, err
}

// Append implements disk.FS.
func (d *drive) Append(name string) (disk.File, error) {
	f, err := d.Mem.Append(name)
	return &file{f, d}, err
}

// file is an open one.
type file struct {
	disk.File
	d *drive
}

// Write implements disk.File.
func (f *file) Write(b []byte) (int, error) {
	d := f.d
	if len(d.holds) == 0 {
		return f.File.Write(b)
	}
	if _, bad := d.acts(cluster.FailIO); bad {
		return 0, d.fail(syscall.EIO)
	}
	if _, bad := d.acts(cluster.Full); bad {
		n, _ := f.File.Write(b[:d.w.rng.IntN(len(b)+1)]) // what still had room
		return n, d.fail(syscall.ENOSPC)
	}
	if _, bad := d.acts(cluster.FlipBits); bad && len(b) > 0 {
		b = slices.Clone(b)
		bit := d.w.rng.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		d.damage.Flipped++
	}
	return f.File.Write(b)
}

// Sync implements disk.File.
func (f *file) Sync() error {
	if _, bad := f.d.acts(cluster.FailIO); bad {
		return f.d.fail(syscall.EIO)
	}
	return f.File.Sync()
}

// latency is how long the next sync takes.
func (d *drive) latency() time.Duration {
	t := d.w.exponential(d.w.cfg.SyncLeast, d.w.cfg.SyncMean)
	if slow, bad := d.acts(cluster.SlowSync); bad {
		d.damage.Slowed++
		t += slow.Delay
	}
	return t
}

// die is what the end of the processes does to the disk.
func (d *drive) die() {
	lose, torn := d.has(cluster.LoseUnsynced), d.has(cluster.TornWrites)
	if !lose && !torn {
		return
	}
	lost, kept := d.PowerCut(d.w.rng, torn)
	d.damage.Lost += lost
	if torn && lost > 0 {
		d.damage.Torn += max(1, min(kept, 1))
	}
}

// DiskFaults implements cluster.Disks.
func (w *World) DiskFaults(f cluster.DiskFault) error {
	switch f {
	case cluster.LoseUnsynced, cluster.TornWrites, cluster.FailIO, cluster.Full, cluster.SlowSync, cluster.FlipBits:
		return nil
	}
	return fmt.Errorf("sim: a disk cannot do %q", f)
}

// Break implements cluster.Disks.
func (w *World) Break(ctx context.Context, id, name string, f cluster.Disk) error {
	n, err := w.node(name)
	if err == nil {
		err = errors.Join(w.DiskFaults(f.Fault), w.Repair(ctx, id, name))
	}
	if err == nil {
		n.fs.holds = append(n.fs.holds, diskHold{id, f})
		n.logf("its disk: %s", f.Fault)
	}
	return err
}

// Repair implements cluster.Disks.
func (w *World) Repair(_ context.Context, id, name string) error {
	n, err := w.node(name)
	if err == nil {
		w.healed()
		n.fs.holds = slices.DeleteFunc(n.fs.holds, func(h diskHold) bool { return h.id == id })
	}
	return err
}

// Damage implements cluster.Disks.
func (w *World) Damage(_ context.Context, name string) (cluster.Damage, error) {
	n, err := w.node(name)
	if err != nil {
		return cluster.Damage{}, err
	}
	return n.fs.damage, nil
}

// synced is the moment when a disk has made durable what was written to it.
type synced struct {
	n     *node
	epoch int
	seq   uint64
}

// sync writes what waits, and syncs it all at once; one sync is under way at a
// time, as the real server's writer has it.
func (n *node) sync() {
	if n.syncing || len(n.saves) == 0 {
		return
	}
	saves := n.saves
	n.saves = nil
	for _, s := range saves {
		if err := n.log.Put(s.Records, s.Rewrite, s.Repaired); err != nil {
			n.fail(err)
			return
		}
	}
	n.syncing = true
	w := n.w
	w.after(n.fs.latency(), &synced{n, n.epoch, saves[len(saves)-1].Seq})
}

func (s *synced) fire(w *World) {
	n := s.n
	if n.epoch != s.epoch || n.state == cluster.Dead {
		return
	}
	w.trace.mix(traceSynced, uint64(w.now), uint64(n.i), s.seq)
	n.take(s)
}

func (s *synced) do(n *node) {
	n.syncing = false
	if err := n.log.Sync(); err != nil {
		n.fail(err)
		return
	}
	n.r.Persisted(s.seq)
}
