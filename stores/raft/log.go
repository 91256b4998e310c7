package raft

import (
	"slices"

	"github.com/faultline-dev/faultline/stores/internal/bin"
)

// entryLog is a node's log: a snapshot, and the entries after it.
type entryLog struct {
	snap    Snapshot
	entries []Entry // entries[i].Index == snap.Index+1+i
}

func (l *entryLog) last() uint64 { return l.snap.Index + uint64(len(l.entries)) }

func (l *entryLog) lastTerm() uint64 {
	t, _ := l.term(l.last())
	return t
}

// term is the term at index i; false if the log doesn't reach there, or not any
// more.
func (l *entryLog) term(i uint64) (uint64, bool) {
	switch {
	case i == l.snap.Index:
		return l.snap.Term, true
	case i < l.snap.Index || i > l.last():
		return 0, false
	}
	return l.entries[i-l.snap.Index-1].Term, true
}

// slice is the entries from index lo up to and with hi. It must not be changed;
// it stays as it is when the log is cut.
func (l *entryLog) slice(lo, hi uint64) []Entry {
	if lo <= l.snap.Index || hi > l.last() || lo > hi {
		return nil
	}
	a, b := lo-l.snap.Index-1, hi-l.snap.Index
	return l.entries[a:b:b]
}

// cut drops everything after index i. What was handed out keeps its memory.
func (l *entryLog) cut(i uint64) {
	if i < l.last() {
		n := i - l.snap.Index
		l.entries = l.entries[:n:n]
	}
}

func (l *entryLog) append(e ...Entry) { l.entries = append(l.entries, e...) }

// install puts a snapshot in the place of everything up to its index. Entries
// after it stay if they follow the snapshot's last entry (Raft figure 13, 6).
func (l *entryLog) install(s Snapshot) {
	if t, ok := l.term(s.Index); ok && t == s.Term {
		l.entries = slices.Clone(l.entries[s.Index-l.snap.Index:])
	} else {
		l.entries = nil
	}
	l.snap = s
}

// newer tells whether a log that ends at index i with term t is at least as
// up-to-date as this one (Raft §5.4.1).
func (l *entryLog) newer(i, t uint64) bool {
	if mine := l.lastTerm(); t != mine {
		return t > mine
	}
	return i >= l.last()
}

// encodeVoters is the data of a KindVoters entry.
func encodeVoters(voters []string) []byte {
	b := bin.AppendUint(nil, uint64(len(voters)))
	for _, v := range voters {
		b = bin.AppendString(b, v)
	}
	return b
}

func readVoters(r *bin.Reader) []string {
	var voters []string
	for range r.Count() {
		voters = append(voters, r.String())
	}
	return voters
}

func decodeVoters(b []byte) []string { return readVoters(bin.NewReader(b)) }
