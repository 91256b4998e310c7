package checker_test

import (
	"context"
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// A violation is found soon after it is there, and never before.
func TestGrowing(t *testing.T) {
	const bad = 3000
	judge := checker.Func("bad", func(_ context.Context, h *history.History) checker.Result {
		for i := range h.Len() {
			if n, ok := h.In(i).IsInt(); ok && n == bad {
				return checker.Result{Verdict: checker.Invalid, Anomalies: []checker.Anomaly{{Name: "bad"}}}
			}
		}
		return checker.Result{Verdict: checker.Valid}
	})
	add := checker.Growing(t.Context(), []checker.Checker{judge})
	for i := range int64(2 * bad) {
		err := add(history.Op{Type: history.Invoke, F: "write", Key: "k", Process: history.Process(i), Value: i})
		switch {
		case err != nil && i < bad:
			t.Fatalf("event %d: %v, too early", i, err)
		case err != nil:
			return
		case i > bad+bad/4:
			t.Fatalf("nothing found by event %d", i)
		}
	}
}
