// Package reports is what a run leaves behind: its folder, results.json, and the
// pages and texts made of it. Every report is a pure function of a run's folder,
// so that it can be written again at any time.
package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// Format is the version of results.json and test.json that this package writes.
const Format = 1

// Results is results.json: what was judged, and what of it was found.
type Results struct {
	Format  int             `json:"format"`
	Verdict checker.Verdict `json:"verdict"`
	// Reason says why the verdict is unknown.
	Reason string `json:"reason,omitempty"`
	// Error says why the system could not be tested at all; the verdict is then
	// unknown.
	Error    string   `json:"error,omitempty"`
	Run      string   `json:"run,omitempty"` // the folder's name
	System   string   `json:"system"`
	Version  string   `json:"version"`
	Bug      string   `json:"bug,omitempty"` // a planted bug of a bundled store
	Workload string   `json:"workload"`
	Nemesis  []string `json:"nemesis"`
	// Options are those of the system, the workload and the faults that were given.
	Options map[string]string `json:"options,omitempty"`
	On      string            `json:"on"`
	// Seed lies within the 53 bits that every JSON reader keeps.
	Seed         uint64                     `json:"seed"`
	Nodes        int                        `json:"nodes"`
	Concurrency  int                        `json:"concurrency"`
	Started      time.Time                  `json:"started,omitzero"`
	Duration     time.Duration              `json:"duration_ns"`
	Ops          Ops                        `json:"ops"`
	Checks       []Check                    `json:"checks"`
	Anomalies    []Anomaly                  `json:"anomalies"`
	Ladder       map[string]checker.Verdict `json:"ladder"`
	Availability Availability               `json:"availability"`
	Power        Power                      `json:"power"`
	Faults       []Fault                    `json:"faults"`
	// Reproduce is the command that does the same again.
	Reproduce string `json:"reproduce"`
}

// Count is how operations ended.
type Count struct {
	Total int `json:"total"`
	OK    int `json:"ok"`
	Fail  int `json:"fail"`
	Info  int `json:"info"`
}

// count is one operation that ended so.
func count(t history.Type) Count {
	switch t {
	case history.OK:
		return Count{Total: 1, OK: 1}
	case history.Fail:
		return Count{Total: 1, Fail: 1}
	case history.Info, history.Invoke:
	}
	return Count{Total: 1, Info: 1}
}

// Share is the part of the attempts that succeeded; 0 without attempts.
func (c Count) Share() float64 {
	if c.Total == 0 {
		return 0
	}
	return float64(c.OK) / float64(c.Total)
}

// Ops counts a run's operations, in all and by their kind.
type Ops struct {
	Count
	ByF map[string]Count `json:"by_f"`
}

// CountOps counts the operations of h.
func CountOps(h *history.History) Ops {
	ops := Ops{ByF: map[string]Count{}}
	fs := h.Fs()
	by := make([]Count, len(fs))
	for i := range h.Len() {
		one := count(h.Type(i))
		ops.Count = ops.plus(one)
		by[h.FID(i)] = by[h.FID(i)].plus(one)
	}
	for i, f := range fs {
		ops.ByF[f] = by[i]
	}
	return ops
}

// Check is one checker's judgement, its anomalies apart.
type Check struct {
	Checker   string             `json:"checker"`
	Engine    string             `json:"engine"`
	Verdict   checker.Verdict    `json:"verdict"`
	Ops       int                `json:"ops"`
	Duration  time.Duration      `json:"duration_ns"`
	PeakBytes int64              `json:"peak_bytes"`
	Reason    string             `json:"reason"`
	Figures   map[string]float64 `json:"figures,omitempty"`
	Detail    json.RawMessage    `json:"detail,omitempty"`
}

// Anomaly is an anomaly and who found it.
type Anomaly struct {
	checker.Anomaly
	Checker string `json:"checker,omitempty"`
}

// Fault is one fault as it was executed and measured.
type Fault struct {
	ID      string        `json:"id,omitempty"`
	Fault   string        `json:"fault"`
	Targets []string      `json:"targets"`
	Start   time.Duration `json:"start_ns"`
	// End is when the fault had been taken back; 0 where the history does not say.
	End time.Duration `json:"end_ns"`
	// Bit says that a probe saw the fault take effect, Healed that one saw it gone.
	Bit bool `json:"bit"`
	// Relevant is false for a fault that bit what nothing reads, and tested nothing.
	Relevant *bool `json:"relevant,omitempty"`
	Healed   bool  `json:"healed"`
	Evidence any   `json:"evidence"`
	// Gone is the evidence of the probe after healing.
	Gone any `json:"gone,omitempty"`
}

