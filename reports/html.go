package reports

import (
	"bufio"
	_ "embed" // the page's template, style and script
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker/faults"
	"github.com/faultline-dev/faultline/history"
)

//go:embed assets/index.html.tmpl
var indexTemplate string

//go:embed assets/style.css
var indexStyle string

//go:embed assets/viewer.js
var indexScript string

const (
	pageAnomalies = 10   // told in full
	pageMore      = 300  // listed below them
	pageFaults    = 400  // rows of the table
	pageRaw       = 4000 // runes of a raw event
)

// Source is what a report is made of.
type Source struct {
	Results Results
	Test    *Test            // nil where there is none
	History *history.History // nil where there is none
	Dir     string           // the run's folder, for the nodes' logs; "" for none
	Files   []string         // that stand beside the page
}

// page is index.html as the template sees it.
type page struct {
	Title, Class, Word, Sentence, Lead string
	Style                              template.CSS
	Script                             template.JS
	R                                  Results
	Facts, Asked                       []fact
	Notes                              []note
	Anomalies                          []pageAnomaly
	More                               []pageAnomaly
	MoreText                           string
	Faults                             []pageFault
	FaultsLeft                         string
	HasOps                             bool
	HistoryFile                        string
	Strips                             []strip
	Latency, Rate                      chart
	NodeCharts                         []nodeCharts
	Clocks                             *clocks
	Objects                            *objects
	Nodes, Kinds                       []countRow
	Recovery                           []recoveryRow
	Ladder                             []rung
	Staleness                          []fact
	Checks                             []pageCheck
	Files                              []string
	SpaceTime                          template.HTML
	Footer                             string

	src    Source
	colors map[string]int
	length time.Duration
}

type fact struct{ Name, Value string }

type note struct {
	Title string
	Items []string
}

type pageAnomaly struct {
	No                       int
	Name, Key, Explain, When string
	Drawing                  *drawing
	States                   []nodeState
	Ops                      []opRow
	Versions                 bool
	Left                     string
	Logs                     []logLine
	Raw                      []string

	window window
}

type nodeState struct {
	Node, Text string
	Hit        bool
}

type opRow struct {
	Index                                                int
	Process, Node, Asked, Came, Error, From, To, Version string
	Culprit                                              bool
}

type pageFault struct {
	Fault, On, From, To string
	Color               int
	Bit, Healed         bool
	Evidence, Gone      []fact
}

type strip struct {
	Name  string
	Bands []chartBand
}

type nodeCharts struct {
	Node, Text    string
	Latency, Rate chart
}

type countRow struct {
	Name                  string
	Total, OK, Fail, Info string
	Share                 string
}

type recoveryRow struct {
	Fault, From, Attempts, Share, Outage, Recovery string
	Color                                          int
}

type rung struct{ Name, Verdict, What string }

type pageCheck struct {
	Checker, Engine, Verdict, Ops, Time, Memory, Reason string
	Figures                                             []fact
}

// WriteHTML writes the run as one self-contained page.
func WriteHTML(w io.Writer, s Source) error {
	p := newPage(s)
	t, err := template.New("index").Parse(indexTemplate)
	if err != nil {
		return fmt.Errorf("reports: the page's template: %w", err)
	}
	out := bufio.NewWriterSize(w, 1<<16)
	if err := t.ExecuteTemplate(out, "head", p); err != nil {
		return fmt.Errorf("reports: %s: %w", IndexFile, err)
	}
	if p.HasOps {
		if err := writeColumns(out, p); err != nil {
			return fmt.Errorf("reports: %s: %w", IndexFile, err)
		}
	}
	if err := t.ExecuteTemplate(out, "tail", p); err != nil {
		return fmt.Errorf("reports: %s: %w", IndexFile, err)
	}
	return out.Flush()
}

func newPage(s Source) *page {
	r := s.Results
	p := &page{
		src: s, R: r, Class: r.Verdict.String(), Word: r.Verdict.String(), Sentence: unbroken(r),
		Style: template.CSS(indexStyle), Script: template.JS(indexScript), //nolint:gosec // our own files
		colors: faultColors(r.Faults), Files: s.Files, HistoryFile: HistoryFile, Footer: footer(s),
	}
	if r.Error != "" {
		p.Class, p.Word = "unknown", "not tested"
	}
	p.Title = fmt.Sprintf("%s: %s %s, %s", p.Word, subject(r), r.Workload, strings.Join(asKinds(r.Nemesis), " + "))
	p.HasOps = s.History != nil && s.History.Len() > 0
	p.facts()
	p.notes()
	p.anomalies()
	p.faults()
	p.counts()
	p.checks()
	p.SpaceTime = spaceTime(s)
	if p.HasOps {
		p.length = faults.Last(s.History)
		p.charts()
		p.Clocks = newClocks(s.History, r.Faults, p.length, p.colors)
		p.Objects = newObjects(s.History, r, p.length)
	}
	return p
}

