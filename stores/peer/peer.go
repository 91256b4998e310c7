// Package peer carries frames between the nodes of a bundled store.
//
// Each ordered pair of nodes has one TCP connection, dialled by the sender, on
// which frames go one way: four bytes of length, big-endian, then the payload.
// The first frame is a hello that names sender and receiver; answers travel on
// the reverse pair's own connection. So something between two nodes can cut,
// delay, drop, repeat, reorder or damage whole frames of one direction without
// understanding them. Nothing here promises delivery: a payload that matters has a
// checksum, and its sender repeats it.
package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a transport.
const (
	MaxFrame     = 64 << 20               // bytes of a payload
	queueLength  = 1024                   // frames that wait for one receiver; more are dropped
	maxInbound   = 64                     // connections from other nodes at a time
	backoffFirst = 20 * time.Millisecond  // wait after a first failed dial; it doubles
	backoffMost  = 500 * time.Millisecond // up to this
	ioTimeout    = 3 * time.Second        // for a dial, a hello, and a write that is stuck
	helloMagic   = "faultline-peer-1"     // first word of a hello
)

// Config says whom a node talks to.
type Config struct {
	Self     string
	Listener net.Listener      // where other nodes' frames arrive
	Peers    map[string]string // name to the address to dial for it
	Log      *slog.Logger
	// Receive takes each payload that arrives, from one goroutine a connection. It
	// may block, and holds up that connection only.
	Receive func(payload []byte)
}

// Transport sends and receives frames until its context ends.
type Transport struct {
	cfg    Config
	queues map[string]chan []byte
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Start begins to send and receive. It ends, and Wait returns, some time after ctx
// does; Start owns the listener.
func Start(ctx context.Context, cfg Config) *Transport {
	t := &Transport{cfg: cfg, queues: map[string]chan []byte{}, conns: map[net.Conn]struct{}{}}
	for name, addr := range cfg.Peers {
		q := make(chan []byte, queueLength)
		t.queues[name] = q
		t.wg.Go(func() { t.sendAll(ctx, name, addr, q) })
	}
	t.wg.Go(func() { t.acceptAll(ctx) })
	t.wg.Go(func() {
		<-ctx.Done()
		_ = cfg.Listener.Close()
		t.closeAll()
	})
	return t
}

// Wait returns when every goroutine of the transport has ended.
func (t *Transport) Wait() { t.wg.Wait() }

// Send queues a payload. It never blocks: what doesn't fit, or has no receiver, is
// dropped.
func (t *Transport) Send(to string, payload []byte) {
	select {
	case t.queues[to] <- payload: // a nil channel for nobody: never ready
	default:
	}
}

// track notes a connection to be closed at the end; false if that has come.
func (t *Transport) track(ctx context.Context, c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		_ = c.Close()
		return false
	}
	t.conns[c] = struct{}{}
	return true
}

func (t *Transport) drop(c net.Conn) {
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
	_ = c.Close()
}

func (t *Transport) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.Close()
	}
}

// sendAll keeps a connection to one node, and sends what is queued on it. While
// there is none, frames are dropped: by the time it is back they are old.
func (t *Transport) sendAll(ctx context.Context, name, addr string, q chan []byte) {
	backoff := backoffFirst
	for ctx.Err() == nil {
		conn, err := t.dial(ctx, name, addr)
		if err == nil {
			began := time.Now()
			err = t.sendOn(ctx, conn, q)
			t.drop(conn)
			if time.Since(began) > time.Second {
				backoff = backoffFirst
			}
		}
		t.cfg.Log.Debug("link down", "to", name, "addr", addr, "error", err)
		discard(ctx, q, backoff)
		backoff = min(2*backoff, backoffMost)
	}
}

// discard drops what is queued for as long as wait.
func discard(ctx context.Context, q chan []byte, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-q:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (t *Transport) dial(ctx context.Context, name, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: ioTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if !t.track(ctx, conn) {
		return nil, ctx.Err()
	}
	_ = conn.SetWriteDeadline(time.Now().Add(ioTimeout))
	if err := WriteFrame(conn, Hello(t.cfg.Self, name)); err != nil {
		t.drop(conn)
		return nil, err
	}
	return conn, nil
}

// sendOn sends the queue's frames until the connection breaks. Nothing is ever
// received on it, so that a read ends just when the other end is gone.
func (t *Transport) sendOn(ctx context.Context, conn net.Conn, q chan []byte) error {
	gone := make(chan struct{})
	t.wg.Go(func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn)
	})
	defer func() { _ = conn.Close(); <-gone }()
	w := bufio.NewWriterSize(conn, 64<<10)
	for {
		select {
		case b := <-q:
			_ = conn.SetWriteDeadline(time.Now().Add(ioTimeout))
			if err := WriteFrame(w, b); err != nil {
				return err
			}
			if len(q) > 0 {
				continue
			}
			if err := w.Flush(); err != nil {
				return err
			}
		case <-gone:
			return io.EOF
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// acceptAll serves connections from other nodes.
func (t *Transport) acceptAll(ctx context.Context) {
	slots := make(chan struct{}, maxInbound)
	for {
		conn, err := t.cfg.Listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			discard(ctx, nil, backoffFirst)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		if !t.track(ctx, conn) {
			return
		}
		t.wg.Go(func() {
			defer func() { t.drop(conn); <-slots }()
			t.cfg.Log.Debug("inbound link down", "error", t.receiveAll(conn))
		})
	}
}

func (t *Transport) receiveAll(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	_ = conn.SetReadDeadline(time.Now().Add(ioTimeout))
	hello, err := ReadFrame(r)
	if err != nil {
		return err
	}
	_, to, err := ParseHello(hello)
	if err != nil || to != t.cfg.Self {
		return fmt.Errorf("peer: not meant for %s: %q", t.cfg.Self, hello[:min(len(hello), 80)])
	}
	_ = conn.SetReadDeadline(time.Time{})
	for {
		b, err := ReadFrame(r)
		if err != nil {
			return err
		}
		t.cfg.Receive(b)
	}
}

// Hello is the first frame on a connection.
func Hello(from, to string) []byte { return []byte(helloMagic + " " + from + " " + to) }

// ParseHello reads who sends to whom.
func ParseHello(b []byte) (from, to string, err error) {
	f := strings.Fields(string(b[:min(len(b), 512)]))
	if len(f) != 3 || f[0] != helloMagic {
		return "", "", errors.New("peer: no hello")
	}
	return f[1], f[2], nil
}

// WriteFrame writes one frame.
func WriteFrame(w io.Writer, payload []byte) error {
	if len(payload) > MaxFrame {
		return fmt.Errorf("peer: a frame of %d bytes is too long", len(payload))
	}
	if bw, ok := w.(*bufio.Writer); ok {
		var head [4]byte
		binary.BigEndian.PutUint32(head[:], uint32(len(payload)))
		if _, err := bw.Write(head[:]); err != nil {
			return err
		}
		_, err := bw.Write(payload)
		return err
	}
	_, err := w.Write(slices.Concat(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload))
	return err
}

// ReadFrame reads one frame.
func ReadFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return nil, fmt.Errorf("peer: a frame of %d bytes is too long", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
