package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports/plain"
)

// Measures of a witness' drawing, in CSS pixels.
const (
	drawGutter  = 84 // at least, where the processes' names stand
	drawRow     = 54
	drawBar     = 14
	drawTop     = 26 // room for the names of faults
	drawChar    = 6.9
	drawWidth   = 936
	drawTail    = 64 // what is shown of an uncertain end
	drawMinBar  = 20
	drawTickGap = 64
)

// drawing is a witness laid out: processes as rows, a stretched common time.
type drawing struct {
	Title  string
	Width  string
	Height string
	Rows   []drawnRow
	Bars   []drawnBar
	Arrows []drawnArrow
	Bands  []drawnBand
	Ticks  []drawnTick
	Axis   string // y of the axis
	Left   string // x of its left end
	Right  string
	Has    struct{ Open, Arrow, Impossible, Hold, Read, Write bool }
}

type drawnRow struct{ Name, Node, NameY, NodeY, Line string }

type drawnBar struct {
	X, Y, W, H, TextY, End, EndY string
	Label, Result                string
	Class                        string
	Index                        int
	Title                        string
	Open, Culprit                bool
	MarkY                        string
	Held, HeldW                  string // where a hold begins, "" for none, and its width
}

type drawnArrow struct {
	Path       string
	Impossible bool
	Title      string
}

type drawnBand struct {
	X, W, H, Label, TextX string
	Color                 int
}

type drawnTick struct {
	X, Text string
	Last    bool // ends at X
}

func px(f float64) string { return fmt.Sprintf("%.1f", f) }

// plan is the geometry while it is worked out.
type plan struct {
	w       *witness
	moments []time.Duration
	x       []float64 // of the moments
	right   float64
	gutter  float64
	row     []int // of the spans
	rows    []history.Process
}

func (p *plan) at(d time.Duration) int {
	i, _ := slices.BinarySearch(p.moments, d)
	return i
}

// draw lays the witness out; nil without operations.
func (w *witness) draw(faults []Fault, colors map[string]int) *drawing {
	if len(w.spans) == 0 {
		return nil
	}
	p := &plan{w: w, moments: w.moments()}
	p.seat()
	p.stretch()
	d := &drawing{Title: fmt.Sprintf("Witness of %s: %s", w.anomaly.Name, plural(len(w.spans), "operation"))}
	height := drawTop + drawRow*float64(len(p.rows))
	d.Width, d.Height = px(p.right+12), px(height+34)
	d.Axis, d.Left, d.Right = px(height+6), px(p.gutter), px(p.right)
	p.drawRows(d)
	p.drawBars(d)
	p.drawArrows(d)
	p.drawBands(d, faults, colors, height)
	p.drawTicks(d)
	return d
}

// seat gives every process a row, in the order of their first operations.
func (p *plan) seat() {
	order := make([]int, len(p.w.spans))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return int(p.w.spans[a].Invoke - p.w.spans[b].Invoke)
	})
	p.row = make([]int, len(p.w.spans))
	p.gutter = drawGutter
	for _, i := range order {
		who := p.w.spans[i].Process
		r := slices.Index(p.rows, who)
		if r < 0 {
			r = len(p.rows)
			p.rows = append(p.rows, who)
			p.gutter = max(p.gutter, drawChar*float64(len(fmt.Sprintf("process %d", who)))+24)
		}
		p.row[i] = r
	}
}

// stretch places the moments from left to right: further apart the more time
// lies between them, by its logarithm, and far enough for every label.
func (p *plan) stretch() {
	p.x = make([]float64, len(p.moments))
	p.x[0] = p.gutter + 12
	for i := 1; i < len(p.moments); i++ {
		gap := float64(p.moments[i]-p.moments[i-1]) / float64(time.Microsecond)
		p.x[i] = p.x[i-1] + 22 + 11*math.Log10(1+gap)
		for s, o := range p.w.spans {
			if !o.open && p.at(o.Return) == i {
				p.x[i] = max(p.x[i], p.x[p.at(o.Invoke)]+drawMinBar)
			}
			if p.at(o.Invoke) == i {
				p.x[i] = max(p.x[i], p.clear(s))
			}
		}
	}
	last := len(p.x) - 1
	p.right = p.x[last] + 16
	for s, o := range p.w.spans {
		if o.open {
			p.right = max(p.right, p.x[last]+drawTail)
		}
		p.right = max(p.right, p.x[p.at(o.Invoke)]+labelWidth(p.w.spans[s])+8)
	}
	if rest := drawWidth - p.right; rest > 0 && last > 0 {
		factor := 1 + rest/(p.x[last]-p.x[0])
		for i := range p.x {
			p.x[i] = p.x[0] + (p.x[i]-p.x[0])*factor
		}
	}
	p.right = max(p.right, drawWidth)
}

// clear is where span s may begin without running into the labels before it in
// its row.
func (p *plan) clear(s int) float64 {
	x := 0.0
	for q, o := range p.w.spans {
		if q != s && p.row[q] == p.row[s] && o.Invoke < p.w.spans[s].Invoke {
			x = max(x, p.x[p.at(o.Invoke)]+labelWidth(o)+12)
		}
	}
	return x
}

func labelWidth(s span) float64 {
	return drawChar * float64(utf8.RuneCountInString(asked(s.Operation)+" → "+came(s.Operation)))
}

func (p *plan) barY(row int) float64 { return drawTop + drawRow*float64(row) + 26 }

// end is where the bar of span s ends.
func (p *plan) end(s int) float64 {
	o := p.w.spans[s]
	if o.open {
		return p.right
	}
	return max(p.x[p.at(o.Return)], p.x[p.at(o.Invoke)]+4)
}

