package paxos

import (
	"fmt"
	"maps"
	"slices"

	"github.com/faultline-dev/faultline/stores/internal/bin"
)

// register is what an acceptor must never forget about a key.
type register struct {
	promised Ballot // it refuses all below
	accepted Ballot
	value    []byte // accepted under accepted; nil is none
}

// acceptor is a node's memory. What it answers must be durable first; the Replica
// sees to that.
type acceptor struct {
	regs    map[string]*register
	ceiling uint64 // ballot numbers up to here are reserved for this node
	floor   Ballot // promised for every key; zero is none
	name    string // of the node in its ballots
	bug     Bug

	pending [][]byte // records not handed to the disk yet
	written int      // records in the log
	rewrite bool     // the next records are to replace the log
}

// The records of a node's log on disk. Their numbers are part of its format.
const (
	recordPromise = 1
	recordAccept  = 2
	recordCeiling = 3
	recordFloor   = 4
)

func newAcceptor(records [][]byte, bug Bug) (*acceptor, error) {
	a := &acceptor{regs: map[string]*register{}, bug: bug, written: len(records)}
	for i, b := range records {
		r := bin.NewReader(b)
		switch r.Byte() {
		case recordPromise:
			g := a.get(r.String())
			g.promised = readBallot(r)
		case recordAccept:
			g := a.get(r.String())
			g.promised, g.accepted, g.value = readBallot(r), readBallot(r), r.Bytes()
		case recordCeiling:
			a.ceiling = r.Uint()
		case recordFloor:
			a.floor, a.name = readBallot(r), r.String()
		default:
			return nil, fmt.Errorf("paxos: log record %d is of no known kind", i)
		}
		if r.Err() != nil || r.Len() != 0 {
			return nil, fmt.Errorf("paxos: log record %d: %w", i, bin.ErrCorrupt)
		}
	}
	return a, nil
}

func (a *acceptor) get(key string) *register {
	g := a.regs[key]
	if g == nil {
		g = &register{}
		a.regs[key] = g
	}
	return g
}

// promised is the ballot below which the acceptor refuses.
func (a *acceptor) promised(g *register) Ballot {
	if g.promised.Less(a.floor) {
		return a.floor
	}
	return g.promised
}

// prepare promises a ballot not below any promised before (Lamport 2001, P1a; an
// equal one is the same question again).
func (a *acceptor) prepare(m *Message) Message {
	g := a.get(m.Key)
	if p := a.promised(g); m.Ballot.Less(p) {
		return Message{Type: MsgPromise, Reject: true, Accepted: p}
	}
	if g.promised.Less(m.Ballot) && a.bug != BugForgetPromise {
		g.promised = m.Ballot
		b := bin.AppendString([]byte{recordPromise}, m.Key)
		a.pending = append(a.pending, g.promised.append(b))
	}
	return Message{Type: MsgPromise, Accepted: g.accepted, Value: g.value}
}

// accept accepts a value unless a higher ballot was promised (Lamport 2001, P1a),
// and promises the proposer's next ballot with it (Rystsov §2.2.1).
func (a *acceptor) accept(m *Message) Message {
	g := a.get(m.Key)
	switch p := a.promised(g); {
	case m.Ballot == g.accepted:
		return Message{Type: MsgAccepted} // the same question again
	case m.Ballot.Less(p) && a.bug != BugAcceptLower:
		return Message{Type: MsgAccepted, Reject: true, Accepted: p}
	}
	if g.promised.Less(m.Ballot) {
		g.promised = m.Ballot
	}
	if g.promised.Less(m.Next) && a.bug != BugUnpromisedNext {
		g.promised = m.Next
	}
	g.accepted, g.value = m.Ballot, m.Value
	a.pending = append(a.pending, a.record(m.Key, g))
	return Message{Type: MsgAccepted}
}

func (a *acceptor) record(key string, g *register) []byte {
	b := bin.AppendString([]byte{recordAccept}, key)
	b = g.promised.append(b)
	if a.bug == BugForgetAccepted {
		return bin.AppendBytes(Ballot{}.append(b), nil)
	}
	return bin.AppendBytes(g.accepted.append(b), g.value)
}

// reserve raises the ceiling of the node's ballots.
func (a *acceptor) reserve(upto uint64) {
	a.ceiling = upto
	a.pending = append(a.pending, bin.AppendUint([]byte{recordCeiling}, upto))
}

// take returns the records to be written, and whether they replace the log: when
// most of that is of states that have been overwritten.
func (a *acceptor) take(compactAfter int) (records [][]byte, rewrite bool) {
	records = a.pending
	a.pending = nil
	a.written += len(records)
	if !a.rewrite && (a.written < compactAfter || a.written < 4*len(a.regs)) {
		return records, false
	}
	a.rewrite = false
	records = [][]byte{bin.AppendUint([]byte{recordCeiling}, a.ceiling), a.floorRecord()}
	for _, k := range slices.Sorted(maps.Keys(a.regs)) {
		records = append(records, a.record(k, a.regs[k]))
	}
	a.written = len(records)
	return records, true
}
