package reports

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports/plain"
)

// TextOptions shape Text.
type TextOptions struct {
	// Color says that w is a terminal that shows colours and nobody set NO_COLOR.
	Color bool
	// Width is how many columns there are; 0 for as many as it takes.
	Width int
	// Anomalies bounds how many are told in full; 0 means 3.
	Anomalies int
	// Folder is where the run lies, as the user would type it; "" for none.
	Folder string
}

const (
	textAnomalies = 3
	textFaults    = 12
	textScale     = 36 // characters of a witness' time line
	textWidth     = 95 // columns that sentences are wrapped at, where there are so many
	textTimes     = 42 // columns for an operation's times and the mark of the contradiction
)

// texter writes the end of a run for the terminal.
type texter struct {
	bytes.Buffer
	o TextOptions
}

// Text writes the end of a run for people at a terminal: the verdict in a
// sentence, each anomaly with its witness, faults, checks, the folder, and the
// command that does the same again. h may be nil: then no witness is drawn.
func Text(w io.Writer, r Results, h *history.History, o TextOptions) error {
	if o.Anomalies == 0 {
		o.Anomalies = textAnomalies
	}
	t := &texter{o: o}
	t.verdict(r, h)
	t.anomalies(r, h)
	t.faults(r)
	t.checks(r)
	t.ladder(r)
	t.end(r)
	_, err := w.Write(t.Bytes())
	return err
}

// paint codes.
const (
	bold   = "1"
	dim    = "2"
	red    = "1;31"
	green  = "1;32"
	yellow = "1;33"
)

func (t *texter) paint(code, s string) string {
	if !t.o.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *texter) printf(format string, args ...any) { fmt.Fprintf(t, format, args...) }

func (t *texter) verdict(r Results, h *history.History) {
	color := map[checker.Verdict]string{checker.Valid: green, checker.Invalid: red, checker.Unknown: yellow}[r.Verdict]
	word := strings.ToUpper(r.Verdict.String())
	if r.Error != "" {
		word = "NOT TESTED"
	}
	sentence := plain.Clean(Sentence(r))
	if t.o.Width > 0 {
		first := utf8.RuneCountInString(word) + 2 // the word stands before it, unpainted
		lines := wrap(strings.Repeat("_", first-1)+" "+sentence, t.o.Width-1)
		lines[0] = strings.TrimPrefix(lines[0], strings.Repeat("_", first-1)+" ")
		sentence = strings.Join(lines, "\n")
	}
	t.printf("%s  %s\n", t.paint(color, word), sentence)
	if r.Ops.Total > 0 {
		t.printf("%s\n", t.paint(dim, fmt.Sprintf("%s ok, %s fail, %s info; %s of the attempts succeeded",
			thousands(r.Ops.OK), thousands(r.Ops.Fail), thousands(r.Ops.Info), percent(r.Ops.Share()))))
	}
	if r.Verdict != checker.Valid && r.Error == "" {
		for _, m := range r.Power.Missing {
			t.printf("  missing: %s\n", plain.Clean(m))
		}
	}
	if r.Verdict == checker.Unknown || r.Error != "" {
		t.reading(r, h)
	}
}

// reading tells what helps to understand the verdict, in paragraphs.
func (t *texter) reading(r Results, h *history.History) {
	facts := reading(r, h)
	if len(facts) > 0 {
		t.printf("\n")
	}
	for _, f := range facts {
		for i, line := range wrap(plain.Clean(f.Name+": "+f.Value), t.columns()-3) {
			if name := f.Name + ":"; i == 0 && strings.HasPrefix(line, name) {
				line = t.paint(bold, name) + strings.TrimPrefix(line, name)
			}
			t.printf("   %s\n", line)
		}
	}
}

func (t *texter) anomalies(r Results, h *history.History) {
	for i, a := range r.Anomalies {
		if i >= t.o.Anomalies {
			t.printf("\n%s\n", t.paint(dim, "and "+plural(len(r.Anomalies)-i, "more anomaly")+", all in results.json"))
			return
		}
		name := a.Name
		if a.Key != "" {
			name += " on " + a.Key
		}
		t.printf("\n%d. %s\n", i+1, t.paint(red, plain.Clean(name)))
		for _, line := range wrap(plain.Clean(upper(a.Explain)), t.columns()-3) {
			t.printf("   %s\n", line)
		}
		w := newWitness(h, a, i+1)
		t.witness(&w, r.Faults)
		if i == 0 {
			t.reading(r, h)
		}
	}
}

// columns are those that sentences are wrapped at, the margin included.
func (t *texter) columns() int {
	if t.o.Width > 0 {
		return max(20, min(textWidth, t.o.Width-1))
	}
	return textWidth
}

