package history

import (
	"cmp"
	"io"
	"slices"
	"sync"
	"time"
)

// laneLimit bounds the events that a lane holds before they are written; a
// worker that is faster than the disk waits.
const laneLimit = 1 << 15

// Recorder writes the events of many workers to one history, in the order of
// their times, while the run goes on. Each worker records into a lane of its
// own; no lock is shared between workers.
//
// What has been written is at every moment a prefix in time of the true history.
// Proof: a lane stamps an event inside its own lock. Flush reads the clock, T,
// then takes each lane's events under that lane's lock. An event that Flush does
// not find was stamped after its lane's lock was released, so at T or later.
// Hence all events before T are in hand, and Flush writes exactly those.
type Recorder struct {
	clock func() time.Duration

	lanesMu sync.Mutex
	lanes   []*Lane

	mu      sync.Mutex // held while writing
	w       *Writer
	pending []laneOp // taken from lanes, not before the last T
	sink    func(Op)
	err     error
}

type laneOp struct {
	Op
	lane int
}

// NewRecorder writes to w, which it does not close. The clock must never run
// backwards and be the same for all workers.
func NewRecorder(w io.Writer, clock func() time.Duration) *Recorder {
	return &Recorder{clock: clock, w: NewWriter(w)}
}

// Tee hands every event to sink after it was written, numbered and in order, on
// the flushing goroutine. Call it before the first Flush.
func (r *Recorder) Tee(sink func(Op)) { r.sink = sink }

// Lane is one worker's way into the history. It must not be used by two workers
// at once.
type Lane struct {
	r      *Recorder
	number int

	mu    sync.Mutex // shared with Flush alone
	ops   []Op
	last  time.Duration
	spare []Op // Flush's: what it emptied, to be swapped in
}

// Lane adds a lane; safe for concurrent use.
func (r *Recorder) Lane() *Lane {
	r.lanesMu.Lock()
	defer r.lanesMu.Unlock()
	l := &Lane{r: r, number: len(r.lanes), last: -1}
	r.lanes = append(r.lanes, l)
	return l
}

// Record stamps op with the present time and keeps it for the next Flush. Two
// events of a lane never have the same time: an equal one is moved on by the
// nanosecond that the clock cannot show.
func (l *Lane) Record(op Op) Op {
	l.mu.Lock()
	full := len(l.ops) >= laneLimit
	if !full {
		l.record(&op)
	}
	l.mu.Unlock()
	if !full {
		return op
	}
	if op.Type != Invoke { // a completion is stamped before the wait, it is no later than that
		l.mu.Lock()
		l.record(&op)
		l.mu.Unlock()
		_ = l.r.Flush() // the error is kept: see Err
		return op
	}
	_ = l.r.Flush()
	l.mu.Lock()
	l.record(&op)
	l.mu.Unlock()
	return op
}

func (l *Lane) record(op *Op) {
	op.Time = l.r.clock()
	if op.Time <= l.last {
		op.Time = l.last + 1
	}
	l.last = op.Time
	l.ops = append(l.ops, *op)
}

// Flush writes all events that are older than the moment it is called. After an
// error it writes nothing more; what was written stays a prefix.
func (r *Recorder) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	until := r.clock()
	r.take()
	n, _ := slices.BinarySearchFunc(r.pending, until, func(o laneOp, t time.Duration) int { return cmp.Compare(o.Time, t) })
	return r.write(n)
}

// take moves the lanes' events to pending and sorts it.
func (r *Recorder) take() {
	r.lanesMu.Lock()
	lanes := r.lanes
	r.lanesMu.Unlock()
	for _, l := range lanes {
		l.mu.Lock()
		ops := l.ops
		l.ops = l.spare[:0]
		l.mu.Unlock()
		for _, op := range ops {
			r.pending = append(r.pending, laneOp{op, l.number})
		}
		clear(ops)
		l.spare = ops
	}
	slices.SortFunc(r.pending, func(a, b laneOp) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.lane, b.lane))
	})
}

func (r *Recorder) write(n int) error {
	for _, op := range r.pending[:n] {
		if r.err != nil {
			break
		}
		op.Index = r.w.n
		if r.err = r.w.Write(op.Op); r.err == nil && r.sink != nil {
			r.sink(op.Op)
		}
	}
	r.pending = slices.Delete(r.pending, 0, n)
	if r.err == nil && n > 0 {
		r.err = r.w.Flush()
	}
	return r.err
}

// Err is the first error of writing, such as a full disk.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close writes everything, and the line that says the history is complete. No
// lane may be used afterwards.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take()
	if err := r.write(len(r.pending)); err != nil {
		return err
	}
	r.err = r.w.Close()
	return r.err
}
