package raft

import (
	"slices"
	"time"
)

// ReadIndex asks for a linearizable read (Raft §8; diss. §6.4): Output gives id
// back among Reads, with the place that the state machine must have reached, as
// soon as a majority has confirmed after this call that the node leads.
func (c *Core) ReadIndex(id uint64) error {
	switch {
	case c.role != Leader:
		return ErrNotLeader
	case len(c.reads) >= c.cfg.MaxReads:
		return ErrBusy
	}
	if c.cfg.Bug == BugStaleRead {
		c.out.Reads = append(c.out.Reads, Read{ID: id, Index: c.commit})
		return nil
	}
	c.reads = append(c.reads, pendingRead{id, c.readIndex(), c.round + 1})
	c.needRound = true
	return nil
}

// readIndex is the place that a read must see. A new leader doesn't know what is
// committed until the first entry of its term is, so its reads wait for that.
func (c *Core) readIndex() uint64 {
	if c.cfg.Bug == BugReadBeforeNoop {
		return c.commit
	}
	return max(c.commit, c.start)
}

// LeaseRead is ReadIndex without the messages while the leader's lease holds
// (diss. §6.4.1): no other leader can have been elected since a majority answered
// a round, for as long as their election timeouts last by the slowest clock that
// the drift bound allows. Without a lease it is a ReadIndex.
func (c *Core) LeaseRead(id uint64) error {
	if c.role == Leader && !c.forced && c.now < c.leaseEnd() {
		c.out.Reads = append(c.out.Reads, Read{ID: id, Index: c.readIndex()})
		return nil
	}
	return c.ReadIndex(id)
}

// leaseEnd is when the lease ends by the node's clock, in ns. A tick less than the
// timeout, since a follower's first tick may come at once.
func (c *Core) leaseEnd() int64 {
	if c.cfg.NoCheckQuorum {
		return 0 // followers promise nothing then
	}
	ticks := time.Duration(c.cfg.ElectionTicks-1) * c.cfg.TickLength
	length := ticks * 100 / time.Duration(100+2*c.cfg.Drift)
	if c.cfg.Bug == BugLeaseDrift {
		length = 3 * ticks
	}
	var buf [16]int64
	sent := buf[:0]
	for _, p := range c.peers {
		sent = append(sent, p.sent)
	}
	if c.isVoter() {
		sent = append(sent, c.now)
	}
	slices.Sort(sent)
	at := sent[len(sent)-c.quorum()]
	if at == 0 {
		return 0
	}
	return at + int64(length)
}

// noteRound keeps the last round that a follower answered.
func (c *Core) noteRound(p *peer, m *Message) {
	if m.Round > p.round {
		p.round, p.sent = m.Round, m.Sent
		c.confirmReads()
	}
}

// confirmReads releases the reads whose round a majority has answered.
func (c *Core) confirmReads() {
	if len(c.reads) == 0 {
		return
	}
	var buf [16]uint64
	rounds := buf[:0]
	for _, p := range c.peers {
		rounds = append(rounds, p.round)
	}
	if c.isVoter() {
		rounds = append(rounds, c.round)
	}
	slices.Sort(rounds)
	done := rounds[len(rounds)-c.quorum()]
	n := 0
	for n < len(c.reads) && c.reads[n].round <= done {
		c.out.Reads = append(c.out.Reads, Read{ID: c.reads[n].id, Index: c.reads[n].index})
		n++
	}
	c.reads = c.reads[n:]
}
