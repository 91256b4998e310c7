// Package live tells in the terminal how far a run has come: a few lines that are
// rewritten on a terminal, a plain line every few seconds elsewhere.
package live

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/reports/plain"
)

// Snapshot is the state of a run.
type Snapshot struct {
	Stage          string // up, ready, run, settle, final, down, check
	Elapsed        time.Duration
	Total          time.Duration // how long the stage is to last, 0 if unknown
	OK, Fail, Info int
	Faults         []string // acting now
	// Latency is the median of the successes since the last snapshot, 0 for none.
	Latency time.Duration
	// Errors count failures and unknown fates by their kind.
	Errors map[string]int
}

const (
	plainEvery = 5 * time.Second
	drawEvery  = 100 * time.Millisecond
	history    = 40 // of the sparkline
	maxErrors  = 3  // kinds that are shown
)

// View tells the progress of one run. It is not safe for concurrent use.
type View struct {
	w     io.Writer
	tty   bool
	width int
	last  Snapshot // of the last line or drawing
	seen  bool
	lines int // on the terminal now
	past  []time.Duration
	rate  float64
}

// New writes to w; tty says that it is a terminal whose lines can be rewritten.
func New(w io.Writer, tty bool) *View { return &View{w: w, tty: tty, width: 100} }

// SetWidth says how many columns the terminal has.
func (v *View) SetWidth(columns int) { v.width = max(20, columns) }

// Update takes the newest state. It may be called as often as one likes: what is
// written is bounded.
func (v *View) Update(s Snapshot) {
	fresh := !v.seen || s.Stage != v.last.Stage
	since := s.Elapsed - v.last.Elapsed
	every := plainEvery
	if v.tty {
		every = drawEvery
	}
	if !fresh && since < every {
		return
	}
	v.measure(s, since, fresh)
	if v.tty {
		v.draw(s)
	} else {
		fmt.Fprintln(v.w, v.plain(s))
	}
	v.last, v.seen = s, true
}

func (v *View) measure(s Snapshot, since time.Duration, fresh bool) {
	done := s.OK + s.Fail + s.Info - v.last.OK - v.last.Fail - v.last.Info
	switch {
	case fresh || since <= 0 || done < 0:
		v.rate = 0
	default:
		v.rate = float64(done) / since.Seconds()
	}
	if s.Latency > 0 {
		v.past = append(v.past, s.Latency)
		v.past = v.past[max(0, len(v.past)-history):]
	}
}

// Close ends the view: what is on the terminal stays there.
func (v *View) Close() {
	if v.tty && v.lines > 0 {
		fmt.Fprintln(v.w)
		v.lines = 0
	}
}

// plain is the state in a line.
func (v *View) plain(s Snapshot) string {
	line := fmt.Sprintf("%-6s %6.1fs", s.Stage, s.Elapsed.Seconds())
	if s.OK+s.Fail+s.Info > 0 {
		if v.rate > 0 {
			line += fmt.Sprintf("  %7.0f ops/s", v.rate)
		}
		line += fmt.Sprintf("  ok %d  fail %d  info %d", s.OK, s.Fail, s.Info)
	}
	if len(s.Faults) > 0 {
		line += "  faults now: " + strings.Join(s.Faults, ", ")
	}
	if e := errorWords(s.Errors); e != "" {
		line += "  " + e
	}
	return plain.Clean(line)
}

// draw rewrites the lines on the terminal.
func (v *View) draw(s Snapshot) {
	lines := []string{v.headline(s)}
	if s.OK+s.Fail+s.Info > 0 {
		lines = append(lines, fmt.Sprintf("  ok %d  fail %d  info %d  %s", s.OK, s.Fail, s.Info, errorWords(s.Errors)))
	}
	if len(v.past) > 1 && s.OK > 0 {
		text := "  latency " + spark(v.past)
		if s.Latency > 0 {
			text += " " + s.Latency.Round(10*time.Microsecond).String()
		}
		lines = append(lines, text)
	}
	faults := "  no fault acts"
	if len(s.Faults) > 0 {
		faults = "  faults now: " + strings.Join(s.Faults, ", ")
	}
	if s.Stage == "run" {
		lines = append(lines, faults)
	}
	var b strings.Builder
	if v.lines > 1 {
		fmt.Fprintf(&b, "\x1b[%dA", v.lines-1)
	}
	b.WriteString("\r")
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString("\x1b[K" + plain.Clip(plain.Clean(l), v.width-1))
	}
	b.WriteString("\x1b[J")
	v.lines = len(lines)
	_, _ = io.WriteString(v.w, b.String()) // progress is no evidence
}

func (v *View) headline(s Snapshot) string {
	text := fmt.Sprintf("%-6s %6.1fs", s.Stage, s.Elapsed.Seconds())
	if s.Total > 0 {
		const width = 24
		n := int(min(1, max(0, s.Elapsed.Seconds()/s.Total.Seconds())) * width)
		text += " " + strings.Repeat("━", n) + strings.Repeat("─", width-n) + fmt.Sprintf(" %s", s.Total)
	}
	if v.rate > 0 {
		text += fmt.Sprintf("  %.0f ops/s", v.rate)
	}
	return text
}

// spark draws times as bars from the least to the greatest.
func spark(past []time.Duration) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	most := time.Duration(1)
	for _, d := range past {
		most = max(most, d)
	}
	out := make([]rune, len(past))
	for i, d := range past {
		out[i] = bars[int(float64(d)/float64(most)*float64(len(bars)-1))]
	}
	return string(out)
}

// errorWords are the most frequent kinds of error.
func errorWords(errors map[string]int) string {
	var words []string
	used := map[string]bool{}
	for len(words) < maxErrors {
		best := ""
		for k, n := range errors {
			if !used[k] && (best == "" || n > errors[best] || n == errors[best] && k < best) {
				best = k
			}
		}
		if best == "" {
			break
		}
		used[best] = true
		words = append(words, fmt.Sprintf("%s × %d", plain.Clip(best, 32), errors[best]))
	}
	if len(errors) > maxErrors {
		words = append(words, "…")
	}
	return strings.Join(words, ", ")
}
