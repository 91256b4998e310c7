package reports

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/reports/plain"
)

func (p *page) faults() {
	for i, f := range p.R.Faults {
		if i == pageFaults {
			p.FaultsLeft = fmt.Sprintf("and %s more, all in %s", thousands(len(p.R.Faults)-i), ResultsFile)
			break
		}
		to := "not over"
		if f.End > 0 {
			to = clock(f.End)
		}
		p.Faults = append(p.Faults, pageFault{
			Fault: f.Fault, On: strings.Join(f.Targets, ", "), From: clock(f.Start), To: to, Color: p.colors[f.Fault],
			Bit: f.Bit, Healed: f.Healed, Evidence: evidence(f.Evidence), Gone: evidence(f.Gone),
		})
	}
	p.Faults, p.MoreFaults = unfolded(p.Faults)
	for _, name := range slices.Sorted(maps.Keys(p.colors)) {
		p.Strips = append(p.Strips, strip{Name: name})
	}
}

// evidence is what a probe saw, in lines.
func evidence(v any) []fact {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		var facts []fact
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if len(facts) == 24 {
				return append(facts, fact{"", fmt.Sprintf("and %d more", len(v)-24)})
			}
			facts = append(facts, fact{k, evidenceText(v[k])})
		}
		return facts
	case []any:
		var facts []fact
		for _, e := range v {
			if len(facts) == 24 {
				return append(facts, fact{"", fmt.Sprintf("and %d more", len(v)-24)})
			}
			facts = append(facts, fact{"", evidenceText(e)})
		}
		return facts
	}
	return []fact{{"", evidenceText(v)}}
}

func evidenceText(v any) string {
	switch v := v.(type) {
	case string:
		return plain.Clip(v, 400)
	case map[string]any: // the states of nodes, say
		var words []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			words = append(words, k+" "+evidenceText(v[k]))
		}
		return plain.Clip(strings.Join(words, ", "), 400)
	case []any: // of names, say
		words := make([]string, len(v))
		for i, x := range v {
			s, ok := x.(string)
			if !ok {
				return plain.Clip(compact(v), 400)
			}
			words[i] = s
		}
		return plain.Clip(strings.Join(words, ", "), 400)
	}
	return plain.Clip(compact(v), 400)
}

func row(name string, c Count) countRow {
	r := countRow{name, thousands(c.Total), thousands(c.OK), thousands(c.Fail), thousands(c.Info), "–"}
	if c.Total > 0 {
		r.Share = percent(c.Share())
	}
	return r
}

func (p *page) counts() {
	r := p.R
	for _, n := range slices.Sorted(maps.Keys(r.Availability.Nodes)) {
		p.Nodes = append(p.Nodes, row(n, r.Availability.Nodes[n]))
	}
	for _, f := range slices.Sorted(maps.Keys(r.Ops.ByF)) {
		p.Kinds = append(p.Kinds, row(f, r.Ops.ByF[f]))
	}
	p.Kinds = append(p.Kinds, row("all", r.Ops.Count))
	for i, f := range r.Availability.Faults {
		if i == pageFaults {
			break
		}
		x := recoveryRow{
			Fault: f.Fault, From: clock(f.Start), Attempts: thousands(f.During.Total), Share: "–", P50: "–", P99: "–",
			Outage: short(f.Outage), Recovery: "not seen", Color: p.colors[f.Fault],
		}
		if f.During.Total > 0 {
			x.Share = percent(f.During.Share())
		}
		if f.Latency.P99 > 0 {
			x.P50, x.P99 = short(f.Latency.P50), short(f.Latency.P99)
		}
		if f.Recovery >= 0 {
			x.Recovery = short(f.Recovery)
		}
		p.Recovery = append(p.Recovery, x)
	}
	p.Recovery, p.MoreRecovery = unfolded(p.Recovery)
}

// unfolded parts rows that are seen at once from those that are folded away.
func unfolded[T any](rows []T) (first, more []T) {
	n := min(len(rows), openFaults)
	return rows[:n], rows[n:]
}

func (p *page) checks() {
	for _, c := range p.R.Checks {
		x := pageCheck{
			Checker: c.Checker, Engine: c.Engine, Verdict: c.Verdict.String(), Ops: thousands(c.Ops),
			Time: short(c.Duration), Memory: bytesWords(c.PeakBytes), Reason: c.Reason,
		}
		for _, k := range slices.Sorted(maps.Keys(c.Figures)) {
			x.Figures = append(x.Figures, figure(k, c.Figures[k]))
			if strings.HasPrefix(k, "stale") {
				p.Staleness = append(p.Staleness, figure(k, c.Figures[k]))
			}
		}
		p.Checks = append(p.Checks, x)
	}
	broken := rungAnomalies(p.R)
	for _, name := range rungs(p.R.Ladder) {
		p.Ladder = append(p.Ladder, rung{
			Name: name, Verdict: p.R.Ladder[name].String(), What: rungWords(name), Why: together(upper(broken[name].Explain)), Named: named(broken[name].Ops),
		})
	}
}

// figure is a number by its name, whose last word is its unit.
func figure(name string, v float64) fact {
	words := strings.ReplaceAll(name, "_", " ")
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if v != float64(int64(v)) {
		text = digits(v)
	} else if v >= 1000 && v < 1e15 {
		text = thousands(int(v))
	}
	for _, u := range []struct{ suffix, unit string }{{" percent", " %"}, {" ns", ""}, {" ms", " ms"}} {
		if s, ok := strings.CutSuffix(words, u.suffix); ok {
			words = s
			if u.suffix == " ns" {
				text = short(time.Duration(v))
			}
			text += u.unit
		}
	}
	return fact{words, text}
}

func rungWords(name string) string {
	switch name {
	case "linearizable":
		return "each operation takes effect at one moment between call and return"
	case "sequential":
		return "one order explains everything and keeps each client's own order"
	case "causal":
		return "who sees an effect has seen its causes"
	case "pram":
		return "each client's writes are seen in its order"
	case "writes-follow-reads":
		return "a write comes after what its writer had read"
	case "read-your-writes":
		return "a client sees its own writes"
	case "monotonic-reads":
		return "a client never sees the past again"
	case "monotonic-writes":
		return "a client's writes take effect in its order"
	case "eventual":
		return "after healing, all nodes agree"
	}
	return ""
}
