package raft

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// maxOpen bounds the requests of clients that a node works on at a time.
const maxOpen = 4096

// retryAfter is how long a request with a session waits for the leader's answer
// before it is sent again.
const retryAfter = 200 * time.Millisecond

// ReplicaConfig says how a node behaves.
type ReplicaConfig struct {
	Core Config
	// SnapshotEvery is the number of entries applied before the log is compacted;
	// default 10,000.
	SnapshotEvery uint64
	// Once makes every command exactly-once, under sessions of the node's own: it
	// is sent again when the leader changes or doesn't answer.
	Once bool
	// Bug is what LookupBug returned.
	Bug BugInfo
}

// state is how far a request of a local client has come.
type state uint8

const (
	fresh       state = iota
	sessionless       // certainly in no log: waits for one of the node's sessions
	parked            // certainly in no log: waits for a leader
	forwarded         // sent to the leader; may be in its log
	taken             // in this node's log, or waiting for a read's quorum
	done              // answered
)

// open is a request that this node took, from its client or from another node.
type open struct {
	q      replica.Request
	state  state
	own    bool // under a session of this node's
	opener bool // the node's own: opens a session

	// Of a request that another node forwarded: whom to answer.
	node      string
	nonce, id uint64

	// Of a forwarded request: to whom, in which term, when.
	to   string
	term uint64
	at   int64
}

// proposal is a request in the log.
type proposal struct {
	term uint64
	o    *open
}

// Replica is a node of the Raft store: a Core, a kv.Machine, and the requests
// between them. It implements replica.Replica.
type Replica struct {
	cfg  ReplicaConfig
	core *Core
	sm   *kv.Machine
	now  int64

	nonce    uint64 // this incarnation's, in the requests it forwards
	nextID   uint64
	requests []*open             // of local clients, in order of arrival
	waiting  int                 // how many of them are parked
	forwards map[uint64]*open    // by the id under which they were forwarded
	props    map[uint64]proposal // by place in the log
	reads    map[uint64]*open    // by id of the core's read
	ready    []Read              // reads whose quorum is there, in order
	seen     seen
	own      sessions
	again    bool  // collect has more to do
	err      error // what stopped the node for good

	out replica.Output
}

// NewReplica makes a node from the records that its disk held; damage, if not nil,
// says that it held more once, which the node then fetches from the others.
func NewReplica(cfg ReplicaConfig, records [][]byte, damage error) (*Replica, error) {
	restored, err := DecodeRecords(records)
	if err != nil {
		return nil, err
	}
	restored.Damage = damage
	if cfg.SnapshotEvery == 0 {
		cfg.SnapshotEvery = 10000
		if cfg.Bug.bug == BugSnapshotLosesTail || cfg.Bug.kv == kv.BugSessionsLost {
			cfg.SnapshotEvery = 50 // a short run must take some
		}
	}
	if cfg.Bug.kv == kv.BugSessionsLost || cfg.Bug.kv == kv.BugDuplicate {
		cfg.Once = true // without sessions there is nothing to break
	}
	switch cfg.Bug.bug {
	case BugForgetTerm, BugVoteAnyLog, BugCommitOldTerm:
		cfg.Core.NoPreVote, cfg.Core.NoCheckQuorum = true, true // they hide these, mostly
	default:
	}
	cfg.Core.Bug = cfg.Bug.bug
	core, err := New(cfg.Core, restored)
	if err != nil {
		return nil, err
	}
	r := &Replica{
		cfg: cfg, core: core, sm: kv.NewMachine(cfg.Bug.kv),
		nonce:    core.nonce,
		forwards: map[uint64]*open{}, props: map[uint64]proposal{}, reads: map[uint64]*open{},
	}
	return r, r.collect()
}

// Core gives a look at the consensus core, for invariants. Don't change it.
func (r *Replica) Core() *Core { return r.core }

// Machine gives a look at the applied state. Don't change it.
func (r *Replica) Machine() *kv.Machine { return r.sm }

// Status describes the node.
func (r *Replica) Status() replica.Status {
	c := r.core
	role := c.role.String()
	if c.lost != nil {
		role = "damaged"
	}
	return replica.Status{
		Node: c.cfg.ID, Role: role, Term: c.term, Leader: c.leader,
		Commit: c.commit, Applied: r.sm.Applied(), Now: time.Duration(r.now),
		Ready: c.leader != "" && r.sm.Applied() > 0, Voters: c.Status().Voters,
	}
}

// SetClock tells the node's clock between ticks.
func (r *Replica) SetClock(now time.Duration) {
	r.now = max(r.now, int64(now))
	r.core.SetClock(now)
}

