package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

const (
	// probeTries is how often Reach sends over a link that loses.
	probeTries = 32
	// probeMax bounds a measurement beyond the time that sending takes.
	probeMax = 5 * time.Second
	// stallMax is how long a byte stream must stall to count as cut.
	stallMax = 50 * time.Millisecond
)

// on is the wires of links.
func (c *local) on(links []cluster.Link) ([]*wire, error) {
	ws := make([]*wire, 0, len(links))
	for _, l := range links {
		w, ok := c.wires[l]
		if !ok {
			return nil, fmt.Errorf("cluster/local: no link %s; nodes are %v, and %s stands for the harness", l, c.cfg.Names, cluster.Clients)
		}
		ws = append(ws, w)
	}
	return ws, nil
}

// Cut drops what passes the links, at once and silently.
func (c *local) Cut(_ context.Context, id string, links []cluster.Link) error {
	ws, err := c.on(links)
	if err != nil {
		return err
	}
	c.put(id, ws, nil)
	return nil
}

// put makes id hold these wires, and no others.
func (c *local) put(id string, ws []*wire, degrade *cluster.Shape) {
	for _, w := range c.wires {
		if slices.Contains(ws, w) {
			w.put(id, degrade)
		} else {
			w.mend(id)
		}
	}
	c.wake()
}

// Shapes refuses what only frames allow where streams of bytes are relayed.
func (c *local) Shapes(s cluster.Shape) error {
	for _, p := range []float64{s.Loss, s.Duplicate, s.Reorder, s.Corrupt} {
		if p < 0 || p > 1 || math.IsNaN(p) {
			return fmt.Errorf("cluster/local: %v is no probability", p)
		}
	}
	if s.Delay < 0 || s.Jitter < 0 || s.Rate < 0 {
		return errors.New("cluster/local: delay, jitter and rate cannot be negative")
	}
	if !c.cfg.Framed && lossy(s) {
		return errors.New("cluster/local: loss, duplication, reordering and corruption need a system with framed peer links: " +
			"a byte stream cannot lose anything without breaking; delay and rate work, or use --on docker")
	}
	return nil
}

func lossy(s cluster.Shape) bool {
	return s.Loss > 0 || s.Duplicate > 0 || s.Reorder > 0 || s.Corrupt > 0
}

// Shape degrades the links. What was under way when one is taken back is due as if that
// one had never held it.
func (c *local) Shape(_ context.Context, id string, links []cluster.Link, s cluster.Shape) error {
	if err := c.Shapes(s); err != nil {
		return err
	}
	ws, err := c.on(links)
	if err != nil {
		return err
	}
	for _, l := range links {
		if len(c.lines[l]) == 0 && lossy(s) {
			return fmt.Errorf("cluster/local: %s carries a stream of bytes, which cannot lose anything without breaking", l)
		}
	}
	c.put(id, ws, &s)
	return nil
}

// Mend takes back the cut or shape of that id.
func (c *local) Mend(_ context.Context, id string) error {
	c.mend(id)
	return nil
}

func (c *local) mend(id string) {
	for _, w := range c.wires {
		w.mend(id)
	}
	c.wake()
}

// Heal takes back everything.
func (c *local) Heal(_ context.Context) error {
	for _, w := range c.wires {
		w.heal()
	}
	c.wake()
	return nil
}

func (c *local) wake() {
	for _, lines := range c.lines {
		for _, l := range lines {
			l.wake()
		}
	}
}

// Reach sends numbered frames into each link where the sender's frames enter it
// and counts them where frames leave it for the receiver. A link that carries a
// stream of bytes is reached when it lets a byte through within stallMax.
func (c *local) Reach(ctx context.Context, links []cluster.Link) (map[cluster.Link]bool, error) {
	out := map[cluster.Link]bool{}
	err := c.each(links, func(l cluster.Link, put func(func())) {
		q := c.probe(ctx, l, cluster.Probes{Count: probeTries, Size: 16}, true)
		put(func() { out[l] = q.Received > 0 })
	})
	if err == nil {
		err = ctx.Err()
	}
	return out, err
}

// Measure sends p over each link, through the path of the nodes' own frames.
func (c *local) Measure(ctx context.Context, links []cluster.Link, p cluster.Probes) (map[cluster.Link]cluster.Quality, error) {
	if p.Count < 1 || p.Count > 100_000 || p.Size < 16 || p.Size > frameMax || p.Every < 0 {
		return nil, fmt.Errorf("cluster/local: cannot send %d probes of %d bytes every %v: 1 to 100000 of at least 16 bytes", p.Count, p.Size, p.Every)
	}
	out := map[cluster.Link]cluster.Quality{}
	err := c.each(links, func(l cluster.Link, put func(func())) {
		q := c.probe(ctx, l, p, false)
		put(func() { out[l] = q })
	})
	if err == nil {
		err = ctx.Err()
	}
	return out, err
}

