package raft

import (
	"slices"

	"github.com/faultline-dev/faultline/stores/internal/bin"
	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Request takes a local client's request. It is answered by the next Tick after
// its deadline at the latest.
func (r *Replica) Request(q replica.Request) {
	o := &open{q: q}
	switch {
	case q.Admin != nil:
		r.admin(o)
	case q.Command.Op == kv.OpRead && (q.Reads == replica.Local || r.core.cfg.Bug == BugFollowerRead):
		r.succeed(o, r.sm.Peek(q.Command.Key))
	case len(r.requests) >= maxOpen:
		r.fail(o, ErrBusy.Error(), true)
	default:
		r.requests = append(r.requests, o)
		if c := &q.Command; r.cfg.Once && c.Session == 0 && c.Op != kv.OpRead && c.Op != kv.OpOpenSession {
			r.once(o)
			return
		}
		r.park(o)
	}
}

// admin serves what only the leader may do; it isn't forwarded.
func (r *Replica) admin(o *open) {
	a := o.q.Admin
	if a.Transfer != "" {
		if err := r.core.Transfer(a.Transfer); err != nil {
			r.fail(o, err.Error(), true)
			return
		}
		r.succeed(o, kv.Result{OK: true})
		return
	}
	o.state = taken
	r.requests = append(r.requests, o)
	r.changeMembers(o, true)
}

// changeMembers proposes the next step of a change of the membership: one node
// joins or leaves at a time, the next when the step before is committed (diss.
// §4.1). Definite says that no step has been proposed yet.
func (r *Replica) changeMembers(o *open, definite bool) {
	present := r.core.voters()
	next := slices.Clone(present)
	for _, name := range o.q.Admin.Remove {
		if i := slices.Index(next, name); i >= 0 && r.mayStep(present, next) {
			next = slices.Delete(next, i, i+1)
		}
	}
	for _, name := range o.q.Admin.Add {
		if !slices.Contains(next, name) && r.mayStep(present, next) {
			next = append(next, name)
		}
	}
	if distance(present, next) == 0 && r.core.settled() {
		r.succeed(o, kv.Result{OK: true})
		return
	}
	index, term, err := r.core.ProposeVoters(next)
	if err != nil {
		r.fail(o, err.Error(), definite)
		return
	}
	r.props[index] = proposal{term, o}
}

// mayStep tells whether the next membership may be taken one node further away
// from the present one.
func (r *Replica) mayStep(present, next []string) bool {
	return distance(present, next) == 0 || r.core.cfg.Bug == BugOnePhase
}

// unpark sends the parked requests on their way, if there is a leader.
func (r *Replica) unpark() {
	if r.waiting == 0 || r.core.leader == "" {
		return
	}
	for _, o := range r.requests {
		if o.state != parked {
			continue
		}
		r.waiting--
		o.state = taken
		if r.core.role == Leader {
			r.serve(o)
		} else {
			r.forward(o)
		}
	}
}

// serve begins a request at the leader.
func (r *Replica) serve(o *open) {
	if o.q.Command.Op != kv.OpRead {
		r.propose(o)
		return
	}
	r.nextID++
	id := r.nextID
	ask := r.core.ReadIndex
	if o.q.Reads == replica.Lease || r.core.cfg.Bug == BugLeaseDrift {
		ask = r.core.LeaseRead
	}
	r.reads[id] = o
	if err := ask(id); err != nil {
		delete(r.reads, id)
		r.fail(o, err.Error(), true)
	}
}

// propose puts a command into the log, with the leader's clock as its time.
func (r *Replica) propose(o *open) {
	c := o.q.Command
	c.Now = r.now
	if r.cfg.Bug.kv == kv.BugCASBlind && c.Op == kv.OpCAS {
		if x := r.sm.Peek(c.Key); !kv.Equal(x.Value, c.Expect) {
			x.OK = false
			r.succeed(o, x)
			return
		}
	}
	index, term, err := r.core.Propose(c.Append(make([]byte, 0, 64+len(c.Value)+len(c.Expect))))
	if err != nil {
		r.fail(o, err.Error(), true)
		return
	}
	if r.core.cfg.Bug == BugAckBeforeCommit && c.Op == kv.OpWrite {
		r.succeed(o, kv.Result{OK: true, Version: int64(index)})
		return
	}
	r.props[index] = proposal{term, o}
}

// forward sends a request to the leader of the node's term. The term goes along:
// the receiver takes it only while it leads in just that term, so that a frame
// repeated later can't begin the command again.
func (r *Replica) forward(o *open) {
	r.nextID++
	o.state, o.to, o.term, o.at, o.id = forwarded, r.core.leader, r.core.term, r.now, r.nextID
	r.forwards[o.id] = o
	b := append(make([]byte, 0, 64), byte(o.q.Reads))
	r.sendFrame(&Message{
		Type: MsgForward, To: o.to, Term: o.term, Nonce: r.nonce, ID: o.id,
		Data: o.q.Command.Append(b),
	})
}

func (r *Replica) sendFrame(m *Message) {
	m.From = r.core.cfg.ID
	r.out.Frames = append(r.out.Frames, replica.Frame{To: m.To, Payload: m.Encode()})
}

// handleForward takes a request that another node forwarded, at most once.
func (r *Replica) handleForward(m *Message) {
	leads := r.core.role == Leader && r.core.term == m.Term
	if leads {
		r.seen.begin(m.Term)
	}
	// A node that has led in the message's term and not seen it can say for sure
	// that it was not taken; the mark keeps a copy from being taken later. Others
	// stay silent.
	if !r.seen.mark(m) && (r.core.cfg.Bug != BugDuplicateForward || !leads) {
		return
	}
	o := &open{node: m.From, nonce: m.Nonce, id: m.ID}
	if !leads {
		r.fail(o, ErrNotLeader.Error(), true)
		return
	}
	if len(m.Data) == 0 {
		return
	}
	c, err := kv.DecodeCommand(m.Data[1:])
	if err != nil {
		return
	}
	o.q = replica.Request{Command: c, Reads: replica.Reads(m.Data[0])}
	r.serve(o)
}

// handleForwardResp takes the leader's answer to a forwarded request.
func (r *Replica) handleForwardResp(m *Message) {
	o := r.forwards[m.ID]
	if o == nil || m.Nonce != r.nonce || o.to != m.From || o.state != forwarded {
		return
	}
	x := bin.NewReader(m.Data)
	err, definite, result := x.String(), x.Bool(), kv.ReadResult(x)
	switch {
	case x.Err() != nil:
	case err == ErrNotLeader.Error() && definite:
		r.park(o) // it was certainly not taken: another leader may take it
	case err != "":
		r.fail(o, err, definite)
	default:
		r.succeed(o, result)
	}
}

// park lets a request wait for a leader (again).
func (r *Replica) park(o *open) {
	if o.state == forwarded {
		delete(r.forwards, o.id)
	}
	o.state = parked
	r.waiting++
}

func (r *Replica) succeed(o *open, x kv.Result) {
	if x.Err != "" {
		r.fail(o, x.Err, x.Err != kv.ErrSession)
		return
	}
	r.reply(o, replica.Reply{Result: x})
}

func (r *Replica) fail(o *open, err string, definite bool) {
	// Copies of a session's command may be under way; this one alone can't tell.
	// A read has no effect, whatever becomes of it.
	definite = definite && (o.q.Command.Session == 0 || o.at == 0) || o.q.Command.Op == kv.OpRead
	r.reply(o, replica.Reply{Err: err, Definite: definite})
}

// reply answers the client, or the node that forwarded its request.
func (r *Replica) reply(o *open, x replica.Reply) {
	if o.state == done {
		return
	}
	if o.node != "" {
		o.state = done
		b := bin.AppendString(nil, x.Err)
		b = bin.AppendBool(b, x.Definite)
		r.sendFrame(&Message{
			Type: MsgForwardResp, To: o.node, Term: r.core.term, Nonce: o.nonce, ID: o.id,
			Data: x.Result.Append(b),
		})
		return
	}
	switch o.state {
	case parked:
		r.waiting--
	case forwarded:
		delete(r.forwards, o.id)
	case fresh, sessionless, taken, done:
	}
	o.state = done
	if o.opener {
		r.opened(&x)
		return
	}
	x.ID = o.q.ID
	r.out.Replies = append(r.out.Replies, x)
	if o.own {
		r.returned(&o.q.Command, &x)
	}
}

// sweep answers requests whose deadline has passed, and sends the repeatable ones
// that got no answer again.
func (r *Replica) sweep() {
	var late []*open
	rest := r.requests[:0]
	for _, o := range r.requests {
		switch {
		case o.state == done:
			continue
		case r.now >= int64(o.q.Deadline):
			late = append(late, o)
			continue
		case o.state == forwarded && repeatable(&o.q.Command) && r.moved(o):
			r.park(o)
		}
		rest = append(rest, o)
	}
	clear(r.requests[len(rest):])
	r.requests = rest
	for _, o := range late {
		if o.state == parked || o.state == sessionless {
			r.fail(o, "no leader before the deadline", true)
		} else {
			r.fail(o, "no answer before the deadline", r.core.cfg.Bug == BugFalseDefinite)
		}
	}
}

// repeatable tells whether a command may be sent again although it may have been
// carried out: reads, and what a session makes exactly-once.
func repeatable(c *kv.Command) bool { return c.Op == kv.OpRead || c.Session != 0 }

// moved tells whether a forwarded request won't be answered any more, most
// likely.
func (r *Replica) moved(o *open) bool {
	return o.to != r.core.leader || o.term != r.core.term || r.now-o.at > int64(retryAfter)
}

// seen remembers which forwarded requests this node took while it led in one
// term, so that a frame that comes twice takes effect once.
type seen struct {
	term uint64
	from map[sender]*window
}

type sender struct {
	node  string
	nonce uint64
}

// maxSenders bounds the incarnations of other nodes heard in one term.
const maxSenders = 64

// window marks the last windowSize ids of one sender; older ones count as seen.
type window struct {
	top  uint64
	bits [windowSize / 64]uint64
}

const windowSize = 8192

// begin forgets the terms before.
func (s *seen) begin(term uint64) {
	if term > s.term {
		s.term, s.from = term, map[sender]*window{}
	}
}

// mark notes a message, and tells whether it is certain that it is new.
func (s *seen) mark(m *Message) bool {
	if m.Term != s.term {
		return false
	}
	k := sender{m.From, m.Nonce}
	w := s.from[k]
	if w == nil {
		if len(s.from) >= maxSenders {
			return false
		}
		w = &window{}
		s.from[k] = w
	}
	return w.mark(m.ID)
}

func (w *window) mark(id uint64) bool {
	if id > w.top {
		for i := w.top + 1; i <= id && i <= w.top+windowSize; i++ {
			w.bits[i/64%uint64(len(w.bits))] &^= 1 << (i % 64)
		}
		w.top = id
	} else if w.top-id >= windowSize {
		return false
	}
	word, bit := &w.bits[id/64%uint64(len(w.bits))], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

var _ replica.Replica = (*Replica)(nil)