// Tick tells that one tick has passed.
func (r *Replica) Tick(now time.Duration) {
	r.now = max(r.now, int64(now))
	r.core.Tick(now)
	r.sweep()
}

// Persisted tells that the saves up to seq are durable.
func (r *Replica) Persisted(seq uint64) { r.core.Persisted(seq) }

// Receive takes a frame from another node; a damaged one is dropped.
func (r *Replica) Receive(payload []byte) {
	m, err := DecodeMessage(payload)
	if err != nil || m.To != r.core.cfg.ID {
		return
	}
	switch m.Type {
	case MsgForward:
		r.handleForward(&m)
	case MsgForwardResp:
		r.handleForwardResp(&m)
	default:
		r.core.Step(m)
	}
}

// Output takes what has gathered: it moves everything on as far as it gets.
func (r *Replica) Output() replica.Output {
	r.again = true
	for r.again && r.err == nil {
		r.again = false
		r.err = r.collect()
	}
	out := r.out
	out.Err = r.err
	r.out = replica.Output{}
	return out
}

// collect carries out what the core wants, until it wants nothing more.
func (r *Replica) collect() error {
	r.unpark()
	out := r.core.Output()
	if out.Save != nil {
		records, rewrite := encodeSave(out.Save)
		r.out.Saves = append(r.out.Saves, replica.Save{Seq: out.Save.Seq, Records: records, Rewrite: rewrite, Repaired: out.Save.Repaired})
	}
	for i := range out.Messages {
		m := &out.Messages[i]
		r.out.Frames = append(r.out.Frames, replica.Frame{To: m.To, Payload: m.Encode()})
	}
	if out.Snapshot != nil {
		if err := r.restore(out.Snapshot); err != nil {
			return err
		}
	}
	for _, e := range out.Committed {
		if err := r.apply(e); err != nil {
			return err
		}
	}
	r.serveReads(out.Reads)
	r.compact()
	return nil
}

func (r *Replica) restore(s *Snapshot) error {
	if err := r.sm.Restore(s.Data); err != nil {
		return fmt.Errorf("raft: snapshot at %d: %w", s.Index, err)
	}
	for _, i := range slices.Sorted(maps.Keys(r.props)) {
		if i <= s.Index {
			// Whether it was this one that was committed isn't to be seen any more.
			r.fail(r.props[i].o, "the outcome was lost in a snapshot", false)
			delete(r.props, i)
		}
	}
	return nil
}

// apply applies a committed entry and answers whoever proposed it.
func (r *Replica) apply(e Entry) error {
	var x kv.Result
	var c kv.Command
	if e.Kind == KindCommand && len(e.Data) > 0 {
		var err error
		if c, err = kv.DecodeCommand(e.Data); err != nil {
			return fmt.Errorf("raft: entry %d: %w", e.Index, err)
		}
	}
	x = r.sm.Apply(e.Index, &c)
	p, ok := r.props[e.Index]
	if !ok {
		return nil
	}
	delete(r.props, e.Index)
	if p.term != e.Term {
		// Another entry has the only place that the command was ever in.
		r.fail(p.o, "overwritten by another leader's entry", true)
		return nil
	}
	if e.Kind == KindVoters {
		r.changeMembers(p.o, false)
		r.again = true
		return nil
	}
	r.succeed(p.o, x)
	return nil
}

// compact lets the state take the place of the log when that has grown long.
func (r *Replica) compact() {
	if r.sm.Applied() >= r.core.log.snap.Index+r.cfg.SnapshotEvery {
		r.core.Compact(r.sm.Applied(), r.sm.Snapshot())
		r.again = true
	}
}

// serveReads answers the reads whose place is applied. A read of a key that
// expires is ordered like a write, so that the clock it sees is everybody's.
func (r *Replica) serveReads(reads []Read) {
	r.ready = append(r.ready, reads...)
	rest := r.ready[:0]
	for _, x := range r.ready {
		o := r.reads[x.ID]
		switch {
		case x.Err != nil:
			delete(r.reads, x.ID)
			r.refuseRead(o, x.Err)
		case x.Index > r.sm.Applied():
			rest = append(rest, x)
		default:
			delete(r.reads, x.ID)
			if r.sm.Timed(o.q.Command.Key) {
				r.propose(o)
				r.again = true
			} else {
				r.succeed(o, r.sm.Peek(o.q.Command.Key))
			}
		}
	}
	r.ready = rest
}

// refuseRead sends a read back: a client's own waits for the next leader, one
// that was forwarded goes back to its node to do so.
func (r *Replica) refuseRead(o *open, err error) {
	if o.node == "" && o.state != done {
		r.park(o)
		return
	}
	r.fail(o, err.Error(), true)
}
