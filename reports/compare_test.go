package reports

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
)

func run(version string, v checker.Verdict, ok int, names ...string) Results {
	r := Results{
		System: "etcd", Version: version, Workload: "register", Nemesis: []string{"partition"}, On: "docker", Verdict: v,
		Ops:    Ops{Count: Count{Total: 1000, OK: ok, Fail: 1000 - ok}},
		Ladder: map[string]checker.Verdict{"linearizable": v, "eventual": checker.Valid},
		Availability: Availability{Faults: []FaultAvailability{
			{Fault: "partition:one", During: Count{Total: 100, OK: ok / 10}, Latency: Latency{3 * time.Millisecond, 40 * time.Millisecond}, Outage: time.Second, Recovery: 300 * time.Millisecond},
		}},
		Checks: []Check{{Checker: "staleness", Figures: map[string]float64{"stale_ms_p99": 12.5}}},
	}
	for _, n := range names {
		r.Anomalies = append(r.Anomalies, Anomaly{Anomaly: checker.Anomaly{Name: n}})
	}
	return r
}

func TestCompare(t *testing.T) {
	t.Parallel()
	a, b := run("3.5", checker.Valid, 950), run("3.6 <script>", checker.Invalid, 700, "stale-read", "stale-read")
	b.Availability.Faults[0].Recovery = 4 * time.Second
	b.Availability.Faults[0].Latency.P99 = 200 * time.Millisecond
	c := Compare([]Group{{Name: a.Version, Runs: []Results{a}}, {Name: b.Version, Runs: []Results{b}}})
	worse, _ := Regressions([]Results{a}, []Results{b})
	if len(worse) != 6 {
		t.Errorf("worse: %+v", worse)
	}
	if more, _ := Regressions([]Results{b}, []Results{a}); len(more) != 0 {
		t.Errorf("better counts as worse: %+v", more)
	}
	var text, page bytes.Buffer
	if err := WriteCompareText(&text, c, worse); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", text.Bytes())
	if err := WriteCompareHTML(&page, "Comparison", c, worse); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page.String(), "<script") {
		t.Error("a version became markup")
	}
}

// TestKindsKeepModesApart: runs in other modes of a system are no runs of a kind,
// runs of other versions are, though they have columns of their own.
func TestKindsKeepModesApart(t *testing.T) {
	t.Parallel()
	a, b, c := run("3.5", checker.Valid, 950), run("3.6", checker.Valid, 950), run("3.6", checker.Invalid, 950, "stale-read")
	c.Options = map[string]string{"reads": "serializable"}
	all := []Results{a, b, c}
	var names []string
	for _, g := range append(GroupByKind(all), GroupByVersion(all)...) {
		names = append(names, g.Name)
	}
	want := []string{
		"etcd register partition on docker", "etcd register partition on docker reads=serializable",
		"etcd 3.5 register partition on docker", "etcd 3.6 register partition on docker", "etcd 3.6 register partition on docker reads=serializable",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %q", names)
	}
}

// TestRegressionsFindTheirCounterparts: a planted bug is held against the sound
// store where the baseline does not have it, and what has no counterpart is named.
func TestRegressionsFindTheirCounterparts(t *testing.T) {
	t.Parallel()
	sound, bug, other := run("1", checker.Valid, 950), run("1", checker.Invalid, 950, "stale-read"), run("1", checker.Valid, 950)
	bug.Bug, other.Workload = "stale-read", "lock"
	worse, fresh := Regressions([]Results{sound}, []Results{bug, other})
	if len(worse) == 0 || !slices.Equal(fresh, []string{"etcd lock partition on docker"}) {
		t.Errorf("worse %v, not in the baseline %v", worse, fresh)
	}
	bug.Options = map[string]string{"min-ok": "5"}
	if worse, _ = Regressions([]Results{sound}, []Results{bug}); len(worse) == 0 {
		t.Error("other options hide what got worse")
	}
	if worse, fresh = Regressions([]Results{sound, bug}, []Results{bug}); len(worse)+len(fresh) != 0 {
		t.Errorf("worse %v, not in the baseline %v", worse, fresh)
	}
}
