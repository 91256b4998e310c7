package reports

import (
	"bufio"
	_ "embed" // the page's template, style and script
	"fmt"
	"html/template"
	"io"
	"regexp"
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
	openFaults    = 12   // of them, without unfolding
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
	Reading, Facts, Asked              []fact
	Notes                              []note
	Anomalies                          []pageAnomaly
	More                               []pageAnomaly
	MoreText                           string
	Faults, MoreFaults                 []pageFault
	FaultsLeft                         string
	HasOps                             bool
	HistoryFile                        string
	Strips                             []strip
	Latency, Rate                      chart
	NodeCharts                         []nodeCharts
	Clocks                             *clocks
	Objects                            *objects
	Nodes, Kinds                       []countRow
	Recovery, MoreRecovery             []recoveryRow
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
	Named                    []int // their indices, where they are not shown
	Versions                 bool
	Open                     bool // the first of its name: shown without asking
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
	Fault, From, Attempts, Share, P50, P99, Outage, Recovery string
	Color                                                    int
}

type rung struct {
	Name, Verdict, What, Why string
	Named                    []int // the operations that Why is about, by their indices
}

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
	for _, f := range reading(r, s.History) {
		p.Reading = append(p.Reading, fact{f.Name, together(f.Value)})
	}
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

// together keeps numbers and their units on one line.
func together(s string) string { return unit().ReplaceAllString(s, "$1\u00a0$2") }

func unit() *regexp.Regexp { return regexp.MustCompile(`(\d) (s|ms|µs|ns|%)\b`) }

// unbroken is the verdict's sentence with the names of anomalies kept together at
// the end of a line.
func unbroken(r Results) string {
	s := Sentence(r)
	for name := range r.AnomalyCounts() {
		s = strings.ReplaceAll(s, name, strings.ReplaceAll(name, "-", "\u2011"))
	}
	return together(s)
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
