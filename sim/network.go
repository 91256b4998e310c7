package sim

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// link is one direction between two nodes, or between the clients and a node.
type link struct {
	holds []hold
	cut   int           // how many holds cut it
	shape cluster.Shape // all holds' together
	last  time.Duration // when the last frame arrives: a link keeps the order
	busy  time.Duration // until when its rate is used up
}

// hold is what one fault does to a link.
type hold struct {
	id    string
	cut   bool
	shape cluster.Shape
}

// set puts a hold on the link, or takes it off.
func (l *link) set(h hold, on bool) {
	l.holds = slices.DeleteFunc(l.holds, func(o hold) bool { return o.id == h.id })
	if on {
		l.holds = append(l.holds, h)
	}
	l.cut, l.shape = 0, cluster.Shape{}
	for _, o := range l.holds {
		if o.cut {
			l.cut++
		}
		l.shape = both(l.shape, o.shape)
	}
}

// both is the effect of two shapes at once.
func both(a, b cluster.Shape) cluster.Shape {
	either := func(p, q float64) float64 { return 1 - (1-p)*(1-q) }
	a.Delay += b.Delay
	a.Jitter = time.Duration(math.Hypot(float64(a.Jitter), float64(b.Jitter)))
	a.Loss, a.Duplicate = either(a.Loss, b.Loss), either(a.Duplicate, b.Duplicate)
	a.Reorder, a.Corrupt = either(a.Reorder, b.Reorder), either(a.Corrupt, b.Corrupt)
	if a.Rate == 0 || b.Rate > 0 && b.Rate < a.Rate {
		a.Rate = b.Rate
	}
	return a
}

// backlog is how much a link of limited rate holds back before it drops what comes.
const backlog = 500 * time.Millisecond

// passage is what a link does to one frame.
type passage struct {
	lost, corrupt bool
	at            time.Duration // when it arrives
	again         time.Duration // when its copy does; 0 for none
	held          time.Duration // by how much the shapes delay it, and the order of what they delay
}

// pass sends one frame of size bytes over a link at a time. Noise are the chances
// of the bare network, which probes are spared.
func (w *World) pass(from, to int, size int, at time.Duration, noise bool) passage {
	l, net := w.links[from][to], &w.cfg.Net
	s := &l.shape
	least, mean := net.Least, net.Mean
	if from == w.clients() || to == w.clients() {
		least, mean, noise = net.ClientLeast, net.ClientMean, false
	}
	p := passage{at: at + w.exponential(least, mean), lost: l.cut > 0}
	switch {
	case s.Rate == 0:
	case l.busy-at > backlog:
		p.lost = true
	default:
		l.busy = max(l.busy, at) + time.Duration(float64(size*8)/float64(s.Rate)*float64(time.Second))
		p.at += l.busy - at
	}
	free := p.at
	p.at += max(0, s.Delay+time.Duration(w.rng.NormFloat64()*float64(s.Jitter)))
	reorder, duplicate, loss := s.Reorder, s.Duplicate, s.Loss
	if noise {
		reorder, duplicate, loss = max(reorder, net.Reorder), max(duplicate, net.Duplicate), max(loss, net.Loss)
	}
	if w.chance(reorder) {
		p.at += w.exponential(4*mean, 8*mean) // others overtake it
	} else {
		p.at = max(p.at, l.last+1)
		l.last = p.at
	}
	if s.Delay > 0 || s.Jitter > 0 {
		p.held = p.at - free
	}
	if w.chance(loss) {
		p.lost = true
	}
	p.corrupt = w.chance(s.Corrupt)
	if w.chance(duplicate) {
		p.again = p.at + w.exponential(least, 20*mean)
	}
	return p
}

// chance is true with probability p; 0 draws nothing.
func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// frame is a message between nodes on its way.
type frame struct {
	from, to int
	payload  []byte
	sent     int           // its place among the recorded messages, -1 for none
	held     time.Duration // by how much shapes delay it
}

// send puts a frame on its link.
func (w *World) send(from, to int, payload []byte) {
	p := w.pass(from, to, len(payload), w.now, true)
	if p.corrupt {
		payload = slices.Clone(payload)
		bit := w.rng.IntN(len(payload) * 8)
		payload[bit/8] ^= 1 << (bit % 8)
	}
	f := &frame{from, to, payload, w.note(from, to, payload), p.held}
	if p.lost {
		return
	}
	w.at(p.at, f)
	if p.again > 0 {
		w.at(p.again, &frame{from, to, payload, w.note(from, to, payload), p.held})
	}
}

// fire delivers the frame, if the link is still open.
func (f *frame) fire(w *World) {
	if w.links[f.from][f.to].cut > 0 {
		return
	}
	w.arrived(f.sent)
	w.countFrame()
	w.nodes[f.to].receive(f)
}

// Cut implements cluster.Network.
func (w *World) Cut(_ context.Context, id string, links []cluster.Link) error {
	return w.hold(hold{id: id, cut: true}, links)
}

// Shapes implements cluster.Shaper: everything is possible.
func (w *World) Shapes(cluster.Shape) error { return nil }

// Shape implements cluster.Shaper.
func (w *World) Shape(_ context.Context, id string, links []cluster.Link, s cluster.Shape) error {
	return w.hold(hold{id: id, shape: s}, links)
}

