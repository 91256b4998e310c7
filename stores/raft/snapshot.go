package raft

import "slices"

// Compact replaces the log up to index by the state machine's state there (Raft
// §7). Index must have been handed out among Committed.
func (c *Core) Compact(index uint64, data []byte) {
	if index <= c.log.snap.Index || index > c.given {
		return
	}
	t, _ := c.log.term(index)
	s := Snapshot{Index: index, Term: t, Voters: c.votersAtIndex(index), Data: data}
	c.log.install(s)
	if c.cfg.Bug == BugSnapshotLosesTail {
		c.log.entries = nil
	}
	c.trimConfig(s)
	c.dirtySnap = true
}

func (c *Core) votersAtIndex(i uint64) []string {
	v := c.config[0].voters
	for _, x := range c.config {
		if x.index <= i {
			v = x.voters
		}
	}
	return v
}

// trimConfig lets the memberships begin with the snapshot's.
func (c *Core) trimConfig(s Snapshot) {
	rest := []votersAt{{s.Index, s.Voters}}
	for _, x := range c.config {
		if x.index > s.Index && x.index <= c.log.last() {
			rest = append(rest, x)
		}
	}
	c.config = rest
	c.setPeers()
}

// sendSnap sends a follower that is too far behind the next chunk of the snapshot
// (Raft figure 13); a round repeats a chunk that wasn't answered.
func (c *Core) sendSnap(p *peer, round bool) {
	s := &c.log.snap
	if p.snap != s.Index {
		p.snap, p.offset, p.waiting = s.Index, 0, false
	}
	if p.waiting && !round {
		return
	}
	end := min(p.offset+uint64(c.cfg.SnapshotChunk), uint64(len(s.Data)))
	p.waiting = true
	c.send(Message{
		Type: MsgSnap, To: p.id, Index: s.Index, LogTerm: s.Term, Voters: s.Voters,
		Offset: p.offset, Size: uint64(len(s.Data)), Data: s.Data[p.offset:end:end],
		Commit: c.commit, Round: c.round, Sent: c.now,
	})
}

// handleSnap collects the chunks in order and installs the whole (Raft §7).
func (c *Core) handleSnap(m *Message) {
	c.heard(m.From)
	if m.Index <= c.commit {
		c.sendDurable(Message{Type: MsgAppendResp, To: m.From, Index: c.commit, Round: m.Round, Sent: m.Sent})
		return
	}
	if in := c.in; in == nil || in.from != m.From || in.index != m.Index || in.term != m.LogTerm || m.Offset == 0 {
		c.in = &incoming{from: m.From, index: m.Index, term: m.LogTerm}
	}
	if uint64(len(c.in.data)) == m.Offset {
		c.in.data = append(c.in.data, m.Data...)
	}
	if got := uint64(len(c.in.data)); got < m.Size {
		c.send(Message{Type: MsgSnapResp, To: m.From, Index: m.Index, Hint: got, Round: m.Round, Sent: m.Sent})
		return
	}
	c.installSnap(Snapshot{Index: m.Index, Term: m.LogTerm, Voters: slices.Clone(m.Voters), Data: c.in.data})
	c.in = nil
	c.sendDurable(Message{Type: MsgAppendResp, To: m.From, Index: m.Index, Round: m.Round, Sent: m.Sent})
}

func (c *Core) installSnap(s Snapshot) {
	c.log.install(s)
	c.trimConfig(s)
	c.stable = max(min(c.stable, c.log.last()), s.Index)
	c.commit = s.Index
	c.dirtySnap, c.restore = true, true
}

// handleSnapResp goes on with the chunk that the follower wants.
func (c *Core) handleSnapResp(p *peer, m *Message) {
	p.active = true
	c.noteRound(p, m)
	if m.Index == p.snap && m.Hint <= uint64(len(c.log.snap.Data)) {
		p.offset, p.waiting = m.Hint, false
	}
}
