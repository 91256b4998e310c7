package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
)

// The elements of JUnit XML as CI services read them.
type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr,omitempty"`
	Properties []junitProperty `xml:"properties>property,omitempty"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	Class     string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"`
	Failure   *junitProblem `xml:"failure,omitempty"`
	Error     *junitProblem `xml:"error,omitempty"`
	SystemOut string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// junitAnomalies bounds the anomalies that a test case tells.
const junitAnomalies = 20

// WriteJUnit writes runs as JUnit XML: a suite a run, a case a check, and one for
// the run's power. An anomaly is a failure; what is unknown or could not be
// tested is an error, so that no CI takes it for a pass.
func WriteJUnit(w io.Writer, runs ...Results) error {
	var all junitSuites
	for _, r := range runs {
		all.Suites = append(all.Suites, junitRun(r))
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return fmt.Errorf("reports: %s: %w", JUnitFile, err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitRun(r Results) junitSuite {
	name := "faultline." + r.System + "." + r.Workload
	s := junitSuite{Name: name, Time: seconds(r.Duration)}
	if r.Run != "" {
		s.Name = r.Run
	}
	if !r.Started.IsZero() {
		s.Timestamp = r.Started.UTC().Format("2006-01-02T15:04:05")
	}
	for _, p := range []junitProperty{
		{"system", r.System},
		{"version", r.Version},
		{"workload", r.Workload},
		{"nemesis", strings.Join(r.Nemesis, ",")},
		{"on", r.On},
		{"seed", strconv.FormatUint(r.Seed, 10)},
		{"verdict", r.Verdict.String()},
		{"reproduce", r.Reproduce},
	} {
		s.Properties = append(s.Properties, junitProperty{p.Name, clean(p.Value)})
	}
	if r.Error != "" {
		s.add(junitCase{Name: "run", Class: name, Time: s.Time, Error: &junitProblem{clean(Sentence(r)), "not-tested", clean(r.Error)}})
		return s
	}
	for _, c := range r.Checks {
		s.add(junitCheck(r, c, name))
	}
	if c, bad := junitRest(r, name); bad || len(r.Checks) == 0 {
		s.add(c)
	}
	return s
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Error != nil {
		s.Errors++
	}
	s.Cases = append(s.Cases, c)
}

func junitCheck(r Results, c Check, class string) junitCase {
	x := junitCase{Name: clean(c.Checker), Class: class, Time: seconds(c.Duration)}
	switch c.Verdict {
	case checker.Invalid:
		x.Failure = &junitProblem{clean(Sentence(r)), "anomaly", junitText(r, c.Checker)}
	case checker.Unknown:
		x.Error = &junitProblem{clean(c.Checker + ": " + c.Reason), "unknown", clean(c.Reason)}
	case checker.Valid:
	}
	return x
}

// junitRest is the case for what no checker stands for: the run's power, and a
// verdict that is worse than every check's.
func junitRest(r Results, class string) (junitCase, bool) {
	x := junitCase{Name: "power", Class: class, Time: seconds(0)}
	verdict := checker.Valid
	for _, c := range r.Checks {
		verdict = checker.Merge(verdict, c.Verdict)
	}
	if r.Verdict != verdict && r.Verdict == checker.Unknown || len(r.Power.Missing) > 0 && r.Verdict != checker.Valid {
		x.Error = &junitProblem{clean(unknownWhy(r)), "unknown", clean(strings.Join(r.Power.Missing, "\n"))}
		return x, true
	}
	if r.Verdict == checker.Invalid && verdict != checker.Invalid {
		x.Name, x.Failure = "run", &junitProblem{clean(Sentence(r)), "anomaly", junitText(r, "")}
		return x, true
	}
	return x, false
}

func junitText(r Results, of string) string {
	var b strings.Builder
	n := 0
	for _, a := range r.Anomalies {
		if a.Checker != of && a.Checker != "" && of != "" {
			continue
		}
		if n == junitAnomalies {
			b.WriteString("and more, all in " + ResultsFile + "\n")
			break
		}
		n++
		fmt.Fprintf(&b, "%s on %q, events %v: %s\n", clean(a.Name), clean(a.Key), a.Ops, clean(a.Explain))
	}
	if r.Reproduce != "" {
		fmt.Fprintf(&b, "reproduce: %s\n", clean(r.Reproduce))
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
