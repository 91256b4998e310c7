package clients

import (
	"net"
	"sync/atomic"
	"time"
)

// Wire is a connection that knows how it fares, for clients whose driver would hide
// it. Safe for concurrent use, as a net.Conn is.
type Wire struct {
	net.Conn
	lost   atomic.Bool
	frozen atomic.Bool
	writes atomic.Int64
}

// thawPoll is how soon a frozen connection goes on.
const thawPoll = 5 * time.Millisecond

// Write implements net.Conn. It waits while the connection is frozen.
func (w *Wire) Write(b []byte) (int, error) {
	for w.frozen.Load() && !w.lost.Load() {
		time.Sleep(thawPoll)
	}
	w.writes.Add(1)
	return w.Conn.Write(b)
}

// Close implements net.Conn.
func (w *Wire) Close() error {
	w.lost.Store(true)
	return w.Conn.Close()
}

// Lost says whether the connection was closed, by whichever side noticed first that
// it is of no use.
func (w *Wire) Lost() bool { return w.lost.Load() }

// Writes is how often something was written.
func (w *Wire) Writes() int64 { return w.writes.Load() }

// Freeze keeps the connection from sending anything, what a driver sends by itself
// too, as if the client's process stood still. Thaw lets it go on.
func (w *Wire) Freeze() { w.frozen.Store(true) }

// Thaw undoes Freeze.
func (w *Wire) Thaw() { w.frozen.Store(false) }
