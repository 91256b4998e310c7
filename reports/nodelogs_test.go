package reports

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLogLinesAroundAnAnomalyAreTheNearest: of a node that logs much, what it said
// at that moment is shown, not what it said long before.
func TestLogLinesAroundAnAnomalyAreTheNearest(t *testing.T) {
	t.Parallel()
	dir, began := t.TempDir(), time.Date(2026, 11, 23, 3, 36, 10, 0, time.UTC)
	path := filepath.Join(dir, NodesDir, "n1", "out.log")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	var text []byte
	for i := range 1000 { // a line every 10 ms
		text = fmt.Appendf(text, "%s line %d\n", began.Add(time.Duration(i)*10*time.Millisecond).Format(time.RFC3339Nano), i)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	for _, w := range []window{{at(5000), at(5030)}, {at(5000), at(6000)}, {at(9985), at(20_000)}} {
		lines := readLogs(dir, began, []window{w})[0]
		if len(lines) != logLines {
			t.Fatalf("%v: %d lines", w, len(lines))
		}
		for i, l := range lines {
			if i > 0 && l.At < lines[i-1].At {
				t.Errorf("%v: line at %v after one at %v", w, l.At, lines[i-1].At)
			}
			if w.away(l.At) > at(150) {
				t.Errorf("%v: a line at %v is shown", w, l.At)
			}
		}
		if last := lines[logLines-1].At; last < min(w.to, at(9990)) {
			t.Errorf("%v: the last line is at %v", w, last)
		}
	}
}
