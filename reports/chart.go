package reports

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/history"
)

const (
	chartWidth   = 1000 // units of the drawing, stretched to the page
	chartHeight  = 200
	chartBuckets = 120
	chartPoints  = 2400 // per outcome and chart
)

// chart is a plot over the run's time. It stretches to any width: labels are
// text of the page, placed by per cent.
type chart struct {
	Title  string
	Bands  []chartBand
	Points []chartPath
	Lines  []chartPath
	X, Y   []chartTick
	Note   string
}

type chartPath struct{ Class, D, Name string }

type chartBand struct {
	X, W  string
	Color int
	Title string
}

type chartTick struct{ At, Text string }

// series are the operations of one node, or of all, in time.
type series struct {
	length   time.Duration
	latency  [3][]dot                // by outcome: OK, Fail, Info
	quantile [3][]float64            // p50, p95, p99 of successes by bucket, seconds
	rate     [3][]float64            // per second, by outcome and bucket
	lo, hi   float64                 // of latencies, seconds
	count    [3]int                  // by outcome
	every    [3]int                  // one point in so many is drawn
	buckets  [chartBuckets][]float32 // latencies of successes, seconds
}

type dot struct{ t, v float32 }

func outcome(t history.Type) int {
	switch t {
	case history.OK, history.Invoke:
		return 0
	case history.Fail:
		return 1
	case history.Info:
	}
	return 2
}

// newSeries collects the operations sent to one node, or to all with node -1.
func newSeries(h *history.History, node int, length time.Duration) *series {
	s := &series{length: max(length, 1), lo: math.Inf(1)}
	for i := range h.Len() {
		if node < 0 || h.NodeID(i) == node {
			s.count[outcome(h.Type(i))]++
		}
	}
	for o := range s.count {
		s.every[o] = max(1, s.count[o]/chartPoints)
		s.rate[o] = make([]float64, chartBuckets)
	}
	var seen [3]int
	for i := range h.Len() {
		if node < 0 || h.NodeID(i) == node {
			s.add(h, i, &seen)
		}
	}
	s.quantiles()
	return s
}

func (s *series) add(h *history.History, i int, seen *[3]int) {
	o, done := outcome(h.Type(i)), h.Done(i)
	if done == history.Forever {
		done = s.length
	}
	lat := max(float64(done-h.Invoke(i))/1e9, 1e-7)
	b := min(chartBuckets-1, int(float64(done)/float64(s.length)*chartBuckets))
	s.rate[o][b] += chartBuckets / s.length.Seconds()
	if o == 0 {
		s.buckets[b] = append(s.buckets[b], float32(lat))
	}
	s.lo, s.hi = min(s.lo, lat), max(s.hi, lat)
	if seen[o]%s.every[o] == 0 {
		s.latency[o] = append(s.latency[o], dot{float32(float64(h.Invoke(i)) / float64(s.length)), float32(lat)})
	}
	seen[o]++
}

func (s *series) quantiles() {
	for q, at := range []float64{0.5, 0.95, 0.99} {
		s.quantile[q] = make([]float64, chartBuckets)
		for b := range s.buckets {
			if q == 0 {
				slices.Sort(s.buckets[b])
			}
			s.quantile[q][b] = math.NaN()
			if n := len(s.buckets[b]); n > 0 {
				s.quantile[q][b] = float64(s.buckets[b][min(n-1, int(at*float64(n)))])
			}
		}
	}
}

func outcomeNames() [3]string { return [3]string{"ok", "fail", "info"} }

// latencyChart plots latencies by outcome on a logarithmic scale between lo and
// hi seconds, with the quantiles of the successes.
func (s *series) latencyChart(title string, lo, hi float64, faults []Fault, colors map[string]int) chart {
	c := chart{Title: title, Bands: bands(faults, s.length, colors), X: timeTicks(s.length)}
	y := func(v float64) float64 {
		return chartHeight * (1 - math.Log(v/lo)/math.Log(hi/lo))
	}
	for o, name := range outcomeNames() {
		var d strings.Builder
		for _, p := range s.latency[o] {
			fmt.Fprintf(&d, "M%.1f %.1fh0", float64(p.t)*chartWidth, y(float64(p.v)))
		}
		if d.Len() > 0 {
			c.Points = append(c.Points, chartPath{"p-" + name, d.String(), name})
		}
		if s.every[o] > 1 {
			c.Note = "points are a sample; lines and rates count every operation"
		}
	}
	for q, name := range []string{"p50", "p95", "p99"} {
		c.Lines = append(c.Lines, chartPath{"q-" + name, stroke(s.quantile[q], y), name})
	}
	for v := lo; v <= hi*1.001; v *= 10 {
		c.Y = append(c.Y, chartTick{pc(y(v) / chartHeight), short(time.Duration(math.Round(v * 1e9)))})
	}
	return c
}

