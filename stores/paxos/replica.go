package paxos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/stores/internal/repair"
	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Limits and waits of a node.
const (
	maxOpen      = 4096 // requests of clients under way
	reserveStep  = 4096 // ballot numbers reserved at a time
	pingTicks    = 25
	aliveTicks   = 100 // a node heard within them counts as there
	backoffTicks = 3   // least wait after a lost duel; it grows with the tries
	backoffMost  = 25
)

// Config says how a node behaves. ID and Nodes are needed.
type Config struct {
	ID    string
	Nodes []string // all of them, this one included; they don't change
	Seed  uint64   // of the waits after lost duels, and of request ids

	// AnswerTicks is how long a round waits for a majority before it is tried
	// again with a higher ballot. Default 20.
	AnswerTicks int
	// CompactAfter is the number of records in the log after which it is replaced
	// by the present states. Default 20,000.
	CompactAfter int
	// Bug is what LookupBug returned.
	Bug BugInfo
}

// heldMessage may leave once the save seq is durable.
type heldMessage struct {
	seq uint64
	m   Message
}

// Replica is a node of the Paxos store: an acceptor, and a proposer for its own
// clients. It implements replica.Replica.
type Replica struct {
	cfg   Config
	nodes []string // the others, sorted
	rng   *rand.Rand
	now   int64
	ticks int

	acc     *acceptor
	counter uint64 // the last ballot number used or seen
	durable uint64 // ballot numbers up to here may be used
	ceiling map[uint64]uint64

	keys  map[string]*keyQueue
	ops   map[uint64]*op // by their present attempt
	order []*op          // all that are open, in order of arrival
	next  uint64         // the last attempt; begins at a random number
	heard map[string]int // tick at which each other node was last heard

	seq   uint64 // of the last Save handed out
	saved uint64
	held  []heldMessage
	own   []Message // from this node to itself, to be handled next
	err   error
	out   replica.Output

	lost     *repair.Asking // not nil until what the disk lost is back
	repaired bool           // it is, and no Save says so yet
}

// NewReplica makes a node from the records that its disk held; damage, if not nil,
// says that it held more once, which the node then fetches from the others.
func NewReplica(cfg Config, records [][]byte, damage error) (*Replica, error) {
	if cfg.ID == "" || !slices.Contains(cfg.Nodes, cfg.ID) {
		return nil, errors.New("paxos: config: Nodes must hold ID")
	}
	if cfg.AnswerTicks == 0 {
		cfg.AnswerTicks = 20
	}
	if cfg.CompactAfter == 0 {
		cfg.CompactAfter = 20000
	}
	acc, err := newAcceptor(records, cfg.Bug.bug)
	if err != nil {
		return nil, err
	}
	if acc.name == "" {
		acc.name = cfg.ID
	}
	r := &Replica{
		cfg: cfg, acc: acc, rng: rand.New(rand.NewPCG(cfg.Seed, 0x7061786f73)),
		counter: acc.ceiling, durable: acc.ceiling, ceiling: map[uint64]uint64{},
		keys: map[string]*keyQueue{}, ops: map[uint64]*op{}, heard: map[string]int{},
	}
	r.next = r.rng.Uint64() >> 1
	for _, n := range slices.Compact(slices.Sorted(slices.Values(cfg.Nodes))) {
		if n != cfg.ID {
			r.nodes = append(r.nodes, n)
		}
	}
	return r, r.beginRepair(damage)
}

func (r *Replica) quorum() int { return (len(r.nodes)+1)/2 + 1 }

// Status describes the node.
func (r *Replica) Status() replica.Status {
	alive := 1
	for _, n := range r.nodes {
		if t, ok := r.heard[n]; ok && r.ticks-t < aliveTicks {
			alive++
		}
	}
	role := "peer"
	if r.lost != nil {
		role = "damaged"
	}
	return replica.Status{
		Node: r.cfg.ID, Role: role, Term: r.counter, Ready: alive >= r.quorum() && r.lost == nil,
		Now: time.Duration(r.now), Voters: slices.Sorted(slices.Values(r.cfg.Nodes)),
	}
}

// SetClock tells the node's clock between ticks.
func (r *Replica) SetClock(now time.Duration) { r.now = max(r.now, int64(now)) }

// Tick tells that one tick has passed.
func (r *Replica) Tick(now time.Duration) {
	r.SetClock(now)
	r.ticks++
	if r.ticks%pingTicks == 0 {
		r.broadcast(Message{Type: MsgPing}, false)
	}
	r.askRepair()
	r.sweep()
}

