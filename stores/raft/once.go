package raft

import (
	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// maxOwnSessions bounds the sessions that a node keeps for its clients' commands.
const maxOwnSessions = 32

// ownSession is a session of the node's, with the number of its last command.
type ownSession struct{ id, seq uint64 }

// sessions lets a node send its clients' commands under sessions of its own (diss.
// §6.3), one command a session at a time, so that it may send them again when no
// answer comes.
type sessions struct {
	free    []ownSession
	total   int
	opening bool
	waiting []*open // commands that wait for a session, in order
}

// once takes a command that is to be exactly-once.
func (r *Replica) once(o *open) {
	o.state = sessionless
	r.own.waiting = append(r.own.waiting, o)
	r.assign()
}

// assign gives free sessions to the commands that wait, and opens one more if
// there are too few.
func (r *Replica) assign() {
	p := &r.own
	for len(p.waiting) > 0 && len(p.free) > 0 {
		o := p.waiting[0]
		p.waiting = p.waiting[1:]
		if o.state != sessionless {
			continue // its deadline has passed
		}
		s := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		o.q.Command.Session, o.q.Command.Seq = s.id, s.seq+1
		o.own = true
		r.park(o)
	}
	if len(p.waiting) == 0 || p.opening || p.total >= maxOwnSessions {
		return
	}
	p.opening = true
	o := &open{opener: true, q: replica.Request{Command: kv.Command{Op: kv.OpOpenSession}}}
	o.q.Deadline = p.waiting[0].q.Deadline
	r.requests = append(r.requests, o)
	r.park(o)
}

// opened takes the answer to the opening of a session. Without one, the next
// command tries again.
func (r *Replica) opened(x *replica.Reply) {
	r.own.opening = false
	if x.Err == "" {
		r.own.free = append(r.own.free, ownSession{id: uint64(x.Result.Token)})
		r.own.total++
	}
	r.assign()
}

// returned takes back the session of an answered command. Should a copy of that
// come later, it is older than the session's next command, and refused.
func (r *Replica) returned(c *kv.Command, x *replica.Reply) {
	if x.Err == kv.ErrSession {
		r.own.total--
	} else {
		r.own.free = append(r.own.free, ownSession{c.Session, c.Seq})
	}
	r.assign()
}
