package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/faultline-dev/faultline/stores/protocol"
	"github.com/faultline-dev/faultline/stores/replica"
)

// serveHTTP serves clients until ctx ends.
func (n *node) serveHTTP(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	for _, path := range protocol.Paths() {
		mux.HandleFunc("POST "+path, n.handle)
	}
	mux.HandleFunc("GET "+protocol.Status, n.handleStatus)
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    1 << 16,
		ErrorLog:          slog.NewLogLogger(n.cfg.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stopped()
	err := srv.Serve(l)
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (n *node) handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, protocol.MaxBody))
	var q replica.Request
	var timeout time.Duration
	if err == nil {
		q, timeout, err = protocol.Decode(r.URL.Path, body, n.reads)
	}
	if err != nil {
		answer(w)(protocol.Refuse(http.StatusBadRequest, err.Error(), true))
		return
	}
	n.perform(w, r, q, timeout)
}

// perform puts the request to the replica, and answers with its reply.
func (n *node) perform(w http.ResponseWriter, r *http.Request, q replica.Request, timeout time.Duration) {
	q.Deadline = n.now() + timeout
	c := call{q: q, reply: make(chan replica.Reply, 1)}
	select {
	case n.calls <- c:
	case <-r.Context().Done():
		answer(w)(protocol.Refuse(http.StatusServiceUnavailable, "stopping", true))
		return
	case <-time.After(timeout):
		answer(w)(protocol.Refuse(http.StatusServiceUnavailable, "overloaded", true))
		return
	}
	select {
	case x := <-c.reply:
		answer(w)(protocol.Encode(&q, &x))
	case <-r.Context().Done():
		answer(w)(protocol.Refuse(http.StatusServiceUnavailable, "stopping", false))
	}
}

func (n *node) handleStatus(w http.ResponseWriter, r *http.Request) {
	c := make(chan replica.Status, 1)
	select {
	case n.looks <- c:
		answer(w)(protocol.EncodeStatus(<-c))
	case <-r.Context().Done():
	}
}

func answer(w http.ResponseWriter) func(status int, body []byte) {
	return func(status int, body []byte) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(body) // an error here is a client that is gone
	}
}
