package raft

import (
	"errors"
	"fmt"
	"time"
)

// The errors of Propose, ProposeVoters, ReadIndex and Transfer. All are
// definite: the request was not taken and has no effect, now or later.
var (
	ErrNotLeader    = errors.New("not the leader")
	ErrBusy         = errors.New("too much is under way")
	ErrTransferring = errors.New("leadership is being handed over")
	ErrVoters       = errors.New("voters must change by one node at a time, after the last change and an entry of this term are committed")
	ErrTarget       = errors.New("not another voter")
)

// Role is what a node is in its term (Raft §5.1).
type Role uint8

// The roles. A PreCandidate asks whether it would win before it raises its term
// (diss. §9.6).
const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
)

// String is the role in lower case.
func (r Role) String() string {
	switch r {
	case Follower:
		return "follower"
	case PreCandidate:
		return "pre-candidate"
	case Candidate:
		return "candidate"
	case Leader:
		return "leader"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Kind tells commands from changes of the membership.
type Kind uint8

// The kinds of entries. Their numbers are part of the log's format.
const (
	KindCommand Kind = iota // Data is the state machine's; empty is a no-op
	KindVoters              // Data is the new set of voters
)

// Entry is one place of the log.
type Entry struct {
	Index, Term uint64
	Kind        Kind
	Data        []byte
}

// HardState is what a node must never forget (Raft figure 2, persistent state).
type HardState struct {
	Term uint64
	Vote string // whom the node voted for in Term; "" is nobody
}

// Snapshot stands for the log up to and with Index (Raft §7).
type Snapshot struct {
	Index, Term uint64
	Voters      []string // the membership at Index
	Data        []byte   // the state machine's state at Index
}

// Restored is what the disk gave back at the start: zero for a new node.
type Restored struct {
	Hard     HardState
	Snapshot Snapshot
	Entries  []Entry // contiguous, the first at Snapshot.Index+1
	// Damage, if not nil, says that the disk held more once: all this is true, and
	// there was more.
	Damage error
}

// Type is what a message asks or answers.
type Type uint8

// The messages. Append, Vote and Snap with their answers are the RPCs of the
// paper as pairs of one-way messages; Forward and its answer carry a client's request from
// the node that got it to the leader, and the answer back; Repair asks for what a
// disk lost. Their numbers are part of the wire format.
const (
	MsgNone Type = iota
	MsgPreVote
	MsgPreVoteResp
	MsgVote
	MsgVoteResp
	MsgAppend
	MsgAppendResp
	MsgSnap
	MsgSnapResp
	MsgTimeoutNow
	MsgForward
	MsgForwardResp
	MsgRepair
	MsgRepairResp
	msgEnd
)

// String is the message's name in traces.
func (t Type) String() string {
	names := [...]string{"none", "pre-vote", "pre-vote-resp", "vote", "vote-resp", "append", "append-resp", "snap", "snap-resp", "timeout-now", "forward", "forward-resp", "repair", "repair-resp"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Message is everything that one node tells another. Which fields mean something
// depends on Type; a message may be lost, late, repeated or overtaken.
type Message struct {
	Type     Type
	From, To string
	Term     uint64

	Index   uint64  // append: place before Entries; resp: last place that matches or was refused; vote: last place; snap: Snapshot.Index
	LogTerm uint64  // term at Index
	Commit  uint64  // append: the leader's commit index
	Entries []Entry // append
	Reject  bool    // answers: no
	Hint    uint64  // append-resp, refused: the last place that may match; snap-resp: the next offset
	Force   bool    // vote: the leader itself asked for this election (diss. §3.10)
	Round   uint64  // append, snap: number of the leader's round, echoed (Raft §8, reads)
	Sent    int64   // append, snap: ns, the leader's clock, echoed (diss. §6.4.1, leases)

	Voters []string // snap
	Offset uint64   // snap: place of Data in the snapshot
	Size   uint64   // snap: length of the whole snapshot
	Data   []byte   // snap: a chunk; forward: a request; forward-resp: an answer

	// Nonce is the asking node's incarnation, echoed; ID the number of its request.
	Nonce, ID uint64 // forward; vote and repair: Nonce alone
}

// Read says that a linearizable read may be served from the state at Index or
// later. If Err isn't nil the read must be refused.
type Read struct {
	ID    uint64
	Index uint64
	Err   error
}

// Save is what the disk must hold before Persisted(Seq). It is written with one
// sync; a crash may leave any prefix of the unsynced saves, and of the last one
// any part that the log's checksums can tell from a whole.
type Save struct {
	Seq     uint64
	Hard    *HardState // nil: unchanged
	Entries []Entry    // replace everything from Entries[0].Index on

	// Snapshot replaces the log up to its Index, and Entries are then all that
	// are left after it; Hard is set.
	Snapshot *Snapshot

	// Repaired says that with this save the node has again what its disk had lost.
	Repaired bool
}

// Output is what a Core wants done. See the package's doc for the order.
type Output struct {
	Save      *Save
	Messages  []Message
	Snapshot  *Snapshot
	Committed []Entry
	Reads     []Read
}

// Config says how a Core behaves. ID, Voters and ElectionTicks are needed.
type Config struct {
	ID     string
	Voters []string // of a new cluster; a node with anything on disk ignores it

	// ElectionTicks is the least number of ticks without a leader after which a
	// node starts an election; each time a random number below twice that is
	// drawn (Raft §5.2). Too small, and slow messages start elections for nothing.
	ElectionTicks int
	// HeartbeatTicks is the time between two rounds of a leader; at most a third
	// of ElectionTicks, or one lost message starts an election. Default a sixth.
	HeartbeatTicks int
	// TickLength is the time between two ticks, for leases. Default 10 ms.
	TickLength time.Duration
	// Drift is the bound on clock rates that lease reads rely on, in percent: no
	// node's clock runs more than Drift % faster than another's. Default 10.
	Drift int
	// Seed of the election timeouts. Nodes must have different ones.
	Seed uint64

	NoPreVote     bool // elections raise the term at once (Raft §5.2 without diss. §9.6)
	NoCheckQuorum bool // a leader that hears from no quorum goes on, without diss. §6.2

	MaxUncommitted int // entries a leader takes before they are committed; default 4096
	MaxInflight    int // entries sent to a follower before it answers; default 1024
	MaxBatch       int // entries in one message; default 256
	MaxBatchBytes  int // bytes of entries in one message; default 256 KiB
	MaxReads       int // reads that wait for a round; default 4096
	SnapshotChunk  int // bytes of a snapshot in one message; default 64 KiB

	Bug Bug // the broken line, if any
}

// check fills in the defaults and refuses what can't work.
func (c *Config) check() error {
	if c.ID == "" || c.ElectionTicks < 3 {
		return errors.New("raft: config: needs an ID, and ElectionTicks of at least 3")
	}
	for _, d := range []struct {
		v *int
		d int
	}{
		{&c.HeartbeatTicks, max(1, c.ElectionTicks/6)},
		{&c.Drift, 10},
		{&c.MaxUncommitted, 4096},
		{&c.MaxInflight, 1024},
		{&c.MaxBatch, 256},
		{&c.MaxBatchBytes, 256 << 10},
		{&c.MaxReads, 4096},
		{&c.SnapshotChunk, 64 << 10},
	} {
		if *d.v < 0 {
			return errors.New("raft: config: a limit is negative")
		}
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if c.TickLength == 0 {
		c.TickLength = 10 * time.Millisecond
	}
	if 3*c.HeartbeatTicks > c.ElectionTicks {
		return fmt.Errorf("raft: config: HeartbeatTicks %d is more than a third of ElectionTicks %d", c.HeartbeatTicks, c.ElectionTicks)
	}
	return nil
}
