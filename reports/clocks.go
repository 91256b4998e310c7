package reports

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// What evidence calls the offsets of the nodes' clocks: at the time of the event,
// and just before the fault was healed.
const (
	offsetsNow        = "offset_ms"
	offsetsBeforeHeal = "offset_ms_before_heal"
)

const (
	clockNodes   = 16   // drawn
	clockSamples = 4000 // of one node
)

// clocks are how far the nodes' clocks were ahead of the harness', as it measured
// them in the course of clock faults.
type clocks struct {
	Text  string
	Chart chart
}

// sample is an offset of a node's clock, in seconds.
type sample struct {
	at     time.Duration
	offset float64
}

// newClocks is nil where nobody asked the nodes for their time.
func newClocks(h *history.History, faults []Fault, length time.Duration, colors map[string]int) *clocks {
	of := clockSamplesOf(h)
	if len(of) == 0 || length <= 0 {
		return nil
	}
	lo, hi := 0.0, 0.0
	var far []string
	names := slices.SortedFunc(maps.Keys(of), natural)
	for _, n := range names {
		worst := 0.0
		for _, s := range of[n] {
			lo, hi = min(lo, s.offset), max(hi, s.offset)
			if math.Abs(s.offset) > math.Abs(worst) {
				worst = s.offset
			}
		}
		if worst != 0 {
			far = append(far, n+" "+offsetText(worst))
		}
	}
	c := &clocks{Text: "None was found to be wrong."}
	if len(far) > 0 {
		c.Text = "Farthest from the harness' clock: " + strings.Join(far, ", ") + "."
	}
	if len(names) > clockNodes {
		names = names[:clockNodes]
	}
	c.Chart = clockChart(of, names, lo, hi, faults, length, colors)
	return c
}

// clockSamplesOf reads the samples of each node out of the nemesis' events. When a
// fault starts, its nodes are given once more the offset they had so far, so that a
// jump is drawn where it happened.
func clockSamplesOf(h *history.History) map[string][]sample {
	of := map[string][]sample{}
	healed := map[string]time.Duration{} // when healing began, by the fault's id
	for _, op := range h.Faults {
		v, _ := op.Value.(map[string]any)
		evidence, _ := v["evidence"].(map[string]any)
		id, _ := v["id"].(string)
		switch {
		case v["phase"] == "start" && op.F == "clock" && op.Type != history.Invoke:
			targets, _ := v["targets"].([]any)
			for _, t := range targets {
				n, last := fmt.Sprint(t), 0.0
				if k := len(of[n]); k > 0 {
					last = of[n][k-1].offset
				}
				of[n] = append(of[n], sample{op.Time, last})
			}
		case v["phase"] == "heal" && op.Type == history.Invoke:
			healed[id] = op.Time
		}
		addSamples(of, evidence[offsetsBeforeHeal], healed[id])
		addSamples(of, evidence[offsetsNow], op.Time)
	}
	for n := range of {
		slices.SortStableFunc(of[n], func(a, b sample) int { return cmp.Compare(a.at, b.at) })
		of[n] = of[n][:min(len(of[n]), clockSamples)]
	}
	return of
}

func addSamples(of map[string][]sample, offsets any, at time.Duration) {
	ms, _ := offsets.(map[string]any)
	for n, v := range ms {
		switch v := v.(type) {
		case float64:
			of[n] = append(of[n], sample{at, v / 1000})
		case int64:
			of[n] = append(of[n], sample{at, float64(v) / 1000})
		}
	}
}

func clockChart(of map[string][]sample, names []string, lo, hi float64, faults []Fault, length time.Duration, colors map[string]int) chart {
	var shown []Fault
	for _, f := range faults {
		if f.Fault == "clock" {
			shown = append(shown, f)
		}
	}
	c := chart{Title: "Clocks ahead of the harness' own, or behind it", Bands: bands(shown, length, colors), X: timeTicks(length)}
	// Zero is at the middle, where the grid is, or at an edge.
	most := above(max(hi, -lo, 0.001))
	switch {
	case lo < 0 && hi > 0:
		lo, hi = -most, most
	case lo < 0:
		lo, hi = -most, 0
	default:
		hi = most
	}
	y := func(v float64) float64 { return chartHeight * (hi - v) / (hi - lo) }
	for i, n := range names {
		var line, dots strings.Builder
		for k, s := range of[n] {
			move := "L"
			if k == 0 {
				move = "M"
			}
			x := float64(min(s.at, length)) / float64(length) * chartWidth
			fmt.Fprintf(&line, "%s%.1f %.1f", move, x, y(s.offset))
			fmt.Fprintf(&dots, "M%.1f %.1fh0", x, y(s.offset))
		}
		class := fmt.Sprintf(" f%d", i%8)
		c.Lines = append(c.Lines, chartPath{"clk" + class, line.String(), n}, chartPath{"clkdot" + class, dots.String(), ""})
	}
	for _, v := range []float64{lo, (lo + hi) / 2, hi} {
		c.Y = append(c.Y, chartTick{pc(y(v) / chartHeight), offsetText(v)})
	}
	c.Note = "Dots are measurements, when a fault began, bit and was healed; between them the lines are only drawn."
	return c
}

func offsetText(seconds float64) string {
	text := short(time.Duration(math.Round(math.Abs(seconds) * 1e9)))
	switch {
	case seconds > 0:
		return "+" + text
	case seconds < 0:
		return "−" + text
	}
	return "0"
}

// natural puts n2 before n10.
func natural(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