func (p *plan) drawRows(d *drawing) {
	for r, who := range p.rows {
		y := p.barY(r)
		row := drawnRow{Name: fmt.Sprintf("process %d", who), NameY: px(y + 4), NodeY: px(y + 19), Line: px(y + drawBar/2)}
		for s, o := range p.w.spans {
			if p.row[s] == r && o.Node != "" {
				row.Node = "at " + plain.Clip(o.Node, 14)
				break
			}
		}
		d.Rows = append(d.Rows, row)
	}
}

func (p *plan) drawBars(d *drawing) {
	for s, o := range p.w.spans {
		x, y, end := p.x[p.at(o.Invoke)], p.barY(p.row[s]), p.end(s)
		class := "b-" + kindOf(o.F)
		if o.open {
			class += " open"
			d.Has.Open = true
		}
		if o.Type == history.Fail {
			class += " failed"
		}
		held, heldW := "", ""
		if o.held > o.Return {
			held, heldW = px(end), px(p.x[p.at(o.held)]-end)
			d.Has.Hold = true
		}
		switch kindOf(o.F) {
		case "read":
			d.Has.Read = true
		case "write":
			d.Has.Write = true
		}
		d.Bars = append(d.Bars, drawnBar{
			Held: held, HeldW: heldW,
			X: px(x), Y: px(y), W: px(end - x), H: px(drawBar), TextY: px(y - 7),
			End: px(end - 9), EndY: px(y + 11), MarkY: px(y + drawBar + 13),
			Label: asked(o.Operation), Result: came(o.Operation), Class: class, Index: o.Index,
			Title: fmt.Sprintf("event %d: process %d, %s, %s; from %s to %s",
				o.Index, o.Process, asked(o.Operation), came(o.Operation), clock(o.Invoke), clock(o.Return)),
			Open: o.open, Culprit: o.culprit,
		})
	}
}

// kindOf sorts kinds of operation by what they do to the object.
func kindOf(f string) string {
	switch f {
	case "read", "get", "contains", "dequeue":
		return "read"
	case "write", "cas", "set", "add", "enqueue", "update", "delete", "remove":
		return "write"
	}
	return "other"
}

func (p *plan) drawArrows(d *drawing) {
	for _, a := range p.w.arrows {
		from, to := p.w.spans[a[0]], p.w.spans[a[1]]
		impossible := !to.open && to.Return < from.Invoke
		x1, y1 := p.end(a[0]), p.barY(p.row[a[0]])+drawBar/2
		if from.open {
			x1 = min(p.x[p.at(from.Invoke)]+drawMinBar, p.right)
		}
		x2, y2 := p.x[p.at(to.Invoke)], p.barY(p.row[a[1]])+drawBar/2
		if impossible {
			x1, x2 = p.x[p.at(from.Invoke)], p.end(a[1])
		}
		d.Arrows = append(d.Arrows, drawnArrow{
			Path: curve(x1, y1, x2, y2), Impossible: impossible,
			Title: fmt.Sprintf("event %d must come before event %d", from.Index, to.Index),
		})
		d.Has.Arrow = true
		d.Has.Impossible = d.Has.Impossible || impossible
	}
}

// curve bends from one point to another; within a row it bows below it.
func curve(x1, y1, x2, y2 float64) string {
	if math.Abs(y1-y2) < 1 {
		bow := 20.0
		return fmt.Sprintf("M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f", x1, y1+6, x1+8, y1+bow, x2-8, y2+bow, x2, y2+7)
	}
	side := max(14, min(60, math.Abs(x2-x1)/2))
	if x2 < x1 {
		side = -side
	}
	if math.Abs(x2-x1) < 12 {
		side = 0
	}
	edge := 8.0
	if y2 > y1 {
		edge = -edge
	}
	return fmt.Sprintf("M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f", x1, y1-edge, x1+side, y1-edge+(y2-y1)/3, x2-side, y2+edge-(y2-y1)/3, x2, y2+edge)
}

// place maps any time to an x, straight between the moments.
func (p *plan) place(t time.Duration) float64 {
	last := len(p.moments) - 1
	if t <= p.moments[0] {
		return p.gutter
	}
	if t > p.moments[last] {
		return p.right
	}
	i := p.at(t)
	share := float64(t-p.moments[i-1]) / float64(p.moments[i]-p.moments[i-1])
	return p.x[i-1] + share*(p.x[i]-p.x[i-1])
}

func (p *plan) drawBands(d *drawing, faults []Fault, colors map[string]int, height float64) {
	for _, f := range during(faults, p.w.from, p.w.to) {
		x, end := p.place(f.Start), p.right
		if f.End > 0 {
			end = p.place(f.End)
		}
		label := f.Fault
		if len(f.Targets) > 0 {
			label += " " + strings.Join(f.Targets, ", ")
		}
		if end-x < 48 {
			label = "" // it would run into the next
		}
		d.Bands = append(d.Bands, drawnBand{
			X: px(x), W: px(max(2, end-x)), H: px(height), TextX: px(x + 5),
			Label: plain.Clip(label, max(6, int((end-x)/drawChar))), Color: colors[f.Fault],
		})
	}
}

// drawTicks writes the moments below the drawing where there is room, as time
// since the witness began.
func (p *plan) drawTicks(d *drawing) {
	next := 0.0
	for i, m := range p.moments {
		if p.x[i] < next {
			continue
		}
		text := "+" + short(m-p.moments[0])
		if i == 0 {
			text = clock(m)
		}
		d.Ticks = append(d.Ticks, drawnTick{px(p.x[i]), text, p.x[i] > p.right-drawTickGap/2})
		next = p.x[i] + drawTickGap
	}
}
