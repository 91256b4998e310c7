package reports

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports/junit"
	"github.com/faultline-dev/faultline/reports/plain"
)

// junitAnomalies bounds the anomalies that a test case tells.
const junitAnomalies = 20

// WriteJUnit writes runs as JUnit XML: a suite a run, a case a check, and one for
// the run's power. An anomaly is a failure; what is unknown or could not be
// tested is an error, so that no CI takes it for a pass.
func WriteJUnit(w io.Writer, runs ...Results) error {
	var all []junit.Suite
	for _, r := range runs {
		all = append(all, junitRun(r))
	}
	return junit.Write(w, "", all)
}

func junitRun(r Results) junit.Suite {
	name := "faultline." + r.System + "." + r.Workload
	s := junit.Suite{Name: name, Time: junit.Seconds(r.Duration)}
	if r.Run != "" {
		s.Name = r.Run
	}
	if !r.Started.IsZero() {
		s.Timestamp = r.Started.UTC().Format("2006-01-02T15:04:05")
	}
	s.Properties = &junit.Properties{}
	for _, p := range []junit.Property{
		{Name: "system", Value: r.System},
		{Name: "version", Value: r.Version},
		{Name: "workload", Value: r.Workload},
		{Name: "nemesis", Value: strings.Join(r.Nemesis, ",")},
		{Name: "on", Value: r.On},
		{Name: "seed", Value: strconv.FormatUint(r.Seed, 10)},
		{Name: "verdict", Value: r.Verdict.String()},
		{Name: "reproduce", Value: r.Reproduce},
	} {
		s.Properties.All = append(s.Properties.All, junit.Property{Name: p.Name, Value: plain.Clean(p.Value)})
	}
	if r.Error != "" {
		s.Add(junit.Case{Name: "run", Class: name, Time: s.Time, Error: &junit.Problem{Message: plain.Clean(Sentence(r)), Type: "not-tested", Text: plain.Clean(r.Error)}})
		return s
	}
	for _, c := range r.Checks {
		s.Add(junitCheck(r, c, name))
	}
	if c, bad := junitRest(r, name); bad || len(r.Checks) == 0 {
		s.Add(c)
	}
	return s
}

func junitCheck(r Results, c Check, class string) junit.Case {
	x := junit.Case{Name: plain.Clean(c.Checker), Class: class, Time: junit.Seconds(c.Duration)}
	switch c.Verdict {
	case checker.Invalid:
		x.Failure = &junit.Problem{Message: plain.Clean(Sentence(r)), Type: "anomaly", Text: junitText(r, c.Checker)}
	case checker.Unknown:
		x.Error = &junit.Problem{Message: plain.Clean(c.Checker + ": " + c.Reason), Type: "unknown", Text: plain.Clean(c.Reason)}
	case checker.Valid:
	}
	return x
}

// junitRest is the case for what no checker stands for: the run's power, and a
// verdict that is worse than every check's.
func junitRest(r Results, class string) (junit.Case, bool) {
	x := junit.Case{Name: "power", Class: class, Time: junit.Seconds(0)}
	verdict := checker.Valid
	for _, c := range r.Checks {
		verdict = checker.Merge(verdict, c.Verdict)
	}
	if r.Verdict != verdict && r.Verdict == checker.Unknown || len(r.Power.Missing) > 0 && r.Verdict != checker.Valid {
		x.Error = &junit.Problem{Message: plain.Clean(unknownWhy(r)), Type: "unknown", Text: plain.Clean(strings.Join(r.Power.Missing, "\n"))}
		return x, true
	}
	if r.Verdict == checker.Invalid && verdict != checker.Invalid {
		x.Name, x.Failure = "run", &junit.Problem{Message: plain.Clean(Sentence(r)), Type: "anomaly", Text: junitText(r, "")}
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
		fmt.Fprintf(&b, "%s on %q, events %v: %s\n", plain.Clean(a.Name), plain.Clean(a.Key), a.Ops, plain.Clean(a.Explain))
	}
	if r.Reproduce != "" {
		fmt.Fprintf(&b, "reproduce: %s\n", plain.Clean(r.Reproduce))
	}
	return b.String()
}
