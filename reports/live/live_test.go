package live

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestPlainLinesAreFew(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	v := New(&b, false)
	for i := range 1000 {
		v.Update(Snapshot{Stage: "run", Elapsed: time.Duration(i) * 10 * time.Millisecond, OK: 100 * i, Faults: []string{"partition of n1"}, Errors: map[string]int{"refused\x1b[2J": 3}})
	}
	v.Update(Snapshot{Stage: "check"})
	v.Close()
	want := `run       0.0s  faults now: partition of n1  refused�[2J × 3
run       5.0s    10000 ops/s  ok 50000  fail 0  info 0  faults now: partition of n1  refused�[2J × 3
check     0.0s
`
	if b.String() != want {
		t.Errorf("got\n%s", &b)
	}
}

func TestTerminalRewritesItsLines(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	v := New(&b, true)
	v.SetWidth(40)
	for i := range 20 {
		v.Update(Snapshot{Stage: "run", Elapsed: time.Duration(i) * 200 * time.Millisecond, Total: 4 * time.Second, OK: 10 * i, Latency: time.Duration(i+1) * time.Millisecond, Faults: []string{strings.Repeat("x", 99)}})
	}
	v.Close()
	out := b.String()
	if !strings.Contains(out, "\x1b[3A") || !strings.Contains(out, "█") || !strings.HasSuffix(out, "\n") {
		t.Errorf("got %q", out)
	}
	for line := range strings.SplitSeq(out, "\n") {
		if i := strings.LastIndex(line, "\x1b[K"); i >= 0 && len([]rune(strings.TrimSuffix(line[i+3:], "\x1b[J"))) > 40 {
			t.Errorf("a line is too wide: %q", line)
		}
	}
}
