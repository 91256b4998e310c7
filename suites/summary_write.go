package suites

import (
	"bytes"
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/reports/plain"
)

//go:embed assets/summary.html.tmpl
var summaryTemplate string

// WriteText writes the summary for a terminal.
func (m Summary) WriteText(w io.Writer) error {
	var b bytes.Buffer
	width := 0
	for _, c := range m.Cases {
		width = max(width, len([]rune(c.Name)))
	}
	for _, c := range m.Cases {
		fmt.Fprintf(&b, "%-10s  %s%s  %d of %d  %s", c.State, plain.Clean(c.Name), strings.Repeat(" ", width-len([]rune(c.Name))), c.Met, c.Of, c.Expect)
		if f := c.Found(); f != "" {
			fmt.Fprintf(&b, "; found %s", plain.Clean(f))
		}
		b.WriteByte('\n')
		for _, t := range c.Tries() {
			fmt.Fprintf(&b, "            %s\n            %s\n", plain.Clean(t.String()), t.Folder)
		}
		if c.State == Expected {
			continue
		}
		for _, why := range c.Why() {
			fmt.Fprintf(&b, "            %s\n", plain.Clean(why))
		}
		for _, o := range c.Runs {
			if o.State != Expected && o.Folder != "" {
				fmt.Fprintf(&b, "            %s\n", o.Folder)
			}
		}
	}
	fmt.Fprintf(&b, "%s\n", plain.Clean(m.Sentence()))
	_, err := w.Write(b.Bytes())
	return err
}

// WriteMarkdown writes the summary for a CI job's page.
func (m Summary) WriteMarkdown(w io.Writer) error {
	var b bytes.Buffer
	mark := map[State]string{Expected: "🟢", Unexpected: "🔴", Undecided: "🟡", Untested: "⚪", Skipped: "⚪"}
	fmt.Fprintf(&b, "## %s %s\n\n", mark[m.State()], reports.Markdown(m.Sentence()))
	b.WriteString("| | case | runs as expected | expected | found |\n|---|---|--:|---|---|\n")
	for _, c := range m.Cases {
		found := c.Found()
		if found == "" {
			found = c.Bound()
		}
		fmt.Fprintf(&b, "| %s %s | %s | %d of %d | %s | %s |\n", mark[c.State], c.State, reports.Markdown(c.Name), c.Met, c.Of, reports.Markdown(c.Expect.String()), reports.Markdown(found))
	}
	for _, c := range m.Cases {
		if c.State == Expected && len(c.Tries()) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n**%s**\n\n", reports.Markdown(c.Name))
		for _, t := range c.Tries() {
			fmt.Fprintf(&b, "- %s\n", reports.Markdown(t.String()))
		}
		for _, why := range c.Why() {
			fmt.Fprintf(&b, "- %s\n", reports.Markdown(why))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteAnnotations writes what is not as expected as workflow commands of a CI
// service.
func (m Summary) WriteAnnotations(w io.Writer) error {
	var b strings.Builder
	for _, c := range m.Cases {
		level := map[State]string{Unexpected: "error", Untested: "error", Skipped: "warning", Undecided: "warning"}[c.State]
		if level != "" {
			text := fmt.Sprintf("expected %s, %d of %d runs were\n%s", c.Expect, c.Met, c.Of, strings.Join(c.Why(), "\n"))
			b.WriteString(reports.Annotation(level, "faultline "+m.Suite.Name+": "+c.Name, text))
		}
	}
	b.WriteString(reports.Annotation("notice", "faultline "+m.Suite.Name, m.Sentence()))
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteHTML writes the summary as one self-contained page that links the runs.
func (m Summary) WriteHTML(w io.Writer) error {
	t, err := template.New("suite").Parse(summaryTemplate)
	if err != nil {
		return fmt.Errorf("suites: the summary's template: %w", err)
	}
	link := m.Link
	if link == nil {
		link = func(folder string) string { return folder }
	}
	class := map[State]string{Expected: "valid", Unexpected: "invalid", Undecided: "unknown"}
	type run struct{ Link, Label, Class, Title string }
	type row struct {
		CaseSummary
		Class string
		Links []run
	}
	var rows []row
	for _, c := range m.Cases {
		r := row{CaseSummary: c, Class: class[c.State]}
		page := func(folder string) string {
			if folder == "" {
				return ""
			}
			return link(folder) + "/" + reports.IndexFile
		}
		for _, o := range c.Runs {
			for _, t := range o.Tries {
				r.Links = append(r.Links, run{page(t.Folder), marks()[Undecided], class[Undecided], fmt.Sprintf("seed %d, %s, %s", o.Seed, t, t.Took.Round(100*time.Millisecond))})
			}
			r.Links = append(r.Links, run{page(o.Folder), marks()[o.State], class[o.State], fmt.Sprintf("%s: seed %d, %s, %s", o.State, o.Seed, o.Results.Verdict, o.Took.Round(100*time.Millisecond))})
		}
		rows = append(rows, r)
	}
	return t.Execute(w, map[string]any{
		"M": m, "Rows": rows, "Class": class[m.State()], "State": m.State(), "Style": template.CSS(reports.Style()), //nolint:gosec // our own file
	})
}
