package reports

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// clockEvent is an event of a clock fault as a run writes it.
func clockEvent(at time.Duration, t history.Type, phase string, evidence map[string]any) history.Op {
	v := map[string]any{"id": "clock-1", "phase": phase, "targets": []any{"n1", "n10"}}
	if evidence != nil {
		v["evidence"] = evidence
	}
	return history.Op{Time: at, Process: history.Nemesis, Type: t, F: "clock", Value: v}
}

func TestClocksAreDrawnAsMeasured(t *testing.T) {
	t.Parallel()
	h := &history.History{Faults: []history.Op{
		clockEvent(1*time.Second, history.Invoke, "start", nil),
		clockEvent(1*time.Second, history.OK, "start", nil),
		clockEvent(2*time.Second, history.OK, "probe", map[string]any{"offset_ms": map[string]any{"n1": int64(3000), "n10": -500.5}}),
		clockEvent(5*time.Second, history.Invoke, "heal", nil),
		clockEvent(6*time.Second, history.OK, "gone", map[string]any{
			"offset_ms": map[string]any{"n1": int64(0), "n10": "late"}, "offset_ms_before_heal": map[string]any{"n10": -900.0},
		}),
	}}
	c := newClocks(h, nil, 10*time.Second, nil)
	if c == nil {
		t.Fatal("no drawing of clocks that were wrong")
	}
	if want := "Farthest from the harness' clock: n1 +3 s, n10 −900 ms."; c.Text != want {
		t.Errorf("got %q, want %q", c.Text, want)
	}
	// n1 jumps 3 s ahead between 1 and 2 s of 10 and is right again at 6.
	if got, want := c.Chart.Lines[0].D, "M100.0 100.0L200.0 25.0L600.0 100.0"; got != want {
		t.Errorf("n1 is drawn as %s, want %s", got, want)
	}
	// n10 was last measured when it was about to be healed.
	if got, want := c.Chart.Lines[2].D, "M100.0 100.0L200.0 112.5L500.0 122.5"; got != want {
		t.Errorf("n10 is drawn as %s, want %s", got, want)
	}
}

func TestClocksAreShownOnlyWhereAnyoneAsked(t *testing.T) {
	t.Parallel()
	h := &history.History{Faults: []history.Op{{F: "partition", Value: map[string]any{"phase": "probe", "evidence": map[string]any{"cut": int64(3)}}}}}
	if c := newClocks(h, nil, time.Second, nil); c != nil {
		t.Errorf("got %+v, want no drawing", c)
	}
	f := synthFolder(t, 60, staleRead)
	s, err := f.Source()
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := WriteHTML(&page, s); err != nil || strings.Contains(page.String(), `id="clocks"`) {
		t.Errorf("a page of a run without clock faults has a section on clocks (%v)", err)
	}
}
