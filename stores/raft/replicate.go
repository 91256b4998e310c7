package raft

import (
	"slices"
)

// Propose adds a command to the leader's log and returns its place. It takes
// effect when it is among the committed; when another entry is committed at its
// place, it never will.
func (c *Core) Propose(data []byte) (index, term uint64, err error) {
	switch {
	case c.role != Leader:
		return 0, 0, ErrNotLeader
	case c.transferee != "":
		return 0, 0, ErrTransferring
	case c.log.last()-c.commit >= uint64(c.cfg.MaxUncommitted):
		return 0, 0, ErrBusy
	}
	return c.appendOwn(KindCommand, data), c.term, nil
}

// ProposeVoters changes the membership by one node (diss. §4.1). The new set
// holds as soon as it is in a log, committed or not.
func (c *Core) ProposeVoters(voters []string) (index, term uint64, err error) {
	switch {
	case c.role != Leader:
		return 0, 0, ErrNotLeader
	case c.transferee != "":
		return 0, 0, ErrTransferring
	}
	voters = slices.Compact(slices.Sorted(slices.Values(voters)))
	last := c.config[len(c.config)-1]
	// Until an entry of this term is committed, a change of an earlier term may
	// come back (Ongaro, raft-dev 2015, "bug in single-server membership changes").
	safe := c.cfg.Bug != BugOnePhase
	if safe && (!c.settled() || c.commit < c.start || distance(last.voters, voters) != 1) || len(voters) == 0 {
		return 0, 0, ErrVoters
	}
	return c.appendOwn(KindVoters, encodeVoters(voters)), c.term, nil
}

// settled tells whether the membership that holds is known to be committed.
func (c *Core) settled() bool { return c.config[len(c.config)-1].index <= c.commit }

// distance is the number of nodes in one set only.
func distance(a, b []string) int {
	n := 0
	for _, x := range a {
		if !slices.Contains(b, x) {
			n++
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			n++
		}
	}
	return n
}

// noteVoters keeps the membership of an entry added to the log.
func (c *Core) noteVoters(e Entry) {
	if e.Kind == KindVoters {
		c.config = append(c.config, votersAt{e.Index, decodeVoters(e.Data)})
	}
}

// forgetVoters goes back to the membership that held at index i.
func (c *Core) forgetVoters(i uint64) {
	for len(c.config) > 1 && c.config[len(c.config)-1].index > i {
		c.config = c.config[:len(c.config)-1]
	}
}

// replicate sends every follower what it lacks, and a round to all when one is
// due: on time, or for reads.
func (c *Core) replicate() {
	round := c.needRound
	if round {
		c.round++
		c.needRound, c.beat = false, 0
	}
	for _, p := range c.peers {
		c.sendAppends(p, round)
	}
	if round {
		c.confirmReads() // a lone voter is its own quorum
	}
}

// sendAppends fills the window of one follower. With round set at least one
// message goes, empty if need be, which is the heartbeat.
func (c *Core) sendAppends(p *peer, round bool) {
	if p.next <= c.log.snap.Index {
		c.sendSnap(p, round)
		return
	}
	last := c.log.last()
	for p.next <= last && (!p.probe || !p.waiting) && p.next <= p.match+uint64(c.cfg.MaxInflight) {
		c.sendAppend(p, c.batch(p.next))
		round = false
	}
	if round {
		var e []Entry
		if p.probe {
			e = c.batch(p.next) // the probe before may be lost
		}
		c.sendAppend(p, e)
	}
}

func (c *Core) sendAppend(p *peer, e []Entry) {
	prev := p.next - 1
	t, _ := c.log.term(prev)
	c.send(Message{
		Type: MsgAppend, To: p.id, Index: prev, LogTerm: t, Entries: e,
		Commit: c.commit, Round: c.round, Sent: c.now,
	})
	if p.probe {
		p.waiting = true
	} else {
		p.next += uint64(len(e))
	}
}

// batch is the entries from index lo on that fit one message.
func (c *Core) batch(lo uint64) []Entry {
	hi := min(c.log.last(), lo+uint64(c.cfg.MaxBatch)-1)
	e := c.log.slice(lo, hi)
	bytes := 0
	for i := range e {
		bytes += len(e[i].Data)
		if bytes > c.cfg.MaxBatchBytes && i > 0 {
			return e[:i:i]
		}
	}
	return e
}

