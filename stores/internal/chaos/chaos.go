// Package chaos runs replicas of a bundled store in a small simulated world, for
// the stores' own tests: time is ticks, messages and disk writes take a few, and
// every fault comes from one seed. It judges what its clients saw by simple sums;
// the real judges are elsewhere, on purpose.
package chaos

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/faultline-dev/faultline/stores/disk"
	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
	"github.com/faultline-dev/faultline/stores/wal"
)

// TickLength is the time of a tick.
const TickLength = 10 * time.Millisecond

// Options say what world to make.
type Options struct {
	Seed  uint64
	Nodes int
	Steps int // ticks with faults
	// Boot makes a node from what its disk held.
	Boot func(name string, names []string, seed uint64, records [][]byte, damage error) (replica.Replica, error)
	// Check, if set, looks at a node after each of its steps.
	Check func(name string, r replica.Replica) error
	// Admin, if set, draws a request to the cluster now and then.
	Admin    func(rng *rand.Rand, names []string) *replica.Admin
	Reads    replica.Reads
	Sessions bool // additions are exactly-once
	Calm     bool // no faults
	NoCrash  bool // all faults but crashes
	// Flips lets bits of what n1's disk holds flip whenever that node crashes, synced
	// or not.
	Flips bool
	// CrashAt lets n1 crash in its nth call that changes its disk; 0 in none.
	CrashAt int
}

// Result is what a run showed.
type Result struct {
	Broken []string // what must not happen, and did; at most a few
	Served int      // requests that succeeded
	Trace  uint32   // a checksum of every frame and reply, in order
	// Damaged counts the starts of nodes whose disks had lost something, Calls the
	// calls that changed n1's disk until the faults ended.
	Damaged, Calls int
}

// World is a running simulation.
type World struct {
	o      Options
	rng    *rand.Rand
	names  []string
	nodes  map[string]*Node
	tick   int
	net    []flight
	cut    map[[2]string]bool
	loss   float64
	judge  judge
	next   uint64
	writes int
	open   map[uint64]*request
	res    Result
}

// Node is one simulated machine.
type Node struct {
	Name    string
	Replica replica.Replica
	Down    bool
	fs      *disk.Mem
	log     *wal.Log
	syncs   []pendingSync
	busy    int // requests of its clients under way
	session uint64
	seq     uint64
}

type pendingSync struct {
	at  int
	seq uint64
}

type flight struct {
	at      int
	to      string
	payload []byte
}

// request is one that a client waits for.
type request struct {
	id    uint64
	node  *Node
	cmd   kv.Command
	least int64 // reads: the sum acknowledged before it began

	failed bool
}

