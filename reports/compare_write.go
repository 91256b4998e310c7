package reports

import (
	"cmp"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/faultline-dev/faultline/reports/plain"
)

// WriteCompareText writes a comparison as a table for the terminal.
func WriteCompareText(w io.Writer, c Comparison, worse []Regression) error {
	var b strings.Builder
	first, widths := 0, make([]int, len(c.Columns))
	for i, col := range c.Columns {
		widths[i] = len([]rune(plain.Clean(col.Name)))
	}
	for _, s := range c.Sections {
		for _, r := range s.Rows {
			first = max(first, len([]rune(plain.Clean(r.Name)))+2)
			for i, cell := range r.Cells {
				widths[i] = max(widths[i], len([]rune(plain.Clean(cell.Text))), 1)
			}
		}
	}
	b.WriteString(strings.Repeat(" ", first))
	for i, col := range c.Columns {
		b.WriteString("  " + pad(plain.Clean(col.Name), widths[i]))
	}
	for _, s := range c.Sections {
		b.WriteString("\n" + s.Title + "\n")
		for _, r := range s.Rows {
			line := []string{pad("  "+plain.Clean(r.Name), first)}
			for i, cell := range r.Cells {
				line = append(line, pad(cmp.Or(plain.Clean(cell.Text), "–"), widths[i]))
			}
			b.WriteString(strings.TrimRight(strings.Join(line, "  "), " ") + "\n")
		}
	}
	for _, x := range worse {
		fmt.Fprintf(&b, "worse: %s: %s was %s, is %s\n", plain.Clean(x.Test), plain.Clean(x.What), x.Before, x.After)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteCompareHTML writes a comparison as one self-contained page.
func WriteCompareHTML(w io.Writer, title string, c Comparison, worse []Regression) error {
	t, err := template.New("compare").Parse(compareTemplate)
	if err != nil {
		return fmt.Errorf("reports: the comparison's template: %w", err)
	}
	return t.Execute(w, map[string]any{
		"Title": title, "Style": template.CSS(indexStyle), "C": c, "Worse": worse, //nolint:gosec // our own file
	})
}
