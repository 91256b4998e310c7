package suites

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/faultline-dev/faultline/reports/plain"
)

// View tells the progress of a suite: a table that is rewritten on a terminal, a
// line a finished run elsewhere.
type View struct {
	mu    sync.Mutex
	w     io.Writer
	size  func() (columns, rows int) // nil elsewhere than on a terminal
	s     Suite
	seen  [][]State
	now   []Outcome // running
	took  time.Duration
	lines int
	done  int
}

// NewView writes to w; size is that of its terminal, nil if it is none.
func NewView(w io.Writer, size func() (columns, rows int), s Suite) *View {
	v := &View{w: w, size: size, s: s}
	for _, c := range s.Cases {
		v.seen = append(v.seen, make([]State, c.Of))
	}
	return v
}

// Tick says how long the suite has been running.
func (v *View) Tick(took time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.took = took
	if v.size != nil {
		v.table()
	}
}

// Update takes in that a run started or ended.
func (v *View) Update(o Outcome) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen[o.Case][o.Repeat] = o.State
	switch n := len(o.Tries); {
	case o.State == Running && n == 0:
		v.now = append(v.now, o)
	case o.State == Running && v.size == nil:
		fmt.Fprintln(v.w, plain.Clean(fmt.Sprintf("%d/%d  %s  %s", v.done, v.s.Runs(), v.name(o), o.Tries[n-1])))
	case o.State != Running:
		v.done++
		v.now = slices.DeleteFunc(v.now, func(x Outcome) bool { return x.Case == o.Case && x.Repeat == o.Repeat })
	}
	if v.size != nil {
		v.table()
		return
	}
	if o.State == Running {
		return
	}
	line := fmt.Sprintf("%d/%d  %-10s  %s", v.done, v.s.Runs(), o.State, v.name(o))
	line += fmt.Sprintf("  %s", o.Took.Round(100*time.Millisecond))
	if why := o.Why(); why != "" && o.State != Skipped {
		line += "  " + why
	}
	fmt.Fprintln(v.w, plain.Clean(line))
}

// name is that of a run.
func (v *View) name(o Outcome) string {
	c := v.s.Cases[o.Case]
	if c.Of > 1 {
		return fmt.Sprintf("%s (%d of %d)", c.Name, o.Repeat+1, c.Of)
	}
	return c.Name
}

// table rewrites what is on the terminal: a line a case, and one of how far the
// suite has come. What would not fit is left out, since lines that have left the
// screen cannot be rewritten: cases that are done first.
func (v *View) table() {
	columns, rows := v.size()
	columns, rows = max(columns-1, 20), max(rows-2, 1)
	first, last := v.window(rows)
	names, runs := 0, 0
	for _, c := range v.s.Cases[first:last] {
		names, runs = max(names, utf8.RuneCountInString(plain.Clean(c.Name))), max(runs, c.Of)
	}
	runs = min(runs, columns/2)
	names = min(names, columns-runs-2)
	var lines []string
	mark := marks()
	for i := first; i < last; i++ {
		var marks strings.Builder
		for _, s := range v.seen[i] {
			marks.WriteString(mark[s])
		}
		lines = append(lines, fmt.Sprintf("%-*s  %s", names, plain.Clip(plain.Clean(v.s.Cases[i].Name), names), plain.Clip(marks.String(), runs)))
	}
	foot := fmt.Sprintf("%d of %d runs done, %s", v.done, v.s.Runs(), v.took.Round(time.Second))
	if last-first < len(v.s.Cases) {
		foot += fmt.Sprintf(", cases %d to %d of %d", first+1, last, len(v.s.Cases))
	}
	var now []string
	for _, o := range v.now {
		now = append(now, v.name(o))
	}
	if len(now) > 0 {
		foot += ": " + strings.Join(now, "; ")
	}
	lines = append(lines, plain.Clip(plain.Clean(foot), columns))
	var b strings.Builder
	if v.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.lines)
	}
	for _, l := range lines {
		b.WriteString("\r\x1b[K" + l + "\n")
	}
	b.WriteString("\x1b[J")
	v.lines = len(lines)
	_, _ = io.WriteString(v.w, b.String()) // progress is no evidence
}

// window are the cases to show in so many rows: around the first that is not over.
func (v *View) window(rows int) (first, last int) {
	n := len(v.s.Cases)
	if n <= rows {
		return 0, n
	}
	at := slices.IndexFunc(v.seen, func(seen []State) bool {
		return slices.Contains(seen, Running) || slices.Contains(seen, "")
	})
	if at < 0 {
		at = n
	}
	first = min(max(0, at-rows/2), n-rows)
	return first, first + rows
}

func marks() map[State]string {
	return map[State]string{Waiting: "·", "": "·", Running: "▸", Expected: "✓", Unexpected: "✗", Undecided: "?", Untested: "!", Skipped: "-"}
}
