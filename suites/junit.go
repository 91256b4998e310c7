package suites

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/reports/junit"
	"github.com/faultline-dev/faultline/reports/plain"
)

// WriteJUnit writes summaries as JUnit XML: a suite each, a test a case. What is
// not expected fails; what could not be tested, decided or run is an error.
func WriteJUnit(w io.Writer, summaries ...Summary) error {
	var all []junit.Suite
	for _, m := range summaries {
		all = append(all, m.junit())
	}
	return junit.Write(w, "faultline", all)
}

func (m Summary) junit() junit.Suite {
	s := junit.Suite{Name: plain.Clean(m.Suite.Name)}
	total := time.Duration(0)
	for _, c := range m.Cases {
		x, took := c.junit(s.Name)
		total += took
		s.Add(x)
	}
	s.Time = junit.Seconds(total)
	return s
}

func (c CaseSummary) junit(suite string) (junit.Case, time.Duration) {
	x := junit.Case{Name: plain.Clean(c.Name), Class: "faultline." + suite}
	took := time.Duration(0)
	var out []string
	for _, o := range c.Runs {
		for _, t := range o.Tries {
			took += t.Took
			out = append(out, fmt.Sprintf("seed %d %s %s", o.Seed, t, t.Folder))
		}
		took += o.Took
		out = append(out, fmt.Sprintf("%s seed %d %s %s", o.State, o.Seed, o.Results.Verdict, o.Folder))
	}
	x.Time, x.Out = junit.Seconds(took), printableLines(out)
	problem := &junit.Problem{
		Message: plain.Clean(fmt.Sprintf("expected %s in %d of %d runs, but %d were: %s", c.Expect, c.Need, c.Of, c.Met, strings.Join(c.Why(), "; "))),
		Type:    string(c.State), Text: printableLines(c.Why()),
	}
	switch c.State {
	case Expected, Waiting, Running:
	case Unexpected:
		x.Failure = problem
	case Undecided, Untested, Skipped:
		x.Error = problem
	}
	return x, took
}

func printableLines(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(plain.Clean(l) + "\n")
	}
	return b.String()
}