// New boots a world.
func New(o Options) (*World, error) {
	w := &World{
		o: o, rng: rand.New(rand.NewPCG(o.Seed, 1)), nodes: map[string]*Node{},
		cut: map[[2]string]bool{}, open: map[uint64]*request{},
		judge: judge{swaps: map[int64]bool{}},
	}
	for i := range o.Nodes {
		w.names = append(w.names, fmt.Sprintf("n%d", i+1))
	}
	for _, name := range w.names {
		x := &Node{Name: name, fs: disk.NewMem()}
		w.nodes[name] = x
		if name == w.names[0] {
			x.fs.CrashAt(o.CrashAt)
		}
		if err := w.boot(x); errors.Is(err, disk.ErrCrashed) {
			w.crash(x)
		} else if err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Run runs a world to its end: faults, then calm, then a last look.
func Run(o Options) Result {
	w, err := New(o)
	if err != nil {
		return Result{Broken: []string{err.Error()}}
	}
	for range o.Steps {
		if !o.Calm {
			w.fault()
		}
		if o.CrashAt > 0 && w.tick%50 == 0 {
			w.Restart(w.names[0])
		}
		w.load()
		if w.Step(); len(w.res.Broken) > 3 {
			return w.res
		}
	}
	w.res.Calls = w.nodes[w.names[0]].fs.Calls()
	w.Heal()
	w.final()
	return w.res
}

// Node returns a node by name.
func (w *World) Node(name string) *Node { return w.nodes[name] }

// Names are the nodes' names.
func (w *World) Names() []string { return w.names }

func (w *World) now() time.Duration { return time.Duration(w.tick) * TickLength }

func (w *World) broken(format string, args ...any) {
	w.res.Broken = append(w.res.Broken, fmt.Sprintf("tick %d: ", w.tick)+fmt.Sprintf(format, args...))
}

func (w *World) boot(x *Node) error {
	log, records, err := wal.Open(x.fs)
	if err != nil {
		return err
	}
	x.Replica, err = w.o.Boot(x.Name, w.names, w.rng.Uint64(), records, log.Damage())
	x.log, x.syncs, x.Down, x.busy, x.session = log, nil, false, 0, 0
	if log.Damage() != nil {
		w.res.Damaged++
	}
	return err
}

// Crash stops a node at once; unsynced writes may be lost or torn.
func (w *World) Crash(name string) {
	if x := w.nodes[name]; !x.Down {
		w.crash(x)
	}
}

func (w *World) crash(x *Node) {
	x.fs.Crash(w.rng)
	x.fs.Restart()
	x.Down = true
	if w.o.Flips && x.Name == w.names[0] {
		w.flip(x)
	}
}

// flip changes a few bits of the log or of its mark.
func (w *World) flip(x *Node) {
	names, _ := x.fs.List()
	for range w.rng.IntN(3) {
		name := names[w.rng.IntN(len(names))]
		if data, err := x.fs.ReadFile(name); err == nil && len(data) > 0 {
			_ = x.fs.Flip(name, w.rng.Int64N(int64(len(data)*8))) // there is such a bit
		}
	}
}

// failed tells whether a call to a node's disk failed; then the node has crashed, if
// it was to.
func (w *World) failed(x *Node, err error) bool {
	if errors.Is(err, disk.ErrCrashed) {
		w.crash(x)
	} else if err != nil {
		w.broken("%s: %v", x.Name, err)
	}
	return err != nil
}

// Restart boots a node that is down.
func (w *World) Restart(name string) {
	if x := w.nodes[name]; x.Down {
		w.failed(x, w.boot(x))
	}
}

// Isolate cuts all links of a node.
func (w *World) Isolate(name string) {
	for _, n := range w.names {
		w.cut[[2]string{n, name}], w.cut[[2]string{name, n}] = true, true
	}
}

// Heal ends all faults.
func (w *World) Heal() {
	clear(w.cut)
	w.loss = 0
	for _, n := range w.names {
		w.Restart(n)
	}
}

// fault draws a fault, or the end of one, now and then.
func (w *World) fault() {
	pick := func() string { return w.names[w.rng.IntN(len(w.names))] }
	switch w.rng.IntN(60) {
	case 0:
		w.Isolate(pick())
	case 1:
		w.cut[[2]string{pick(), pick()}] = true
	case 2, 3:
		clear(w.cut)
	case 4:
		if !w.o.NoCrash {
			w.Crash(pick())
		}
	case 5, 6, 7:
		for _, n := range w.names {
			w.Restart(n)
		}
	case 8:
		w.loss = []float64{0, 0.02, 0.2}[w.rng.IntN(3)]
	case 9:
		if w.o.Admin != nil {
			if x := w.nodes[pick()]; !x.Down {
				w.request(x, replica.Request{Admin: w.o.Admin(w.rng, w.names)})
			}
		}
	}
}

// Step lets one tick pass.
func (w *World) Step() {
	w.tick++
	for _, name := range w.names {
		x := w.nodes[name]
		if x.Down {
			continue
		}
		for len(x.syncs) > 0 && x.syncs[0].at <= w.tick {
			if w.failed(x, x.log.Sync()) {
				break
			}
			x.Replica.Persisted(x.syncs[0].seq)
			x.syncs = x.syncs[1:]
		}
		if x.Down {
			continue
		}
		x.Replica.Tick(w.now())
		w.flush(x)
	}
	now := w.net
	w.net = nil
	var later []flight
	for _, f := range now {
		if x := w.nodes[f.to]; f.at > w.tick {
			later = append(later, f)
		} else if !x.Down {
			x.Replica.Receive(f.payload)
			w.flush(x)
		}
	}
	w.net = append(later, w.net...)
}

// flush carries out what a replica wants.
func (w *World) flush(x *Node) {
	out := x.Replica.Output()
	if out.Err != nil {
		w.broken("%s: %v", x.Name, out.Err)
	}
	for _, s := range out.Saves {
		if w.failed(x, x.log.Put(s.Records, s.Rewrite, s.Repaired)) {
			return
		}
		x.syncs = append(x.syncs, pendingSync{w.tick + 1 + w.rng.IntN(3), s.Seq})
	}
	for _, f := range out.Frames {
		w.send(x.Name, f)
	}
	for _, r := range out.Replies {
		w.answered(r)
	}
	if w.o.Check != nil {
		if err := w.o.Check(x.Name, x.Replica); err != nil {
			w.broken("%v", err)
		}
	}
}

// trace adds to the checksum of all that happens.
func (w *World) trace(b []byte) {
	w.res.Trace = crc32.Update(w.res.Trace, crc32.IEEETable, b)
}

// send loses, delays, repeats and damages frames.
func (w *World) send(from string, f replica.Frame) {
	w.trace(f.Payload)
	if w.cut[[2]string{from, f.To}] || w.rng.Float64() < w.loss {
		return
	}
	at := w.tick + w.rng.IntN(2)
	if w.rng.Float64() < w.loss {
		at += w.rng.IntN(40)
	}
	w.net = append(w.net, flight{at, f.To, f.Payload})
	if w.rng.Float64() < w.loss {
		w.net = append(w.net, flight{at + w.rng.IntN(30), f.To, f.Payload})
	}
	if w.rng.Float64() < w.loss/4 {
		bad := slices.Clone(f.Payload)
		bad[w.rng.IntN(len(bad))] ^= 1 << w.rng.IntN(8)
		w.net = append(w.net, flight{at, f.To, bad})
	}
}

// request puts a request to a node.
func (w *World) request(x *Node, q replica.Request) *request {
	w.next++
	q.ID = w.next
	q.Deadline = w.now() + 100*TickLength
	r := &request{id: q.ID, node: x, cmd: q.Command, least: w.judge.acked}
	w.open[q.ID] = r
	x.busy++
	x.Replica.Request(q)
	w.flush(x)
	return r
}

// answered takes a reply to a client.
func (w *World) answered(r replica.Reply) {
	q := w.open[r.ID]
	if q == nil {
		w.broken("request %d is answered twice", r.ID)
		return
	}
	delete(w.open, r.ID)
	w.trace(r.Result.Append(nil))
	q.node.busy--
	q.failed = r.Err != ""
	if r.Err == "" {
		w.res.Served++
	}
	if q.cmd.Op == kv.OpOpenSession && !q.failed {
		q.node.session, q.node.seq = uint64(r.Result.Token), 0
		return
	}
	if msg := w.judge.judge(q, r); msg != "" {
		w.broken("%s: %s", q.node.Name, msg)
	}
}

// load lets each node's clients begin something.
func (w *World) load() {
	for _, name := range w.names {
		x := w.nodes[name]
		if x.Down || x.busy >= 8 || w.rng.IntN(4) != 0 {
			continue
		}
		if w.o.Sessions && (x.session == 0 || x.busy > 0) {
			if x.busy == 0 {
				w.request(x, replica.Request{Command: kv.Command{Op: kv.OpOpenSession}})
			}
			continue
		}
		kind := w.rng.IntN(5)
		if x.busy >= 3 {
			kind = 4 // some must be left to read with
		}
		switch kind {
		case 2:
			// Each write has a key of its own, to be looked for at the end.
			w.writes++
			w.request(x, replica.Request{Command: kv.Command{Op: kv.OpWrite, Key: fmt.Sprint("w", w.writes), Value: []byte("1")}})
		case 0:
			c := kv.Command{Op: kv.OpAdd, Key: "sum", Delta: 1}
			if w.o.Sessions {
				x.seq++
				c.Session, c.Seq = x.session, x.seq
			}
			w.judge.most++
			w.request(x, replica.Request{Command: c})
		case 1:
			old := w.judge.swapped
			c := kv.Command{Op: kv.OpCAS, Key: "chain", Expect: number(old), Value: number(old + 1)}
			w.request(x, replica.Request{Command: c})
		default:
			w.request(x, replica.Request{Command: kv.Command{Op: kv.OpRead, Key: "sum"}, Reads: w.o.Reads})
		}
	}
}

// number is a value; 0 is absent.
func number(n int64) []byte {
	if n == 0 {
		return nil
	}
	return strconv.AppendInt(nil, n, 10)
}

// final waits for progress after the faults, and looks at the end.
func (w *World) final() {
	for i := range 300 {
		if w.o.Admin != nil && i%50 == 49 {
			for _, name := range w.names {
				w.request(w.nodes[name], replica.Request{Admin: &replica.Admin{Add: w.names}})
			}
		}
		w.Step()
	}
	for i, key := range w.judge.wrote {
		x := w.nodes[w.names[i%len(w.names)]]
		w.request(x, replica.Request{Command: kv.Command{Op: kv.OpRead, Key: key}})
		if i%10 == 0 {
			w.Step()
		}
	}
	var seen int64
	for _, name := range w.names {
		r := w.request(w.nodes[name], replica.Request{Command: kv.Command{Op: kv.OpRead, Key: "sum"}})
		for range 100 {
			w.Step()
		}
		if w.open[r.id] != nil || r.failed {
			w.broken("%s: no progress after the faults", name)
			return
		}
		seen = w.judge.read
	}
	if seen < w.judge.added || seen > w.judge.most {
		w.broken("the sum is %d; %d additions were acknowledged, %d may have happened", seen, w.judge.added, w.judge.most)
	}
}