// handleAppend is the receiver's side of AppendEntries (Raft figure 2).
func (c *Core) handleAppend(m *Message) {
	c.heard(m.From)
	r := Message{Type: MsgAppendResp, To: m.From, Index: m.Index, Round: m.Round, Sent: m.Sent}
	if c.cfg.Bug == BugCommitUnchecked {
		c.commitTo(min(m.Commit, c.log.last()))
	}
	if m.Index < c.commit {
		// Everything up to the commit index is the same on both (Raft §5.4.3).
		skip := c.commit - m.Index
		if skip >= uint64(len(m.Entries)) {
			r.Index = c.commit
			c.sendDurable(r)
			return
		}
		m.Entries, m.Index = m.Entries[skip:], c.commit
		m.LogTerm, _ = c.log.term(c.commit)
	}
	if t, ok := c.log.term(m.Index); !ok || (t != m.LogTerm && c.cfg.Bug != BugNoLogCheck) {
		r.Reject, r.Hint = true, c.hint(m.Index)
		c.send(r)
		return
	}
	c.merge(m.Entries)
	if c.cfg.Bug == BugAppendTruncates {
		c.cut(m.Index + uint64(len(m.Entries)))
	}
	r.Index = m.Index + uint64(len(m.Entries))
	c.commitTo(min(m.Commit, r.Index))
	c.sendDurable(r)
}

// heard notes that the term's leader lives.
func (c *Core) heard(leader string) {
	if c.role != Follower {
		c.becomeFollower(c.term, leader)
	}
	c.leader, c.elapsed = leader, 0
}

// hint is a place at or before i where the logs may match: the end of the log, or
// before the whole term that conflicts (Raft §5.3, end).
func (c *Core) hint(i uint64) uint64 {
	if i > c.log.last() {
		return c.log.last()
	}
	t, _ := c.log.term(i)
	for i > c.commit {
		i--
		if u, ok := c.log.term(i); !ok || u != t {
			break
		}
	}
	return i
}

// merge adds entries that follow the log at their place, and cuts the log only where it conflicts
// with them: a late message must not cut what a later one brought (Raft §5.3).
func (c *Core) merge(entries []Entry) {
	for i, e := range entries {
		t, ok := c.log.term(e.Index)
		if ok && t == e.Term {
			continue
		}
		if e.Index <= c.log.snap.Index {
			continue // never, unless something else is broken
		}
		if ok {
			c.cut(e.Index - 1)
		}
		if c.dirtyFrom == 0 || e.Index < c.dirtyFrom {
			c.dirtyFrom = e.Index
		}
		c.log.append(entries[i:]...)
		n := len(c.config)
		for _, e := range entries[i:] {
			c.noteVoters(e)
		}
		if len(c.config) != n {
			c.setPeers()
		}
		return
	}
}

// cut drops the log after index i, which is never before the commit index.
func (c *Core) cut(i uint64) {
	c.log.cut(i)
	if c.dirtyFrom > c.log.last() {
		c.dirtyFrom = 0
	}
	c.stable = min(c.stable, i)
	n := len(c.config)
	c.forgetVoters(i)
	if len(c.config) != n {
		c.setPeers()
	}
}

func (c *Core) commitTo(i uint64) {
	if i > c.commit {
		c.commit = i
	}
}

// handleAppendResp is the leader's side (Raft §5.3, "Rules for Servers").
func (c *Core) handleAppendResp(p *peer, m *Message) {
	p.active = true
	c.noteRound(p, m)
	if m.Reject {
		if (m.Index <= p.match || p.probe) && m.Index != p.next-1 {
			return // an old answer
		}
		// Going back further than need be, on an old answer, costs only messages.
		p.next = max(1, min(m.Hint+1, m.Index))
		p.probe, p.waiting = true, false
		return
	}
	p.probe, p.waiting = false, false
	if p.snap != 0 && m.Index >= p.snap {
		p.snap = 0
	}
	if m.Index > p.match {
		p.match = m.Index
		p.next = max(p.next, p.match+1)
		c.maybeCommit()
	}
	c.maybeTransfer(p)
}

// maybeCommit commits the last entry that a majority holds durably, if it is of
// this term: earlier ones are committed only along with it (Raft §5.4.2).
func (c *Core) maybeCommit() {
	var buf [16]uint64
	match := buf[:0]
	for _, p := range c.peers {
		match = append(match, p.match)
	}
	if c.isVoter() {
		own := c.stable
		if c.cfg.Bug == BugAckBeforeSync {
			own = c.log.last()
		}
		match = append(match, own)
	}
	slices.Sort(match)
	quorum := c.quorum()
	if c.cfg.Bug == BugCommitNoQuorum {
		quorum = max(1, quorum-1)
	}
	i := match[len(match)-quorum]
	if t, ok := c.log.term(i); i <= c.commit || !ok || t != c.term {
		return
	}
	c.commitTo(i)
	if !c.isVoter() && c.settled() {
		c.becomeFollower(c.term, "") // diss. §4.2.2: out of the membership
	}
}
