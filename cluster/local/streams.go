package local

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// dialMax bounds connecting to a node on loopback: it answers at once or its
// queue of connections is full.
const dialMax = 5 * time.Second

// stream relays connections byte by byte, there and back, each direction under
// its own wire. A byte stream cannot lose anything without breaking, so a cut
// stalls it, as a real one does with what it would send again: what was written
// meanwhile arrives after mending.
type stream struct {
	ln          net.Listener
	target      string
	there, back *wire
	conns       conns
}

func newStream(there, back *wire, ln net.Listener, target string) *stream {
	return &stream{ln: ln, target: target, there: there, back: back, conns: conns{open: map[net.Conn]bool{}}}
}

// run serves until ctx is done; all that it started has ended when it returns.
func (s *stream) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		<-ctx.Done()
		_ = s.ln.Close()
		s.conns.close()
	})
	for {
		c, err := s.ln.Accept()
		if err != nil {
			if !temporary(ctx, err) {
				return
			}
			continue
		}
		if s.conns.add(c) {
			wg.Go(func() { s.serve(ctx, c) })
		}
	}
}

// serve relays one connection. It is accepted already, so a node that refuses
// shows as a reset before the first byte.
func (s *stream) serve(ctx context.Context, near net.Conn) {
	defer s.conns.drop(near)
	if s.there.wait(ctx) != nil || s.back.wait(ctx) != nil {
		return
	}
	d := net.Dialer{Timeout: dialMax}
	far, err := d.DialContext(ctx, "tcp", s.target)
	if err != nil {
		reset(near)
		return
	}
	if !s.conns.add(far) {
		return
	}
	defer s.conns.drop(far)
	var wg sync.WaitGroup
	wg.Go(func() { pump(ctx, s.there, near, far) })
	pump(ctx, s.back, far, near)
	wg.Wait()
}

// pump carries what from sends to to, and how it ended: by its end, or by a reset
// of both.
func pump(ctx context.Context, w *wire, from, to net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			hold(ctx, w, n)
		}
		if w.wait(ctx) != nil {
			return
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				reset(from)
				reset(to)
				return
			}
		}
		if err != nil {
			end(err, to)
			return
		}
	}
}

// hold waits as long as the wire's shapes say, and no longer than they last.
func hold(ctx context.Context, w *wire, size int) {
	p := w.stream(time.Now(), size)
	for len(p.waits) > 0 {
		due, change := w.rest(p)
		d := time.Until(due)
		if d <= 0 {
			return
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-change:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// end passes on how the other side's stream ended.
func end(err error, to net.Conn) {
	if t, ok := to.(*net.TCPConn); ok && errors.Is(err, io.EOF) {
		_ = t.CloseWrite()
		return
	}
	reset(to)
}

// reset closes c so that its peer sees a reset, not an orderly end.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
