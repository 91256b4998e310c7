package reports

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// TraceFile keeps the messages of a simulated run around its first anomaly.
const TraceFile = "trace.json"

// Trace is trace.json: what the nodes of a simulated run sent each other.
type Trace struct {
	Format   int            `json:"format"`
	Nodes    []string       `json:"nodes"`
	Messages []TraceMessage `json:"messages"`
}

// TraceMessage is a message between two nodes, by their places in Trace.Nodes.
// Times are since the start of the history.
type TraceMessage struct {
	From     int           `json:"from"`
	To       int           `json:"to"`
	Sent     time.Duration `json:"sent_ns"`
	Received time.Duration `json:"received_ns,omitempty"` // 0 for never
	Label    string        `json:"label"`
}

// WriteTrace writes trace.json.
func (f *Folder) WriteTrace(t Trace) error {
	t.Format = 1
	b, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("reports: %s: %w", TraceFile, err)
	}
	return f.write(TraceFile, append(b, '\n'))
}

// Around is how much is shown before and after a moment that matters.
const Around = 25 * time.Millisecond

// stWindow is a span of time that the diagram shows.
type stWindow struct{ from, to time.Duration }

// Windows are the stretches around the beginning and the end of each operation of
// the first witness, joined where they meet; nil where there is no witness.
func Windows(r Results, h *history.History) (windows [][2]time.Duration, ops []int) {
	for _, a := range r.Anomalies {
		if len(a.Ops) == 0 || h == nil {
			continue
		}
		var all []stWindow
		for _, index := range a.Ops {
			i := h.At(index)
			if i < 0 {
				continue
			}
			ops = append(ops, i)
			all = append(all, stWindow{h.Invoke(i) - Around, h.Invoke(i) + Around})
			if d := h.Done(i); d != history.Forever {
				all = append(all, stWindow{d - Around, d + Around})
			}
		}
		slices.SortFunc(all, func(a, b stWindow) int { return cmp.Compare(a.from, b.from) })
		for _, w := range all {
			if n := len(windows); n > 0 && w.from <= windows[n-1][1]+Around {
				windows[n-1][1] = max(windows[n-1][1], w.to)
			} else {
				windows = append(windows, [2]time.Duration{w.from, w.to})
			}
		}
		return windows, ops
	}
	return nil, nil
}

// Measures of the diagram, in pixels.
const (
	stLeft, stTop, stRow, stWidth, stGap = 60, 46, 84, 1000, 46
	// stArrows bounds the messages that are drawn; beats are left out first.
	stArrows = 160
)

// spacetime draws a diagram.
type spacetime struct {
	b       strings.Builder
	s       Source
	trace   Trace
	windows [][2]time.Duration
	scale   float64 // pixels a nanosecond
	ops     []int
}

// spaceTime is the section of a simulated run's page: nodes as lines, messages as
// arrows, faults as bands, the witness' operations as bars. It is empty where there
// is no trace or no witness.
func spaceTime(s Source) template.HTML {
	if s.Dir == "" || s.History == nil {
		return ""
	}
	d := &spacetime{s: s}
	b, err := os.ReadFile(filepath.Join(s.Dir, TraceFile))
	if err != nil || json.Unmarshal(b, &d.trace) != nil || len(d.trace.Nodes) == 0 {
		return ""
	}
	if d.windows, d.ops = Windows(s.Results, s.History); len(d.windows) == 0 {
		return ""
	}
	var shown time.Duration
	for _, w := range d.windows {
		shown += w[1] - w[0]
	}
	d.scale = (stWidth - stGap*float64(len(d.windows)-1)) / float64(shown)
	height := stTop + stRow*len(d.trace.Nodes)
	fmt.Fprintf(&d.b, `<svg class="drawing spacetime" viewBox="0 0 %d %d" role="img" aria-label="Messages between the nodes around the operations of the witness">`, stLeft+stWidth+20, height)
	d.b.WriteString(`<defs><marker id="sthead" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="var(--soft)"/></marker></defs>`)
	d.bands()
	d.lines()
	d.arrows()
	d.bars()
	d.b.WriteString(`</svg>`)
	return template.HTML(d.b.String()) //nolint:gosec // all texts are escaped below
}

// x is where a time is; ok says whether it lies in a window.
func (d *spacetime) x(t time.Duration) (x float64, ok bool) {
	x = stLeft
	for _, w := range d.windows {
		if t < w[0] {
			return x, false
		}
		if t <= w[1] {
			return x + float64(t-w[0])*d.scale, true
		}
		x += float64(w[1]-w[0])*d.scale + stGap
	}
	return x - stGap, false
}

func (d *spacetime) y(node int) float64 { return float64(stTop + stRow*node + stRow/2) }

func (d *spacetime) node(name string) int { return slices.Index(d.trace.Nodes, name) }

