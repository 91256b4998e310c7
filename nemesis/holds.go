package nemesis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/faultline-dev/faultline/cluster"
)

// holds is who holds what: overlapping faults each hold what they broke under
// their own id, and something is whole again when nobody holds it any more.
// Its lock is never held while something waits.
type holds struct {
	mu     sync.Mutex
	killed map[string]map[string]bool // node, then id
	paused map[string]map[string]bool
	cuts   map[string][]cluster.Link // id
	shapes map[string][]cluster.Link
	skews  map[string]map[string]cluster.Skew // node, then id
	broken map[string]map[string]bool         // disks: node, then id

	removed map[string]map[string]bool // from the membership: node, then id

	// claimed are the nodes that a step may break until it has healed, for which it has
	// made sure that a majority is left; choosing makes such choices come one at a time.
	claimed  map[string]map[string]bool // node, then id
	choosing sync.Mutex
}

func newHolds() *holds {
	return &holds{
		killed: map[string]map[string]bool{}, paused: map[string]map[string]bool{},
		cuts: map[string][]cluster.Link{}, shapes: map[string][]cluster.Link{},
		skews: map[string]map[string]cluster.Skew{}, broken: map[string]map[string]bool{},
		removed: map[string]map[string]bool{}, claimed: map[string]map[string]bool{},
	}
}

func (h *holds) set(m map[string]map[string]bool, node, id string, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !on {
		delete(m[node], id)
		return
	}
	if m[node] == nil {
		m[node] = map[string]bool{}
	}
	m[node][id] = true
}

func (h *holds) held(m map[string]map[string]bool, node string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(m[node]) > 0
}

