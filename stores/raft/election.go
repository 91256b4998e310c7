package raft

// campaign starts an election (Raft §5.2), or asks first whether it would be won
// (diss. §9.6). Force is set when the leader itself asked for it (diss. §3.10).
func (c *Core) campaign(pre, force bool) {
	for _, p := range c.peers {
		p.vote = 0
	}
	c.leader = ""
	c.resetTimeout()
	m := Message{Type: MsgVote, Index: c.log.last(), LogTerm: c.log.lastTerm(), Force: force, Nonce: c.nonce}
	if pre {
		c.role = PreCandidate
		m.Type, m.Term = MsgPreVote, c.term+1
		if c.won() {
			c.campaign(false, false)
			return
		}
		for _, p := range c.peers {
			m.To = p.id
			c.send(m)
		}
		return
	}
	c.role = Candidate
	c.term++
	c.vote = c.cfg.ID
	c.dirtyHard = true
	for _, p := range c.peers {
		m.To = p.id
		c.sendDurable(m)
	}
	// The node's own vote counts once it is durable.
	c.sendDurable(Message{Type: MsgVoteResp, To: c.cfg.ID})
}

// won counts the votes; the node's own is among them, if it is a voter, when it is
// asked.
func (c *Core) won() bool {
	n := 0
	if c.isVoter() {
		n++
	}
	for _, p := range c.peers {
		if p.vote > 0 {
			n++
		}
	}
	return n >= c.quorum()
}

// handlePreVote answers whether the node would vote for the sender, promising
// nothing (diss. §9.6).
func (c *Core) handlePreVote(m *Message) {
	ok := m.Term > c.term && !c.protected() && c.upToDate(m)
	r := Message{Type: MsgPreVoteResp, To: m.From, Reject: !ok, Nonce: m.Nonce}
	if ok {
		r.Term = m.Term // the term asked about
	}
	c.send(r)
}

// handleVote gives at most one vote a term (Raft §5.2), to a log at least as
// up-to-date as the node's own (Raft §5.4.1).
func (c *Core) handleVote(m *Message) {
	free := c.vote == "" || c.vote == m.From
	if c.vote == "" && c.leader != "" {
		free = false // the term has a leader already
	}
	if c.quarantine > 0 && !m.Force && !c.cfg.NoCheckQuorum {
		free = c.vote == m.From
	}
	if c.cfg.Bug == BugDoubleVote {
		free = true
	}
	if !free || !c.upToDate(m) {
		c.send(Message{Type: MsgVoteResp, To: m.From, Reject: true, Nonce: m.Nonce})
		return
	}
	if c.vote != m.From {
		c.vote = m.From
		c.dirtyHard = true
	}
	c.resetTimeout()
	c.sendDurable(Message{Type: MsgVoteResp, To: m.From, Nonce: m.Nonce})
}

// upToDate tells whether a candidate's log has all that the node's own has (Raft
// §5.4.1).
func (c *Core) upToDate(m *Message) bool {
	if l := c.lost; l != nil && (m.LogTerm < l.term || m.LogTerm == l.term && m.Index < l.index) {
		return false // it may lack what this node has lost
	}
	return c.log.newer(m.Index, m.LogTerm) || c.cfg.Bug == BugVoteAnyLog
}

// handleVoteResp counts an answer to the election that asked as role.
func (c *Core) handleVoteResp(m *Message, role Role) {
	if c.role != role {
		return
	}
	own := m.From == c.cfg.ID
	if !own && m.Nonce != c.nonce {
		return // to an earlier incarnation, whose log was another
	}
	if role == PreCandidate && !m.Reject && m.Term != c.term+1 {
		return // an answer to an earlier question
	}
	if p := c.peer(m.From); p != nil {
		p.vote = 1
		if m.Reject {
			p.vote = -1
		}
	} else if !own {
		return
	}
	if role == PreCandidate {
		if c.won() {
			c.campaign(false, false)
		}
		return
	}
	// Not before the node's own vote is durable, which it answers itself last.
	if (own || c.ownVote()) && c.won() {
		c.becomeLeader()
	}
}

// ownVote tells whether the node's vote for itself is durable: nothing about it
// is held back any more.
func (c *Core) ownVote() bool {
	for _, h := range c.held {
		if h.m.To == c.cfg.ID && h.m.Term == c.term {
			return false
		}
	}
	return true
}

// becomeLeader begins a term's leadership with an empty entry, whose commitment
// also commits all before it (Raft §8).
func (c *Core) becomeLeader() {
	c.role, c.leader = Leader, c.cfg.ID
	c.elapsed, c.beat = 0, 0
	c.needRound, c.forced = true, false
	for _, p := range c.peers {
		p.match, p.next, p.probe, p.active = 0, c.log.last()+1, false, true
		p.round, p.sent = 0, 0
		p.snap, p.waiting = 0, false
	}
	c.start = c.log.last() + 1
	if c.cfg.Bug == BugCommitOldTerm {
		c.commitTo(c.log.last())
	}
	c.appendOwn(KindCommand, nil)
}

// appendOwn adds an entry of the leader's to its log (leader append-only, Raft
// §5.3).
func (c *Core) appendOwn(k Kind, data []byte) uint64 {
	e := Entry{Index: c.log.last() + 1, Term: c.term, Kind: k, Data: data}
	c.log.append(e)
	c.noteVoters(e)
	if c.dirtyFrom == 0 {
		c.dirtyFrom = e.Index
	}
	if k == KindVoters {
		c.setPeers()
	}
	return e.Index
}

// Transfer hands the leadership to another voter (diss. §3.10): no proposals are
// taken until it has the whole log and is told to start an election, or an
// election timeout has passed.
func (c *Core) Transfer(to string) error {
	p := c.peer(to)
	switch {
	case c.role != Leader:
		return ErrNotLeader
	case p == nil:
		return ErrTarget
	case c.transferee != "":
		return ErrTransferring
	}
	c.transferee, c.elapsed = to, 0
	c.maybeTransfer(p)
	return nil
}

func (c *Core) maybeTransfer(p *peer) {
	if c.transferee == p.id && p.match == c.log.last() {
		c.forced = true
		c.send(Message{Type: MsgTimeoutNow, To: p.id})
	}
}