// bands are the faults, over the nodes that they hit.
func (d *spacetime) bands() {
	colors := faultColors(d.s.Results.Faults)
	for _, f := range d.s.Results.Faults {
		end := f.End
		if end == 0 {
			end = d.windows[len(d.windows)-1][1]
		}
		x1, _ := d.x(f.Start)
		x2, _ := d.x(end)
		if x2-x1 < 1 {
			continue
		}
		for _, t := range f.Targets {
			if n := d.node(t); n >= 0 {
				fmt.Fprintf(&d.b, `<g style="--c: var(--f%d)"><rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%d"><title>%s</title></rect><text class="bandname" x="%.1f" y="%.1f">%s</text></g>`,
					colors[f.Fault], x1, d.y(n)-stRow/2+4, x2-x1, stRow-8, html.EscapeString(f.Fault), x1+4, d.y(n)+stRow/2-8, html.EscapeString(f.Fault))
			}
		}
	}
}

// lines are the nodes, broken where time is left out.
func (d *spacetime) lines() {
	for n, name := range d.trace.Nodes {
		fmt.Fprintf(&d.b, `<text x="8" y="%.1f">%s</text>`, d.y(n)+4, html.EscapeString(name))
		for _, w := range d.windows {
			x1, _ := d.x(w[0])
			x2, _ := d.x(w[1])
			fmt.Fprintf(&d.b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="var(--soft)" stroke-width="1.5"/>`, x1, x2, d.y(n), d.y(n))
		}
	}
	for i, w := range d.windows {
		x, _ := d.x(w[0])
		fmt.Fprintf(&d.b, `<text class="bandname" x="%.1f" y="14">%s</text>`, x, html.EscapeString(w[0].Round(100*time.Microsecond).String()))
		if i > 0 {
			fmt.Fprintf(&d.b, `<text class="bandname" text-anchor="middle" x="%.1f" y="30">… %s …</text>`, x-stGap/2, (w[0] - d.windows[i-1][1]).Round(time.Millisecond))
		}
	}
}

// drawn are the messages of the windows, without beats if there are too many.
func (d *spacetime) drawn() (some []TraceMessage) {
	for _, m := range d.trace.Messages {
		if _, ok := d.x(m.Sent); ok {
			some = append(some, m)
		} else if _, ok := d.x(m.Received); ok && m.Received > 0 {
			some = append(some, m)
		}
	}
	for _, beat := range []string{"ping", "+0 ", "append-resp"} {
		if len(some) > stArrows {
			some = slices.DeleteFunc(some, func(m TraceMessage) bool { return strings.Contains(m.Label, beat) })
		}
	}
	return some[:min(len(some), stArrows)]
}

// arrows are the messages; one that never arrived is dashed and ends half-way.
func (d *spacetime) arrows() {
	for _, m := range d.drawn() {
		if m.From >= len(d.trace.Nodes) || m.To >= len(d.trace.Nodes) {
			continue
		}
		x1, _ := d.x(m.Sent)
		y1, y2 := d.y(m.From), d.y(m.To)
		label := html.EscapeString(m.Label)
		if m.Received == 0 {
			fmt.Fprintf(&d.b, `<g><line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="var(--invalid)" stroke-width="1" stroke-dasharray="3 3"/><text class="mark" x="%.1f" y="%.1f">×</text><title>lost: %s</title></g>`,
				x1, y1, x1+6, (y1+y2)/2, x1+3, (y1+y2)/2+4, label)
			continue
		}
		x2, _ := d.x(m.Received)
		fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="var(--soft)" stroke-width="1" stroke-opacity=".75" marker-end="url(#sthead)"><title>%s</title></line>`, x1, y1, x2, y2, label)
	}
}

// bars are the witness' operations, above the nodes they were sent to.
func (d *spacetime) bars() {
	h := d.s.History
	for k, i := range d.ops {
		op := h.Op(i)
		n := d.node(op.Node)
		if n < 0 {
			continue
		}
		x1, _ := d.x(op.Invoke)
		x2, ok := d.x(op.Done)
		if !ok {
			x2 = max(x2, x1+8)
		}
		y := d.y(n) - 12 - float64(k%2)*15
		text := fmt.Sprintf("p%d %s", op.Process, op.F)
		if op.F == "read" {
			text += " → " + valueJSON(op.Out)
		} else {
			text += " " + valueJSON(op.In)
		}
		fmt.Fprintf(&d.b, `<g class="b-%s"><rect class="bar" x="%.1f" y="%.1f" width="%.1f" height="8"/><text class="res" font-size="11" x="%.1f" y="%.1f">%s</text></g>`,
			kindOf(op.F), x1, y, max(4, x2-x1), x1, y-2, html.EscapeString(text))
	}
}
