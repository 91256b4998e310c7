package suites

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports"
)

// Summary is what came of a suite.
type Summary struct {
	Suite Suite
	Seed  uint64
	Took  time.Duration
	Cases []CaseSummary
	// Link makes the address of a run's folder; nil for the folder itself.
	Link func(folder string) string
}

// CaseSummary is what came of a case.
type CaseSummary struct {
	Case
	State State
	Met   int // runs that came out as expected
	Runs  []Outcome
}

// Sum sums up the outcomes of a suite.
func Sum(s Suite, outcomes []Outcome) Summary {
	m := Summary{Suite: s}
	for i, c := range s.Cases {
		x := CaseSummary{Case: c}
		count := map[State]int{}
		for _, o := range outcomes {
			if o.Case == i {
				x.Runs = append(x.Runs, o)
				count[o.State]++
			}
		}
		x.Met = count[Expected]
		x.State = Expected
		if x.Met < c.Need {
			for _, st := range []State{Unexpected, Untested, Skipped, Undecided} {
				if count[st] > 0 {
					x.State = st
					break
				}
			}
		}
		m.Cases = append(m.Cases, x)
	}
	return m
}

// State is the worst state of all cases: what is unexpected outranks what could
// not be tested, and that an unknown.
func (m Summary) State() State {
	for _, st := range []State{Unexpected, Untested, Skipped, Undecided} {
		if slices.ContainsFunc(m.Cases, func(c CaseSummary) bool { return c.State == st }) {
			return st
		}
	}
	return Expected
}

// Sentence says what came of the suite.
func (m Summary) Sentence() string {
	count := map[State]int{}
	runs, tries := 0, 0
	for _, c := range m.Cases {
		count[c.State]++
		runs += len(c.Runs)
		tries += len(c.Tries())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d cases as expected, in %d runs", m.Suite.Name, count[Expected], len(m.Cases), runs)
	for _, st := range []State{Unexpected, Untested, Undecided, Skipped} {
		if count[st] > 0 {
			fmt.Fprintf(&b, "; %d %s", count[st], st)
		}
	}
	if tries > 0 {
		fmt.Fprintf(&b, "; unknown and done once more: %d", tries)
	}
	return b.String() + "."
}

// Tries are the runs of the case that came out unknown and were done once more.
func (c CaseSummary) Tries() []Try {
	var all []Try
	for _, o := range c.Runs {
		all = append(all, o.Tries...)
	}
	return all
}

// String is "once more after unknown: why".
func (t Try) String() string { return "once more after unknown: " + t.Why }

// Bound says how rare anomalies are at most, at 95 %, where none was found; ""
// where that says nothing.
func (c CaseSummary) Bound() string {
	n := 0
	for _, o := range c.Runs {
		switch o.Results.Verdict {
		case checker.Invalid:
			return ""
		case checker.Valid:
			n++
		case checker.Unknown: // says nothing
		}
	}
	if n < 2 {
		return ""
	}
	return fmt.Sprintf("0 anomalies in %d runs: below %s of the runs at 95 %%", n, rate(n))
}

// rate is the greatest share of runs with anomalies that explains n without any,
// at 95 %.
func rate(n int) string {
	p := 1 - math.Pow(0.05, 1/float64(n))
	return strconv.FormatFloat(100*p, 'g', 2, 64) + " %"
}

// Found are the anomalies of the case's runs, with their numbers.
func (c CaseSummary) Found() string {
	n := map[string]int{}
	for _, o := range c.Runs {
		for name, k := range o.Results.AnomalyCounts() {
			n[name] += k
		}
	}
	var s []string
	for _, name := range slices.Sorted(maps.Keys(n)) {
		s = append(s, fmt.Sprintf("%s × %d", name, n[name]))
	}
	return strings.Join(s, ", ")
}

// Why are the reasons of the runs that did not come out as expected.
func (c CaseSummary) Why() []string {
	var why []string
	for _, o := range c.Runs {
		if o.State == Expected {
			continue
		}
		s := o.Why()
		if s != "" && !slices.Contains(why, s) && len(why) < 3 {
			why = append(why, s)
		}
	}
	return why
}

// Why says why a run is not as expected.
func (o Outcome) Why() string {
	switch o.State {
	case Untested:
		return o.Error
	case Unexpected, Undecided:
		return reports.Sentence(o.Results)
	case Skipped:
		return "not run, or not to its end"
	case Waiting, Running, Expected:
	}
	return ""
}
