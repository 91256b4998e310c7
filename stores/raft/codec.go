package raft

import (
	"fmt"

	"github.com/faultline-dev/faultline/stores/internal/bin"
)

// Encode is the message as a frame's payload, with a checksum at its end.
func (m *Message) Encode() []byte {
	n := 96 + len(m.Data)
	for i := range m.Entries {
		n += 16 + len(m.Entries[i].Data)
	}
	b := make([]byte, 0, n)
	b = append(b, byte(m.Type))
	b = bin.AppendString(b, m.From)
	b = bin.AppendString(b, m.To)
	for _, v := range [...]uint64{m.Term, m.Index, m.LogTerm, m.Commit, m.Hint, m.Round, m.Offset, m.Size, m.Nonce, m.ID} {
		b = bin.AppendUint(b, v)
	}
	b = bin.AppendInt(b, m.Sent)
	b = bin.AppendBool(b, m.Reject)
	b = bin.AppendBool(b, m.Force)
	b = bin.AppendUint(b, uint64(len(m.Entries)))
	for i := range m.Entries {
		e := &m.Entries[i]
		b = bin.AppendUint(b, e.Term)
		b = append(b, byte(e.Kind))
		b = bin.AppendBytes(b, e.Data)
	}
	b = bin.AppendUint(b, uint64(len(m.Voters)))
	for _, v := range m.Voters {
		b = bin.AppendString(b, v)
	}
	b = bin.AppendBytes(b, m.Data)
	return bin.Seal(b)
}

// DecodeMessage reads a payload. A damaged one is an error, and to be dropped.
// The message aliases the payload.
func DecodeMessage(payload []byte) (Message, error) {
	body, ok := bin.Open(payload)
	if !ok {
		return Message{}, fmt.Errorf("raft: message: %w", bin.ErrCorrupt)
	}
	r := bin.NewReader(body)
	m := Message{Type: Type(r.Byte()), From: r.String(), To: r.String()}
	for _, v := range [...]*uint64{&m.Term, &m.Index, &m.LogTerm, &m.Commit, &m.Hint, &m.Round, &m.Offset, &m.Size, &m.Nonce, &m.ID} {
		*v = r.Uint()
	}
	m.Sent, m.Reject, m.Force = r.Int(), r.Bool(), r.Bool()
	if n := r.Count(); n > 0 {
		m.Entries = make([]Entry, n)
		for i := range m.Entries {
			m.Entries[i] = Entry{Index: m.Index + 1 + uint64(i), Term: r.Uint(), Kind: Kind(r.Byte()), Data: r.Bytes()}
		}
	}
	m.Voters = readVoters(r)
	m.Data = r.Bytes()
	if r.Err() != nil || r.Len() != 0 || m.Type == MsgNone || m.Type >= msgEnd {
		return Message{}, fmt.Errorf("raft: message: %w", bin.ErrCorrupt)
	}
	return m, nil
}

// String is the message in a trace.
func (m *Message) String() string {
	s := fmt.Sprintf("%s %s>%s t%d", m.Type, m.From, m.To, m.Term)
	switch m.Type {
	case MsgAppend:
		s += fmt.Sprintf(" after %d/%d +%d commit %d", m.Index, m.LogTerm, len(m.Entries), m.Commit)
	case MsgAppendResp, MsgSnapResp:
		s += fmt.Sprintf(" at %d", m.Index)
	case MsgVote, MsgPreVote:
		s += fmt.Sprintf(" log %d/%d", m.Index, m.LogTerm)
	case MsgForward, MsgForwardResp:
		s += fmt.Sprintf(" #%d", m.ID)
	case MsgSnap:
		s += fmt.Sprintf(" %d/%d bytes %d of %d", m.Index, m.LogTerm, m.Offset, m.Size)
	default:
	}
	if m.Reject {
		s += " no"
	}
	return s
}

// The records of a node's log on disk. Their numbers are part of its format.
const (
	recordHard     = 1
	recordEntry    = 2
	recordSnapshot = 3
)

// encodeSave is a Save as records for the disk's log; rewrite says that they
// replace all records before.
func encodeSave(s *Save) (records [][]byte, rewrite bool) {
	if s.Snapshot != nil {
		b := []byte{recordSnapshot}
		b = bin.AppendUint(b, s.Snapshot.Index)
		b = bin.AppendUint(b, s.Snapshot.Term)
		b = append(b, encodeVoters(s.Snapshot.Voters)...)
		records = append(records, bin.AppendBytes(b, s.Snapshot.Data))
	}
	if s.Hard != nil {
		b := []byte{recordHard}
		b = bin.AppendUint(b, s.Hard.Term)
		records = append(records, bin.AppendString(b, s.Hard.Vote))
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		b := make([]byte, 0, 16+len(e.Data))
		b = append(b, recordEntry)
		b = bin.AppendUint(b, e.Index)
		b = bin.AppendUint(b, e.Term)
		b = append(b, byte(e.Kind))
		records = append(records, bin.AppendBytes(b, e.Data))
	}
	return records, s.Snapshot != nil
}

// DecodeRecords is what a node's disk held. Records that don't follow from one
// another are an error: the log isn't this store's, or is damaged.
func DecodeRecords(records [][]byte) (Restored, error) {
	var x Restored
	for i, b := range records {
		r := bin.NewReader(b)
		switch r.Byte() {
		case recordHard:
			x.Hard = HardState{Term: r.Uint(), Vote: r.String()}
		case recordSnapshot:
			x.Snapshot = Snapshot{Index: r.Uint(), Term: r.Uint(), Voters: readVoters(r), Data: r.Bytes()}
			x.Entries = nil
		case recordEntry:
			e := Entry{Index: r.Uint(), Term: r.Uint(), Kind: Kind(r.Byte()), Data: r.Bytes()}
			at := e.Index - x.Snapshot.Index - 1
			if e.Index <= x.Snapshot.Index || at > uint64(len(x.Entries)) {
				return Restored{}, fmt.Errorf("raft: log record %d: entry %d doesn't follow entry %d", i, e.Index, x.Snapshot.Index+uint64(len(x.Entries)))
			}
			x.Entries = append(x.Entries[:at], e)
		default:
			return Restored{}, fmt.Errorf("raft: log record %d is of no known kind", i)
		}
		if r.Err() != nil || r.Len() != 0 {
			return Restored{}, fmt.Errorf("raft: log record %d: %w", i, bin.ErrCorrupt)
		}
	}
	return x, nil
}
