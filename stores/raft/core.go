package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// peer is what a node keeps about another voter.
type peer struct {
	id     string
	vote   int8   // this election: 1 granted, -1 refused, 0 no answer
	match  uint64 // the last place known to be durable there (Raft figure 2)
	next   uint64 // the next entry to send there (Raft figure 2)
	probe  bool   // entries don't fit there yet: one message at a time
	active bool   // answered since the last check of the quorum
	round  uint64 // the last round of heartbeats it answered
	sent   int64  // ns; when that round began, by this node's clock

	// A snapshot under way: its index, the next offset, and whether a chunk has
	// been sent and not answered.
	snap    uint64
	offset  uint64
	waiting bool
}

// savePoint is a Save handed out and not reported durable yet.
type savePoint struct {
	seq         uint64
	index, term uint64 // the log's end in it
}

// heldMessage may leave once the save seq is durable.
type heldMessage struct {
	seq uint64
	m   Message
}

// pendingRead waits for a quorum to answer a round.
type pendingRead struct {
	id, index, round uint64
}

// votersAt is a membership and the place in the log from which it holds.
type votersAt struct {
	index  uint64
	voters []string
}

// incoming is a snapshot being received.
type incoming struct {
	from        string
	index, term uint64
	data        []byte
}

// Core is one node's Raft. Use New.
type Core struct {
	cfg Config
	rng *rand.Rand
	now int64 // ns; the node's clock at the last Tick

	term   uint64
	vote   string
	role   Role
	leader string // of this term, as far as known
	log    entryLog
	commit uint64 // Raft figure 2, commitIndex
	given  uint64 // the last place handed out to be applied

	config []votersAt // every membership since the snapshot; the last one holds
	peers  []*peer    // the other voters, by id

	elapsed    int // ticks since a leader was heard, or of a leader's own check
	timeout    int // ticks; drawn anew for each election
	beat       int // ticks since the last round
	quarantine int // ticks in which no vote is given after a restart

	start      uint64 // leader: the place of its first entry
	round      uint64 // leader: the number of the last round begun
	needRound  bool   // leader: a round must begin with the next Output
	reads      []pendingRead
	transferee string // leader: whom the leadership is handed to
	forced     bool   // leader: an election may come before a lease's end

	stable    uint64 // the last place known to be durable here
	seq       uint64 // of the last Save handed out
	saved     uint64 // of the last Save known to be durable
	saves     []savePoint
	held      []heldMessage
	dirtyHard bool
	dirtyFrom uint64 // the first entry not in any Save; 0 is none
	dirtySnap bool
	restore   bool // the snapshot must be handed to the state machine

	in  *incoming
	out Output

	nonce    uint64   // this incarnation's
	lost     *missing // not nil until what the disk lost is back
	repaired bool     // it is, and no Save says so yet
}

// New makes a node from what its disk held. It starts as a follower.
func New(cfg Config, r Restored) (*Core, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Core{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x7261667421))}
	c.nonce = rand.New(rand.NewPCG(cfg.Seed, 0x6e6f6e6365)).Uint64()
	c.term, c.vote = r.Hard.Term, r.Hard.Vote
	c.log = entryLog{snap: r.Snapshot, entries: slices.Clone(r.Entries)}
	for i, e := range c.log.entries {
		if e.Index != r.Snapshot.Index+1+uint64(i) {
			return nil, fmt.Errorf("raft: restored log has entry %d at place %d", e.Index, r.Snapshot.Index+1+uint64(i))
		}
	}
	voters := r.Snapshot.Voters
	if r.Snapshot.Index == 0 {
		voters = slices.Sorted(slices.Values(cfg.Voters))
		c.log.snap.Voters = voters
	}
	c.config = []votersAt{{r.Snapshot.Index, voters}}
	for _, e := range c.log.entries {
		c.noteVoters(e)
	}
	c.commit, c.given = r.Snapshot.Index, r.Snapshot.Index
	c.stable = c.log.last()
	c.restore = r.Snapshot.Index > 0
	if cfg.Bug == BugRestartApplies {
		c.commit = c.log.last()
	}
	if c.term > 0 || r.Damage != nil {
		// The node may have promised a leader not to vote, just before (diss. §6.4.1).
		c.quarantine = cfg.ElectionTicks
	}
	c.setPeers()
	c.resetTimeout()
	return c, c.beginRepair(r.Damage)
}

