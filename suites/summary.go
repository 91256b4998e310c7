package suites

import (
	"bytes"
	_ "embed" // the page's template
	"encoding/xml"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports"
)

//go:embed assets/summary.html.tmpl
var summaryTemplate string

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
	runs := 0
	for _, c := range m.Cases {
		count[c.State]++
		runs += len(c.Runs)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d cases as expected, in %d runs", m.Suite.Name, count[Expected], len(m.Cases), runs)
	for _, st := range []State{Unexpected, Untested, Undecided, Skipped} {
		if count[st] > 0 {
			fmt.Fprintf(&b, "; %d %s", count[st], st)
		}
	}
	return b.String() + "."
}

// Bound says how rare anomalies are at most, at 95 %, where none was found; ""
// where that says nothing.
func (c CaseSummary) Bound() string {
	n := 0
	for _, o := range c.Runs {
		if o.Results.Verdict != checker.Valid {
			return ""
		}
		n++
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

// WriteText writes the summary for a terminal.
func (m Summary) WriteText(w io.Writer) error {
	var b bytes.Buffer
	width := 0
	for _, c := range m.Cases {
		width = max(width, len([]rune(c.Name)))
	}
	for _, c := range m.Cases {
		fmt.Fprintf(&b, "%-10s  %s%s  %d of %d  %s", c.State, printable(c.Name), strings.Repeat(" ", width-len([]rune(c.Name))), c.Met, c.Of, c.Expect)
		if f := c.Found(); f != "" {
			fmt.Fprintf(&b, "; found %s", printable(f))
		}
		b.WriteByte('\n')
		if c.State == Expected {
			continue
		}
		for _, why := range c.Why() {
			fmt.Fprintf(&b, "            %s\n", printable(why))
		}
		for _, o := range c.Runs {
			if o.State != Expected && o.Folder != "" {
				fmt.Fprintf(&b, "            %s\n", o.Folder)
			}
		}
	}
	fmt.Fprintf(&b, "%s\n", printable(m.Sentence()))
	_, err := w.Write(b.Bytes())
	return err
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}

// WriteMarkdown writes the summary for a CI job's page.
func (m Summary) WriteMarkdown(w io.Writer) error {
	var b bytes.Buffer
	mark := map[State]string{Expected: "🟢", Unexpected: "🔴", Undecided: "🟡", Untested: "⚪", Skipped: "⚪"}
	fmt.Fprintf(&b, "## %s %s\n\n", mark[m.State()], reports.Markdown(m.Sentence()))
	b.WriteString("| | case | runs as expected | expected | found |\n|---|---|--:|---|---|\n")
	for _, c := range m.Cases {
		found := c.Found()
		if found == "" {
			found = c.Bound()
		}
		fmt.Fprintf(&b, "| %s %s | %s | %d of %d | %s | %s |\n", mark[c.State], c.State, reports.Markdown(c.Name), c.Met, c.Of, reports.Markdown(c.Expect.String()), reports.Markdown(found))
	}
	for _, c := range m.Cases {
		if c.State == Expected {
			continue
		}
		fmt.Fprintf(&b, "\n**%s**\n\n", reports.Markdown(c.Name))
		for _, why := range c.Why() {
			fmt.Fprintf(&b, "- %s\n", reports.Markdown(why))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteAnnotations writes what is not as expected as workflow commands of a CI
// service.
func (m Summary) WriteAnnotations(w io.Writer) error {
	var b strings.Builder
	for _, c := range m.Cases {
		level := map[State]string{Unexpected: "error", Untested: "error", Skipped: "warning", Undecided: "warning"}[c.State]
		if level != "" {
			text := fmt.Sprintf("expected %s, %d of %d runs were\n%s", c.Expect, c.Met, c.Of, strings.Join(c.Why(), "\n"))
			b.WriteString(reports.Annotation(level, "faultline "+m.Suite.Name+": "+c.Name, text))
		}
	}
	b.WriteString(reports.Annotation("notice", "faultline "+m.Suite.Name, m.Sentence()))
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteHTML writes the summary as one self-contained page that links the runs.
func (m Summary) WriteHTML(w io.Writer) error {
	t, err := template.New("suite").Parse(summaryTemplate)
	if err != nil {
		return fmt.Errorf("suites: the summary's template: %w", err)
	}
	link := m.Link
	if link == nil {
		link = func(folder string) string { return folder }
	}
	class := map[State]string{Expected: "valid", Unexpected: "invalid", Undecided: "unknown"}
	type run struct{ Link, Label, Class, Title string }
	type row struct {
		CaseSummary
		Class string
		Links []run
	}
	var rows []row
	for _, c := range m.Cases {
		r := row{CaseSummary: c, Class: class[c.State]}
		for _, o := range c.Runs {
			l := ""
			if o.Folder != "" {
				l = link(o.Folder) + "/" + reports.IndexFile
			}
			r.Links = append(r.Links, run{l, marks()[o.State], class[o.State], fmt.Sprintf("%s: seed %d, %s, %s", o.State, o.Seed, o.Results.Verdict, o.Took.Round(100*time.Millisecond))})
		}
		rows = append(rows, r)
	}
	return t.Execute(w, map[string]any{
		"M": m, "Rows": rows, "Class": class[m.State()], "State": m.State(), "Style": template.CSS(reports.Style()), //nolint:gosec // our own file
	})
}

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Name    string       `xml:"name,attr"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitProblem `xml:"failure,omitempty"`
	Error   *junitProblem `xml:"error,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes summaries as JUnit XML: a suite each, a test a case. What is
// not expected fails; what could not be tested, decided or run is an error.
func WriteJUnit(w io.Writer, summaries ...Summary) error {
	all := junitSuites{Name: "faultline"}
	for _, m := range summaries {
		all.Suites = append(all.Suites, m.junit())
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return fmt.Errorf("suites: JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (m Summary) junit() junitSuite {
	s := junitSuite{Name: printable(m.Suite.Name)}
	total := time.Duration(0)
	for _, c := range m.Cases {
		x, took := c.junit(s.Name)
		total += took
		s.Tests++
		if x.Failure != nil {
			s.Failures++
		}
		if x.Error != nil {
			s.Errors++
		}
		s.Cases = append(s.Cases, x)
	}
	s.Time = fmt.Sprintf("%.3f", total.Seconds())
	return s
}

func (c CaseSummary) junit(suite string) (junitCase, time.Duration) {
	x := junitCase{Name: printable(c.Name), Class: "faultline." + suite}
	took := time.Duration(0)
	var out []string
	for _, o := range c.Runs {
		took += o.Took
		out = append(out, fmt.Sprintf("%s seed %d %s %s", o.State, o.Seed, o.Results.Verdict, o.Folder))
	}
	x.Time, x.Out = fmt.Sprintf("%.3f", took.Seconds()), printableLines(out)
	problem := &junitProblem{
		Message: printable(fmt.Sprintf("expected %s in %d of %d runs, but %d were: %s", c.Expect, c.Need, c.Of, c.Met, strings.Join(c.Why(), "; "))),
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
		b.WriteString(printable(l) + "\n")
	}
	return b.String()
}
