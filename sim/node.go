package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/stores/disk"
	"github.com/faultline-dev/faultline/stores/replica"
	"github.com/faultline-dev/faultline/stores/wal"
)

// node is one simulated machine and the process on it.
type node struct {
	w     *World
	i     int
	name  string
	state cluster.State
	epoch int // how often the process was started
	r     replica.Replica
	clock clock
	fs    *drive
	log   *wal.Log

	saves   []replica.Save // that wait for the disk
	syncing bool
	inbox   []work // what a paused process has not taken yet
	calls   map[uint64]*call
	nextID  uint64

	role string // as last logged
	text bytes.Buffer
}

// work is what a process is given to do.
type work interface{ do(n *node) }

// inboxMax bounds what is kept for a paused process, as a socket's buffer does.
const inboxMax = 1024

func newNode(w *World, i int, name string) *node {
	n := &node{w: w, i: i, name: name, state: cluster.Dead, fs: &drive{Mem: disk.NewMem(), w: w}, calls: map[uint64]*call{}}
	n.clock = clock{own: 1 + w.cfg.Drift*(2*w.rng.Float64()-1), rate: 1}
	return n
}

// boot starts the process with what the disk holds.
func (n *node) boot() error {
	w := n.w
	if w.ran {
		return fmt.Errorf("sim: %s does not start any more: the run went on for ever", n.name)
	}
	n.epoch++
	w.trace.mix(traceBoot, uint64(w.now), uint64(n.i))
	log, records, err := wal.Open(n.fs)
	if err == nil {
		n.log = log
		n.r, err = w.cfg.System.Boot(Boot{Name: n.name, Names: w.cfg.Names, Seed: w.rng.Uint64(), Records: records, Damage: log.Damage()})
	}
	if err != nil {
		n.logf("does not start: %v", err)
		return fmt.Errorf("sim: %s does not start: %w", n.name, err)
	}
	n.state, n.role = cluster.Running, ""
	n.saves, n.syncing, n.inbox = nil, false, nil
	n.logf("started with %d records", len(records))
	if err := n.log.Damage(); err != nil {
		n.logf("%v", err)
	}
	if w.inv != nil {
		w.inv.Started(n.name, n.r)
	}
	t := &ticker{n, n.epoch}
	w.after(time.Duration(w.rng.Int64N(int64(w.cfg.System.Tick))), t)
	n.flush()
	return nil
}

// stop ends the process at once. Whoever waits for an answer sees its connection
// end.
func (n *node) stop(why string) {
	if n.state == cluster.Dead {
		return
	}
	n.w.trace.mix(traceStop, uint64(n.w.now), uint64(n.i))
	n.logf("%s", why)
	n.state, n.r, n.log, n.inbox = cluster.Dead, nil, nil, nil
	n.fs.die()
	for _, id := range slices.Sorted(maps.Keys(n.calls)) {
		n.w.answer(n.i, n.calls[id], 0, nil, errReset)
	}
	clear(n.calls)
}

