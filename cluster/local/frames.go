package local

import (
	"bufio"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	frameMax    = 64 << 20 // a longer frame is taken for a broken stream
	waitingMax  = 8192     // frames on a line, delayed ones included
	outgoingMax = 4096     // frames that a node has not read yet
	bytesMax    = 64 << 20 // of either
	redialAfter = 5 * time.Millisecond
)

// kind is what an item on a line is.
type kind uint8

const (
	frame  kind = iota // passes on to the receiver
	hello              // a sender connected
	goodby             // a sender's connection ended
	probe              // is counted where frames leave
)

// item is something that passes a line.
type item struct {
	kind    kind
	session int    // numbers the sender's connections
	data    []byte // the frame with its length prefix; of a probe the payload
	first   []byte // the session's first frame, sent ahead of any other
	arrived func(data []byte)
	lost    func()

	passage
	due time.Time
	seq uint64 // keeps items of equal due in order
}

// line relays one directed link frame by frame: readers of the sender's
// connections submit, a timer holds back what is delayed, a writer passes on.
// The receiver's death does not show on the sender's side: its frames are lost,
// as they would be on a network; and a cut shows on neither.
type line struct {
	w      *wire
	ln     net.Listener
	target string // the receiver's own port
	out    chan item
	kick   chan struct{}

	mu       sync.Mutex
	waiting  queue
	epoch    int // of the shapes by which those are due
	held     int // bytes waiting
	seq      uint64
	sessions int
	pending  int // bytes in out
	conns    conns
}

func newLine(w *wire, ln net.Listener, target string) *line {
	return &line{
		w: w, ln: ln, target: target, out: make(chan item, outgoingMax),
		kick: make(chan struct{}, 1), conns: conns{open: map[net.Conn]bool{}},
	}
}

// run serves until ctx is done; all that it started has ended when it returns.
func (l *line) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { l.clock(ctx) })
	wg.Go(func() { l.write(ctx) })
	wg.Go(func() {
		<-ctx.Done()
		_ = l.ln.Close()
		l.conns.close()
	})
	for {
		c, err := l.ln.Accept()
		if err != nil {
			if !temporary(ctx, err) {
				return
			}
			continue
		}
		if l.conns.add(c) {
			wg.Go(func() { l.read(c) })
		}
	}
}

// temporary says whether accepting may go on after err; it waits a little so that
// a lack of descriptors does not spin.
func temporary(ctx context.Context, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(10 * time.Millisecond):
		return true
	}
}

// read submits the frames of one of the sender's connections until it ends.
func (l *line) read(c net.Conn) {
	defer l.conns.drop(c)
	l.mu.Lock()
	l.sessions++
	session := l.sessions
	l.mu.Unlock()
	r := bufio.NewReaderSize(c, 64<<10)
	first, err := readFrame(r)
	if err != nil {
		return
	}
	l.submit(item{kind: hello, session: session, first: first})
	for {
		b, err := readFrame(r)
		if err != nil {
			break
		}
		l.submit(item{kind: frame, session: session, data: b, first: first})
	}
	l.submit(item{kind: goodby, session: session})
}

// readFrame reads a frame and returns it with its length prefix.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > frameMax {
		return nil, fmt.Errorf("cluster/local: a frame of %d bytes; at most %d are relayed", n, frameMax)
	}
	b := make([]byte, 4+int(n))
	copy(b, head[:])
	_, err := io.ReadFull(r, b[4:])
	return b, err
}

