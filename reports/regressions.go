package reports

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
)

// Regression is something that got worse.
type Regression struct {
	Test   string `json:"test"` // which kind of run
	What   string `json:"what"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Kind is what a run tested, whatever version, seed and time: runs of one kind
// are compared with each other.
func (r *Results) Kind() string {
	system := r.System
	if r.Bug != "" {
		system += "!" + r.Bug
	}
	words := []string{system, r.Workload, cmp.Or(strings.Join(asKinds(r.Nemesis), "+"), "none"), "on " + r.On}
	for _, k := range slices.Sorted(maps.Keys(r.Options)) {
		words = append(words, k+"="+r.Options[k])
	}
	return strings.Join(words, " ")
}

// GroupByKind sorts runs into groups of one kind, in the order of their names.
func GroupByKind(runs []Results) []Group { return groupBy(runs, (*Results).Kind) }

// GroupByVersion sorts runs into groups of one kind and version.
func GroupByVersion(runs []Results) []Group {
	return groupBy(runs, func(r *Results) string {
		system, rest, _ := strings.Cut(r.Kind(), " ")
		return strings.Join(strings.Fields(system+" "+r.Version+" "+rest), " ")
	})
}

func groupBy(runs []Results, key func(*Results) string) []Group {
	by := map[string][]Results{}
	for _, r := range runs {
		by[key(&r)] = append(by[key(&r)], r)
	}
	var groups []Group
	for _, k := range slices.Sorted(maps.Keys(by)) {
		groups = append(groups, Group{Name: k, Runs: by[k]})
	}
	return groups
}

const (
	worseShare    = 0.1         // of attempts that succeeded
	worseRecovery = time.Second // and twice as long
	worseLatency  = 100 * time.Millisecond
	worseRate     = 2 // times as many anomalies
)

// Regressions says what got worse from the baseline to now, kind by kind: the
// verdict, a new anomaly or twice as many, a tenth less availability, twice the
// time and a second more to recover, twice the latency and 100 ms more under a
// fault, a rung of the ladder lost. A kind that the baseline does not have is
// compared with the same without its planted bug, or else its options. Fresh are
// those that have no counterpart even so.
func Regressions(baseline, now []Results) (worsened []Regression, fresh []string) {
	for _, g := range GroupByKind(now) {
		if b := counterpart(baseline, &g.Runs[0]); len(b.Runs) > 0 {
			worsened = append(worsened, worse(b, g)...)
		} else {
			fresh = append(fresh, g.Name)
		}
	}
	return worsened, fresh
}

// counterpart are the runs of the baseline that tested what r did, as nearly as
// there are any.
func counterpart(baseline []Results, r *Results) Group {
	for _, kind := range []func(*Results) string{(*Results).Kind, soundKind, plainKind} {
		var g Group
		for _, b := range baseline {
			if kind(&b) == kind(r) {
				g.Runs = append(g.Runs, b)
			}
		}
		if len(g.Runs) > 0 {
			return g
		}
	}
	return Group{}
}

// soundKind is the kind without a planted bug.
func soundKind(r *Results) string {
	sound := *r
	sound.Bug = ""
	return sound.Kind()
}

// plainKind is the kind without a planted bug and without options.
func plainKind(r *Results) string {
	plain := *r
	plain.Bug, plain.Options = "", nil
	return plain.Kind()
}

func worse(b, n Group) []Regression {
	var all []Regression
	add := func(what, before, after string) { all = append(all, Regression{n.Name, what, before, after}) }
	if v, w := b.verdict(), n.verdict(); v != w && (w == checker.Invalid || v == checker.Valid) {
		add("verdict", v.String(), w.String())
	}
	for _, m := range anomalyRows([]Group{n}) {
		_, was := b.anomalies(m.name)
		_, is := n.anomalies(m.name)
		if is > was*worseRate {
			add(m.name+" per 1,000 operations", digits(was), digits(is))
		}
	}
	for _, m := range ladderRows([]Group{b, n}) {
		if x, y := m.of(b), m.of(n); x.Verdict == "valid" && y.Verdict == "invalid" {
			add(m.name, x.Verdict, y.Verdict)
		}
	}
	if x, y := b.ops(), n.ops(); x.Total > 0 && y.Share() < x.Share()-worseShare {
		add("succeeded", percent(x.Share()), percent(y.Share()))
	}
	for _, fault := range faultKinds(n) {
		x, y := slowestOf(b.during(fault)), slowestOf(n.during(fault))
		if x >= 0 && y > x+worseRecovery && y > 2*x {
			add("return of all nodes after "+fault, short(x), short(y))
		}
		p99 := func(l Latency) time.Duration { return l.P99 }
		if x, y := b.latency(fault, p99), n.latency(fault, p99); x > 0 && y > x+worseLatency && y > 2*x {
			add("99th percentile of latency during "+fault, short(x), short(y))
		}
	}
	return all
}

func slowestOf(faults []FaultAvailability) time.Duration {
	longest := time.Duration(-1)
	for _, f := range faults {
		longest = max(longest, f.Recovery)
	}
	return longest
}
