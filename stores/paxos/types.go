package paxos

import (
	"fmt"
	"strings"

	"github.com/faultline-dev/faultline/stores/internal/bin"
	"github.com/faultline-dev/faultline/stores/kv"
)

// Ballot orders proposals: by number, then by proposer, so that no two proposers
// ever have the same (Lamport 2001, §2.2: different proposals have different
// numbers).
type Ballot struct {
	N    uint64
	Node string
}

// Less tells whether a comes before b.
func (a Ballot) Less(b Ballot) bool {
	if a.N != b.N {
		return a.N < b.N
	}
	return strings.Compare(a.Node, b.Node) < 0
}

func (a Ballot) append(b []byte) []byte {
	return bin.AppendString(bin.AppendUint(b, a.N), a.Node)
}

func readBallot(r *bin.Reader) Ballot { return Ballot{N: r.Uint(), Node: r.String()} }

// Type is what a message asks or answers.
type Type uint8

// The messages. Their numbers are part of the wire format.
const (
	MsgNone     Type = iota
	MsgPrepare       // phase 1a: promise this ballot
	MsgPromise       // phase 1b
	MsgAccept        // phase 2a: accept this value
	MsgAccepted      // phase 2b
	MsgRead          // what have you accepted? (promises nothing)
	MsgReadResp
	MsgPing     // I live
	MsgRepair   // my disk lost something: promise this ballot for all keys, say what you hold
	MsgRepaired // the answer
	msgEnd
)

// String is the message's name in traces.
func (t Type) String() string {
	names := [...]string{"none", "prepare", "promise", "accept", "accepted", "read", "read-resp", "ping", "repair", "repaired"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Message is everything that one node tells another about one key. It may be
// lost, late, repeated or overtaken.
type Message struct {
	Type     Type
	From, To string
	Key      string
	Attempt  uint64 // echoed, so that an answer finds its question
	Ballot   Ballot // the proposal's; in answers echoed
	Next     Ballot // accept: to be promised along with it
	Accepted Ballot // promise, read-resp: of Value. A refusal: what was promised. Repaired: the highest number seen
	Value    []byte // accept, promise, read-resp: an encoded state; nil is none. Repaired: all that was accepted
	Reject   bool
}

// Encode is the message as a frame's payload, with a checksum at its end.
func (m *Message) Encode() []byte {
	b := make([]byte, 0, 96+len(m.Key)+len(m.Value))
	b = append(b, byte(m.Type))
	b = bin.AppendString(b, m.From)
	b = bin.AppendString(b, m.To)
	b = bin.AppendString(b, m.Key)
	b = bin.AppendUint(b, m.Attempt)
	b = m.Ballot.append(b)
	b = m.Next.append(b)
	b = m.Accepted.append(b)
	b = bin.AppendBytes(b, m.Value)
	return bin.Seal(bin.AppendBool(b, m.Reject))
}

// DecodeMessage reads a payload. A damaged one is an error, and to be dropped.
func DecodeMessage(payload []byte) (Message, error) {
	body, ok := bin.Open(payload)
	if !ok {
		return Message{}, fmt.Errorf("paxos: message: %w", bin.ErrCorrupt)
	}
	r := bin.NewReader(body)
	m := Message{
		Type: Type(r.Byte()), From: r.String(), To: r.String(), Key: r.String(), Attempt: r.Uint(),
		Ballot: readBallot(r), Next: readBallot(r), Accepted: readBallot(r), Value: r.Bytes(), Reject: r.Bool(),
	}
	if r.Err() != nil || r.Len() != 0 || m.Type == MsgNone || m.Type >= msgEnd {
		return Message{}, fmt.Errorf("paxos: message: %w", bin.ErrCorrupt)
	}
	return m, nil
}

// String is the message in a trace.
func (m *Message) String() string {
	s := fmt.Sprintf("%s %s>%s %s %d.%s", m.Type, m.From, m.To, m.Key, m.Ballot.N, m.Ballot.Node)
	if m.Reject {
		s += fmt.Sprintf(" no, %d.%s", m.Accepted.N, m.Accepted.Node)
	}
	return s
}

// recentMost is the number of commands that a state remembers. A proposer that
// has lost sight of a change for longer than that reports it as unknown; a client's
// own retry within a session must come before so many other changes of the key.
const recentMost = 16

// opID names a command for good: its session and number, or those that its
// proposer gave it.
type opID struct{ a, b uint64 }

type doneOp struct {
	id     opID
	result kv.Result
}

// State is what a register holds: a cell of stores/kv, its clock, the number of
// changes it has been through, and the last of them.
type State struct {
	Cell   kv.Cell
	Clock  int64
	Rev    int64
	recent []doneOp
}

func (s *State) find(id opID) (kv.Result, bool) {
	for i := range s.recent {
		if s.recent[i].id == id {
			return s.recent[i].result, true
		}
	}
	return kv.Result{}, false
}

// apply changes the state by a command. A read changes only the clock.
func (s *State) apply(id opID, c *kv.Command, bug kv.Bug) kv.Result {
	s.Clock = max(s.Clock, c.Now)
	x := s.Cell.Apply(s.Clock, s.Rev+1, c, bug)
	if c.Op.ReadOnly() || x.Err != "" {
		return x
	}
	s.Rev++
	if len(s.recent) >= recentMost {
		s.recent = s.recent[1:]
	}
	s.recent = append(s.recent, doneOp{id, x})
	return x
}

func (s *State) encode() []byte {
	b := s.Cell.Append(nil)
	b = bin.AppendInt(b, s.Clock)
	b = bin.AppendInt(b, s.Rev)
	b = bin.AppendUint(b, uint64(len(s.recent)))
	for i := range s.recent {
		d := &s.recent[i]
		b = bin.AppendUint(b, d.id.a)
		b = bin.AppendUint(b, d.id.b)
		b = d.result.Append(b)
	}
	return b
}

// decodeState reads a state; nil is that of a key never written.
func decodeState(b []byte) (State, error) {
	if b == nil {
		return State{}, nil
	}
	r := bin.NewReader(b)
	s := State{Cell: kv.ReadCell(r), Clock: r.Int(), Rev: r.Int()}
	for range r.Count() {
		s.recent = append(s.recent, doneOp{opID{r.Uint(), r.Uint()}, kv.ReadResult(r)})
	}
	if r.Err() != nil || r.Len() != 0 {
		return State{}, fmt.Errorf("paxos: state: %w", bin.ErrCorrupt)
	}
	return s, nil
}
