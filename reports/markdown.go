package reports

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports/plain"
)

const (
	summaryAnomalies = 5
	summaryFaults    = 20
)

// WriteSummary writes a run as Markdown for the summary page of a CI job.
func WriteSummary(w io.Writer, r Results) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## %s %s\n\n%s\n", mark(r), md(r.System+" · "+r.Workload), md(Sentence(r)))
	for i, a := range r.Anomalies {
		if i == summaryAnomalies {
			fmt.Fprintf(&b, "\n… and %s.\n", plural(len(r.Anomalies)-i, "more anomaly"))
			break
		}
		fmt.Fprintf(&b, "\n**%d. %s**", i+1, md(a.Name))
		if a.Key != "" {
			fmt.Fprintf(&b, " on %s", md(a.Key))
		}
		fmt.Fprintf(&b, "  \n%s\n", md(upper(a.Explain)))
	}
	if len(r.Power.Missing) > 0 {
		b.WriteString("\nWhat the run lacked:\n\n")
		for _, m := range r.Power.Missing {
			fmt.Fprintf(&b, "- %s\n", md(m))
		}
	}
	summaryTables(&b, r)
	if r.Reproduce != "" {
		fmt.Fprintf(&b, "\n%s\n", fence(r.Reproduce))
	}
	_, err := w.Write(b.Bytes())
	return err
}

func summaryTables(b *bytes.Buffer, r Results) {
	if r.Ops.Total > 0 {
		fmt.Fprintf(b, "\n| operations | ok | fail | info | succeeded |\n|--:|--:|--:|--:|--:|\n| %s | %s | %s | %s | %s |\n",
			thousands(r.Ops.Total), thousands(r.Ops.OK), thousands(r.Ops.Fail), thousands(r.Ops.Info), percent(r.Ops.Share()))
	}
	if len(r.Checks) > 0 {
		b.WriteString("\n| check | verdict | engine | remarks |\n|---|---|---|---|\n")
	}
	for _, c := range r.Checks {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", md(c.Checker), c.Verdict, md(c.Engine), md(c.Reason))
	}
	if len(r.Faults) > 0 {
		b.WriteString("\n<details><summary>Faults</summary>\n\n| fault | on | from | to | bit | healed |\n|---|---|--:|--:|---|---|\n")
		for i, f := range r.Faults {
			if i == summaryFaults {
				fmt.Fprintf(b, "| … and %d more | | | | | |\n", len(r.Faults)-i)
				break
			}
			to := "not over"
			if f.End > 0 {
				to = clock(f.End)
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", md(f.Fault), md(strings.Join(f.Targets, ", ")), clock(f.Start), to, yesNo(f.Bit), yesNo(f.Healed))
		}
		b.WriteString("\n</details>\n")
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "**no**"
}

func mark(r Results) string {
	switch {
	case r.Error != "":
		return "⚪ not tested:"
	case r.Verdict == checker.Invalid:
		return "🔴 invalid:"
	case r.Verdict == checker.Valid:
		return "🟢 valid:"
	}
	return "🟡 unknown:"
}

// md is s as plain text in Markdown: nothing in it is markup or HTML.
func md(s string) string {
	var b strings.Builder
	for _, r := range plain.Clean(strings.ReplaceAll(s, "\n", " ")) {
		switch r {
		case '<':
			b.WriteString("&lt;")
			continue
		case '>':
			b.WriteString("&gt;")
			continue
		case '&':
			b.WriteString("&amp;")
			continue
		case '@':
			b.WriteString("@\u200b") // mentions nobody
			continue
		case '\\', '`', '*', '_', '[', ']', '|', '#', '~', '!':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// fence is s as a block of code that s cannot end.
func fence(s string) string {
	ticks := "```"
	for strings.Contains(s, ticks) {
		ticks += "`"
	}
	return ticks + "sh\n" + plain.Clean(s) + "\n" + ticks
}

// WriteAnnotations writes the findings as workflow commands of a CI service, which
// shows them beside the job: an error an anomaly or failed run, a warning what is
// unknown.
func WriteAnnotations(w io.Writer, r Results) error {
	var b bytes.Buffer
	line := func(level, title, text string) { b.WriteString(Annotation(level, title, text)) }
	for i, a := range r.Anomalies {
		if i == summaryAnomalies {
			line("error", "faultline", plural(len(r.Anomalies)-i, "more anomaly"))
			break
		}
		title := "faultline: " + a.Name
		if a.Key != "" {
			title += " on " + a.Key
		}
		line("error", title, upper(a.Explain)+"\nreproduce: "+r.Reproduce)
	}
	switch {
	case r.Error != "":
		line("error", "faultline: not tested", Sentence(r))
	case r.Verdict == checker.Unknown:
		line("warning", "faultline: unknown", Sentence(r))
	case r.Verdict == checker.Invalid && len(r.Anomalies) == 0:
		line("error", "faultline: invalid", Sentence(r))
	case r.Verdict == checker.Valid:
		line("notice", "faultline: valid", Sentence(r))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Annotation is one workflow command: level is error, warning or notice.
func Annotation(level, title, text string) string {
	return fmt.Sprintf("::%s title=%s::%s\n", level, property(title), message(text))
}

func message(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(message(s))
}

// Markdown is s as plain text in Markdown: nothing in it is markup or HTML.
func Markdown(s string) string { return md(s) }