// rateChart plots operations a second by outcome, up to hi.
func (s *series) rateChart(title string, hi float64, faults []Fault, colors map[string]int) chart {
	c := chart{Title: title, Bands: bands(faults, s.length, colors), X: timeTicks(s.length)}
	y := func(v float64) float64 { return chartHeight * (1 - v/hi) }
	for o, name := range outcomeNames() {
		if s.count[o] > 0 {
			c.Lines = append(c.Lines, chartPath{"l-" + name, stroke(s.rate[o], y), name})
		}
	}
	for _, part := range []float64{0, 0.5, 1} {
		c.Y = append(c.Y, chartTick{pc(1 - part), rateText(hi * part)})
	}
	return c
}

func rateText(v float64) string {
	switch {
	case v >= 1e6:
		return digits(v/1e6) + "M/s"
	case v >= 1e4:
		return digits(v/1e3) + "k/s"
	}
	return digits(v) + "/s"
}

// stroke is a line through the buckets; it breaks where one has no value.
func stroke(values []float64, y func(float64) float64) string {
	var d strings.Builder
	move := "M"
	for b, v := range values {
		if math.IsNaN(v) {
			move = "M"
			continue
		}
		fmt.Fprintf(&d, "%s%.1f %.1f", move, (float64(b)+0.5)/chartBuckets*chartWidth, y(v))
		if move == "M" {
			d.WriteString("h0.1")
		}
		move = "L"
	}
	return d.String()
}

func pc(share float64) string { return strconv.FormatFloat(100*share, 'f', 2, 64) }

// decades are the powers of ten, in seconds, around lo and hi.
func decades(lo, hi float64) (float64, float64) {
	if math.IsInf(lo, 0) || hi <= 0 {
		return 1e-3, 1
	}
	lo = math.Pow(10, math.Floor(math.Log10(lo)))
	hi = math.Pow(10, math.Ceil(math.Log10(hi)))
	if hi <= lo {
		hi = lo * 10
	}
	return lo, hi
}

// above is a round number not below v.
func above(v float64) float64 {
	if v <= 0 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 4, 6, 8, 10} {
		if m*p >= v {
			return m * p
		}
	}
	return 10 * p
}

func timeTicks(length time.Duration) []chartTick {
	step := above(length.Seconds() / 6)
	var ticks []chartTick
	for n := 0; n < 20 && float64(n)*step <= length.Seconds(); n++ {
		t := float64(n) * step
		ticks = append(ticks, chartTick{pc(t / length.Seconds()), short(time.Duration(t * 1e9))})
	}
	return ticks
}

// maxBands bounds the faults that are shaded in a chart; as many as anyone can
// tell apart.
const maxBands = 2000

func bands(faults []Fault, length time.Duration, colors map[string]int) []chartBand {
	var b []chartBand
	for i, f := range faults {
		if i == maxBands {
			break
		}
		end := f.End
		if end == 0 || end > length {
			end = length
		}
		b = append(b, chartBand{
			X: px(float64(f.Start) / float64(length) * chartWidth),
			W: px(max(1, float64(end-f.Start)/float64(length)*chartWidth)), Color: colors[f.Fault], Title: faultWords(f),
		})
	}
	return b
}

// faultColors gives each kind of fault one of the eight colours.
func faultColors(faults []Fault) map[string]int {
	var names []string
	for _, f := range faults {
		if !slices.Contains(names, f.Fault) {
			names = append(names, f.Fault)
		}
	}
	slices.Sort(names)
	colors := map[string]int{}
	for i, n := range names {
		colors[n] = i % 8
	}
	return colors
}
