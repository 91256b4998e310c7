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
// fault, a rung of the ladder lost. Runs of a planted bug that the baseline does
// not have are compared with those without one. Fresh are the kinds that the
// baseline does not have at all.
func Regressions(baseline, now []Results) (worsened []Regression, fresh []string) {
	before := map[string]Group{}
	for _, g := range GroupByKind(baseline) {
		before[g.Name] = g
	}
	for _, g := range GroupByKind(now) {
		sound := g.Runs[0]
		sound.Bug = ""
		b, ok := before[g.Name]
		if !ok {
			b, ok = before[sound.Kind()]
		}
		if !ok {
			fresh = append(fresh, g.Name)
			continue
		}
		worsened = append(worsened, worse(b, g)...)
	}
	return worsened, fresh
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