// submit puts an item on the line: every frame and every probe passes here.
// It returns how many copies are on their way.
func (l *line) submit(it item) int {
	now := time.Now()
	body := len(it.data)
	if it.kind == frame {
		body -= 4 // the length prefix stays whole, or the stream would break
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fates := l.w.fates(now, body, it.kind == hello || it.kind == goodby) // under the lock: release arranges all that have one
	for _, f := range fates {
		c := it
		c.passage, c.due = f.passage, f.due
		if f.flip >= 0 {
			c.data = slices.Clone(it.data)
			at := len(c.data) - body + f.flip/8
			c.data[at] ^= 1 << (f.flip % 8)
		}
		l.enqueue(c, now)
	}
	return len(fates)
}

// enqueue lets an item out at once or keeps it until it is due. mu is held.
func (l *line) enqueue(it item, now time.Time) {
	if len(l.waiting) == 0 && !it.due.After(now) {
		l.leave(it)
		return
	}
	if len(l.waiting) >= waitingMax || l.held+len(it.data) > bytesMax {
		it.vanish()
		return
	}
	l.seq++
	it.seq = l.seq
	l.held += len(it.data)
	heap.Push(&l.waiting, it)
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// leave is where an item leaves the line: a cut made while it was on its way
// still takes it; a probe is counted; all else goes to the writer. mu is held.
func (l *line) leave(it item) {
	switch {
	case l.w.isCut():
		it.vanish()
	case it.kind == probe:
		it.arrived(it.data)
	case l.pending+len(it.data) > bytesMax:
	default:
		select {
		case l.out <- it:
			l.pending += len(it.data)
		default: // the receiver does not read: lost, as in a full buffer
		}
	}
}

func (it item) vanish() {
	if it.lost != nil {
		it.lost()
	}
}

// clock lets out what is due.
func (l *line) clock(ctx context.Context) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		t.Reset(l.release(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-l.kick:
		}
	}
}

// release lets out all that is due at now; it returns when to look again.
func (l *line) release(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w.now() != l.epoch {
		slices.SortFunc(l.waiting, func(a, b item) int { return cmp.Compare(a.seq, b.seq) })
		l.epoch = l.w.arrange(l.waiting)
		heap.Init(&l.waiting)
	}
	for len(l.waiting) > 0 {
		if it := l.waiting[0]; it.due.After(now) {
			return it.due.Sub(now)
		}
		it := heap.Pop(&l.waiting).(item) //nolint:forcetypeassert // ours
		l.held -= len(it.data)
		l.leave(it)
	}
	return time.Hour
}

// wake makes the clock look again, after a change of the wire.
func (l *line) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// write passes items on to the receiver until ctx is done.
func (l *line) write(ctx context.Context) {
	o := outgoing{target: l.target, conns: &l.conns}
	defer o.watchers.Wait()
	defer o.close()
	for {
		select {
		case <-ctx.Done():
			return
		case it := <-l.out:
			l.mu.Lock()
			l.pending -= len(it.data)
			l.mu.Unlock()
			o.pass(ctx, it)
		}
	}
}

// outgoing is a line's connection to the receiver. Only the writer uses it.
type outgoing struct {
	target  string
	conns   *conns
	conn    net.Conn
	session int
	retry   time.Time // no new attempt before this

	watchers sync.WaitGroup
}

// pass acts on one item; what cannot be sent is lost.
func (o *outgoing) pass(ctx context.Context, it item) {
	if it.kind == goodby {
		if o.session == it.session {
			o.close()
		}
		return
	}
	if o.session != it.session {
		o.close()
		o.retry = time.Time{}
	}
	for range 2 {
		if o.conn == nil && !o.dial(ctx, it) {
			return
		}
		if it.kind == hello {
			return
		}
		n, err := o.conn.Write(it.data)
		if err == nil {
			return
		}
		o.close()
		if n > 0 { // it may have arrived
			return
		}
	}
}

// dial connects and introduces the sender by the first frame it sent.
func (o *outgoing) dial(ctx context.Context, it item) bool {
	now := time.Now()
	if now.Before(o.retry) {
		return false
	}
	o.retry = now.Add(redialAfter)
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", o.target)
	if err != nil || !o.conns.add(c) {
		return false
	}
	o.conn, o.session = c, it.session
	if _, err := c.Write(it.first); err != nil {
		o.close()
		return false
	}
	o.watchers.Go(func() {
		// Nothing flows back: reading only tells when the receiver is gone, so that
		// the next frame goes to its successor instead of nowhere.
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	})
	return true
}

func (o *outgoing) close() {
	if o.conn != nil {
		o.conns.drop(o.conn)
		o.conn = nil
	}
}

// conns are the open connections of a relay, so that all can be closed at its end.
type conns struct {
	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// connsMax bounds the connections of one relay.
const connsMax = 4096

// add takes c in, or closes it when the relay has ended or has too many.
func (s *conns) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= connsMax {
		_ = c.Close()
		return false
	}
	s.open[c] = true
	return true
}

func (s *conns) drop(c net.Conn) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	_ = c.Close()
}

func (s *conns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		_ = c.Close()
	}
}

// queue is a heap of items by due time.
type queue []item

func (q *queue) Len() int { return len(*q) }
func (q *queue) Less(i, j int) bool {
	a, b := &(*q)[i], &(*q)[j]
	if a.due.Equal(b.due) {
		return a.seq < b.seq
	}
	return a.due.Before(b.due)
}
func (q *queue) Swap(i, j int) { (*q)[i], (*q)[j] = (*q)[j], (*q)[i] }
func (q *queue) Push(x any)    { *q = append(*q, x.(item)) } //nolint:forcetypeassert // ours
func (q *queue) Pop() any {
	old := *q
	it := old[len(old)-1]
	old[len(old)-1] = item{}
	*q = old[:len(old)-1]
	return it
}