// witness draws one line an operation over a common, stretched time line, and where
// there is no room for all of it, a second line with the times.
func (t *texter) witness(w *witness, faults []Fault) {
	if len(w.spans) == 0 {
		return
	}
	var who, what []string
	for _, s := range w.spans {
		who = append(who, fmt.Sprintf("[%d] process %d%s", s.Index, s.Process, at(plain.Clean(s.Node))))
		what = append(what, plain.Clean(asked(s.Operation)+" → "+came(s.Operation)))
	}
	a, b := widest(who), widest(what)
	moments := w.moments()
	scale, between := textScale, "  "
	// Where all does not fit into a line, the times stand in a second one.
	if room := t.o.Width - 1 - (3 + a + 2 + b + 2); t.o.Width > 0 && room < min(6*len(moments), textScale)+textTimes {
		scale = min(textScale, room-4)
		between = "\n" + strings.Repeat(" ", max(3, min(3+a+2, t.o.Width-textTimes)))
	}
	step := max(2, min(6, scale/max(1, len(moments))))
	col := func(d time.Duration) int {
		i, _ := slices.BinarySearch(moments, d)
		return i * step
	}
	width := (len(moments)-1)*step + 4
	for i, s := range w.spans {
		bar := strings.Repeat(" ", col(s.Invoke))
		if s.open {
			bar += "├" + strings.Repeat("┄", max(1, width-col(s.Invoke)-2)) + "?"
		} else {
			bar += "├" + strings.Repeat("─", max(0, col(s.Return)-col(s.Invoke)-1)) + "┤"
		}
		times := clock(s.Invoke) + " – " + clock(s.Return)
		if s.held > s.Return {
			bar += strings.Repeat("═", max(1, col(s.held)-col(s.Return)))
			times += ", held until " + clock(s.held)
		}
		if between == "  " {
			bar = pad(bar, width)
		}
		line := fmt.Sprintf("   %s  %s  %s%s%s", pad(who[i], a), pad(what[i], b), bar, between, t.paint(dim, times))
		if s.culprit {
			line += "  " + t.paint(red, "← contradiction")
		}
		t.printf("%s\n", line)
	}
	for _, f := range during(faults, w.from, w.to) {
		t.printf("   %s\n", t.paint(dim, "during "+plain.Clean(faultWords(f))))
	}
}

func at(node string) string {
	if node == "" {
		return ""
	}
	return " at " + node
}

// faultWords is "partition of n1 (2.1 s – 4.3 s)".
func faultWords(f Fault) string {
	s := f.Fault
	if len(f.Targets) > 0 {
		s += " of " + strings.Join(f.Targets, ", ")
	}
	end := "?"
	if f.End > 0 {
		end = clock(f.End)
	}
	return s + " (" + clock(f.Start) + " – " + end + ")"
}

func (t *texter) faults(r Results) {
	if len(r.Faults) == 0 {
		return
	}
	t.printf("\n%s\n", t.paint(bold, "faults"))
	for i, f := range r.Faults {
		if i == textFaults {
			t.printf("  %s\n", t.paint(dim, "and "+thousands(len(r.Faults)-i)+" more"))
			return
		}
		bit, healed := "bit", "healed"
		if !f.Bit {
			bit = t.paint(yellow, "did not bite")
		} else if f.Relevant != nil {
			bit = t.paint(yellow, "bit what nothing reads")
		}
		if !f.Healed {
			healed = t.paint(yellow, "not proven healed")
		}
		t.printf("  %s  %s, %s\n", plain.Clean(faultWords(f)), bit, healed)
	}
}

func (t *texter) checks(r Results) {
	if len(r.Checks) == 0 {
		return
	}
	t.printf("\n%s\n", t.paint(bold, "checks"))
	var names []string
	for _, c := range r.Checks {
		names = append(names, plain.Clean(c.Checker))
	}
	width := widest(names)
	for i, c := range r.Checks {
		t.printf("  %s  %-7s  %s\n", pad(names[i], width), c.Verdict, t.paint(dim, plain.Clean(checkWords(c))))
	}
}

func checkWords(c Check) string {
	var parts []string
	if c.Engine != "" {
		parts = append(parts, c.Engine)
	}
	parts = append(parts, plural(c.Ops, "operation"), short(c.Duration))
	if c.Reason != "" {
		parts = append(parts, c.Reason)
	}
	return strings.Join(parts, ", ")
}

func (t *texter) ladder(r Results) {
	if len(r.Ladder) == 0 {
		return
	}
	t.printf("\n%s\n", t.paint(bold, "consistency"))
	for _, name := range rungs(r.Ladder) {
		t.printf("  %-20s %s\n", plain.Clean(name), r.Ladder[name])
	}
}

// ladderNames are the rungs from the strongest down.
func ladderNames() []string {
	return []string{
		"linearizable", "sequential", "causal", "pram", "writes-follow-reads",
		"read-your-writes", "monotonic-reads", "monotonic-writes", "eventual",
	}
}

// rungs are the names in l from the strongest down, unknown ones last.
func rungs(l map[string]checker.Verdict) []string {
	var names []string
	for _, n := range ladderNames() {
		if _, ok := l[n]; ok {
			names = append(names, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(l)) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

func (t *texter) end(r Results) {
	t.printf("\n")
	if t.o.Folder != "" {
		t.printf("folder:    %s\n", t.o.Folder)
	}
	if r.Reproduce != "" {
		t.printf("reproduce: %s\n", plain.Clean(r.Reproduce))
	}
}

func widest(s []string) int {
	n := 0
	for _, x := range s {
		n = max(n, utf8.RuneCountInString(x))
	}
	return n
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// wrap breaks s between words into lines of at most width runes.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