// Status is a look at a node, for people and for invariants.
type Status struct {
	ID, Leader             string
	Role                   Role
	Term                   uint64
	Commit, Given, Last    uint64
	FirstIndex, StableLast uint64
	Voters                 []string // as far as committed
}

// Status describes the node.
func (c *Core) Status() Status {
	return Status{
		ID: c.cfg.ID, Leader: c.leader, Role: c.role, Term: c.term,
		Commit: c.commit, Given: c.given, Last: c.log.last(),
		FirstIndex: c.log.snap.Index + 1, StableLast: c.stable,
		Voters: slices.Clone(c.votersAtIndex(c.commit)),
	}
}

// Term is the node's current term.
func (c *Core) Term() uint64 { return c.term }

// Role is the node's role in its term.
func (c *Core) Role() Role { return c.role }

// Leader is the leader of the node's term, "" if it isn't known.
func (c *Core) Leader() string { return c.leader }

// Commit is the last place known to be committed.
func (c *Core) Commit() uint64 { return c.commit }

// LastIndex is the last place of the log.
func (c *Core) LastIndex() uint64 { return c.log.last() }

// Entry is the entry at index i; false if the log doesn't hold it.
func (c *Core) Entry(i uint64) (Entry, bool) {
	if e := c.log.slice(i, i); len(e) == 1 {
		return e[0], true
	}
	return Entry{}, false
}

func (c *Core) voters() []string { return c.config[len(c.config)-1].voters }

func (c *Core) isVoter() bool { return slices.Contains(c.voters(), c.cfg.ID) }

// campaigns tells whether the node starts elections: as a voter, or when its removal
// is not known to be committed, since its log may be the only one with which the rest
// can commit it (diss. §4.2.2).
func (c *Core) campaigns() bool { return c.isVoter() || !c.settled() }

