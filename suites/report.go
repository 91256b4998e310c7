package suites

import (
	"encoding/json"
	"io"

	"github.com/faultline-dev/faultline/checker"
)

// Report is a summary for machines: suite.json in the suite's folder, and what
// `suite --json` prints a list of.
type Report struct {
	Name  string       `json:"name"`
	State State        `json:"state"`
	Seed  uint64       `json:"seed"`
	Cases []CaseReport `json:"cases"`
}

// CaseReport is a case of it.
type CaseReport struct {
	Name   string      `json:"name"`
	State  State       `json:"state"`
	Expect string      `json:"expect"`
	Met    int         `json:"met"`
	Need   int         `json:"need"`
	Of     int         `json:"of"`
	Runs   []RunReport `json:"runs"`
}

// RunReport is a run of a case.
type RunReport struct {
	Seed      uint64          `json:"seed"`
	State     State           `json:"state"`
	Verdict   checker.Verdict `json:"verdict"`
	Anomalies map[string]int  `json:"anomalies"`
	Run       string          `json:"run"`
	Error     string          `json:"error,omitempty"`
	Tries     []Try           `json:"tries,omitempty"` // unknown, and done once more
}

// Report is the summary for machines.
func (m Summary) Report() Report {
	r := Report{m.Suite.Name, m.State(), m.Seed, []CaseReport{}}
	for _, c := range m.Cases {
		k := CaseReport{c.Name, c.State, c.Expect.String(), c.Met, c.Need, c.Of, []RunReport{}}
		for _, o := range c.Runs {
			k.Runs = append(k.Runs, RunReport{o.Seed, o.State, o.Results.Verdict, o.Results.AnomalyCounts(), o.Folder, o.Error, o.Tries})
		}
		r.Cases = append(r.Cases, k)
	}
	return r
}

// WriteJSON writes the summary for machines.
func (m Summary) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(m.Report())
}