// Power says whether the run could have found anything.
type Power struct {
	Enough bool `json:"enough"`
	// Missing says in words what the run lacked.
	Missing []string    `json:"missing,omitempty"`
	Rules   []PowerRule `json:"rules,omitempty"`
}

// PowerRule is one threshold and what was measured.
type PowerRule struct {
	Rule string `json:"rule"` // what was demanded, in words
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

// Add takes a checker's result in: its judgement, its anomalies, its verdict.
func (r *Results) Add(res checker.Result) error {
	c := Check{
		Checker: res.Checker, Engine: res.Engine, Verdict: res.Verdict, Ops: res.Ops,
		Duration: res.Duration, PeakBytes: res.PeakBytes, Reason: res.Reason, Figures: res.Figures,
	}
	if len(r.Checks) == 0 {
		r.Verdict = res.Verdict
	} else {
		r.Verdict = checker.Merge(r.Verdict, res.Verdict)
	}
	for _, a := range res.Anomalies {
		r.Anomalies = append(r.Anomalies, Anomaly{a, res.Checker})
	}
	detail, err := r.take(res)
	c.Detail = detail
	r.Checks = append(r.Checks, c)
	return err
}

// take moves what a checker's detail has for the whole run into the results and
// returns the rest: the verdicts of a "ladder", and what the checker "power"
// demanded and measured.
func (r *Results) take(res checker.Result) (json.RawMessage, error) {
	if res.Detail == nil {
		return nil, nil
	}
	b, err := json.Marshal(res.Detail)
	if err != nil {
		return nil, fmt.Errorf("reports: the detail of checker %s: %w", res.Checker, err)
	}
	if res.Checker == "power" && json.Unmarshal(b, &r.Power) == nil {
		return nil, nil
	}
	var has struct {
		Ladder map[string]checker.Verdict `json:"ladder"`
	}
	if json.Unmarshal(b, &has) == nil && len(has.Ladder) > 0 {
		if r.Ladder == nil {
			r.Ladder = map[string]checker.Verdict{}
		}
		maps.Copy(r.Ladder, has.Ladder)
	}
	return b, nil
}

// AnomalyCounts are the numbers of anomalies by name.
func (r *Results) AnomalyCounts() map[string]int {
	n := map[string]int{}
	for _, a := range r.Anomalies {
		n[a.Name]++
	}
	return n
}

// Encode writes r as results.json stands in a run's folder: indented, with every
// field of the contract present.
func (r *Results) Encode(w io.Writer) error {
	whole := *r
	whole.Format = Format
	whole.fill()
	b, err := json.MarshalIndent(whole, "", "  ")
	if err != nil {
		return fmt.Errorf("reports: results: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// fill gives every list and table of the contract a value, so that a reader
// never meets null.
func (r *Results) fill() {
	r.Nemesis = filled(r.Nemesis)
	r.Checks = filled(r.Checks)
	r.Anomalies = filled(r.Anomalies)
	r.Faults = filled(r.Faults)
	if r.Ops.ByF == nil {
		r.Ops.ByF = map[string]Count{}
	}
	if r.Ladder == nil {
		r.Ladder = map[string]checker.Verdict{}
	}
	r.Availability.fill()
	anomalies := make([]Anomaly, len(r.Anomalies))
	for i, a := range r.Anomalies {
		a.Ops = filled(a.Ops)
		anomalies[i] = a
	}
	r.Anomalies = anomalies
	faults := make([]Fault, len(r.Faults))
	for i, f := range r.Faults {
		f.Targets = filled(f.Targets)
		faults[i] = f
	}
	r.Faults = faults
}

func filled[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// DecodeResults reads a results.json strictly: an unknown field or another
// format is an error.
func DecodeResults(b []byte) (Results, error) {
	var r Results
	return r, decode(b, &r, func() int { return r.Format })
}

func decode(b []byte, into any, format func() int) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows the JSON object")
	}
	if f := format(); f != Format {
		return fmt.Errorf("format %d, but this faultline reads %d; use the faultline that wrote it", f, Format)
	}
	return nil
}
