package raft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/faultline-dev/faultline/stores/internal/chaos"
	"github.com/faultline-dev/faultline/stores/replica"
)

// figure3 asserts Raft's safety properties (Raft figure 3) on everything that
// the nodes of one world do.
type figure3 struct {
	leaders   map[uint64]string
	committed map[uint64]Entry
	highest   uint64
}

func (v *figure3) check(name string, r replica.Replica) error {
	c := r.(*Replica).Core()
	if c.Role() == Leader {
		if l, ok := v.leaders[c.Term()]; ok && l != name {
			return fmt.Errorf("election safety: %s and %s both lead term %d", l, name, c.Term())
		}
		v.leaders[c.Term()] = name
		for i := max(c.log.snap.Index, v.highest-min(v.highest, 100)) + 1; i <= v.highest; i++ {
			e, ok := c.Entry(i)
			if want, known := v.committed[i]; known && want.Term < c.Term() && (!ok || e.Term != want.Term) {
				return fmt.Errorf("leader completeness: %s leads term %d without entry %d/%d", name, c.Term(), i, want.Term)
			}
		}
	}
	for ; v.highest < c.Commit(); v.highest++ {
		if e, ok := c.Entry(v.highest + 1); ok {
			v.committed[e.Index] = e
		}
	}
	for i := max(c.log.snap.Index, c.Commit()-min(c.Commit(), 5)) + 1; i <= c.Commit(); i++ {
		e, _ := c.Entry(i)
		if want, known := v.committed[i]; known && (e.Term != want.Term || string(e.Data) != string(want.Data)) {
			return fmt.Errorf("state machine safety: %s committed %d/%d, another %d/%d", name, i, e.Term, i, want.Term)
		}
	}
	return nil
}

// world is the options of a chaotic world of Raft nodes, which the seed draws.
func world(seed uint64, bug string) chaos.Options {
	v := &figure3{leaders: map[uint64]string{}, committed: map[uint64]Entry{}}
	info, unknown := LookupBug(bug)
	cfg := ReplicaConfig{SnapshotEvery: []uint64{30, 1000}[seed%2], Bug: info}
	cfg.Core.SnapshotChunk = 64
	cfg.Core.NoPreVote = seed%5 == 3
	cfg.Once = seed%9 == 4
	cfg.Core.NoCheckQuorum = seed%7 == 3
	cfg.Core.ElectionTicks, cfg.Core.HeartbeatTicks = 15, 3
	o := chaos.Options{
		Seed: seed, Nodes: []int{1, 3, 3, 5}[seed%4], Steps: 3000, Check: v.check,
		Reads:    []replica.Reads{replica.Linearizable, replica.Lease}[seed%3/2],
		Sessions: bug == "" && seed%6 == 5,
		Boot: func(name string, names []string, seed uint64, records [][]byte, damage error) (replica.Replica, error) {
			cfg := cfg
			cfg.Core.ID, cfg.Core.Voters, cfg.Core.Seed = name, names, seed
			r, err := NewReplica(cfg, records, damage)
			return r, errors.Join(err, unknown)
		},
	}
	if bug == "" && seed%8 == 7 || info.bug == BugOnePhase {
		o.Admin = drawAdmin
	}
	return o
}

// drawAdmin draws a hand-over of the leadership, or a change of the membership.
func drawAdmin(rng *rand.Rand, names []string) *replica.Admin {
	if rng.IntN(2) == 0 {
		return &replica.Admin{Transfer: names[rng.IntN(len(names))]}
	}
	mixed := slices.Clone(names)
	rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	keep := 1 + rng.IntN(len(mixed))
	return &replica.Admin{Add: mixed[:keep], Remove: mixed[keep:]}
}

func TestStore(t *testing.T) {
	var bugs []string
	for _, b := range Catalogue() {
		bugs = append(bugs, b.Name)
	}
	chaos.Worlds(world).Run(t, bugs)
}
