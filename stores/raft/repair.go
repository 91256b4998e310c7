package raft

import (
	"fmt"
	"slices"

	"github.com/faultline-dev/faultline/stores/internal/repair"
)

// missing is what a node does about synced records that its disk has lost: package
// repair has the questions, whose numbers are terms here, and why they are enough.
// After both the node takes entries from leaders again, and votes as if its log were
// as up-to-date as any that another had when it promised the floor: the others may
// count copies here that aren't there. Until it is, the node stands for no election.
type missing struct {
	q      *repair.Asking
	asking bool
	others []string
	wait   int // ticks until the question is repeated

	index, term uint64 // the end of the most up-to-date log among the answers
}

// beginRepair begins it, if there is damage.
func (c *Core) beginRepair(damage error) error {
	if damage == nil {
		return nil
	}
	others := slices.Clone(c.cfg.Voters)
	for _, x := range c.config {
		others = append(others, x.voters...)
	}
	slices.Sort(others)
	others = slices.DeleteFunc(slices.Compact(others), func(n string) bool { return n == c.cfg.ID })
	if len(others) == 0 {
		return fmt.Errorf("raft: %s has no other node that could give back what it lost: %w", c.cfg.ID, damage)
	}
	c.lost = &missing{
		q: repair.New(c.nonce, c.term, len(others)), asking: true, others: others,
		index: c.log.last(), term: c.log.lastTerm(),
	}
	return nil
}

// askRepair asks the present question, again after a while.
func (c *Core) askRepair() {
	l := c.lost
	if l.wait--; !l.asking || l.wait > 0 {
		return
	}
	l.wait = c.cfg.HeartbeatTicks
	for _, to := range l.others {
		c.send(Message{Type: MsgRepair, To: to, Term: l.q.Floor, Nonce: l.q.Nonce})
	}
}

// stepRepair answers a damaged node, or takes an answer.
func (c *Core) stepRepair(m *Message) {
	if m.Type == MsgRepairResp {
		if l := c.lost; l != nil && l.asking && m.Nonce == l.q.Nonce && slices.Contains(l.others, m.From) {
			c.handleRepairResp(l, m)
		}
		return
	}
	r := Message{Type: MsgRepairResp, To: m.From, Nonce: m.Nonce, Reject: c.lost != nil}
	if r.Reject {
		c.send(r)
		return
	}
	if m.Term > c.term {
		c.becomeFollower(m.Term, "") // the promise
	}
	r.Index, r.LogTerm = c.log.last(), c.log.lastTerm()
	c.sendDurable(r)
}

func (c *Core) handleRepairResp(l *missing, m *Message) {
	switch {
	case m.Reject:
		l.q.Damaged(m.From)
	case m.Term >= l.q.Floor:
		l.q.Number(m.From, m.Term)
		if m.LogTerm > l.term || m.LogTerm == l.term && m.Index > l.index {
			l.index, l.term = m.Index, m.LogTerm
		}
	}
	if l.q.Next() {
		l.wait = 0 // the second question goes out with the next tick
		return
	}
	if l.q.Floor > 0 && l.q.Complete() {
		l.asking = false
		c.becomeFollower(l.q.Floor, "")
		c.quarantine = c.cfg.ElectionTicks
	}
}

// endRepair looks whether the log is whole again.
func (c *Core) endRepair() {
	l := c.lost
	if l == nil || l.asking || c.log.lastTerm() < l.term || c.log.lastTerm() == l.term && c.log.last() < l.index {
		return
	}
	c.lost, c.repaired = nil, true
}