func (w *World) hold(h hold, links []cluster.Link) error {
	var on []*link
	for _, l := range links {
		from, to, err := w.ends(l)
		if err != nil {
			return err // and all is as it was
		}
		on = append(on, w.links[from][to])
	}
	w.release(h.id)
	for _, l := range on {
		l.set(h, true)
	}
	return nil
}

func (w *World) ends(l cluster.Link) (from, to int, err error) {
	from, ok := w.index[l.From]
	to, ok2 := w.index[l.To]
	if !ok || !ok2 {
		return 0, 0, fmt.Errorf("sim: there is no link %s", l)
	}
	return from, to, nil
}

func (w *World) release(id string) {
	for _, row := range w.links {
		for _, l := range row {
			if slices.ContainsFunc(l.holds, func(h hold) bool { return h.id == id }) {
				l.set(hold{id: id}, false)
			}
		}
	}
	w.letGo()
}

// letGo lets no frame under way be delayed for longer than the shapes of its link do now.
// Frames keep their order.
func (w *World) letGo() {
	slices.SortFunc(w.events, func(a, b event) int {
		if a.before(&b) {
			return -1
		}
		return 1
	})
	next, last := map[*link]time.Duration{}, map[*link]time.Duration{}
	for i := len(w.events) - 1; i >= 0; i-- {
		e := &w.events[i]
		f, ok := e.do.(*frame)
		if !ok {
			continue
		}
		l := w.links[f.from][f.to]
		if most := l.shape.Delay + 4*l.shape.Jitter; f.held > most {
			e.at = max(w.now, e.at-f.held+most)
			f.held = most
		}
		if at, behind := next[l]; behind {
			e.at = min(e.at, at)
		}
		next[l], last[l] = e.at, max(last[l], e.at)
	}
	for _, row := range w.links {
		for _, l := range row {
			l.last = min(l.last, max(w.now, last[l])) // what was lost holds back nothing
		}
	}
	events := w.events
	w.events = make(queue, 0, cap(events))
	for _, e := range events {
		w.events.push(e)
	}
}

// Mend implements cluster.Network.
func (w *World) Mend(_ context.Context, id string) error {
	w.healed()
	w.release(id)
	return nil
}

// Heal implements cluster.Network.
func (w *World) Heal(context.Context) error {
	w.healed()
	for _, row := range w.links {
		for _, l := range row {
			l.holds, l.cut, l.shape = nil, 0, cluster.Shape{}
		}
	}
	w.letGo()
	return nil
}

// reachProbes are sent over a link, so that one that loses some is still open.
const reachProbes = 20

// Reach implements cluster.Network: probes pass the links as frames do, and count
// if the link is still open when they arrive.
func (w *World) Reach(ctx context.Context, links []cluster.Link) (map[cluster.Link]bool, error) {
	m, err := w.Measure(ctx, links, cluster.Probes{Count: reachProbes, Size: 64, Every: time.Millisecond})
	reach := map[cluster.Link]bool{}
	for l, q := range m {
		reach[l] = q.Received > 0
	}
	return reach, err
}

// Measure implements cluster.Meter.
func (w *World) Measure(ctx context.Context, links []cluster.Link, p cluster.Probes) (map[cluster.Link]cluster.Quality, error) {
	m := map[cluster.Link]cluster.Quality{}
	end := w.now
	for _, l := range links {
		from, to, err := w.ends(l)
		if err != nil {
			return nil, err
		}
		q, last := w.measure(from, to, p)
		m[l] = q
		end = max(end, last)
	}
	if err := w.Sleep(ctx, end-w.now); err != nil {
		return nil, err
	}
	for _, l := range links {
		if from, to, _ := w.ends(l); w.links[from][to].cut > 0 {
			m[l] = cluster.Quality{Sent: p.Count}
		}
	}
	return m, nil
}

// measure lets probes pass one link; last is when the last arrives.
func (w *World) measure(from, to int, p cluster.Probes) (q cluster.Quality, last time.Duration) {
	l := w.links[from][to]
	kept, busy := l.last, l.busy
	l.busy = 0 // probes do not wait behind the frames
	var delays, arrivals []time.Duration
	for i := range p.Count {
		at := w.now + time.Duration(i)*p.Every
		x := w.pass(from, to, p.Size, at, false)
		q.Sent++
		if x.lost {
			continue
		}
		q.Received++
		if x.corrupt {
			q.Corrupted++
		}
		if x.again > 0 {
			q.Duplicated++
		}
		delays, arrivals = append(delays, x.at-at), append(arrivals, x.at)
		last = max(last, x.at)
	}
	l.last, l.busy = kept, busy // nor the frames behind them
	if q.Received == 0 {
		return q, w.now + time.Duration(p.Count)*p.Every
	}
	for i, a := range arrivals {
		if i+1 < len(arrivals) && slices.Min(arrivals[i+1:]) < a {
			q.Reordered++
		}
	}
	if d := slices.Max(arrivals) - slices.Min(arrivals); d > 0 {
		q.Rate = int64(float64((q.Received-1)*p.Size*8) / d.Seconds())
	}
	slices.Sort(delays)
	q.Delay, q.DelayP95 = delays[len(delays)/2], delays[len(delays)*95/100]
	return q, last
}
