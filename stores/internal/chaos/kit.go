package chaos

import (
	"strconv"
	"testing"
)

// Repair lets bits of one node's disk flip again and again: the node notices at its
// next start, fetches again what it lost, and nothing that was acknowledged is lost
// or done twice.
func Repair(t *testing.T, world func(seed uint64) Options) {
	t.Helper()
	seeds := uint64(120)
	if testing.Short() {
		seeds = 30
	}
	damaged := 0
	for seed := range seeds {
		o := world(seed)
		o.Nodes, o.Flips = max(3, o.Nodes), true
		r := Run(o)
		damaged += r.Damaged
		report(t, "seed "+strconv.FormatUint(seed, 10), r)
	}
	if damaged < int(seeds) { //nolint:gosec // few
		t.Errorf("only %d starts found damage in %d worlds", damaged, seeds)
	}
}

// CrashEverywhere crashes one node in each call in turn that changes its disk, every
// write and every sync among them: nothing that was acknowledged is lost.
func CrashEverywhere(t *testing.T, world func(seed uint64) Options) {
	t.Helper()
	run := func(crashAt int) Result {
		o := world(2)
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
