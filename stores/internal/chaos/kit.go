package chaos

import (
	"slices"
	"strconv"
	"testing"
)

// Worlds makes the options of a world of one store, which the seed draws, with a bug
// of its catalogue or none ("").
type Worlds func(seed uint64, bug string) Options

// Run checks a store: it is safe under every fault, deterministic, and the bugs of
// its protocol are seen.
func (w Worlds) Run(t *testing.T, bugs []string) {
	t.Helper()
	t.Run("Safety", func(t *testing.T) { t.Parallel(); w.safety(t) })
	t.Run("Repair", func(t *testing.T) { t.Parallel(); w.repair(t) })
	t.Run("CrashEverywhere", func(t *testing.T) { t.Parallel(); w.crashEverywhere(t) })
	t.Run("Determinism", func(t *testing.T) { t.Parallel(); w.determinism(t) })
	t.Run("BugsAreSeen", func(t *testing.T) { t.Parallel(); w.bugsAreSeen(t, bugs) })
}

// safety runs clusters under random loss, delay, repetition, damage, partitions,
// crashes and torn disks: no acknowledged change is lost or done twice, no read is
// stale, the store's own Check holds at every step, and progress resumes when the
// faults end.
func (w Worlds) safety(t *testing.T) {
	t.Helper()
	seeds := uint64(120)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		report(t, "seed "+strconv.FormatUint(seed, 10), Run(w(seed, "")))
	}
}

// determinism runs worlds twice: every frame and every reply is the same.
func (w Worlds) determinism(t *testing.T) {
	t.Helper()
	for seed := range uint64(12) {
		a, b := Run(w(seed, "")), Run(w(seed, ""))
		if a.Trace != b.Trace || a.Served != b.Served {
			t.Errorf("seed %d: %d served with trace %x, then %d with %x", seed, a.Served, a.Trace, b.Served, b.Trace)
		}
	}
}

// bugsAreSeen switches bugs on, one by one: the same checks must notice each. Those
// of locks and expiry have no place here.
func (w Worlds) bugsAreSeen(t *testing.T, bugs []string) {
	t.Helper()
	if testing.Short() {
		t.Skip("a few seconds")
	}
	elsewhere := []string{"lock-early", "fence-stuck", "fence-unchecked", "unlock-any", "ttl-resurrect", "lost-delete"}
	for _, bug := range bugs {
		if slices.Contains(elsewhere, bug) {
			continue
		}
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(400) {
				if r := Run(w(seed, bug)); len(r.Broken) > 0 {
					t.Logf("seed %d: %s", seed, r.Broken[0])
					return
				}
			}
			t.Error("never seen")
		})
	}
}

// repair lets bits of one node's disk flip again and again: the node notices at its
// next start, fetches again what it lost, and nothing that was acknowledged is lost
// or done twice.
func (w Worlds) repair(t *testing.T) {
	t.Helper()
	seeds := uint64(120)
	if testing.Short() {
		seeds = 30
	}
	damaged := 0
	for seed := range seeds {
		o := w(seed, "")
		o.Nodes, o.Flips = max(3, o.Nodes), true
		r := Run(o)
		damaged += r.Damaged
		report(t, "seed "+strconv.FormatUint(seed, 10), r)
	}
	if damaged < int(seeds) { //nolint:gosec // few
		t.Errorf("only %d starts found damage in %d worlds", damaged, seeds)
	}
}

// crashEverywhere crashes one node in each call in turn that changes its disk, every
// write and every sync among them: nothing that was acknowledged is lost.
func (w Worlds) crashEverywhere(t *testing.T) {
	t.Helper()
	run := func(crashAt int) Result {
		o := w(2, "")
		o.Calm, o.Steps, o.CrashAt = true, 200, crashAt
		return Run(o)
	}
	calls, stride := run(0).Calls, 1
	if testing.Short() {
		stride = 9
	}
	if calls < 100 {
		t.Fatalf("only %d calls to crash in", calls)
	}
	for at := 1; at <= calls; at += stride {
		report(t, "call "+strconv.Itoa(at), run(at))
	}
}

func report(t *testing.T, where string, r Result) {
	t.Helper()
	for _, b := range r.Broken {
		t.Errorf("%s: %s", where, b)
	}
	if r.Served < 100 {
		t.Errorf("%s: only %d requests were served", where, r.Served)
	}
}