func (c *Core) peer(id string) *peer {
	for _, p := range c.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// setPeers brings the peers in line with the membership, keeping what is known.
func (c *Core) setPeers() {
	old := c.peers
	c.peers = nil
	for _, id := range c.voters() {
		if id == c.cfg.ID {
			continue
		}
		i := slices.IndexFunc(old, func(p *peer) bool { return p.id == id })
		if i >= 0 {
			c.peers = append(c.peers, old[i])
		} else {
			c.peers = append(c.peers, &peer{id: id, next: c.log.last() + 1, probe: true, active: true})
		}
	}
}

func (c *Core) resetTimeout() {
	c.elapsed = 0
	c.timeout = c.cfg.ElectionTicks + c.rng.IntN(c.cfg.ElectionTicks)
}

// Tick tells the node that one tick has passed; now is its clock, and must not
// run backwards. A paused process gets no ticks for the time it missed.
func (c *Core) Tick(now time.Duration) {
	c.now = max(c.now, int64(now))
	c.elapsed++
	c.quarantine = max(0, c.quarantine-1)
	if c.role == Leader {
		c.tickLeader()
		return
	}
	if c.lost != nil {
		c.askRepair()
	} else if c.elapsed >= c.timeout && c.campaigns() {
		c.campaign(!c.cfg.NoPreVote, false)
	}
}

// SetClock tells the node's clock between ticks; leases are judged by it.
func (c *Core) SetClock(now time.Duration) { c.now = max(c.now, int64(now)) }

func (c *Core) tickLeader() {
	c.beat++
	if c.beat >= c.cfg.HeartbeatTicks {
		c.needRound = true
	}
	if c.elapsed < c.cfg.ElectionTicks {
		return
	}
	c.elapsed = 0
	c.transferee = "" // diss. §3.10: a transfer that takes this long has failed
	if !c.checkQuorum() {
		c.becomeFollower(c.term, "")
	}
}

// checkQuorum tells whether a majority was heard since it was last asked: a
// leader that is cut off steps down, so that its clients may go elsewhere
// (diss. §6.2).
func (c *Core) checkQuorum() bool {
	n := 0
	if c.isVoter() {
		n++
	}
	for _, p := range c.peers {
		if p.active {
			n++
		}
		p.active = false
	}
	serving := []Bug{BugStaleRead, BugAckBeforeCommit, BugLeaseDrift, BugNoStepDown} // a part of these
	return n >= c.quorum() || c.cfg.NoCheckQuorum || slices.Contains(serving, c.cfg.Bug)
}

// quorum is the size of a majority of the voters.
func (c *Core) quorum() int { return len(c.voters())/2 + 1 }

// Step takes a message from another node. What doesn't fit is ignored.
func (c *Core) Step(m Message) {
	if m.To != c.cfg.ID || m.From == c.cfg.ID {
		return
	}
	switch {
	case m.Type == MsgRepair || m.Type == MsgRepairResp:
		c.stepRepair(&m)
		return
	case c.lost != nil && c.lost.asking:
		return // it doesn't know what it has promised
	case m.Term > c.term:
		if !c.newTerm(&m) {
			return
		}
	case m.Term < c.term:
		c.refuseOld(&m)
		return
	}
	c.handle(&m)
}

// newTerm takes up a higher term (Raft §5.1) and tells whether the message is to
// be handled.
func (c *Core) newTerm(m *Message) bool {
	switch m.Type {
	case MsgPreVote:
		return true // nobody has that term yet
	case MsgPreVoteResp:
		if !m.Reject {
			return true // an answer in the term that was asked about
		}
	case MsgVote:
		if c.protected() && !m.Force {
			return false // diss. §4.2.3: there is a leader; don't disturb it
		}
	default:
	}
	leader := ""
	if m.Type == MsgAppend || m.Type == MsgSnap {
		leader = m.From
	}
	c.becomeFollower(m.Term, leader)
	return true
}

// protected tells whether the node has promised a leader not to vote for another
// just now (diss. §4.2.3 and §6.4.1). Without check-quorum the promise would
// keep a leader that can't be heard by, so it isn't made.
func (c *Core) protected() bool {
	if c.cfg.NoCheckQuorum {
		return false
	}
	return c.quarantine > 0 || c.role == Leader || (c.leader != "" && c.elapsed < c.cfg.ElectionTicks)
}

// refuseOld answers a message of an earlier term, so that its sender learns the
// present one. Answers of earlier terms are ignored.
func (c *Core) refuseOld(m *Message) {
	switch m.Type {
	case MsgPreVote:
		c.send(Message{Type: MsgPreVoteResp, To: m.From, Reject: true, Nonce: m.Nonce})
	case MsgVote:
		c.send(Message{Type: MsgVoteResp, To: m.From, Reject: true, Nonce: m.Nonce})
	case MsgAppend, MsgSnap:
		c.send(Message{Type: MsgAppendResp, To: m.From, Index: m.Index, Reject: true, Hint: c.log.last()})
	default:
	}
}

func (c *Core) handle(m *Message) {
	switch m.Type {
	case MsgPreVote:
		c.handlePreVote(m)
	case MsgVote:
		c.handleVote(m)
	case MsgPreVoteResp:
		c.handleVoteResp(m, PreCandidate)
	case MsgVoteResp:
		c.handleVoteResp(m, Candidate)
	case MsgAppend:
		if c.cfg.Bug == BugNoStepDown && c.role == Leader {
			return
		}
		c.handleAppend(m)
	case MsgSnap:
		c.handleSnap(m)
	case MsgAppendResp:
		if p := c.peer(m.From); p != nil && c.role == Leader {
			c.handleAppendResp(p, m)
		}
	case MsgSnapResp:
		if p := c.peer(m.From); p != nil && c.role == Leader {
			c.handleSnapResp(p, m)
		}
	case MsgTimeoutNow:
		if c.isVoter() && c.lost == nil {
			c.campaign(false, true)
		}
	case MsgNone, MsgForward, MsgForwardResp, MsgRepair, MsgRepairResp, msgEnd: // not here
	}
}

func (c *Core) becomeFollower(term uint64, leader string) {
	if term > c.term {
		c.term, c.vote = term, ""
		c.dirtyHard = true
		if c.cfg.Bug == BugNoStepDown && c.role == Leader {
			return
		}
	}
	c.role, c.leader = Follower, leader
	c.dropReads()
	c.transferee = ""
	c.resetTimeout()
}

// dropReads refuses the reads that wait for a quorum: a definite refusal, since
// a read has no effect.
func (c *Core) dropReads() {
	for _, r := range c.reads {
		c.out.Reads = append(c.out.Reads, Read{ID: r.id, Err: ErrNotLeader})
	}
	c.reads = nil
}

// send puts a message of this term among those that may leave at once.
func (c *Core) send(m Message) {
	m.From = c.cfg.ID
	if m.Term == 0 {
		m.Term = c.term
	}
	c.out.Messages = append(c.out.Messages, m)
}

// dirty tells whether something isn't in any Save yet.
func (c *Core) dirty() bool { return c.dirtyHard || c.dirtyFrom != 0 || c.dirtySnap || c.repaired }

// sendDurable sends a message that promises what is now in memory: when that is
// on disk. A message to the node itself is handled then.
func (c *Core) sendDurable(m Message) {
	m.From, m.Term = c.cfg.ID, c.term
	seq := c.seq
	if c.dirty() {
		seq++
	}
	early := c.cfg.Bug == BugAckBeforeSync && m.Type == MsgAppendResp
	if (seq <= c.saved || early) && m.To != c.cfg.ID {
		c.out.Messages = append(c.out.Messages, m)
		return
	}
	c.held = append(c.held, heldMessage{seq, m})
}

// Persisted reports that every Save up to and with seq is durable.
func (c *Core) Persisted(seq uint64) {
	c.saved = max(c.saved, seq)
	for len(c.saves) > 0 && c.saves[0].seq <= seq {
		s := c.saves[0]
		c.saves = c.saves[1:]
		// The log may have been cut since; only what is still there counts.
		if t, ok := c.log.term(s.index); ok && t == s.term {
			c.stable = max(c.stable, s.index)
		}
	}
	n := 0
	for n < len(c.held) && c.held[n].seq <= seq {
		n++
	}
	ready := c.held[:n:n]
	c.held = c.held[n:]
	for _, h := range ready {
		if h.m.To != c.cfg.ID {
			c.out.Messages = append(c.out.Messages, h.m)
		} else if h.m.Term == c.term {
			c.handleVoteResp(&h.m, Candidate)
		}
	}
	if c.role == Leader {
		c.maybeCommit()
	}
}

// Output takes what has gathered since the last call. Its slices are the
// caller's to read; they don't change any more.
func (c *Core) Output() Output {
	if c.role == Leader {
		c.replicate()
	}
	c.endRepair()
	c.out.Save = c.takeSave()
	if c.restore {
		s := c.log.snap
		c.out.Snapshot, c.restore = &s, false
		c.given = s.Index
	}
	upto := c.commit
	if c.cfg.Bug == BugApplyBeforeCommit {
		upto = c.log.last()
	}
	if upto > c.given {
		c.out.Committed = c.log.slice(c.given+1, upto)
		c.given = upto
	}
	out := c.out
	c.out = Output{}
	return out
}

func (c *Core) takeSave() *Save {
	if !c.dirty() {
		return nil
	}
	c.seq++
	s := &Save{Seq: c.seq, Repaired: c.repaired}
	if c.dirtyHard || c.dirtySnap {
		s.Hard = &HardState{Term: c.term, Vote: c.vote}
		if c.cfg.Bug == BugForgetTerm {
			*s.Hard = HardState{}
		}
	}
	from := c.dirtyFrom
	if c.dirtySnap {
		snap := c.log.snap
		s.Snapshot, from = &snap, snap.Index+1
	}
	if from != 0 {
		s.Entries = c.log.slice(from, c.log.last())
	}
	c.saves = append(c.saves, savePoint{c.seq, c.log.last(), c.log.lastTerm()})
	c.dirtyHard, c.dirtyFrom, c.dirtySnap, c.repaired = false, 0, false, false
	return s
}