// each runs f for all links at the same time; put runs its argument alone.
func (c *local) each(links []cluster.Link, f func(l cluster.Link, put func(func()))) error {
	if _, err := c.on(links); err != nil {
		return err
	}
	var mu sync.Mutex
	put := func(g func()) {
		mu.Lock()
		defer mu.Unlock()
		g()
	}
	var wg sync.WaitGroup
	for _, l := range links {
		wg.Go(func() { f(l, put) })
	}
	wg.Wait()
	return nil
}

// probe measures one link; enough says that the first arrival settles it.
func (c *local) probe(ctx context.Context, l cluster.Link, p cluster.Probes, enough bool) cluster.Quality {
	m := newMeter(p)
	if lines := c.lines[l]; len(lines) > 0 {
		m.frames(ctx, lines[0], enough)
	} else {
		m.bytes(ctx, c.wires[l], enough)
	}
	return m.quality()
}

// meter counts probes.
type meter struct {
	p cluster.Probes

	mu      sync.Mutex
	sent    []time.Time
	arrived []arrival
	open    int           // copies on their way
	news    chan struct{} // something arrived or was lost
}

type arrival struct {
	seq     int
	at      time.Time
	corrupt bool
}

func newMeter(p cluster.Probes) *meter { return &meter{p: p, news: make(chan struct{}, 1)} }

// frames sends the probes over a line and waits for what becomes of them.
func (m *meter) frames(ctx context.Context, l *line, enough bool) {
	deadline := time.NewTimer(probeMax + time.Duration(m.p.Count)*m.p.Every)
	defer deadline.Stop()
	every := time.NewTimer(0)
	defer every.Stop()
	for seq := range m.p.Count {
		if m.p.Every > 0 {
			every.Reset(m.p.Every)
			select {
			case <-every.C:
			case <-ctx.Done():
				return
			}
		}
		m.send(l, seq)
		if enough && !m.await(ctx, deadline.C) {
			return
		}
		if enough && m.any() {
			return
		}
	}
	m.await(ctx, deadline.C)
}

// send puts one probe on the line.
func (m *meter) send(l *line, seq int) {
	data := make([]byte, m.p.Size)
	binary.BigEndian.PutUint64(data, uint64(seq))
	binary.BigEndian.PutUint64(data[8:], ^uint64(seq))
	m.mu.Lock()
	m.sent = append(m.sent, time.Now())
	m.mu.Unlock()
	n := l.submit(item{
		kind: probe, data: data,
		lost:    func() { m.settle(nil) },
		arrived: func(b []byte) { m.settle(&arrival{seq: seq, at: time.Now(), corrupt: !slices.Equal(b, data)}) },
	})
	m.mu.Lock()
	m.open += n
	m.mu.Unlock()
}

// settle notes the end of one copy.
func (m *meter) settle(a *arrival) {
	m.mu.Lock()
	m.open--
	if a != nil {
		m.arrived = append(m.arrived, *a)
	}
	m.mu.Unlock()
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// await waits until no copy is on its way.
func (m *meter) await(ctx context.Context, deadline <-chan time.Time) bool {
	for {
		m.mu.Lock()
		open := m.open
		m.mu.Unlock()
		if open <= 0 {
			return true
		}
		select {
		case <-m.news:
		case <-deadline:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (m *meter) any() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.arrived) > 0
}

// bytes lets chunks pass a wire as a stream's do, one after the other.
func (m *meter) bytes(ctx context.Context, w *wire, enough bool) {
	for seq := range m.p.Count {
		m.sent = append(m.sent, time.Now())
		hold(ctx, w, m.p.Size)
		c, cancel := context.WithTimeout(ctx, stallMax)
		err := w.wait(c)
		cancel()
		if err != nil {
			return // stalled: what comes behind it is, too
		}
		m.arrived = append(m.arrived, arrival{seq: seq, at: time.Now()})
		if enough {
			return
		}
	}
}

// quality sums up.
func (m *meter) quality() cluster.Quality {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := cluster.Quality{Sent: len(m.sent)}
	seen := map[int]bool{}
	var delays []time.Duration
	highest := -1
	for _, a := range m.arrived {
		if seen[a.seq] {
			q.Duplicated++
			continue
		}
		seen[a.seq] = true
		q.Received++
		if a.corrupt {
			q.Corrupted++
		}
		if a.seq < highest {
			q.Reordered++
		}
		highest = max(highest, a.seq)
		delays = append(delays, a.at.Sub(m.sent[a.seq]))
	}
	if len(delays) == 0 {
		return q
	}
	slices.Sort(delays)
	q.Delay, q.DelayP95 = delays[len(delays)/2], delays[len(delays)*95/100]
	first, last := m.arrived[0].at, m.arrived[len(m.arrived)-1].at
	if took := last.Sub(first); took > 0 && len(m.arrived) > 1 {
		q.Rate = int64(float64((len(m.arrived)-1)*m.p.Size*8) / took.Seconds())
	}
	return q
}