// Receive takes a frame from another node; a damaged one is dropped.
func (r *Replica) Receive(payload []byte) {
	m, err := DecodeMessage(payload)
	if err != nil || m.To != r.cfg.ID || !slices.Contains(r.nodes, m.From) {
		return
	}
	r.heard[m.From] = r.ticks
	switch m.Type {
	case MsgRepair:
		r.answerRepair(&m)
	case MsgRepaired:
		r.handleRepaired(&m)
	default:
		if r.lost == nil { // else it doesn't know what it has promised
			r.handle(&m)
		}
	}
}

func (r *Replica) handle(m *Message) {
	switch m.Type {
	case MsgPrepare:
		r.answer(m, r.acc.prepare(m))
	case MsgAccept:
		r.answer(m, r.acc.accept(m))
	case MsgRead:
		g := r.acc.get(m.Key)
		r.answer(m, Message{Type: MsgReadResp, Accepted: g.accepted, Value: g.value})
	case MsgPromise, MsgAccepted, MsgReadResp:
		if o := r.ops[m.Attempt]; o != nil {
			r.handleAnswer(o, m)
		}
	case MsgNone, MsgPing, MsgRepair, MsgRepaired, msgEnd: // not here
	}
}

// answer sends an acceptor's answer when what it says is on disk.
func (r *Replica) answer(q *Message, a Message) {
	a.From, a.To, a.Key, a.Attempt, a.Ballot = r.cfg.ID, q.From, q.Key, q.Attempt, q.Ballot
	seq := r.seq
	if len(r.acc.pending) > 0 {
		seq++
	}
	if seq <= r.saved || r.cfg.Bug.bug == BugAckBeforeSync {
		r.send(a)
		return
	}
	r.held = append(r.held, heldMessage{seq, a})
}

func (r *Replica) send(m Message) {
	m.From = r.cfg.ID
	if m.To == r.cfg.ID {
		r.own = append(r.own, m)
		return
	}
	r.out.Frames = append(r.out.Frames, replica.Frame{To: m.To, Payload: m.Encode()})
}

// broadcast sends to all other nodes, and to this one if own is set.
func (r *Replica) broadcast(m Message, own bool) {
	for _, n := range r.nodes {
		m.To = n
		r.send(m)
	}
	if own {
		m.To = r.cfg.ID
		r.send(m)
	}
}

// Persisted tells that the saves up to seq are durable.
func (r *Replica) Persisted(seq uint64) {
	r.saved = max(r.saved, seq)
	n := 0
	for n < len(r.held) && r.held[n].seq <= seq {
		r.send(r.held[n].m)
		n++
	}
	r.held = r.held[n:]
	for s, upto := range r.ceiling {
		if s <= seq { // the order doesn't matter: the greatest counts
			r.durable = max(r.durable, upto)
			delete(r.ceiling, s)
		}
	}
}

// Output takes what has gathered.
func (r *Replica) Output() replica.Output {
	for len(r.own) > 0 {
		m := r.own[0]
		r.own = r.own[1:]
		r.handle(&m)
	}
	if len(r.acc.pending) > 0 {
		r.seq++
		records, rewrite := r.acc.take(r.cfg.CompactAfter)
		r.out.Saves = append(r.out.Saves, replica.Save{Seq: r.seq, Records: records, Rewrite: rewrite, Repaired: r.repaired})
		r.repaired = false
		if r.acc.ceiling > r.durable {
			r.ceiling[r.seq] = r.acc.ceiling
		}
	}
	out := r.out
	out.Err = r.err
	r.out = replica.Output{}
	return out
}

// ballot is a new one, greater than any used or seen; false if its number must be
// reserved on disk first, which this begins.
func (r *Replica) ballot() (Ballot, bool) {
	if r.counter+2 >= r.durable {
		if r.acc.ceiling < r.counter+reserveStep {
			r.acc.reserve(r.counter + 2*reserveStep)
		}
		if r.counter+1 >= r.durable {
			return Ballot{}, false
		}
	}
	r.counter++
	b := Ballot{N: r.counter, Node: r.acc.name}
	if r.cfg.Bug.bug == BugReuseBallot {
		b.Node = ""
	}
	return b, true
}

// see notes the number of another's ballot.
func (r *Replica) see(b Ballot) { r.counter = max(r.counter, b.N) }

// fatal stops the node: what it is told to hold can't be read.
func (r *Replica) fatal(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("paxos: %s: %w", r.cfg.ID, err)
	}
}

var _ replica.Replica = (*Replica)(nil)

// local answers a read from what this node's acceptor has accepted, chosen or not.
func (r *Replica) local(key string) kv.Result {
	g := r.acc.regs[key]
	if g == nil {
		return kv.Result{OK: true}
	}
	s, err := decodeState(g.value)
	if err != nil {
		r.fatal(err)
	}
	return s.Cell.Apply(s.Clock, 0, &kv.Command{Op: kv.OpRead}, kv.BugNone)
}
