package logs

import (
	"context"
	"strings"
	"testing"

	"github.com/faultline-dev/faultline/checker"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"all is well\nno panic here\n", ""},
		{"x\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:\n", "panic"},
		{"==================\nWARNING: DATA RACE\n", "data-race"},
		{`{"level":"fatal","msg":"boom"}`, "fatal"},
		{"wal: crc mismatch at 17", "corruption"},
		{strings.Repeat("x", 200000) + "\nfatal error: all goroutines are asleep\n", "fatal"},
	} {
		r := New([]Log{{"n1", "n1.log", strings.NewReader(c.text)}}).Check(context.Background(), nil)
		if c.want == "" {
			if r.Verdict != checker.Valid {
				t.Errorf("%.20q: %v", c.text, r.Anomalies)
			}
			continue
		}
		if r.Verdict != checker.Invalid || r.Anomalies[0].Name != c.want {
			t.Errorf("%.20q: %v %v, want %s", c.text, r.Verdict, r.Anomalies, c.want)
		}
	}
}