// by are the nodes that id holds, sorted.
func (h *holds) by(m map[string]map[string]bool, id string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var nodes []string
	for node, ids := range m {
		if ids[id] {
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// settleMax bounds how often a node is brought to what is wanted of it, while
// others go on changing that.
const settleMax = 16

// Kill ends a node's processes and keeps them dead until Revive under the same id.
func (e *Env) Kill(ctx context.Context, id, node string) error {
	e.held.set(e.held.killed, node, id, true)
	return e.settleKill(ctx, node)
}

// Revive takes back a Kill; the node starts when no other fault holds it dead.
// When that fails the ID goes on holding it, so that it can be tried again.
func (e *Env) Revive(ctx context.Context, id, node string) error {
	e.held.set(e.held.killed, node, id, false)
	err := e.settleKill(ctx, node)
	if err != nil {
		e.held.set(e.held.killed, node, id, true)
	}
	return err
}

// settleKill brings a node to what the holds say. Whoever changes a hold settles
// after it, and looks again after acting, so the last one to act leaves the node
// as the last change wanted it.
func (e *Env) settleKill(ctx context.Context, node string) error {
	k, ok := e.Cluster.(cluster.Killer)
	if !ok {
		return cluster.Missing(e.Cluster, "kill")
	}
	for range settleMax {
		dead := e.held.held(e.held.killed, node)
		if err := e.live(ctx, k, node, dead); err != nil {
			return err
		}
		if dead == e.held.held(e.held.killed, node) {
			return nil
		}
	}
	return fmt.Errorf("nemesis: faults kill and start %s faster than it can follow", node)
}

func (e *Env) live(ctx context.Context, k cluster.Killer, node string, dead bool) error {
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	if dead {
		return k.Kill(ctx, node)
	}
	if err := k.Start(ctx, node); err != nil {
		if e.held.held(e.held.broken, node) {
			return nil // it cannot start: whoever repairs its disk starts it
		}
		return err
	}
	// A new process knows nothing of the pause that another fault holds.
	if e.held.held(e.held.paused, node) {
		return e.settlePause(ctx, node)
	}
	return nil
}

// Pause freezes a node until Resume under the same id.
func (e *Env) Pause(ctx context.Context, id, node string) error {
	e.held.set(e.held.paused, node, id, true)
	return e.settlePause(ctx, node)
}

// Resume takes back a Pause; the node goes on when no other fault holds it. When
// that fails the ID goes on holding it.
func (e *Env) Resume(ctx context.Context, id, node string) error {
	e.held.set(e.held.paused, node, id, false)
	err := e.settlePause(ctx, node)
	if err != nil {
		e.held.set(e.held.paused, node, id, true)
	}
	return err
}

func (e *Env) settlePause(ctx context.Context, node string) error {
	p, ok := e.Cluster.(cluster.Pauser)
	if !ok {
		return cluster.Missing(e.Cluster, "pause")
	}
	for range settleMax {
		want := e.held.held(e.held.paused, node)
		if err := e.freeze(ctx, p, node, want); err != nil {
			return err
		}
		if want == e.held.held(e.held.paused, node) {
			return nil
		}
	}
	return fmt.Errorf("nemesis: faults pause and resume %s faster than it can follow", node)
}

func (e *Env) freeze(ctx context.Context, p cluster.Pauser, node string, want bool) error {
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	if want {
		return p.Pause(ctx, node)
	}
	return p.Resume(ctx, node)
}

// takes says whether id holds nodes or links away from the system.
func (e *Env) takes(id string) bool {
	h := e.held
	for _, m := range []map[string]map[string]bool{h.killed, h.paused, h.broken, h.removed} {
		if len(h.by(m, id)) > 0 {
			return true
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cuts[id] != nil
}

// Wanted is the state that the faults acting now leave a node in.
func (e *Env) Wanted(node string) cluster.State {
	switch {
	case e.held.held(e.held.killed, node):
		return cluster.Dead
	case e.held.held(e.held.paused, node):
		return cluster.Paused
	default:
		return cluster.Running
	}
}

// Fits says whether a state is what the faults that act now leave a node in. One
// that is out of the membership may have ended of that, and one whose disk fails of
// that.
func (e *Env) Fits(node string, s cluster.State) bool {
	return s == e.Wanted(node) || s == cluster.Dead && (e.HeldOut(node) || e.held.held(e.held.broken, node))
}

// State looks at a node's processes.
func (e *Env) State(ctx context.Context, node string) (cluster.State, error) {
	o, ok := e.Cluster.(cluster.Observer)
	if !ok {
		return "", cluster.Missing(e.Cluster, "tell whether processes run")
	}
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	return o.State(ctx, node)
}

// Cut cuts links until Mend under the same id; it replaces what id cut before.
func (e *Env) Cut(ctx context.Context, id string, links []cluster.Link) error {
	n, ok := e.Cluster.(cluster.Network)
	if !ok {
		return cluster.Missing(e.Cluster, "cut links")
	}
	e.held.note(e.held.cuts, id, links)
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	return n.Cut(ctx, id, links)
}

// Shape degrades links until Mend under the same id.
func (e *Env) Shape(ctx context.Context, id string, links []cluster.Link, s cluster.Shape) error {
	n, ok := e.Cluster.(cluster.Shaper)
	if !ok {
		return cluster.Missing(e.Cluster, "degrade links")
	}
	e.held.note(e.held.shapes, id, links)
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	return n.Shape(ctx, id, links, s)
}

// Mend takes back what id cut or shaped.
func (e *Env) Mend(ctx context.Context, id string) error {
	n, ok := e.Cluster.(cluster.Network)
	if !ok {
		return cluster.Missing(e.Cluster, "mend links")
	}
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	if err := n.Mend(ctx, id); err != nil {
		return err
	}
	e.held.forget(id)
	return nil
}

func (h *holds) note(m map[string][]cluster.Link, id string, links []cluster.Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m[id] = links
}

func (h *holds) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.cuts, id)
	delete(h.shapes, id)
}

// CutByOthers are the links that faults other than id cut now.
func (e *Env) CutByOthers(id string) map[cluster.Link]bool {
	return e.held.others(e.held.cuts, id)
}

// ShapedByOthers are the links that faults other than id degrade now.
func (e *Env) ShapedByOthers(id string) map[cluster.Link]bool {
	return e.held.others(e.held.shapes, id)
}

func (h *holds) others(m map[string][]cluster.Link, id string) map[cluster.Link]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[cluster.Link]bool{}
	for other, links := range m {
		for _, l := range links {
			if other != id {
				out[l] = true
			}
		}
	}
	return out
}

// Reach measures which links something passes.
func (e *Env) Reach(ctx context.Context, links []cluster.Link) (map[cluster.Link]bool, error) {
	n, ok := e.Cluster.(cluster.Network)
	if !ok {
		return nil, cluster.Missing(e.Cluster, "measure links")
	}
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	return n.Reach(ctx, links)
}

// Release takes back all that id holds, also after a start that failed half-way.
func (e *Env) Release(ctx context.Context, id string) error {
	dead, paused := e.held.by(e.held.killed, id), e.held.by(e.held.paused, id)
	broken, removed := e.held.by(e.held.broken, id), e.held.by(e.held.removed, id)
	e.held.mu.Lock()
	linked := e.held.cuts[id] != nil || e.held.shapes[id] != nil
	var skewed []string
	for node, ids := range e.held.skews {
		if _, ok := ids[id]; ok {
			skewed = append(skewed, node)
		}
	}
	e.held.mu.Unlock()
	slices.Sort(skewed) // a simulator wants the same order each time
	var errs []error
	for _, n := range skewed {
		errs = append(errs, e.Unskew(ctx, id, n))
	}
	for _, n := range broken {
		// A careful store dies of a failing disk by itself.
		errs = append(errs, e.RepairDisk(ctx, id, n), e.Revive(ctx, id, n))
	}
	if linked {
		errs = append(errs, e.Mend(ctx, id))
	}
	for _, n := range paused {
		errs = append(errs, e.Resume(ctx, id, n))
	}
	for _, n := range dead {
		errs = append(errs, e.Revive(ctx, id, n))
	}
	if len(removed) > 0 { // last: it needs a majority
		_, err := e.Rejoin(ctx, id, removed)
		errs = append(errs, err)
	}
	if e.Workers != nil {
		e.Workers.Release(id)
	}
	e.unclaim(id)
	return errors.Join(errs...)
}

// claim notes that a step may break nodes at any time until unclaim.
func (e *Env) claim(id string, nodes []string) {
	for _, n := range nodes {
		e.held.set(e.held.claimed, n, id, true)
	}
}

func (e *Env) unclaim(id string) {
	for _, n := range e.held.by(e.held.claimed, id) {
		e.held.set(e.held.claimed, n, id, false)
	}
}

// restore is the last net: the network whole, no process frozen, whatever the
// holds say. It is called when all faults have been healed.
func (e *Env) restore(ctx context.Context) error {
	var errs []error
	e.held.mu.Lock()
	ids := slices.Concat(slices.Collect(maps.Keys(e.held.cuts)), slices.Collect(maps.Keys(e.held.shapes)))
	for _, m := range []map[string]map[string]bool{e.held.killed, e.held.paused, e.held.broken, e.held.removed} {
		for _, by := range m {
			ids = append(ids, slices.Collect(maps.Keys(by))...)
		}
	}
	for _, by := range e.held.skews {
		ids = append(ids, slices.Collect(maps.Keys(by))...)
	}
	e.held.mu.Unlock()
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		errs = append(errs, e.Release(ctx, id))
	}
	if n, ok := e.Cluster.(cluster.Network); ok {
		c, cancel := e.deadline(ctx)
		errs = append(errs, n.Heal(c))
		cancel()
	}
	return errors.Join(errs...)
}
