package reports

import (
	_ "embed" // the page's template
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
)

//go:embed assets/compare.html.tmpl
var compareTemplate string

// Group is a column of a comparison: one run, or several of the same kind.
type Group struct {
	Name string
	Runs []Results
	// Link leads to the run, "" for none.
	Link string
}

// Comparison is groups side by side.
type Comparison struct {
	Columns  []Column  `json:"columns"`
	Sections []Section `json:"sections"`
}

// Column is the head of a column.
type Column struct {
	Name string `json:"name"`
	Link string `json:"link,omitempty"`
	Runs int    `json:"runs"`
}

// Section is rows that belong together.
type Section struct {
	Title string `json:"title"`
	Rows  []Row  `json:"rows"`
}

// Row is one measure over all columns.
type Row struct {
	Name  string `json:"name"`
	Cells []Cell `json:"cells"`
}

// Cell is a measure of one group.
type Cell struct {
	Text string `json:"text"` // "" where the group has none
	// Verdict is valid, invalid or unknown where the cell is one.
	Verdict string `json:"verdict,omitempty"`
}

// Compare lays groups side by side: verdicts, the ladder, anomalies per thousand
// operations, availability under each fault, staleness.
func Compare(groups []Group) Comparison {
	var c Comparison
	for _, g := range groups {
		c.Columns = append(c.Columns, Column{g.Name, g.Link, len(g.Runs)})
	}
	c.section("Verdict", groups, []measure{
		{"verdict", verdictCell},
		{"runs", func(g Group) Cell { return Cell{Text: thousands(len(g.Runs))} }},
		{"operations", func(g Group) Cell { return Cell{Text: thousands(g.ops().Total)} }},
		{"succeeded", func(g Group) Cell { return shareCell(g.ops()) }},
	})
	c.section("Consistency", groups, ladderRows(groups))
	c.section("Anomalies per 1,000 operations", groups, anomalyRows(groups))
	c.section("Succeeded during", groups, faultRows(groups, func(g Group, fault string) Cell {
		var n Count
		for _, f := range g.during(fault) {
			n = n.plus(f.During)
		}
		return shareCell(n)
	}))
	c.section("Longest silence during", groups, faultRows(groups, longestCell(func(f FaultAvailability) time.Duration { return f.Outage })))
	c.section("Slowest return of all nodes after", groups, faultRows(groups, longestCell(func(f FaultAvailability) time.Duration { return f.Recovery })))
	c.section("Slowest median latency during", groups, latencyRows(groups, func(l Latency) time.Duration { return l.P50 }))
	c.section("Slowest 99th percentile of latency during", groups, latencyRows(groups, func(l Latency) time.Duration { return l.P99 }))
	c.section("Figures", groups, figureRows(groups))
	return c
}

type measure struct {
	name string
	of   func(Group) Cell
}

func (c *Comparison) section(title string, groups []Group, rows []measure) {
	s := Section{Title: title}
	for _, m := range rows {
		r := Row{Name: m.name}
		for _, g := range groups {
			r.Cells = append(r.Cells, m.of(g))
		}
		s.Rows = append(s.Rows, r)
	}
	if len(s.Rows) > 0 {
		c.Sections = append(c.Sections, s)
	}
}

func (c Count) plus(d Count) Count {
	return Count{c.Total + d.Total, c.OK + d.OK, c.Fail + d.Fail, c.Info + d.Info}
}

func (g Group) ops() Count {
	var n Count
	for _, r := range g.Runs {
		n = n.plus(r.Ops.Count)
	}
	return n
}

func (g Group) verdict() checker.Verdict {
	v := checker.Unknown
	for i, r := range g.Runs {
		if i == 0 {
			v = r.Verdict
		}
		v = checker.Merge(v, r.Verdict)
	}
	return v
}

func (g Group) during(fault string) []FaultAvailability {
	var all []FaultAvailability
	for _, r := range g.Runs {
		for _, f := range r.Availability.Faults {
			if kindOfFault(f.Fault) == fault {
				all = append(all, f)
			}
		}
	}
	return all
}

// kindOfFault is partition of partition:one.
func kindOfFault(s string) string {
	kind, _, _ := strings.Cut(s, ":")
	return kind
}

func verdictCell(g Group) Cell {
	v := g.verdict()
	text, n := v.String(), 0
	for _, r := range g.Runs {
		if r.Verdict == v {
			n++
		}
	}
	if len(g.Runs) > 1 {
		text += fmt.Sprintf(" in %d of %d", n, len(g.Runs))
	}
	return Cell{text, v.String()}
}

