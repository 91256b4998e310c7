package linear

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// inside runs Porcupine in this process, for tests, which do without a child.
func inside(ctx context.Context, job Job) (checker.Verdict, int64, error) {
	spec, err := model.Named(job.Model)
	if err != nil {
		return checker.Unknown, 0, err
	}
	p, err := newProblem(view{h: job.History, ops: job.Ops, cut: job.Cut}, spec)
	if err != nil {
		return checker.Unknown, 0, err
	}
	limit := time.Minute
	if t, ok := ctx.Deadline(); ok {
		limit = max(time.Millisecond, time.Until(t))
	}
	said := make(chan checker.Verdict, 1)
	go func() { said <- porcupineVerdict(p, limit) }()
	select {
	case v := <-said:
		return v, 1 << 20, nil
	case <-ctx.Done():
		return checker.Unknown, 1 << 20, ctx.Err()
	}
}

// crowded is a right history of a queue that takes the search long and Porcupine a
// millisecond.
func crowded() []checkertest.Row {
	r := rand.New(rand.NewPCG(51, 7))
	rows := checkertest.Random(r, checkertest.Config{Model: "queue", Ops: 40 + r.IntN(30), Processes: 4 + r.IntN(2), Values: 3, Info: 0.2})
	for range r.IntN(3) {
		checkertest.Mutate(r, rows)
	}
	return rows
}

// TestBeside: what takes the search long is decided by Porcupine where that is
// sooner.
func TestBeside(t *testing.T) {
	t.Parallel()
	rows := append(crowded(), checkertest.Row{Invoke: 1, Return: 2, Type: history.OK, F: "enqueue", Key: "y", In: 1})
	h := checkertest.History(rows)
	r := Check(t.Context(), h, Options{Model: model.Queue(), Timeout: 20 * time.Second, Memory: 256 << 20, Porcupine: inside})
	d, _ := r.Detail.(*Detail)
	if r.Verdict != checker.Valid || d.Engines[Porcupine] != 1 || !slices.Equal(d.Keys[Porcupine], []string{"x"}) || !slices.Equal(d.Keys[Fast], []string{"y"}) || d.Memory != "measured" {
		t.Fatalf("%v by %v: %s", r.Verdict, d, r.Reason)
	}
}

// TestBesideExplains: so is a violation, which is found at the operation at fault,
// although Porcupine doesn't tell which it was.
func TestBesideExplains(t *testing.T) {
	t.Parallel()
	rows, last := crowded(), int64(0)
	for _, x := range rows {
		last = max(last, x.Invoke, x.Return)
	}
	for n := range int64(3) { // nobody enqueued what they return
		rows = append(rows, checkertest.Row{Invoke: last + 10*n + 1, Return: last + 10*n + 9, Type: history.OK, F: "dequeue", Key: "x", Out: 90 + n})
	}
	h := checkertest.History(rows)
	bad := h.Len() - 3
	knows := func(ctx context.Context, job Job) (checker.Verdict, int64, error) {
		if job.Cut >= h.Ret(bad) {
			return checker.Invalid, 0, nil
		}
		return inside(ctx, job)
	}
	r := Check(t.Context(), h, Options{Model: model.Queue(), Timeout: 30 * time.Second, Porcupine: knows})
	d, _ := r.Detail.(*Detail)
	if r.Verdict != checker.Invalid || d.Engines[Porcupine] != 1 || len(r.Anomalies) != 1 || r.Anomalies[0].Time != h.Done(bad) {
		t.Fatalf("%v by %v: %s, %v; it is at %v", r.Verdict, d, r.Reason, r.Anomalies, h.Done(bad))
	}
	t.Log(r.Anomalies[0].Explain, r.Duration)
}
