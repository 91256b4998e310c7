package sim

import (
	"errors"

	"github.com/faultline-dev/faultline/cluster"
)

// errDisk marks errors that a fault on the disk made.
var errDisk = errors.New("sim: the disk failed")

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
	if err := n.writable(); err != nil {
		n.fail(err)
		return
	}
	for _, s := range saves {
		var err error
		if s.Rewrite {
			err = n.log.Rewrite(s.Records)
		} else {
			err = n.log.Append(s.Records)
		}
		if err != nil {
			n.fail(err)
			return
		}
	}
	n.syncing = true
	w := n.w
	w.after(w.exponential(w.cfg.SyncLeast, w.cfg.SyncMean)+n.slower(), &synced{n, n.epoch, saves[len(saves)-1].Seq})
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
