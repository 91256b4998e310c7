package sim

import (
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/stores/raft"
	"github.com/faultline-dev/faultline/stores/replica"
)

// The timing of a simulated Raft node, that of the real servers by default.
const (
	raftTick      = 10 * time.Millisecond
	raftElection  = 30 // ticks
	raftHeartbeat = 5  // ticks
)

// Raft is the bundled Raft store, with a bug of its catalogue or none ("").
func Raft(bug string) (System, error) {
	info, err := raft.LookupBug(bug)
	if err != nil {
		return System{}, err
	}
	return System{
		Name: "raft", Tick: raftTick,
		Boot: func(b Boot) (replica.Replica, error) {
			return raft.NewReplica(raft.ReplicaConfig{
				Bug: info,
				Core: raft.Config{
					ID: b.Name, Voters: b.Names, Seed: b.Seed, TickLength: raftTick,
					ElectionTicks: raftElection, HeartbeatTicks: raftHeartbeat,
				},
			}, b.Records, b.Damage)
		},
		Invariants: func() Invariants { return newRaftInvariants() },
		Label: func(payload []byte) string {
			m, err := raft.DecodeMessage(payload)
			if err != nil {
				return "damaged"
			}
			return m.String()
		},
	}, nil
}

// raftInvariants asserts the safety properties of figure 3 of the Raft paper.
//
//   - Election safety: at most one leader a term.
//   - Log matching: entries of one index and term are the same, and follow the same
//     entry. By induction two logs that share an entry agree on all before it.
//   - Leader completeness: a new leader's log has every entry that is known to have
//     been committed in an earlier term; a candidate that is paused may learn late
//     that it has won, when leaders of later terms have committed more.
//   - State-machine safety: no two nodes take different entries at one index as
//     committed.
//
// Each node's log is shadowed, so that a step costs only what it changed.
type raftInvariants struct {
	leaders   map[uint64]string // by term
	logs      map[string]*shadow
	known     map[place]identity
	committed []commit // by index from 1; the zero place is unknown
}

// place names an entry.
type place struct{ index, term uint64 }

// commit is an entry, and the term in which it was committed: that of the leader who
// did it, which learns of it first.
type commit struct {
	place
	in uint64
}

// identity is what must be the same wherever the entry is.
type identity struct {
	data uint64 // hash
	prev uint64 // the term of the entry before; 0 where that is compacted
}

// shadow is what was last seen of a node.
type shadow struct {
	term   uint64
	role   raft.Role
	commit uint64
	last   uint64
	terms  []uint64 // of the entries, by index
}

func newRaftInvariants() *raftInvariants {
	return &raftInvariants{
		leaders: map[uint64]string{}, logs: map[string]*shadow{}, known: map[place]identity{},
		committed: []commit{{}},
	}
}

// Started implements Invariants.
func (v *raftInvariants) Started(name string, _ replica.Replica) {
	v.logs[name] = &shadow{terms: []uint64{0}}
}

// Stepped implements Invariants.
func (v *raftInvariants) Stepped(name string, r replica.Replica) *Violation {
	rep, ok := r.(*raft.Replica)
	if !ok {
		return nil
	}
	c, s := rep.Core(), v.logs[name]
	if bad := v.entries(name, c, s); bad != nil {
		return bad
	}
	if bad := v.commits(name, c, s); bad != nil {
		return bad
	}
	return v.leads(name, c, s)
}

// entries notices what is new in a node's log.
func (v *raftInvariants) entries(name string, c *raft.Core, s *shadow) *Violation {
	last := c.LastIndex()
	if last == s.last {
		if e, ok := c.Entry(last); !ok || e.Term == s.terms[last] {
			return nil
		}
	}
	for uint64(len(s.terms)) <= last {
		s.terms = append(s.terms, 0)
	}
	clear(s.terms[min(last+1, uint64(len(s.terms))):])
	s.last = last
	for i := last; i > 0; i-- {
		e, ok := c.Entry(i)
		if !ok || e.Term == s.terms[i] {
			return nil
		}
		s.terms[i] = e.Term
		if bad := v.entry(name, c, e); bad != nil {
			return bad
		}
	}
	return nil
}

func (v *raftInvariants) entry(name string, c *raft.Core, e raft.Entry) *Violation {
	id := identity{data: hash(e.Data)}
	if before, ok := c.Entry(e.Index - 1); ok {
		id.prev = before.Term
	}
	p := place{e.Index, e.Term}
	old, ok := v.known[p]
	if !ok || old.prev == 0 && old.data == id.data {
		v.known[p] = id
		return nil
	}
	if old.data != id.data || id.prev != 0 && old.prev != id.prev {
		return &Violation{Name: "log-matching", Nodes: []string{name}, Explain: fmt.Sprintf(
			"the log of %s has an entry at index %d of term %d that differs, or follows another, than the entry of that index and term elsewhere (Raft figure 3)",
			name, e.Index, e.Term)}
	}
	return nil
}

// commits notices how far a node takes its log as committed.
func (v *raftInvariants) commits(name string, c *raft.Core, s *shadow) *Violation {
	to := c.Commit()
	if to <= s.commit {
		return nil
	}
	from := s.commit + 1
	s.commit = to
	for uint64(len(v.committed)) <= to {
		v.committed = append(v.committed, commit{})
	}
	for i := from; i <= to; i++ {
		e, ok := c.Entry(i)
		if !ok {
			continue // in a snapshot: its last entry stands for all before
		}
		p := place{i, e.Term}
		switch v.committed[i].place {
		case p:
		case place{}:
			v.committed[i] = commit{p, c.Term()}
		default:
			return &Violation{Name: "state-machine-safety", Nodes: []string{name}, Explain: fmt.Sprintf(
				"%s takes the entry of term %d at index %d as committed, where another node has committed the entry of term %d (Raft figure 3)",
				name, e.Term, i, v.committed[i].term)}
		}
	}
	return nil
}

// leads notices a node that has become leader.
func (v *raftInvariants) leads(name string, c *raft.Core, s *shadow) *Violation {
	term, role := c.Term(), c.Role()
	fresh := role == raft.Leader && (s.role != raft.Leader || s.term != term)
	s.term, s.role = term, role
	if !fresh {
		return nil
	}
	if other, ok := v.leaders[term]; ok && other != name {
		return &Violation{Name: "election-safety", Nodes: []string{name, other}, Explain: fmt.Sprintf(
			"%s and %s both became leader of term %d (Raft figure 3: at most one leader in a term)", other, name, term)}
	}
	v.leaders[term] = name
	for i := len(v.committed) - 1; i > 0; i-- {
		p := v.committed[i]
		if p.place == (place{}) || p.in >= term {
			continue // unknown, or committed by a later leader than this
		}
		if e, ok := c.Entry(p.index); ok && e.Term == p.term {
			return nil // and with it everything before, by log matching
		} else if ok || p.index > c.LastIndex() {
			return &Violation{Name: "leader-completeness", Nodes: []string{name}, Explain: fmt.Sprintf(
				"%s became leader of term %d without the entry of term %d at index %d, which was committed in term %d (Raft figure 3)",
				name, term, p.term, p.index, p.in)}
		}
		return nil // compacted: it was applied
	}
	return nil
}

// hash is FNV-1a.
func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h ^= uint64(c)
		h *= 1099511628211
	}
	return h
}
