package suites

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/ladder"
	"github.com/faultline-dev/faultline/reports"
)

// WriteFigures writes what was found as a Markdown document: each case with what
// was expected, how soon it showed, and the figures of its checkers.
func (m Summary) WriteFigures(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", reports.Markdown(m.Suite.Name), reports.Markdown(m.Suite.Description))
	fmt.Fprintf(&b, "%s Seed %d. This file was written by the run, `faultline suite --figures`.\n\n", reports.Markdown(m.Sentence()), m.Seed)
	b.WriteString("| case | expected | as expected | found | first after | operations | time under test |\n|---|---|--:|---|--:|--:|--:|\n")
	for _, c := range m.Cases {
		ops, under := 0, time.Duration(0)
		for _, o := range c.Runs {
			ops += o.Results.Ops.Total
			under += o.Results.Duration
		}
		fmt.Fprintf(&b, "| %s | %s | %d of %d | %s | %s | %d | %s |\n", reports.Markdown(c.Name), reports.Markdown(c.Expect.String()),
			c.Met, c.Of, reports.Markdown(c.rates()), c.firstAfter(), ops, under.Round(time.Second))
	}
	b.WriteString("\nA run may end at its first anomaly; *first after* is the median time until then. Figures are medians over the runs, with the least and the greatest.\n")
	for _, c := range m.Cases {
		if lines := c.figures(); len(lines) > 0 {
			fmt.Fprintf(&b, "\n**%s**\n\n", reports.Markdown(c.Name))
			for _, l := range lines {
				fmt.Fprintf(&b, "- %s\n", reports.Markdown(l))
			}
		}
	}
	b.WriteString("\n## The commands\n\n")
	for _, c := range m.Cases {
		if len(c.Runs) > 0 && c.Runs[0].Results.Reproduce != "" {
			fmt.Fprintf(&b, "    %s\n", c.Runs[0].Results.Reproduce)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// rates says in how many of the runs that were made each anomaly was found.
func (c CaseSummary) rates() string {
	n, in := 0, map[string]int{}
	for _, o := range c.Runs {
		if o.Results.Ops.Total == 0 {
			continue
		}
		n++
		for name := range o.Results.AnomalyCounts() {
			in[name]++
		}
	}
	var s []string
	for _, name := range slices.Sorted(maps.Keys(in)) {
		s = append(s, fmt.Sprintf("%s in %d of %d", name, in[name], n))
	}
	if len(s) == 0 {
		return fmt.Sprintf("nothing in %d", n)
	}
	return strings.Join(s, ", ")
}

// firstAfter is the median time until a run's first anomaly, "" without any.
func (c CaseSummary) firstAfter() string {
	var at []float64
	for _, o := range c.Runs {
		first := time.Duration(-1)
		for _, a := range o.Results.Anomalies {
			if first < 0 || a.Time < first {
				first = a.Time
			}
		}
		if first >= 0 {
			at = append(at, float64(first))
		}
	}
	if len(at) == 0 {
		return ""
	}
	return time.Duration(median(at)).Round(100 * time.Millisecond).String()
}

// figures are the figures of the case's checkers that are not zero throughout, and
// the verdicts on consistency models, in words.
func (c CaseSummary) figures() []string {
	all := map[string][]float64{}
	models := map[string]map[checker.Verdict]int{} // runs by verdict
	for _, o := range c.Runs {
		for _, k := range o.Results.Checks {
			if k.Checker == "stats" || k.Checker == "power" {
				continue // of every run
			}
			for name, v := range k.Figures {
				all[name] = append(all[name], v)
			}
		}
		for model, v := range o.Results.Ladder {
			if models[model] == nil {
				models[model] = map[checker.Verdict]int{}
			}
			models[model][v]++
		}
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v := all[name]
		if least, most := slices.Min(v), slices.Max(v); least != 0 || most != 0 {
			lines = append(lines, fmt.Sprintf("%s: %s (%s to %s)", strings.ReplaceAll(name, "_", " "), number(median(v)), number(least), number(most)))
		}
	}
	if len(models) > 0 {
		lines = append(lines, "consistency: "+modelWords(models))
	}
	return lines
}

// modelWords are the verdicts on consistency models; those that always hold are named
// together.
func modelWords(models map[string]map[checker.Verdict]int) string {
	var always, others []string
	for _, model := range ladder.Names() {
		var s []string
		for _, v := range []checker.Verdict{checker.Valid, checker.Invalid, checker.Unknown} {
			if n := models[model][v]; n > 0 {
				s = append(s, fmt.Sprintf("%s in %d", v, n))
			}
		}
		switch {
		case len(s) == 1 && models[model][checker.Valid] > 0:
			always = append(always, model)
		case len(s) > 0:
			others = append(others, model+" "+strings.Join(s, ", "))
		}
	}
	if len(always) > 0 {
		others = append(others, "always "+strings.Join(always, ", "))
	}
	return strings.Join(others, "; ")
}

// median is the middle value, the lower of two; v must not be empty.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[(len(v)-1)/2]
}

func number(v float64) string {
	if v >= 100 || v == float64(int64(v)) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