func (n *node) logf(format string, args ...any) {
	if n.w.cfg.Keep {
		fmt.Fprintf(&n.text, "%12.6f  %s\n", n.w.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

// ticker is the pulse of one process.
type ticker struct {
	n     *node
	epoch int
}

func (t *ticker) fire(w *World) {
	n := t.n
	if n.epoch != t.epoch || n.state == cluster.Dead {
		return
	}
	w.after(n.clock.span(w.cfg.System.Tick), t)
	if n.state == cluster.Paused {
		return
	}
	defer n.guard()
	n.r.Tick(n.clock.at(w.now))
	n.flush()
}

// receive takes a frame from another node.
func (n *node) receive(f *frame) {
	n.w.trace.mix(traceFrame, uint64(n.w.now), uint64(f.from), uint64(f.to))
	n.w.trace.bytes(f.payload)
	n.take(f)
}

func (f *frame) do(n *node) { n.r.Receive(f.payload) }

// take lets the process work on something, or keeps it while it is paused.
func (n *node) take(x work) {
	switch n.state {
	case cluster.Dead:
	case cluster.Paused:
		if len(n.inbox) < inboxMax {
			n.inbox = append(n.inbox, x)
		}
	case cluster.Running:
		defer n.guard()
		n.r.SetClock(n.clock.at(n.w.now))
		x.do(n)
		if n.state == cluster.Running { // it may have died of it
			n.flush()
		}
	}
}

// guard turns a panic of the store into the death of the node.
func (n *node) guard() {
	if p := recover(); p != nil {
		if p == errStopped { //nolint:errorlint // the very value
			panic(p)
		}
		n.logf("panic: %v\n%s", p, debug.Stack())
		n.w.violated(Violation{Name: "panic", Nodes: []string{n.name}, Explain: fmt.Sprintf("%s panicked: %v", n.name, p)})
		n.stop("stopped by a panic")
	}
}

// flush carries out what the replica wants.
func (n *node) flush() {
	out := n.r.Output()
	n.saves = append(n.saves, out.Saves...)
	for i := range out.Frames {
		if to, ok := n.w.index[out.Frames[i].To]; ok && to < len(n.w.nodes) {
			n.w.send(n.i, to, out.Frames[i].Payload)
		}
	}
	for i := range out.Replies {
		n.reply(&out.Replies[i])
	}
	if n.w.inv != nil {
		if v := n.w.inv.Stepped(n.name, n.r); v != nil {
			n.w.violated(*v)
		}
	}
	if n.w.cfg.Keep {
		n.noteRole()
	}
	if out.Err != nil {
		n.fail(out.Err)
		return
	}
	n.sync()
}

func (n *node) noteRole() {
	s := n.r.Status()
	if role := s.Role + " of term " + strconv.FormatUint(s.Term, 10) + ", leader " + s.Leader; role != n.role {
		n.role = role
		n.logf("%s, commit %d, applied %d", role, s.Commit, s.Applied)
	}
}

// fail stops a node that cannot go on.
func (n *node) fail(err error) {
	if !errors.Is(err, errDisk) {
		n.w.violated(Violation{Name: "stopped", Nodes: []string{n.name}, Explain: fmt.Sprintf("%s stopped by itself: %v", n.name, err)})
	}
	n.stop("stopped: " + err.Error())
}

// Kill implements cluster.Killer. The process ends; what it has written stays, be
// it synced or not, as after kill -9, unless a fault of the disk says otherwise.
func (w *World) Kill(_ context.Context, name string) error {
	n, err := w.node(name)
	if err == nil {
		n.stop("killed")
	}
	return err
}

// Start implements cluster.Killer.
func (w *World) Start(_ context.Context, name string) error {
	n, err := w.node(name)
	if err != nil || n.state != cluster.Dead {
		return err
	}
	w.healed()
	return n.boot()
}

// Pause implements cluster.Pauser.
func (w *World) Pause(_ context.Context, name string) error {
	n, err := w.node(name)
	if err == nil && n.state == cluster.Running {
		n.become(cluster.Paused)
	}
	return err
}

// Resume implements cluster.Pauser.
func (w *World) Resume(_ context.Context, name string) error {
	n, err := w.node(name)
	if err != nil || n.state != cluster.Paused {
		return err
	}
	w.healed()
	n.become(cluster.Running)
	inbox := n.inbox
	n.inbox = nil
	for _, x := range inbox {
		n.take(x)
	}
	return nil
}

func (n *node) become(s cluster.State) {
	n.state = s
	n.w.trace.mix(traceState, uint64(n.w.now), uint64(n.i), uint64(len(s)))
	n.logf("%s", s)
}

// State implements cluster.Observer.
func (w *World) State(_ context.Context, name string) (cluster.State, error) {
	n, err := w.node(name)
	if err != nil {
		return "", err
	}
	return n.state, nil
}
