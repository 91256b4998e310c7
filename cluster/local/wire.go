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
	change chan struct{} // closed when the shapes change, and made anew
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
	passage
	due  time.Time
	flip int // the bit to flip, -1 for none
}

// passage is why something that entered a wire is not through yet.
type passage struct {
	entered time.Time
	waits   []wait
}

// wait is what one shape adds to a passage, for as long as it is on the wire.
type wait struct {
	shape *shape
	by    time.Duration
	late  bool // it is to be overtaken
}

func newWire(l cluster.Link, seed uint64) *wire {
	open := make(chan struct{})
	close(open)
	h := uint64(14695981039346656037)
	for _, b := range []byte(l.String()) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return &wire{link: l, cuts: map[string]bool{}, open: open, change: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, h))}
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

// changed lets everything under way be looked at again: what a shape that is gone
// held back is due as if it had never been, what others hold back stays.
func (w *wire) changed() {
	w.epoch++
	w.last = time.Time{}
	close(w.change)
	w.change = make(chan struct{})
}

// due is when what entered is through by the shapes that are on the wire now, and
// whether it keeps its place among the others. mu is held.
func (w *wire) due(p passage) (due time.Time, ordered bool) {
	due, ordered = p.entered, true
	for _, x := range p.waits {
		if slices.Contains(w.shapes, x.shape) {
			due = due.Add(x.by)
			ordered = ordered && !x.late
		}
	}
	if !ordered {
		due = due.Add(overtaken)
	}
	return due, ordered
}

// behind is when what entered is due that keeps its place behind last. mu is held.
func (w *wire) behind(p passage, last *time.Time) time.Time {
	due, ordered := w.due(p)
	if !ordered {
		return due
	}
	if due.Before(*last) {
		due = *last
	}
	*last = due
	return due
}

// arrange makes the dues of a line's waiting items, the oldest first, those that the
// shapes ask for now, and returns the epoch of these.
func (w *wire) arrange(items []item) (epoch int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last time.Time
	for i := range items {
		items[i].due = w.behind(items[i].passage, &last)
	}
	if last.After(w.last) {
		w.last = last
	}
	return w.epoch
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
func (w *wire) fates(t time.Time, size int, control bool) []fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.cuts) > 0 {
		return nil
	}
	if len(w.shapes) == 0 {
		return []fate{{passage: passage{entered: t}, due: t, flip: -1}}
	}
	copies, flip := 1, -1
	p, due := passage{entered: t}, t
	for _, s := range w.shapes {
		if control {
			p.waits = append(p.waits, wait{shape: s, by: s.Delay})
			continue
		}
		if w.hit(s.Loss) {
			return nil
		}
		if w.hit(s.Duplicate) {
			copies++
		}
		if w.hit(s.Corrupt) && size > 0 {
			flip = w.rng.IntN(size * 8)
		}
		x := wait{shape: s, late: w.hit(s.Reorder), by: s.leave(due, size).Sub(due) + w.delay(s.Shape)}
		due = due.Add(x.by)
		p.waits = append(p.waits, x)
	}
	return slices.Repeat([]fate{{passage: p, due: w.behind(p, &w.last), flip: flip}}, copies)
}

// stream lets a chunk of size bytes of a byte stream enter at t.
func (w *wire) stream(t time.Time, size int) passage {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, due := passage{entered: t}, t
	for _, s := range w.shapes {
		x := wait{shape: s, by: s.leave(due, size).Sub(due) + w.delay(s.Shape)}
		due = due.Add(x.by)
		p.waits = append(p.waits, x)
	}
	return p
}

// rest is until when a passage is held back, and a channel that is closed when that
// may have changed.
func (w *wire) rest(p passage) (time.Time, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	due, _ := w.due(p)
	return due, w.change
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
