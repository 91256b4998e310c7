package local

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// overtaken is for how long a frame that is to be overtaken is held back beyond
// its delay.
const overtaken = 10 * time.Millisecond

// wire is one direction of a link: what it does to what passes it. It carries
// nothing itself; frame lines and byte streams ask it. Safe for concurrent use.
type wire struct {
	link cluster.Link

	mu     sync.Mutex
	cuts   map[string]bool
	shapes []*shape
	open   chan struct{} // closed when nothing cuts the wire
	epoch  int           // counts changes of the shapes
	last   time.Time     // when the latest frame in order is due
	rng    *rand.Rand
}

// shape is a cluster.Shape on one wire.
type shape struct {
	cluster.Shape
	id   string
	busy time.Time // until when the line is taken by what was sent before
}

// fate is what becomes of one copy of a frame.
type fate struct {
	due  time.Time
	flip int // the bit to flip, -1 for none
}

func newWire(l cluster.Link, seed uint64) *wire {
	open := make(chan struct{})
	close(open)
	h := uint64(14695981039346656037)
	for _, b := range []byte(l.String()) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return &wire{link: l, cuts: map[string]bool{}, open: open, rng: rand.New(rand.NewPCG(seed, h))}
}

// put lets id cut the wire or, with a shape, degrade it; what id did before ends.
func (w *wire) put(id string, degrade *cluster.Shape) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if degrade == nil {
		if len(w.cuts) == 0 {
			w.open = make(chan struct{})
		}
		w.cuts[id] = true
		w.unshape(id)
		return
	}
	w.uncut(id)
	w.unshape(id)
	w.shapes = append(w.shapes, &shape{Shape: *degrade, id: id})
	slices.SortFunc(w.shapes, func(a, b *shape) int { return cmp.Compare(a.id, b.id) })
	w.changed()
}

// mend takes back what id put on the wire, if anything.
func (w *wire) mend(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uncut(id)
	w.unshape(id)
}

func (w *wire) uncut(id string) {
	if !w.cuts[id] {
		return
	}
	delete(w.cuts, id)
	if len(w.cuts) == 0 {
		close(w.open)
	}
}

func (w *wire) unshape(id string) {
	n := len(w.shapes)
	w.shapes = slices.DeleteFunc(w.shapes, func(s *shape) bool { return s.id == id })
	if len(w.shapes) != n {
		w.changed()
	}
}

// heal takes back everything.
func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.cuts) > 0 {
		clear(w.cuts)
		close(w.open)
	}
	w.shapes = nil
	w.changed()
}

// changed makes what was queued under the old shapes go out at once, as a
// kernel's queue is emptied when its discipline is replaced.
func (w *wire) changed() {
	w.epoch++
	w.last = time.Time{}
}

// isCut says whether something cuts the wire.
func (w *wire) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.cuts) > 0
}

// now is the count of changes of the shapes so far.
func (w *wire) now() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch
}

// wait returns when nothing cuts the wire, or ctx' error.
func (w *wire) wait(ctx context.Context) error {
	for {
		w.mu.Lock()
		open, free := w.open, len(w.cuts) == 0
		w.mu.Unlock()
		if free {
			return ctx.Err()
		}
		select {
		case <-open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fates decides what becomes of a frame of size bytes that enters at t: no fate
// means that it is lost, two that it is duplicated. Frames that steer the
// connection (control) are delayed and cut, but neither lost nor doubled.
func (w *wire) fates(t time.Time, size int, control bool) (f []fate, epoch int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.cuts) > 0 {
		return nil, w.epoch
	}
	if len(w.shapes) == 0 {
		return []fate{{due: t, flip: -1}}, w.epoch
	}
	copies, late, flip := 1, time.Duration(0), -1
	due := t
	for _, s := range w.shapes {
		if control {
			due = due.Add(s.Delay)
			continue
		}
		if w.hit(s.Loss) {
			return nil, w.epoch
		}
		if w.hit(s.Duplicate) {
			copies++
		}
		if w.hit(s.Corrupt) && size > 0 {
			flip = w.rng.IntN(size * 8)
		}
		if w.hit(s.Reorder) {
			late = overtaken
		}
		due = s.leave(due, size).Add(w.delay(s.Shape))
	}
	if late > 0 {
		due = due.Add(late)
	} else {
		if due.Before(w.last) {
			due = w.last
		}
		w.last = due
	}
	f = slices.Repeat([]fate{{due: due, flip: flip}}, copies)
	return f, w.epoch
}

// stream is how long a chunk of size bytes of a byte stream is held back.
func (w *wire) stream(t time.Time, size int) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	due := t
	for _, s := range w.shapes {
		due = s.leave(due, size).Add(w.delay(s.Shape))
	}
	return due.Sub(t)
}

// leave is when size bytes that are ready at t have left a line of s' rate.
func (s *shape) leave(t time.Time, size int) time.Time {
	if s.Rate <= 0 {
		return t
	}
	if s.busy.Before(t) {
		s.busy = t
	}
	s.busy = s.busy.Add(time.Duration(float64(size) * 8 / float64(s.Rate) * float64(time.Second)))
	return s.busy
}

// delay draws a delay: normally distributed around Delay, never negative.
func (w *wire) delay(s cluster.Shape) time.Duration {
	d := float64(s.Delay)
	if s.Jitter > 0 {
		d += w.rng.NormFloat64() * float64(s.Jitter)
	}
	return time.Duration(math.Max(0, d))
}

func (w *wire) hit(p float64) bool { return p > 0 && w.rng.Float64() < p }
