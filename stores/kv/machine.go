package kv

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/faultline-dev/faultline/stores/internal/bin"
)

// MaxSessions bounds the sessions that a Machine remembers. When one more opens,
// the one used longest ago is forgotten, and its commands are refused from then
// on: a forgotten session can't tell a retry from a new command.
const MaxSessions = 1024

// ErrSession is the Err of a result for a command whose session is forgotten or
// has gone on. Alone among refusals it doesn't say that nothing happened: an
// earlier copy of the command may have taken effect.
const ErrSession = "the session is forgotten, or has gone on to a later command"

// session is what exactly-once needs to know of a client.
type session struct {
	seq    uint64 // of the last command applied
	result Result // what it returned
	used   uint64 // index of that command, to find the one used longest ago
}

// Machine is the whole replicated state of a log-based store.
type Machine struct {
	bug      Bug
	clock    int64  // ns; the largest Now applied
	applied  uint64 // index of the last command applied
	cells    map[string]*Cell
	sessions map[uint64]*session
}

// NewMachine returns an empty state, broken in the way of bug.
func NewMachine(bug Bug) *Machine {
	return &Machine{bug: bug, cells: map[string]*Cell{}, sessions: map[uint64]*session{}}
}

// Clock is the replicated clock, in ns: the largest Now applied so far.
func (m *Machine) Clock() int64 { return m.clock }

// Applied is the index of the last command applied.
func (m *Machine) Applied() uint64 { return m.applied }

// Apply applies the command ordered at index. Indices must grow; gaps are fine.
func (m *Machine) Apply(index uint64, c *Command) Result {
	m.applied = index
	m.clock = max(m.clock, c.Now)
	if c.Op == OpOpenSession {
		m.openSession(index)
		return Result{OK: true, Token: int64(index)}
	}
	if c.Session == 0 {
		return m.change(index, c)
	}
	s := m.sessions[c.Session]
	switch {
	case s == nil:
		return Result{Err: ErrSession}
	case c.Seq <= s.seq && m.bug != BugDuplicate:
		if c.Seq == s.seq {
			return s.result
		}
		return Result{Err: ErrSession}
	}
	s.seq, s.used = c.Seq, index
	s.result = m.change(index, c)
	return s.result
}

func (m *Machine) change(index uint64, c *Command) Result {
	if c.Op == OpNone {
		m.leaderChanged()
		return Result{OK: true}
	}
	cell := m.cells[c.Key]
	if cell == nil {
		cell = &Cell{}
		if !c.Op.ReadOnly() {
			m.cells[c.Key] = cell
		}
	}
	x := cell.Apply(m.clock, int64(index), c, m.bug)
	if cell.Idle() {
		delete(m.cells, c.Key)
	}
	return x
}

// leaderChanged is the place of a new leader's first command in the order. It
// changes nothing: expiry times belong to the replicated clock, not to a leader.
func (m *Machine) leaderChanged() {
	if m.bug != BugTTLRestart {
		return
	}
	for _, c := range m.cells {
		c.Expires = 0
	}
}

// Timed tells whether a read of the key depends on the clock, so that it must be
// ordered like a write to be exact.
func (m *Machine) Timed(key string) bool {
	c := m.cells[key]
	return c != nil && c.Timed()
}

// Peek reads a key from the state as it is, changing nothing, the clock neither.
func (m *Machine) Peek(key string) Result {
	c := m.cells[key]
	if c == nil {
		return Result{OK: true}
	}
	if c.Timed() && m.clock >= c.Expires {
		return Result{OK: true}
	}
	return c.observed(true)
}

// openSession makes room for a session with the command's index as its id.
func (m *Machine) openSession(index uint64) {
	for len(m.sessions) >= MaxSessions {
		var oldest uint64
		for id, s := range m.sessions {
			// The order of the map doesn't matter: used is unique, being an index.
			if oldest == 0 || s.used < m.sessions[oldest].used {
				oldest = id
			}
		}
		delete(m.sessions, oldest)
	}
	m.sessions[index] = &session{used: index}
}

// Snapshot encodes the whole state; equal states have equal bytes.
func (m *Machine) Snapshot() []byte {
	b := bin.AppendInt(nil, m.clock)
	b = bin.AppendUint(b, m.applied)
	keys := make([]string, 0, len(m.cells))
	for k := range m.cells {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = bin.AppendUint(b, uint64(len(keys)))
	for _, k := range keys {
		b = bin.AppendString(b, k)
		b = m.cells[k].Append(b)
	}
	ids := make([]uint64, 0, len(m.sessions))
	for id := range m.sessions {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, cmp.Compare)
	b = bin.AppendUint(b, uint64(len(ids)))
	for _, id := range ids {
		s := *m.sessions[id]
		if m.bug == BugSessionsLost {
			s = session{used: s.used}
		}
		b = bin.AppendUint(b, id)
		b = bin.AppendUint(b, s.seq)
		b = bin.AppendUint(b, s.used)
		b = s.result.Append(b)
	}
	return b
}

// Restore replaces the state by a snapshot's. On an error it is unchanged.
func (m *Machine) Restore(snapshot []byte) error {
	// The state lives longer than the snapshot's buffer may.
	r := bin.NewReader(slices.Clone(snapshot))
	n := NewMachine(m.bug)
	n.clock, n.applied = r.Int(), r.Uint()
	for range r.Count() {
		k := r.String()
		cell := ReadCell(r)
		n.cells[k] = &cell
	}
	for range r.Count() {
		id := r.Uint()
		n.sessions[id] = &session{seq: r.Uint(), used: r.Uint(), result: ReadResult(r)}
	}
	if r.Err() != nil || r.Len() != 0 {
		return fmt.Errorf("kv: restore: %w", bin.ErrCorrupt)
	}
	*m = *n
	return nil
}
