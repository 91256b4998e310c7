package paxos

import (
	"slices"

	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// phase is how far a request has come.
type phase uint8

const (
	queued    phase = iota // waits for the key's turn
	waiting                // waits to be tried (again)
	reading                // asks what the acceptors hold
	preparing              // asks for promises
	accepting              // asks for acceptance
	done
)

// answer is the message that a phase waits for.
func (p phase) answer() Type {
	switch p {
	case reading:
		return MsgReadResp
	case preparing:
		return MsgPromise
	case accepting:
		return MsgAccepted
	case queued, waiting, done:
	}
	return MsgNone
}

// op is a client's request on its way.
type op struct {
	q       replica.Request
	id      opID
	phase   phase
	attempt uint64
	tries   int
	due     int // tick: of the next try, or of giving this one up

	ballot Ballot
	yes    []string // who promised, accepted or answered
	no     []string // who refused
	best   Ballot   // the greatest ballot accepted, among the answers
	value  []byte   // what was accepted under it
	agree  bool     // all answers so far name the same ballot

	result kv.Result
	next   Ballot // promised along with the acceptance
	// An Accept has gone out whose outcome isn't known: it may be chosen, now or by
	// another proposer's round. It was the change after rev.
	risky bool
	rev   int64
}

// keyQueue is what a proposer keeps about a key: who waits, and whether the first
// round may be skipped.
type keyQueue struct {
	ops    []*op  // the first one is under way
	ballot Ballot // promised by a majority along with value; zero is none
	value  []byte // the last state chosen, by this proposer
}

// Request takes a local client's request. It is answered by the next Tick after
// its deadline at the latest.
func (r *Replica) Request(q replica.Request) {
	o := &op{q: q}
	c := &o.q.Command
	switch {
	case q.Admin != nil:
		r.reply(o, replica.Reply{Err: "there is no leader, and the membership is fixed", Definite: true})
		return
	case c.Op == kv.OpRead && (q.Reads == replica.Local || r.cfg.Bug.bug == BugReadOne):
		r.reply(o, replica.Reply{Result: r.local(c.Key)})
		return
	case r.lost != nil:
		r.reply(o, replica.Reply{Err: "this node fetches what its disk has lost", Definite: true})
		return
	case len(r.order) >= maxOpen:
		r.reply(o, replica.Reply{Err: "too much is under way", Definite: true})
		return
	case c.Op == kv.OpOpenSession:
		// A session is only a name here: each state remembers its own commands.
		r.reply(o, replica.Reply{Result: kv.Result{OK: true, Token: int64(r.rng.Uint64() >> 2)}})
		return
	}
	r.next++
	o.id = opID{c.Session, c.Seq}
	if c.Session == 0 {
		o.id = opID{r.next, 0}
	}
	r.order = append(r.order, o)
	if c.Op == kv.OpRead {
		r.read(o)
		return
	}
	r.enqueue(o)
}

func (r *Replica) enqueue(o *op) {
	key := o.q.Command.Key
	k := r.keys[key]
	if k == nil {
		k = &keyQueue{}
		r.keys[key] = k
	}
	k.ops = append(k.ops, o)
	o.phase = queued
	if len(k.ops) == 1 {
		r.begin(o)
	}
}

// try begins a new attempt: answers to earlier ones don't count any more.
func (r *Replica) try(o *op, p phase) {
	delete(r.ops, o.attempt)
	r.next++
	o.attempt, o.phase = r.next, p
	o.yes, o.no = o.yes[:0], o.no[:0]
	o.best, o.value, o.agree = Ballot{}, nil, true
	o.due = r.ticks + r.cfg.AnswerTicks
	r.ops[o.attempt] = o
}

// read asks all acceptors what they hold. If a majority holds the same, that was
// chosen, and is no older than anything chosen before the read began: some
// acceptor of every earlier majority is among those that answered.
func (r *Replica) read(o *op) {
	r.try(o, reading)
	r.broadcast(Message{Type: MsgRead, Key: o.q.Command.Key, Attempt: o.attempt}, true)
}

// begin tries a change: with one round if the ballot is promised already
// (Rystsov §2.2.1), else with two.
func (r *Replica) begin(o *op) {
	k := r.keys[o.q.Command.Key]
	if k.ballot != (Ballot{}) {
		b, v := k.ballot, k.value
		k.ballot = Ballot{}
		r.try(o, accepting)
		o.ballot = b
		r.change(o, v)
		return
	}
	b, ok := r.ballot()
	if !ok {
		o.phase, o.due = waiting, r.ticks+1
		return
	}
	r.try(o, preparing)
	o.ballot = b
	r.broadcast(Message{Type: MsgPrepare, Key: o.q.Command.Key, Attempt: o.attempt, Ballot: b}, true)
}

// handleAnswer counts an acceptor's answer to the present attempt.
func (r *Replica) handleAnswer(o *op, m *Message) {
	if m.Type != o.phase.answer() || (o.phase != reading && m.Ballot != o.ballot) {
		return
	}
	if m.Reject {
		r.see(m.Accepted)
		o.no = add(o.no, m.From)
		if len(o.no) > len(r.nodes)+1-r.quorum() {
			r.backOff(o)
		}
		return
	}
	if o.phase != accepting {
		o.agree = o.agree && (len(o.yes) == 0 || m.Accepted == o.best)
		first := len(o.yes) == 0 || r.cfg.Bug.bug != BugIgnoreAccepted
		if o.best.Less(m.Accepted) && first {
			o.best, o.value = m.Accepted, m.Value
		}
	}
	o.yes = add(o.yes, m.From)
	if len(o.yes) < r.needed(o.phase) {
		return
	}
	switch o.phase {
	case reading:
		r.readDone(o)
	case preparing:
		r.propose(o)
	case accepting:
		r.chosen(o)
	case queued, waiting, done: // these ask for nothing
	}
}

// needed is the number of answers that a phase waits for: a majority.
func (r *Replica) needed(p phase) int {
	n := r.quorum()
	if p == preparing && r.cfg.Bug.bug == BugPrepareMinority || p == accepting && r.cfg.Bug.bug == BugLearnMinority {
		n = max(1, n-1)
	}
	return n
}

func add(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// readDone answers a read if the majority agrees and no clock is needed; else the
// read becomes a change that changes nothing.
func (r *Replica) readDone(o *op) {
	s, err := decodeState(o.value)
	if err != nil {
		r.fatal(err)
		return
	}
	if o.agree && !s.Cell.Timed() {
		r.reply(o, replica.Reply{Result: s.Cell.Apply(s.Clock, 0, &o.q.Command, kv.BugNone)})
		return
	}
	delete(r.ops, o.attempt)
	r.enqueue(o)
}

// propose goes on to the second round with the state that the promises brought.
func (r *Replica) propose(o *op) {
	value := o.value
	r.try(o, accepting)
	r.change(o, value)
}

// change applies the command to the state and asks for acceptance of the outcome.
func (r *Replica) change(o *op, value []byte) {
	s, err := decodeState(value)
	if err != nil {
		r.fatal(err)
		return
	}
	c := o.q.Command
	c.Now = r.now
	x, found := s.find(o.id)
	if r.cfg.Bug.bug == BugBlindRetry {
		found = false
	}
	switch {
	case found: // an earlier attempt came through; this one makes sure of it
	case o.risky && s.Rev-o.rev >= recentMost:
		r.reply(o, replica.Reply{Err: "lost sight of the change"})
		return
	default:
		// A majority has promised not to accept the earlier attempt any more, and
		// its change isn't in what they hold: it never was chosen, and won't be.
		o.risky = false
		o.rev = s.Rev
		x = s.apply(o.id, &c, r.cfg.Bug.kv)
	}
	o.result = x
	if x.Err != "" {
		r.reply(o, replica.Reply{Err: x.Err, Definite: c.Session == 0})
		return
	}
	next, ok := r.ballot()
	if !ok {
		next = Ballot{}
	}
	o.risky = o.risky || !c.Op.ReadOnly()
	o.value, o.next = s.encode(), next
	r.broadcast(Message{
		Type: MsgAccept, Key: c.Key, Attempt: o.attempt, Ballot: o.ballot, Next: next, Value: o.value,
	}, true)
}

// chosen ends a change that a majority has accepted.
func (r *Replica) chosen(o *op) {
	k := r.keys[o.q.Command.Key]
	k.ballot, k.value = o.next, o.value
	r.reply(o, replica.Reply{Result: o.result})
}

// backOff lets an attempt rest that others got in the way of, or that has waited
// too long for answers, and longer each time.
func (r *Replica) backOff(o *op) {
	delete(r.ops, o.attempt)
	o.tries++
	wait := min(backoffTicks*o.tries, backoffMost)
	o.phase, o.due = waiting, r.ticks+1+r.rng.IntN(wait)
}

// reply answers the client, and lets the next request of the key begin.
func (r *Replica) reply(o *op, x replica.Reply) {
	delete(r.ops, o.attempt)
	o.phase = done
	if o.q.Command.Op == kv.OpRead {
		x.Definite = x.Err != ""
	}
	x.ID = o.q.ID
	r.out.Replies = append(r.out.Replies, x)
	key := o.q.Command.Key
	k := r.keys[key]
	if k == nil || len(k.ops) == 0 || k.ops[0] != o {
		return // it never had its turn; sweep takes it out of the queue
	}
	k.ops = k.ops[1:]
	for len(k.ops) > 0 && k.ops[0].phase == done {
		k.ops = k.ops[1:]
	}
	if len(k.ops) > 0 {
		r.begin(k.ops[0])
	}
}

// sweep answers requests whose deadline has passed, and tries again those that
// wait for it.
func (r *Replica) sweep() {
	rest := r.order[:0]
	for _, o := range r.order {
		if o.phase == done {
			continue
		}
		rest = append(rest, o)
		switch {
		case r.now >= int64(o.q.Deadline):
			// Of a session's command there may be copies that this node knows nothing of.
			definite := !o.risky && o.q.Command.Session == 0 || r.cfg.Bug.bug == BugFalseDefinite
			r.reply(o, replica.Reply{Err: "no majority answered before the deadline", Definite: definite})
		case o.phase == queued || r.ticks < o.due:
		case o.phase == waiting:
			r.begin(o)
		case o.phase == reading:
			r.read(o)
		default:
			r.backOff(o)
		}
	}
	clear(r.order[len(rest):])
	r.order = rest
}
