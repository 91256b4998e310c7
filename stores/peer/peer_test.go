package peer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func start(t *testing.T, self string, l net.Listener, peers map[string]string) (*Transport, chan string, func()) {
	t.Helper()
	got := make(chan string, 10000)
	ctx, cancel := context.WithCancel(context.Background())
	tr := Start(ctx, Config{
		Self: self, Listener: l, Peers: peers, Log: slog.New(slog.DiscardHandler),
		Receive: func(b []byte) { got <- string(b) },
	})
	stop := func() { cancel(); tr.Wait() }
	t.Cleanup(stop)
	return tr, got, stop
}

// until sends again and again until something arrives.
func until(t *testing.T, tr *Transport, got chan string, payload string) {
	t.Helper()
	for end := time.After(5 * time.Second); ; {
		tr.Send("b", []byte(payload))
		select {
		case x := <-got:
			if x == payload {
				return
			}
		case <-time.After(10 * time.Millisecond):
		case <-end:
			t.Fatal("nothing arrives")
		}
	}
}

// TestOrderAndReconnect sends many frames, in order on one connection, and goes on
// after the receiver has come back.
func TestOrderAndReconnect(t *testing.T) {
	lb := listen(t, "127.0.0.1:0")
	addr := lb.Addr().String()
	a, _, _ := start(t, "a", listen(t, "127.0.0.1:0"), map[string]string{"b": addr})
	_, got, stop := start(t, "b", lb, nil)
	until(t, a, got, "hello")
	for len(got) > 0 {
		<-got
	}
	for i := range 500 {
		a.Send("b", fmt.Appendf(nil, "%d", i))
	}
	last := -1
	for range 500 {
		select {
		case x := <-got:
			var i int
			if n, _ := fmt.Sscan(x, &i); n == 1 {
				if i <= last {
					t.Fatalf("%d after %d", i, last)
				}
				last = i
			}
		case <-time.After(time.Second):
		}
		if last == 499 {
			break
		}
	}
	if last != 499 {
		t.Errorf("the last frame is %d", last)
	}
	stop()
	_, got, _ = start(t, "b", listen(t, addr), nil)
	until(t, a, got, "again")
}

// TestStrangers sends what isn't meant for the node, or isn't a frame: it is
// dropped, and the node goes on.
func TestStrangers(t *testing.T) {
	lb := listen(t, "127.0.0.1:0")
	addr := lb.Addr().String()
	_, got, _ := start(t, "b", lb, nil)
	for _, first := range [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n"), {0, 0, 0, 1, 'x'}, {0xff, 0xff, 0xff, 0xff}} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(first)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%q is answered", first)
		}
		_ = c.Close()
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = WriteFrame(c, Hello("a", "somebody else"))
	_ = WriteFrame(c, []byte("x"))
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, _ = c.Read(make([]byte, 1))
	if len(got) != 0 {
		t.Errorf("received %q", <-got)
	}
}

// TestSendNeverBlocks sends to nobody, and to a node that isn't there.
func TestSendNeverBlocks(t *testing.T) {
	a, _, _ := start(t, "a", listen(t, "127.0.0.1:0"), map[string]string{"b": "127.0.0.1:1"})
	for range 3 * queueLength {
		a.Send("b", []byte("x"))
		a.Send("nobody", []byte("x"))
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 && b[0] != 0 {
			return // no need to make it allocate
		}
		got, err := ReadFrame(bytes.NewReader(b))
		if err == nil {
			var w bytes.Buffer
			if err := WriteFrame(&w, got); err != nil || !bytes.HasPrefix(b, w.Bytes()) {
				t.Errorf("%q comes back as %q, %v", b, w.Bytes(), err)
			}
		}
	})
}
