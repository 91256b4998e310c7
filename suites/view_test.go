package suites

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func manyCases(n int) Suite {
	s := Suite{Name: "many"}
	for i := range n {
		s.Cases = append(s.Cases, Case{Name: fmt.Sprintf("case %d %s", i, strings.Repeat("é", i)), Of: 3})
	}
	return s
}

// lastTable is what a terminal shows after the last rewriting.
func lastTable(s string) []string {
	at := max(strings.LastIndex(s, "A\r\x1b[K"), 0)
	s = strings.TrimPrefix(strings.ReplaceAll(s[at:], "\r\x1b[K", ""), "A")
	return strings.Split(strings.TrimSuffix(s, "\n\x1b[J"), "\n")
}

func TestTableFitsTheTerminal(t *testing.T) {
	t.Parallel()
	const columns, rows = 40, 12
	var b bytes.Buffer
	s := manyCases(50)
	v := NewView(&b, func() (int, int) { return columns, rows }, s)
	for i := range s.Cases {
		for r := range 3 {
			v.Update(Outcome{Case: i, Repeat: r, State: Running})
			v.Tick(time.Duration(i) * time.Second)
			lines := lastTable(b.String())
			if len(lines) >= rows {
				t.Fatalf("%d lines in %d rows", len(lines), rows)
			}
			if !strings.Contains(strings.Join(lines, "\n"), "▸") {
				t.Fatalf("what runs is not shown:\n%s", strings.Join(lines, "\n"))
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) >= columns {
					t.Fatalf("%q is wider than the terminal", l)
				}
			}
			v.Update(Outcome{Case: i, Repeat: r, State: Expected})
		}
	}
	if last := lastTable(b.String()); !strings.HasPrefix(last[len(last)-1], "150 of 150 runs done, 49s") {
		t.Errorf("got at last %q", last)
	}
}

func TestTableIsAsWideAsItsNames(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	v := NewView(&b, func() (int, int) { return 120, 40 }, manyCases(2))
	v.Update(Outcome{Case: 1, Repeat: 1, State: Running})
	want := "case 0    ···\ncase 1 é  ·▸·\n0 of 6 runs done, 0s: case 1 é (2 of 3)"
	if got := strings.Join(lastTable(b.String()), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