// unbroken is the verdict's sentence with the names of anomalies kept together at
// the end of a line.
func unbroken(r Results) string {
	s := Sentence(r)
	for name := range r.AnomalyCounts() {
		s = strings.ReplaceAll(s, name, strings.ReplaceAll(name, "-", "\u2011"))
	}
	return s
}

func footer(s Source) string {
	f := "Written by faultline"
	if s.Test != nil && s.Test.Faultline.Version != "" {
		f += " " + s.Test.Faultline.Version
	}
	if !s.Results.Started.IsZero() {
		f += " of a run begun " + s.Results.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return f + "."
}

func (p *page) facts() {
	r := p.R
	add := func(name, value string) {
		if value != "" {
			p.Facts = append(p.Facts, fact{name, value})
		}
	}
	system := subject(r)
	if r.Bug != "" {
		system += " with the planted bug " + r.Bug
	}
	add("System", system)
	add("Workload", r.Workload)
	add("Faults", strings.Join(asKinds(r.Nemesis), ", "))
	load := plural(r.Nodes, "node") + ", " + plural(r.Concurrency, "client")
	if r.On != "" {
		load += ", on " + r.On
	}
	if r.Nodes > 0 {
		add("Cluster", load)
	}
	if r.Ops.Total > 0 {
		add("Operations", fmt.Sprintf("%s, %s ok", thousands(r.Ops.Total), percent(r.Ops.Share())))
	}
	if r.Duration > 0 {
		add("Lasted", short(r.Duration))
	}
	add("Seed", strconv.FormatUint(r.Seed, 10))
	if t := p.src.Test; t != nil {
		p.asked(*t)
	}
}

func (p *page) asked(t Test) {
	add := func(name, value string) {
		if value != "" {
			p.Asked = append(p.Asked, fact{name, value})
		}
	}
	add("Command", strings.Join(append([]string{"faultline"}, t.Argv...), " "))
	add("System", strings.TrimSpace(t.System+" "+t.Version))
	add("Image", t.Image)
	add("Planted bug", t.Bug)
	add("Workload", t.Workload)
	add("Faults", strings.Join(t.Nemesis, ", "))
	add("World", t.On)
	add("Nodes", strings.Join(t.Nodes, ", "))
	add("Load", fmt.Sprintf("%s on %s, %s", plural(t.Concurrency, "client"), plural(t.Keys, "key"), pace(t.Rate)))
	add("Time", short(t.Time))
	add("Seed", strconv.FormatUint(t.Seed, 10))
	for _, k := range slices.Sorted(maps.Keys(t.Options)) {
		add("Option "+k, t.Options[k])
	}
	add("Check budget", short(t.Check.Timeout)+", "+bytesWords(t.Check.Memory))
	add("Faultline", strings.TrimSpace(t.Faultline.Version+" "+t.Faultline.Commit+" "+t.Faultline.Go))
	add("Machine", strings.TrimSpace(fmt.Sprintf("%s/%s, %s %s", t.Host.OS, t.Host.Arch, plural(t.Host.CPUs, "CPU"), t.Host.Kernel)))
	for _, k := range slices.Sorted(maps.Keys(t.Versions)) {
		add("Version of "+k, t.Versions[k])
	}
}

func pace(rate float64) string {
	if rate == 0 {
		return "as fast as they answer"
	}
	return rateText(rate)
}

// notes say above everything else what weakens the run.
func (p *page) notes() {
	r := p.R
	if len(r.Power.Missing) > 0 {
		p.Notes = append(p.Notes, note{"This run cannot vouch for the system:", r.Power.Missing})
	}
	var soft []string
	for _, f := range r.Faults {
		if !f.Bit || f.Relevant != nil {
			soft = append(soft, faultWords(f))
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

func (p *page) anomalies() {
	var windows []window
	for i, a := range p.R.Anomalies {
		if i >= pageAnomalies {
			break
		}
		x := p.anomaly(a, i+1)
		p.Anomalies = append(p.Anomalies, x)
		windows = append(windows, x.window)
	}
	if t := p.src.Test; t != nil {
		logs := readLogs(p.src.Dir, t.Started, windows)
		for i := range p.Anomalies {
			p.Anomalies[i].Logs = logs.around(windows[i])
		}
	}
	for i, a := range p.R.Anomalies[min(len(p.R.Anomalies), pageAnomalies):] {
		if i == pageMore {
			break
		}
		ops := strings.Trim(fmt.Sprint(a.Ops), "[]")
		p.More = append(p.More, pageAnomaly{
			No: i + pageAnomalies + 1, Name: a.Name, Key: a.Key, Explain: upper(a.Explain),
			Ops: []opRow{{Asked: clip(ops, 60)}},
		})
	}
	if n := len(p.R.Anomalies) - pageAnomalies; n > 0 {
		p.MoreText = plural(n, "more anomaly")
		if n > pageMore {
			p.MoreText += fmt.Sprintf(", of which the first %d are listed; all stand in %s", pageMore, ResultsFile)
		}
	}
	if len(p.Anomalies) > 0 {
		p.Lead = p.Anomalies[0].Explain
	}
}

func (p *page) anomaly(a Anomaly, no int) pageAnomaly {
	w := newWitness(p.src.History, a, no)
	x := pageAnomaly{No: no, Name: a.Name, Key: a.Key, Explain: upper(a.Explain), Drawing: w.draw(p.R.Faults, p.colors)}
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
			Error: clip(s.Error, 120), From: clock(s.Invoke), To: clock(s.Return), Culprit: s.culprit,
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
		lines = append(lines, clip(string(b), pageRaw))
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
	if s, ok := v.(string); ok {
		return clip(s, 400)
	}
	return clip(compact(v), 400)
}

func (p *page) charts() {
	h, faults := p.src.History, p.R.Faults
	for i := range p.Strips {
		var of []Fault
		for _, f := range faults {
			if f.Fault == p.Strips[i].Name {
				of = append(of, f)
			}
		}
		p.Strips[i].Bands = bands(of, p.length, p.colors)
	}
	all := newSeries(h, -1, p.length)
	lo, hi := decades(all.lo, all.hi)
	p.Latency = all.latencyChart("Latency", lo, hi, faults, p.colors)
	p.Rate = all.rateChart("Operations a second, by outcome", above(all.peak()), faults, p.colors)
	if len(h.Nodes()) < 2 {
		return
	}
	type named struct {
		name string
		s    *series
	}
	var nodes []named
	top := 0.0
	for i, n := range h.Nodes() {
		if len(nodes) == maxNodeCharts {
			break
		}
		s := newSeries(h, i, p.length)
		nodes = append(nodes, named{n, s})
		top = max(top, s.peak())
	}
	slices.SortFunc(nodes, func(a, b named) int { return strings.Compare(a.name, b.name) })
	for _, n := range nodes {
		text := fmt.Sprintf("%s ok, %s fail, %s info", thousands(n.s.count[0]), thousands(n.s.count[1]), thousands(n.s.count[2]))
		p.NodeCharts = append(p.NodeCharts, nodeCharts{
			n.name, text,
			n.s.latencyChart("Latency at "+n.name, lo, hi, faults, p.colors),
			n.s.rateChart("Operations a second at "+n.name, above(top), faults, p.colors),
		})
	}
}

const maxNodeCharts = 9

func (s *series) peak() float64 {
	top := 0.0
	for _, r := range s.rate {
		for _, v := range r {
			top = max(top, v)
		}
	}
	return top
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
			Fault: f.Fault, From: clock(f.Start), Attempts: thousands(f.During.Total), Share: "–",
			Outage: short(f.Outage), Recovery: "not seen", Color: p.colors[f.Fault],
		}
		if f.During.Total > 0 {
			x.Share = percent(f.During.Share())
		}
		if f.Recovery >= 0 {
			x.Recovery = short(f.Recovery)
		}
		p.Recovery = append(p.Recovery, x)
	}
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
	for _, name := range rungs(p.R.Ladder) {
		p.Ladder = append(p.Ladder, rung{name, p.R.Ladder[name].String(), rungWords(name)})
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
