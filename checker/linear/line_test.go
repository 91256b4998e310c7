package linear

import (
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// TestQueueLooksAhead: elements enqueued at the same time in pairs, of which the
// order is known only once all are dequeued. Tried in turn those are 2^40 orders.
func TestQueueLooksAhead(t *testing.T) {
	t.Parallel()
	const pairs = 40
	var rows []checkertest.Row
	add := func(f string, element any, from, to int64) {
		r := checkertest.Row{Invoke: from, Return: to, Type: history.OK, F: f, Key: "x"}
		if r.In = element; f == "dequeue" {
			r.In, r.Out = nil, element
		}
		rows = append(rows, r)
	}
	for i := range int64(pairs) {
		add("enqueue", 2*i, 10*i, 10*i+3)
		add("enqueue", 2*i+1, 10*i+1, 10*i+4)
	}
	for i := range int64(pairs) { // the second first in every third
		first := i % 3 / 2
		at := 10 * (pairs + i)
		add("dequeue", 2*i+first, at, at+1)
		add("dequeue", 2*i+1-first, at+2, at+3)
	}
	add("dequeue", nil, 20*pairs, 20*pairs+1)
	rows = append(rows, checkertest.Row{Invoke: 20 * pairs, Type: history.Info, F: "dequeue", Key: "x"})
	for _, want := range []checker.Verdict{checker.Valid, checker.Invalid} {
		if want == checker.Invalid {
			rows[len(rows)-4].Out = rows[len(rows)-5].Out // the last one again
		}
		r := Check(t.Context(), checkertest.History(rows), Options{Model: model.Queue(), Engine: Search, Timeout: 10 * time.Second})
		d, _ := r.Detail.(*Detail)
		if r.Verdict != want || d.Exhausted > 10*pairs {
			t.Errorf("%v (%s) after %d nodes, expected %v after a few", r.Verdict, r.Reason, d.Exhausted, want)
		}
	}
}
