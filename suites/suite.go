// Package suites is a matrix of runs with what is expected of them: read from
// YAML, expanded, executed by a function that runs one test, and summed up.
package suites

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports"
)

// maxRuns bounds the runs of a suite, all repeats counted.
const maxRuns = 10_000

// Suite is runs with what is expected of them.
type Suite struct {
	Name, Description string
	File              string
	// Budget is the time after which no further run starts; 0 for none.
	Budget time.Duration
	// Seed is what all seeds are drawn from; 0 leaves it to the caller.
	Seed  uint64
	Cases []Case
}

// Case is one cell of a matrix: a run, done once or several times.
type Case struct {
	Name string
	// Pos is where it stands: file:line:column.
	Pos   string
	Flags []Flag
	// Of says how often to run it, Need in how many of these runs what is expected
	// must come about.
	Of, Need int
	// Retries says how often a run that comes out unknown, where that was not
	// expected, is done once more: a busy machine can leave a run without the
	// successes that it needs. What was found is never retried.
	Retries int
	Expect  Expect
}

// Flag is one flag of `faultline run`.
type Flag struct{ Name, Value string }

// Expect is what must come of a run.
type Expect struct {
	// Any takes every verdict.
	Any     bool
	Verdict checker.Verdict
	// Anomalies must all be found; each may list alternatives.
	Anomalies [][]string
	// Ladder is what must come of consistency models.
	Ladder map[string]checker.Verdict
}

// String is "invalid with stale-read".
func (e Expect) String() string {
	s := e.Verdict.String()
	if e.Any {
		s = "any verdict"
	}
	var names []string
	for _, a := range e.Anomalies {
		names = append(names, strings.Join(a, " or "))
	}
	if len(names) > 0 {
		s += " with " + strings.Join(names, ", ")
	}
	words := []string{s}
	for _, model := range slices.Sorted(maps.Keys(e.Ladder)) {
		words = append(words, model+" "+e.Ladder[model].String())
	}
	return strings.Join(words, ", ")
}

// Met says whether results are what was expected.
func (e Expect) Met(r reports.Results) bool {
	if r.Error != "" || !e.Any && r.Verdict != e.Verdict {
		return false
	}
	counts := r.AnomalyCounts()
	for _, alternatives := range e.Anomalies {
		if !slices.ContainsFunc(alternatives, func(name string) bool { return counts[name] > 0 }) {
			return false
		}
	}
	for model, want := range e.Ladder {
		if r.Ladder[model] != want {
			return false
		}
	}
	return true
}

// Args are the flags of `faultline run` for one run of the case.
func (c Case) Args(seed uint64) []string {
	var args []string
	for _, f := range c.Flags {
		if f.Name != "seed" {
			args = append(args, "--"+f.Name+"="+f.Value)
		}
	}
	return append(args, fmt.Sprintf("--seed=%d", seed))
}

// Flag is the value of a flag, "" if it is not given.
func (c Case) Flag(name string) string {
	for _, f := range c.Flags {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Time is about how long the case takes: what its runs ask for, and as much again
// as coming up, settling and judging take.
func (c Case) Time() time.Duration {
	const around, simulated = 3 * time.Second, time.Second
	if c.Flag("on") == "sim" {
		return time.Duration(c.Of) * simulated // virtual time costs little
	}
	d, err := time.ParseDuration(c.Flag("time"))
	if err != nil {
		d = 10 * time.Second
	}
	return time.Duration(c.Of) * (d + around)
}

// Runs is how many runs the suite has.
func (s Suite) Runs() int {
	n := 0
	for _, c := range s.Cases {
		n += c.Of
	}
	return n
}

// Shard is the part i of n (from 1) of the suite: whole cases, the longest first
// to the shard that has least to do, so that all shards take about as long.
func (s Suite) Shard(i, n int) Suite {
	order := make([]int, len(s.Cases))
	for k := range order {
		order[k] = k
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(s.Cases[b].Time() - s.Cases[a].Time()) })
	load := make([]time.Duration, n)
	mine := map[int]bool{}
	for _, k := range order {
		least := 0
		for j := range load {
			if load[j] < load[least] {
				least = j
			}
		}
		load[least] += s.Cases[k].Time()
		mine[k] = least == i-1
	}
	part := s
	part.Cases = nil
	for k, c := range s.Cases {
		if mine[k] {
			part.Cases = append(part.Cases, c)
		}
	}
	return part
}
