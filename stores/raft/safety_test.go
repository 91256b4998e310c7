package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
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
func world(seed uint64, bug BugInfo) chaos.Options {
	v := &figure3{leaders: map[uint64]string{}, committed: map[uint64]Entry{}}
	cfg := ReplicaConfig{SnapshotEvery: []uint64{30, 1000}[seed%2], Bug: bug}
	cfg.Core.SnapshotChunk = 64
	cfg.Core.NoPreVote = seed%5 == 3
	cfg.Once = seed%9 == 4
	cfg.Core.NoCheckQuorum = seed%7 == 3
	cfg.Core.ElectionTicks, cfg.Core.HeartbeatTicks = 15, 3
	return chaos.Options{
		Seed: seed, Nodes: []int{1, 3, 3, 5}[seed%4], Steps: 3000, Check: v.check,
		Reads: []replica.Reads{replica.Linearizable, replica.Lease}[seed%3/2],
		Boot: func(name string, names []string, seed uint64, records [][]byte, damage error) (replica.Replica, error) {
			cfg := cfg
			cfg.Core.ID, cfg.Core.Voters, cfg.Core.Seed = name, names, seed
			return NewReplica(cfg, records, damage)
		},
	}
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

// TestSafety runs clusters under random loss, delay, repetition, damage,
// partitions, crashes and torn disks: Raft's safety properties hold at every step,
// no acknowledged addition is lost or done twice, no read is stale, and progress
// resumes when the faults end.
func TestSafety(t *testing.T) {
	t.Parallel()
	seeds := uint64(120)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			o := world(seed, BugInfo{})
			o.Sessions = seed%6 == 5
			if seed%8 == 7 {
				o.Admin = drawAdmin
			}
			r := chaos.Run(o)
			for _, b := range r.Broken {
				t.Error(b)
			}
			if r.Served < 100 {
				t.Errorf("only %d requests were served", r.Served)
			}
		})
	}
}

func correct(seed uint64) chaos.Options { return world(seed, BugInfo{}) }

func TestRepair(t *testing.T) {
	t.Parallel()
	chaos.Repair(t, correct)
}

func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	chaos.CrashEverywhere(t, correct)
}

// TestDeterminism runs worlds twice: every frame and every reply is the same.
func TestDeterminism(t *testing.T) {
	for seed := range uint64(12) {
		a, b := chaos.Run(world(seed, BugInfo{})), chaos.Run(world(seed, BugInfo{}))
		if a.Trace != b.Trace || a.Served != b.Served {
			t.Errorf("seed %d: %d served with trace %x, then %d with %x", seed, a.Served, a.Trace, b.Served, b.Trace)
		}
	}
}

// TestBugsAreSeen switches the bugs of the protocol on, one by one: the same
// checks must notice each. Those of locks and expiry have no place here.
func TestBugsAreSeen(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a few seconds")
	}
	elsewhere := []string{"lock-early", "fence-stuck", "fence-unchecked", "unlock-any", "ttl-resurrect", "lost-delete"}
	for _, b := range Catalogue() {
		if slices.Contains(elsewhere, b.Name) {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(400) {
				o := world(seed, b)
				if b.bug == BugOnePhase {
					o.Admin = drawAdmin
				}
				if r := chaos.Run(o); len(r.Broken) > 0 {
					t.Logf("seed %d: %s", seed, r.Broken[0])
					return
				}
			}
			t.Error("never seen")
		})
	}
}
