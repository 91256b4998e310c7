package raft

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// TestSafety runs clusters under random loss, delay, repetition, damage,
// partitions, crashes and torn disks, asserting Raft's safety properties (figure
// 3) at every step, that no acknowledged addition is lost or done twice, that
// progress resumes when the faults end, and that all states are then equal.
func TestSafety(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 15
	}
	for seed := range uint64(seeds) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			n := []int{1, 3, 3, 5}[seed%4]
			cfg := ReplicaConfig{SnapshotEvery: []uint64{20, 1000}[seed%2]}
			cfg.Core.SnapshotChunk = 64
			cfg.Core.NoPreVote = seed%5 == 3
			cfg.Core.NoCheckQuorum = seed%7 == 3
			runChaos(t, newCluster(t, seed, n, cfg))
		})
	}
}

func runChaos(t *testing.T, c *cluster) {
	t.Helper()
	adds := map[uint64]bool{} // every request that adds 1, by its id
	for range 4000 {
		c.chaos()
		if c.rng.IntN(4) == 0 {
			name := c.names[c.rng.IntN(len(c.names))]
			if !c.nodes[name].down {
				adds[c.request(name, replica.Request{Command: kv.Command{Op: kv.OpAdd, Key: "sum", Delta: 1}})] = true
			}
		}
		c.step()
	}
	c.calm()
	id := c.request(c.leader(), replica.Request{Command: kv.Command{Op: kv.OpAdd, Key: "sum", Delta: 0}})
	sum, err := strconv.Atoi(string(c.wait(id).Result.Value))
	if err != nil {
		t.Fatal(err)
	}
	least, most := 0, 0
	for id := range adds {
		r, answered := c.done[id]
		switch {
		case answered && r.Err == "":
			least++
			most++
		case !answered || !r.Definite:
			most++
		}
	}
	if sum < least || sum > most || (least == 0 && len(c.names) > 1) {
		t.Errorf("the sum is %d; %d additions were acknowledged, %d may have happened", sum, least, most)
	}
	for range 100 {
		c.step()
	}
	want := c.nodes[c.names[0]].r.sm.Snapshot()
	for _, n := range c.names[1:] {
		if !bytes.Equal(c.nodes[n].r.sm.Snapshot(), want) {
			t.Errorf("%s's state differs from %s's:\n%+v\n%+v", n, c.names[0], c.nodes[n].r.Status(), c.nodes[c.names[0]].r.Status())
		}
	}
}

// TestLinearizableReads adds 1 and reads the sum at random nodes under faults: no
// read may return less than an addition acknowledged before the read began.
func TestLinearizableReads(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, seed, 3, ReplicaConfig{SnapshotEvery: 50})
			mode := []replica.Reads{replica.Linearizable, replica.Lease}[seed%2]
			if served, stale := readUnderChaos(c, mode); served < 500 || stale != 0 {
				t.Errorf("of %d reads, %d were stale", served, stale)
			}
		})
	}
}

// readUnderChaos counts the reads served, and those that were stale.
func readUnderChaos(c *cluster, mode replica.Reads) (served, stale int) {
	var open []uint64         // requests not answered
	least := map[uint64]int{} // reads: the sum acknowledged before
	acked := 0
	for range 4000 {
		c.chaos()
		name := c.names[c.rng.IntN(3)]
		if !c.nodes[name].down {
			open = append(open, c.request(name, replica.Request{Command: kv.Command{Op: kv.OpAdd, Key: "k", Delta: 1}}))
			id := c.request(name, replica.Request{Command: kv.Command{Op: kv.OpRead, Key: "k"}, Reads: mode})
			least[id] = acked
			open = append(open, id)
		}
		c.step()
		rest := open[:0]
		for _, id := range open {
			r, ok := c.done[id]
			if !ok {
				rest = append(rest, id)
				continue
			}
			got, _ := strconv.Atoi(string(r.Result.Value))
			if l, isRead := least[id]; !isRead {
				acked = max(acked, got)
			} else if r.Err == "" {
				served++
				if got < l {
					stale++
				}
			}
		}
		open = rest
	}
	return served, stale
}

// TestStaleReadIsSeen switches the stale-read bug on: the same test must notice.
func TestStaleReadIsSeen(t *testing.T) {
	bug, err := LookupBug("stale-read")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for seed := range uint64(10) {
		if _, stale := readUnderChaos(newCluster(t, seed, 3, ReplicaConfig{Bug: bug}), replica.Linearizable); stale > 0 {
			found++
		}
	}
	if found < 9 {
		t.Errorf("stale reads were seen with %d of 10 seeds", found)
	}
}
