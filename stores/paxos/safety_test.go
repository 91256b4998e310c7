package paxos

import (
	"slices"
	"strconv"
	"testing"

	"github.com/faultline-dev/faultline/stores/internal/chaos"
	"github.com/faultline-dev/faultline/stores/replica"
)

// world is the options of a chaotic world of Paxos nodes, which the seed draws.
func world(seed uint64, bug BugInfo) chaos.Options {
	compact := []int{40, 100000}[seed%2]
	return chaos.Options{
		Seed: seed, Nodes: []int{1, 3, 3, 5}[seed%4], Steps: 3000, Sessions: seed%6 == 5,
		Boot: func(name string, names []string, seed uint64, records [][]byte, damage error) (replica.Replica, error) {
			return NewReplica(Config{ID: name, Nodes: names, Seed: seed, CompactAfter: compact, Bug: bug}, records, damage)
		},
	}
}

// TestSafety runs clusters under random loss, delay, repetition, damage,
// partitions, crashes and torn disks: no acknowledged change is lost or done
// twice, no read is stale, and progress resumes when the faults end.
func TestSafety(t *testing.T) {
	t.Parallel()
	seeds := uint64(120)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			r := chaos.Run(world(seed, BugInfo{}))
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
	elsewhere := []string{"lock-early", "fence-stuck", "unlock-any", "lost-delete"}
	for _, b := range Catalogue() {
		if slices.Contains(elsewhere, b.Name) {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(400) {
				if r := chaos.Run(world(seed, b)); len(r.Broken) > 0 {
					t.Logf("seed %d: %s", seed, r.Broken[0])
					return
				}
			}
			t.Error("never seen")
		})
	}
}