func shareCell(n Count) Cell {
	if n.Total == 0 {
		return Cell{}
	}
	return Cell{Text: percent(n.Share())}
}

func ladderRows(groups []Group) []measure {
	all := map[string]checker.Verdict{}
	for _, g := range groups {
		for _, r := range g.Runs {
			maps.Copy(all, r.Ladder)
		}
	}
	var rows []measure
	for _, name := range rungs(all) {
		rows = append(rows, measure{name, func(g Group) Cell {
			v, known := checker.Valid, false
			for _, r := range g.Runs {
				if x, ok := r.Ladder[name]; ok {
					v, known = checker.Merge(v, x), true
				}
			}
			if !known {
				return Cell{}
			}
			return Cell{v.String(), v.String()}
		}})
	}
	return rows
}

func anomalyRows(groups []Group) []measure {
	names := map[string]bool{}
	for _, g := range groups {
		for _, r := range g.Runs {
			for _, a := range r.Anomalies {
				names[a.Name] = true
			}
		}
	}
	var rows []measure
	for _, name := range slices.Sorted(maps.Keys(names)) {
		rows = append(rows, measure{name, func(g Group) Cell {
			n, rate := g.anomalies(name)
			if n == 0 {
				return Cell{Text: "0"}
			}
			return Cell{Text: fmt.Sprintf("%s (%s in all)", digits(rate), thousands(n))}
		}})
	}
	return rows
}

// anomalies counts those of a name, in all and per thousand operations.
func (g Group) anomalies(name string) (n int, perThousand float64) {
	for _, r := range g.Runs {
		for _, a := range r.Anomalies {
			if a.Name == name {
				n++
			}
		}
	}
	if total := g.ops().Total; total > 0 {
		perThousand = 1000 * float64(n) / float64(total)
	}
	return n, perThousand
}

func faultRows(groups []Group, of func(Group, string) Cell) []measure {
	var rows []measure
	for _, fault := range faultKinds(groups...) {
		rows = append(rows, measure{fault, func(g Group) Cell { return of(g, fault) }})
	}
	return rows
}

// latencyRows are latencies over the whole run and during each fault.
func latencyRows(groups []Group, of func(Latency) time.Duration) []measure {
	whole := measure{"the whole run", func(g Group) Cell {
		slowest := time.Duration(0)
		for _, r := range g.Runs {
			slowest = max(slowest, of(r.Availability.Latency))
		}
		return latencyCell(slowest)
	}}
	return append([]measure{whole}, faultRows(groups, func(g Group, fault string) Cell {
		return latencyCell(g.latency(fault, of))
	})...)
}

func latencyCell(d time.Duration) Cell {
	if d == 0 {
		return Cell{}
	}
	return Cell{Text: short(d)}
}

// latency is the slowest of the group during a fault; 0 where nothing succeeded.
func (g Group) latency(fault string, of func(Latency) time.Duration) time.Duration {
	slowest := time.Duration(0)
	for _, f := range g.during(fault) {
		slowest = max(slowest, of(f.Latency))
	}
	return slowest
}

func faultKinds(groups ...Group) []string {
	kinds := map[string]bool{}
	for _, g := range groups {
		for _, r := range g.Runs {
			for _, f := range r.Availability.Faults {
				kinds[kindOfFault(f.Fault)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(kinds))
}

func longestCell(of func(FaultAvailability) time.Duration) func(Group, string) Cell {
	return func(g Group, fault string) Cell {
		longest := time.Duration(-1)
		for _, f := range g.during(fault) {
			longest = max(longest, of(f))
		}
		if longest < 0 {
			return Cell{}
		}
		return Cell{Text: short(longest)}
	}
}

// figureRows are the checks' figures, the worst of each group.
func figureRows(groups []Group) []measure {
	names := map[string]bool{}
	for _, g := range groups {
		for _, r := range g.Runs {
			for _, c := range r.Checks {
				for n := range c.Figures {
					names[n] = true
				}
			}
		}
	}
	var rows []measure
	for _, name := range slices.Sorted(maps.Keys(names)) {
		rows = append(rows, measure{figure(name, 0).Name, func(g Group) Cell {
			v, ok := g.figure(name)
			if !ok {
				return Cell{}
			}
			return Cell{Text: figure(name, v).Value}
		}})
	}
	return rows
}

// figure is the mean of a figure over the runs that have it.
func (g Group) figure(name string) (mean float64, ok bool) {
	sum, n := 0.0, 0
	for _, r := range g.Runs {
		for _, c := range r.Checks {
			if v, has := c.Figures[name]; has {
				sum += v
				n++
			}
		}
	}
	if n == 0 {
		return 0, false
	}
	return sum / float64(n), true
}
