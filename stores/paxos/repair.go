package paxos

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/faultline-dev/faultline/stores/internal/bin"
	"github.com/faultline-dev/faultline/stores/internal/repair"
)

// askTicks is the time between two questions of a damaged node.
const askTicks = 5

// beginRepair begins to fetch what the disk has lost, if there is damage. Package
// repair has the questions, whose numbers are those of ballots here, and why they
// are enough. Until it is done the node serves nobody. All that a node has accepted
// must fit one frame (peer.MaxFrame).
func (r *Replica) beginRepair(damage error) error {
	if damage == nil {
		return nil
	}
	if len(r.nodes) == 0 {
		return fmt.Errorf("paxos: %s has no other node that could give back what it lost: %w", r.cfg.ID, damage)
	}
	r.lost = repair.New(r.rng.Uint64(), r.highest(), len(r.nodes))
	return nil
}

// highest is the greatest number of a ballot that the node has used or seen.
func (r *Replica) highest() uint64 {
	n := max(r.counter, r.acc.ceiling, r.acc.floor.N)
	for _, g := range r.acc.regs { // the order doesn't matter
		n = max(n, g.promised.N)
	}
	return n
}

// askRepair asks the present question, again after a while.
func (r *Replica) askRepair() {
	if r.lost != nil && r.ticks%askTicks == 0 {
		r.broadcast(Message{Type: MsgRepair, Attempt: r.lost.Nonce, Ballot: Ballot{N: r.lost.Floor}}, false)
	}
}

// answerRepair answers a damaged node: with the highest number, or, having promised
// the floor for every key, with all that was accepted.
func (r *Replica) answerRepair(m *Message) {
	if r.lost != nil {
		r.send(Message{Type: MsgRepaired, To: m.From, Attempt: m.Attempt, Reject: true})
		return
	}
	a := Message{Type: MsgRepaired}
	if m.Ballot.N > 0 {
		r.acc.raise(m.Ballot)
		r.see(m.Ballot)
		a.Value = r.acc.encode()
	}
	a.Accepted.N = r.highest()
	r.answer(m, a)
}

// handleRepaired takes an answer, and ends the repair with the last one.
func (r *Replica) handleRepaired(m *Message) {
	l := r.lost
	if l == nil || m.Attempt != l.Nonce {
		return
	}
	switch {
	case m.Reject:
		l.Damaged(m.From)
	case m.Ballot.N == l.Floor:
		if err := r.acc.merge(m.Value); err != nil {
			r.fatal(err)
			return
		}
		l.Number(m.From, m.Accepted.N)
	}
	if l.Next() || l.Floor == 0 || !l.Complete() {
		return
	}
	// The node's own ballots before may still be under way: it gets another name.
	r.acc.floor, r.acc.name = Ballot{N: l.Floor}, r.cfg.ID+"+"+strconv.FormatUint(l.Nonce, 36)
	r.counter = max(r.counter, l.Floor)
	r.acc.reserve(r.counter + 2*reserveStep)
	r.acc.rewrite = true
	r.lost, r.repaired = nil, true
}

// raise promises a ballot for every key.
func (a *acceptor) raise(floor Ballot) {
	if a.floor.Less(floor) {
		a.floor = floor
		a.pending = append(a.pending, a.floorRecord())
	}
}

func (a *acceptor) floorRecord() []byte {
	return bin.AppendString(a.floor.append([]byte{recordFloor}), a.name)
}

// encode is all that was accepted.
func (a *acceptor) encode() []byte {
	b := bin.AppendUint(nil, uint64(len(a.regs)))
	for _, key := range slices.Sorted(maps.Keys(a.regs)) {
		g := a.regs[key]
		b = g.accepted.append(bin.AppendString(b, key))
		b = bin.AppendBytes(b, g.value)
	}
	return b
}

// merge takes over what another node has accepted under greater ballots.
func (a *acceptor) merge(b []byte) error {
	if len(b) == 0 {
		return nil // an answer to the first question
	}
	r := bin.NewReader(b)
	for range r.Count() {
		key, accepted, value := r.String(), readBallot(r), r.Bytes()
		if g := a.get(key); g.accepted.Less(accepted) {
			g.accepted, g.value = accepted, value
		}
	}
	if r.Err() != nil || r.Len() != 0 {
		return fmt.Errorf("paxos: what another node holds: %w", bin.ErrCorrupt)
	}
	return nil
}
