package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/faultline-dev/faultline/stores/kv"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Bounds of a client's request.
const (
	maxBody        = 1 << 20 // bytes
	timeoutDefault = time.Second
	timeoutMost    = 30 * time.Second
)

// request is the JSON body of every POST; each operation reads its own fields.
type request struct {
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`      // write, update
	Old     json.RawMessage `json:"old"`        // cas
	New     json.RawMessage `json:"new"`        // cas
	Delta   int64           `json:"delta"`      // add
	TTL     int64           `json:"ttl_ns"`     // write; 0 is for ever
	Lease   int64           `json:"lease_ns"`   // acquire
	Owner   string          `json:"owner"`      // acquire, release
	Token   int64           `json:"token"`      // update; 0 asks for no check
	Session uint64          `json:"session"`    // exactly-once, with seq
	Seq     uint64          `json:"seq"`        // grows with each command
	Reads   string          `json:"reads"`      // linearizable, lease, local
	Timeout int64           `json:"timeout_ns"` // default 1 s, at most 30 s

	To     string   `json:"to"`     // transfer
	Voters []string `json:"voters"` // members
}

// response is the JSON body of a success.
type response struct {
	OK      bool            `json:"ok"`                 // cas: swapped; acquire: granted; update: not fenced off
	Value   json.RawMessage `json:"value"`              // what was read or observed; null is absent
	Version int64           `json:"version,omitempty"`  // of the value
	Owner   string          `json:"owner,omitempty"`    // of the lock
	Token   int64           `json:"token,omitempty"`    // fencing token
	Lease   int64           `json:"lease_ns,omitempty"` // what is left of the lease
	Session uint64          `json:"session,omitempty"`
}

// failure is the JSON body of anything else. Definite says that the command had no
// effect and never will.
type failure struct {
	Error    string `json:"error"`
	Definite bool   `json:"definite"`
}

// ops are the operations by their path.
func ops() map[string]kv.Op {
	return map[string]kv.Op{
		"read": kv.OpRead, "write": kv.OpWrite, "cas": kv.OpCAS, "delete": kv.OpDelete,
		"add": kv.OpAdd, "acquire": kv.OpAcquire, "release": kv.OpRelease,
		"update": kv.OpUpdate, "session": kv.OpOpenSession,
	}
}

// serveHTTP serves clients until ctx ends.
func (n *node) serveHTTP(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	for name, op := range ops() {
		mux.HandleFunc("POST /v1/"+name, func(w http.ResponseWriter, r *http.Request) { n.handleOp(w, r, op) })
	}
	mux.HandleFunc("POST /v1/transfer", n.handleAdmin)
	mux.HandleFunc("POST /v1/members", n.handleAdmin)
	mux.HandleFunc("GET /v1/status", n.handleStatus)
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       timeoutMost,
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

func (n *node) handleOp(w http.ResponseWriter, r *http.Request, op kv.Op) {
	b, ok := readRequest(w, r)
	if !ok {
		return
	}
	q := replica.Request{Command: kv.Command{
		Op: op, Key: b.Key, Value: canonical(b.Value), Delta: b.Delta, TTL: b.TTL,
		Owner: b.Owner, Token: b.Token, Session: b.Session, Seq: b.Seq,
	}}
	switch op {
	case kv.OpCAS:
		q.Command.Expect, q.Command.Value = canonical(b.Old), canonical(b.New)
	case kv.OpAcquire:
		q.Command.TTL = b.Lease
	}
	var known bool
	if q.Reads, known = n.reads(b.Reads); !known {
		refuse(w, http.StatusBadRequest, "reads is one of linearizable, lease, local", true)
		return
	}
	n.perform(w, r, q, time.Duration(b.Timeout))
}

func (n *node) handleAdmin(w http.ResponseWriter, r *http.Request) {
	b, ok := readRequest(w, r)
	if !ok {
		return
	}
	n.perform(w, r, replica.Request{Admin: &replica.Admin{Transfer: b.To, Voters: b.Voters}}, time.Duration(b.Timeout))
}

// perform puts the request to the replica, and answers with its reply.
func (n *node) perform(w http.ResponseWriter, r *http.Request, q replica.Request, timeout time.Duration) {
	if timeout <= 0 {
		timeout = timeoutDefault
	}
	timeout = min(timeout, timeoutMost)
	q.Deadline = n.now() + timeout
	c := call{q: q, reply: make(chan replica.Reply, 1)}
	select {
	case n.calls <- c:
	case <-r.Context().Done():
		refuse(w, http.StatusServiceUnavailable, "stopping", true)
		return
	case <-time.After(timeout):
		refuse(w, http.StatusServiceUnavailable, "overloaded", true)
		return
	}
	select {
	case x := <-c.reply:
		if x.Err != "" {
			refuse(w, http.StatusServiceUnavailable, x.Err, x.Definite)
			return
		}
		answer(w, http.StatusOK, toResponse(&q, &x.Result))
	case <-r.Context().Done():
		refuse(w, http.StatusServiceUnavailable, "stopping", false)
	}
}

func toResponse(q *replica.Request, x *kv.Result) response {
	b := response{OK: x.OK, Value: json.RawMessage("null"), Version: x.Version, Owner: x.Owner, Token: x.Token, Lease: x.Left}
	if x.Value != nil {
		b.Value = x.Value
	}
	if q.Command.Op == kv.OpOpenSession {
		b.Session, b.Token = uint64(x.Token), 0
	}
	return b
}

func (n *node) handleStatus(w http.ResponseWriter, r *http.Request) {
	c := make(chan replica.Status, 1)
	select {
	case n.looks <- c:
		answer(w, http.StatusOK, <-c)
	case <-r.Context().Done():
	}
}

func (n *node) reads(s string) (replica.Reads, bool) {
	switch s {
	case "":
		return n.cfg.Reads, true
	case "linearizable":
		return replica.Linearizable, true
	case "lease":
		return replica.Lease, true
	case "local":
		return replica.Local, true
	}
	return 0, false
}

func readRequest(w http.ResponseWriter, r *http.Request) (request, bool) {
	var b request
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "body: "+err.Error(), true)
		return b, false
	}
	return b, true
}

// canonical is a JSON value without spaces, so that equal values are equal bytes;
// null and nothing are absent.
func canonical(v json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, v) != nil || b.Len() == 0 || b.String() == "null" {
		return nil
	}
	return b.Bytes()
}

func refuse(w http.ResponseWriter, status int, msg string, definite bool) {
	answer(w, status, failure{msg, definite})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error here is a client that is gone
}
