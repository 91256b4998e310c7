package suites

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// maxTable bounds the cases of a table that is rewritten in place.
const maxTable = 30

// View tells the progress of a suite: a table that is rewritten on a terminal, a
// line a finished run elsewhere. Calls of Update must not overlap.
type View struct {
	w     io.Writer
	tty   bool
	s     Suite
	seen  [][]State
	lines int
	done  int
}

// NewView writes to w; tty says that it is a terminal.
func NewView(w io.Writer, tty bool, s Suite) *View {
	v := &View{w: w, tty: tty && len(s.Cases) <= maxTable, s: s}
	for _, c := range s.Cases {
		v.seen = append(v.seen, make([]State, c.Of))
	}
	return v
}

// Update takes in that a run started or ended.
func (v *View) Update(o Outcome) {
	v.seen[o.Case][o.Repeat] = o.State
	if o.State != Running {
		v.done++
	}
	if v.tty {
		v.table()
		return
	}
	if o.State == Running {
		return
	}
	c := v.s.Cases[o.Case]
	line := fmt.Sprintf("%d/%d  %-10s  %s", v.done, v.s.Runs(), o.State, c.Name)
	if c.Of > 1 {
		line += fmt.Sprintf(" (%d of %d)", o.Repeat+1, c.Of)
	}
	line += fmt.Sprintf("  %s", o.Took.Round(100*time.Millisecond))
	if why := o.Why(); why != "" && o.State != Skipped {
		line += "  " + why
	}
	fmt.Fprintln(v.w, printable(line))
}

func (v *View) table() {
	var b strings.Builder
	if v.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.lines)
	}
	mark := marks()
	for i, c := range v.s.Cases {
		var marks strings.Builder
		for _, s := range v.seen[i] {
			marks.WriteString(mark[s])
		}
		text := []rune(printable(c.Name))
		text = text[:min(len(text), 60)]
		runs := []rune(marks.String())
		fmt.Fprintf(&b, "\r\x1b[K%s%s  %s\n", string(text), strings.Repeat(" ", 60-len(text)), string(runs[:min(len(runs), 40)]))
	}
	fmt.Fprintf(&b, "\r\x1b[K%d of %d runs done\n", v.done, v.s.Runs())
	v.lines = len(v.s.Cases) + 1
	_, _ = io.WriteString(v.w, b.String()) // progress is no evidence
}

func marks() map[State]string {
	return map[State]string{Waiting: "·", "": "·", Running: "▸", Expected: "✓", Unexpected: "✗", Undecided: "?", Untested: "!", Skipped: "-"}
}
