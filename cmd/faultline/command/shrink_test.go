package command

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/faultline-dev/faultline/reports"
)

// TestShrinkAndReplay: a failure of stale-read shrinks to at most 2 faults, 3 nodes
// and 6 operations, and what is left replays to the last byte.
func TestShrinkAndReplay(t *testing.T) {
	runs := t.TempDir()
	command := func(want int, args ...string) *reports.Folder {
		t.Helper()
		env, out := quiet()
		if code := Main(append(args, "--runs", runs, "--quiet"), env); code != want {
			t.Fatalf("%v: exit %d, not %d:\n%s", args, code, want, out)
		}
		f, err := reports.Open(filepath.Join(runs, "latest"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	failed := command(1, "run", "--on", "sim", "--bug", "stale-read", "--seeds", "1..100")
	again := command(1, "replay", failed.Path)
	same(t, failed, again)
	small := command(1, "shrink", failed.Path)
	same(t, small, command(1, "replay", small.Path))

	res, err := small.Results()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(res.Anomalies, func(a reports.Anomaly) bool { return a.Name == "stale-read" }) {
		t.Errorf("the anomalies are %v", res.Anomalies)
	}
	if len(res.Faults) > 2 || res.Nodes > 3 || res.Ops.Total > 6 {
		t.Errorf("%d faults, %d nodes, %d operations are left", len(res.Faults), res.Nodes, res.Ops.Total)
	}
}

// same compares two histories.
func same(t *testing.T, a, b *reports.Folder) {
	t.Helper()
	x, err := os.ReadFile(a.HistoryPath())
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b.HistoryPath())
	if err != nil {
		t.Fatal(err)
	}
	if string(x) != string(y) {
		t.Errorf("%s and %s have different histories", a.Name(), b.Name())
	}
}
