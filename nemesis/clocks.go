package nemesis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// Skew makes a node's clock wrong until Unskew under the same id. What several
// faults do to one clock adds up: their offsets, and their rates multiplied.
func (e *Env) Skew(ctx context.Context, id, node string, s cluster.Skew) error {
	e.held.mu.Lock()
	if e.held.skews[node] == nil {
		e.held.skews[node] = map[string]cluster.Skew{}
	}
	e.held.skews[node][id] = s
	e.held.mu.Unlock()
	return e.settleClock(ctx, node)
}

// Unskew takes back a Skew. When that fails the ID goes on holding it.
func (e *Env) Unskew(ctx context.Context, id, node string) error {
	e.held.mu.Lock()
	s, held := e.held.skews[node][id]
	delete(e.held.skews[node], id)
	e.held.mu.Unlock()
	err := e.settleClock(ctx, node)
	if err != nil && held {
		e.held.mu.Lock()
		e.held.skews[node][id] = s
		e.held.mu.Unlock()
	}
	return err
}

// wrong is what all faults together do to a node's clock, and how many they are.
func (e *Env) wrong(node string) (sum cluster.Skew, n int) {
	e.held.mu.Lock()
	defer e.held.mu.Unlock()
	sum.Rate = 1
	// In order: products of rates depend on it in their last digits.
	for _, id := range slices.Sorted(maps.Keys(e.held.skews[node])) {
		s := e.held.skews[node][id]
		sum.Offset += s.Offset
		if s.Rate > 0 {
			sum.Rate *= s.Rate
		}
		n++
	}
	return sum, n
}

// ClockHeldByOthers says whether another fault than id makes the node's clock wrong.
func (e *Env) ClockHeldByOthers(id, node string) bool {
	e.held.mu.Lock()
	defer e.held.mu.Unlock()
	for other := range e.held.skews[node] {
		if other != id {
			return true
		}
	}
	return false
}

func (e *Env) settleClock(ctx context.Context, node string) error {
	c, ok := e.Cluster.(cluster.Clocks)
	if !ok {
		return cluster.Missing(e.Cluster, "set clocks")
	}
	for range settleMax {
		want, n := e.wrong(node)
		if err := e.setClock(ctx, c, node, want, n); err != nil {
			return err
		}
		if now, m := e.wrong(node); now == want && m == n {
			return nil
		}
	}
	return fmt.Errorf("nemesis: faults set the clock of %s faster than it can follow", node)
}

func (e *Env) setClock(ctx context.Context, c cluster.Clocks, node string, s cluster.Skew, n int) error {
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	if n == 0 {
		return c.Reset(ctx, node)
	}
	return c.Skew(ctx, node, s)
}

// Offsets asks nodes for their time.
func (e *Env) Offsets(ctx context.Context, nodes []string) (map[string]time.Duration, error) {
	c, ok := e.Cluster.(cluster.Clocks)
	if !ok {
		return nil, cluster.Missing(e.Cluster, "ask nodes for their time")
	}
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	return c.Offsets(ctx, nodes)
}

// BreakDisk makes a node's disk fail until RepairDisk under the same id.
func (e *Env) BreakDisk(ctx context.Context, id, node string, d cluster.Disk) error {
	disks, ok := e.Cluster.(cluster.Disks)
	if !ok {
		return cluster.Missing(e.Cluster, "make disks fail")
	}
	e.held.set(e.held.broken, node, id, true)
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	return disks.Break(ctx, id, node, d)
}

// RepairDisk ends the fault of a node's disk. When that fails the ID goes on
// holding it.
func (e *Env) RepairDisk(ctx context.Context, id, node string) error {
	disks, ok := e.Cluster.(cluster.Disks)
	if !ok {
		return cluster.Missing(e.Cluster, "repair disks")
	}
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	err := disks.Repair(ctx, id, node)
	if err == nil {
		e.held.set(e.held.broken, node, id, false)
	}
	return err
}

// Damage counts what faults did to nodes' disks so far.
func (e *Env) Damage(ctx context.Context, nodes []string) (cluster.Damage, error) {
	var sum cluster.Damage
	disks, ok := e.Cluster.(cluster.Disks)
	if !ok {
		return sum, cluster.Missing(e.Cluster, "count what disks lost")
	}
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	for _, n := range nodes {
		d, err := disks.Damage(ctx, n)
		if err != nil {
			return sum, err
		}
		sum.Lost += d.Lost
		sum.Torn += d.Torn
		sum.Flipped += d.Flipped
		sum.Failed += d.Failed
		sum.Slowed += d.Slowed
	}
	return sum, nil
}
