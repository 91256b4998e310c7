package reports

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports/plain"
)

// notes say above everything else what weakens the run.
func (p *page) notes() {
	r := p.R
	if len(r.Power.Missing) > 0 {
		p.Notes = append(p.Notes, note{"This run cannot vouch for the system:", r.Power.Missing})
	}
	var soft []string
	for _, f := range r.Faults {
		if !f.Bit || f.Relevant != nil {
			soft = append(soft, faultWords(f)+evidenceWords(f.Evidence))
		}
	}
	if len(soft) > 0 {
		left := max(0, len(soft)-8)
		soft = soft[:len(soft)-left]
		if left > 0 {
			soft = append(soft, fmt.Sprintf("and %d more", left))
		}
		p.Notes = append(p.Notes, note{"Faults that no probe saw take effect:", soft})
	}
	if h := p.src.History; h != nil && !h.Ended {
		p.Notes = append(p.Notes, note{"The history was cut short: what was open at its end is of unknown fate.", nil})
	}
}

// evidenceWords is what a probe saw, in a line.
func evidenceWords(v any) string {
	var words []string
	for _, f := range evidence(v) {
		words = append(words, strings.TrimSpace(f.Name+" "+f.Value))
	}
	if len(words) == 0 {
		return ""
	}
	return "; the probe saw " + plain.Clip(strings.Join(words, ", "), 160)
}

func (p *page) anomalies() {
	var windows []window
	for i, a := range p.R.Anomalies {
		if i >= pageAnomalies {
			break
		}
		x := p.anomaly(a, i+1)
		x.Open = !slices.ContainsFunc(p.Anomalies, func(b pageAnomaly) bool { return b.Name == a.Name })
		p.Anomalies = append(p.Anomalies, x)
		windows = append(windows, x.window)
	}
	if t := p.src.Test; t != nil {
		logs := readLogs(p.src.Dir, t.Started, windows)
		for i := range p.Anomalies {
			p.Anomalies[i].Logs = logs[i]
		}
	}
	for i, a := range p.R.Anomalies[min(len(p.R.Anomalies), pageAnomalies):] {
		if i == pageMore {
			break
		}
		p.More = append(p.More, pageAnomaly{
			No: i + pageAnomalies + 1, Name: a.Name, Key: a.Key, Explain: together(upper(a.Explain)), Named: named(a.Ops),
		})
	}
	if n := len(p.R.Anomalies) - pageAnomalies; n > 0 {
		p.MoreText = plural(n, "more anomaly")
		if n > pageMore {
			p.MoreText += fmt.Sprintf(", of which the first %d are listed; all stand in %s", pageMore, ResultsFile)
		}
	}
	if len(p.Anomalies) > 0 {
		p.Lead = together(p.Anomalies[0].Explain)
	}
}

// named are so many of the operations that an explanation is about as are linked.
func named(ops []int) []int { return ops[:min(len(ops), 12)] }

func (p *page) anomaly(a Anomaly, no int) pageAnomaly {
	w := newWitness(p.src.History, a, no)
	x := pageAnomaly{No: no, Name: a.Name, Key: a.Key, Explain: together(upper(a.Explain)), Drawing: w.draw(p.R.Faults, p.colors)}
	if len(w.spans) == 0 {
		x.Left = "The history beside this page does not have the operations of the witness."
		return x
	}
	if w.left > 0 {
		x.Left = plural(w.left, "more operation") + " of the witness, not shown here"
	}
	x.window = window{w.from, w.to}
	at := w.to
	if a.Time > 0 {
		at = a.Time
	}
	x.When = "at " + clock(at) + " of the run"
	x.States = p.states(w.from, w.to)
	for _, s := range w.spans {
		row := opRow{
			Index: s.Index, Process: strconv.Itoa(int(s.Process)), Node: s.Node, Asked: asked(s.Operation), Came: came(s.Operation),
			Error: plain.Clip(s.Error, 120), From: clock(s.Invoke), To: clock(s.Return), Culprit: s.culprit,
		}
		if s.Version != 0 {
			row.Version, x.Versions = strconv.FormatInt(s.Version, 10), true
		}
		x.Ops = append(x.Ops, row)
		x.Raw = append(x.Raw, raw(s.Operation)...)
	}
	return x
}

// raw are the events of an operation as they stand in the history.
func raw(o history.Operation) []string {
	var lines []string
	events := []history.Op{{
		Index: o.Index, Time: o.Invoke, Process: o.Process, Type: history.Invoke, F: o.F, Key: o.Key, Value: o.In, Node: o.Node,
	}}
	if o.Ret >= 0 {
		events = append(events, history.Op{
			Index: o.Ret, Time: o.Done, Process: o.Process, Type: o.Type, F: o.F, Key: o.Key, Value: o.Out,
			Observed: o.Observed, Node: o.Node, Version: o.Version, Error: o.Error,
		})
	}
	for _, e := range events {
		b, err := history.AppendJSON(nil, e)
		if err != nil {
			b = []byte(err.Error())
		}
		lines = append(lines, plain.Clip(string(b), pageRaw))
	}
	return lines
}

// states say what each node went through while something happened.
func (p *page) states(from, to time.Duration) []nodeState {
	if p.src.Test == nil || len(p.R.Faults) == 0 {
		return nil
	}
	var states []nodeState
	acting := during(p.R.Faults, from, to)
	names := slices.Clone(p.src.Test.Nodes)
	for _, f := range acting { // the clients, say
		for _, n := range f.Targets {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	for _, n := range names {
		var hit []string
		for _, f := range acting {
			if slices.Contains(f.Targets, n) && !slices.Contains(hit, f.Fault) {
				hit = append(hit, f.Fault)
			}
		}
		s := nodeState{Node: n, Text: "undisturbed", Hit: len(hit) > 0}
		if s.Hit {
			s.Text = "under " + list(hit)
		}
		states = append(states, s)
	}
	return states
}
