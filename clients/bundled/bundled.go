// Package bundled is the client of the bundled stores: their JSON requests over
// HTTP, or over whatever carries requests in a world without sockets.
//
// Which errors are definite:
//
//	error                                   definite  why
//	connection refused, no session          yes       no request was written
//	answer with "definite": true            yes       the store says that it never takes effect
//	answer with "definite": false           no        it may be in a log already
//	timeout, EOF, reset after the request   no        it may have been received
package bundled

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
)

// ClientPort is the name of the port that clients use.
const ClientPort = "client"

// maxAnswer bounds an answer's body, in bytes.
const maxAnswer = 1 << 20

// Client is one session with one node.
type Client struct {
	caller cluster.Caller
	node   string
	reads  string
	fenced bool // writes under a lock carry its token
	limit  time.Duration
	close  func()
	closed atomic.Bool
}

// Open opens a session with the target's node: one connection over which the node
// has answered.
func Open(ctx context.Context, t clients.Target) (clients.Client, error) {
	c := New(t)
	if _, err := c.Status(ctx); err != nil {
		_ = c.Close()
		return nil, history.Definite(err)
	}
	return c, nil
}

// New is a client that has not spoken to its node yet.
func New(t clients.Target) *Client {
	c := &Client{node: t.Node.Name, reads: t.Options.String("reads"), fenced: t.Options.String("recipe") == recipeFenced, limit: t.Timeout, close: func() {}}
	caller, ok := t.Cluster.(cluster.Caller)
	if !ok {
		h := newHTTP(t.Node.Ports[ClientPort])
		c.close = h.close
		caller = h
	}
	c.caller = caller
	return c
}

// Close implements clients.Client.
func (c *Client) Close() error {
	c.closed.Store(true)
	c.close()
	return nil
}

var errClosed = errors.New("the client is closed")

// request is the body of every operation; each uses its own fields.
type request struct {
	Key     string        `json:"key,omitempty"`
	Value   any           `json:"value,omitempty"`
	Old     any           `json:"old,omitempty"`
	New     any           `json:"new,omitempty"`
	Delta   int64         `json:"delta,omitempty"`
	TTL     time.Duration `json:"ttl_ns,omitempty"`
	Lease   time.Duration `json:"lease_ns,omitempty"`
	Owner   string        `json:"owner,omitempty"`
	Token   int64         `json:"token,omitempty"`
	Reads   string        `json:"reads,omitempty"`
	Remove  []string      `json:"remove,omitempty"`
	Add     []string      `json:"add,omitempty"`
	Timeout time.Duration `json:"timeout_ns,omitempty"`
}

// answer is the body of every answer, good or bad.
type answer struct {
	OK       bool          `json:"ok"`
	Value    value         `json:"value"`
	Version  int64         `json:"version"`
	Owner    string        `json:"owner"`
	Token    int64         `json:"token"`
	Lease    time.Duration `json:"lease_ns"`
	Error    string        `json:"error"`
	Definite bool          `json:"definite"`
}

// do makes one attempt at one operation.
func (c *Client) do(ctx context.Context, op string, q request) (answer, error) {
	if c.closed.Load() {
		return answer{}, history.SessionLost(history.Definite(fmt.Errorf("%s: %w", op, errClosed)))
	}
	// The node gives up before the client does, so that what it has to say arrives.
	q.Timeout = c.limit * 4 / 5
	body, err := json.Marshal(q)
	if err != nil {
		return answer{}, history.Definite(fmt.Errorf("%s: %w", op, err))
	}
	status, text, err := c.caller.Call(ctx, c.node, "/v1/"+op, body)
	if err != nil {
		err = fmt.Errorf("%s %s: %w", op, c.node, err)
		if errors.Is(err, cluster.ErrNotSent) {
			return answer{}, history.SessionLost(history.Definite(err))
		}
		return answer{}, err
	}
	return decode(op, c.node, status, text)
}

func decode(op, node string, status int, text []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("%s %s: answer %d: %w", op, node, status, err)
	}
	if status != http.StatusOK {
		err := fmt.Errorf("%s %s: %s", op, node, a.Error)
		if a.Definite {
			err = history.Definite(err)
		}
		return answer{}, err
	}
	return a, nil
}

// value is a register's: whole numbers are int64.
type value struct{ any }

// UnmarshalJSON implements json.Unmarshaler.
func (v *value) UnmarshalJSON(b []byte) error {
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		v.any = n
		return nil
	}
	if len(b) > 0 && (b[0] == '-' || b[0] >= '0' && b[0] <= '9') {
		return fmt.Errorf("value %s is no int64", b)
	}
	return json.Unmarshal(b, &v.any)
}

// Read is a read of a register, as the option reads says.
func (c *Client) Read(ctx context.Context, key string) (history.Reply, error) {
	a, err := c.do(ctx, "read", request{Key: key, Reads: c.reads})
	return history.Reply{Value: a.Value.any, Version: a.Version}, err
}

// Write sets a register.
func (c *Client) Write(ctx context.Context, key string, value any) (history.Reply, error) {
	a, err := c.do(ctx, "write", request{Key: key, Value: value})
	return history.Reply{Value: value, Version: a.Version}, err
}

// CAS sets a register to next if it holds prev; otherwise the reply has what it
// held, at the same moment.
func (c *Client) CAS(ctx context.Context, key string, prev, next any) (history.Reply, error) {
	a, err := c.do(ctx, "cas", request{Key: key, Old: prev, New: next})
	if err == nil && !a.OK {
		return history.Reply{Observed: &history.Seen{Value: a.Value.any}}, history.Definite(fmt.Errorf("cas: the value is %v", a.Value.any))
	}
	return history.Reply{Value: []any{prev, next}, Version: a.Version}, err
}

// Status is what a node says of itself.
type Status struct {
	Node   string   `json:"node"`
	Role   string   `json:"role"`
	Term   uint64   `json:"term"`
	Leader string   `json:"leader"`
	Ready  bool     `json:"ready"`
	Now    int64    `json:"now"`
	Voters []string `json:"voters"`
}

// Status asks the node how it stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	code, text, err := c.caller.Call(ctx, c.node, "/v1/status", nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("answer %d", code)
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("status of %s: %w", c.node, err)
	}
	return s, nil
}

// Ready returns nil when the node answers a linearizable read.
func Ready(ctx context.Context, t clients.Target) error {
	t.Timeout = time.Second
	c := New(t)
	defer func() { _ = c.Close() }()
	c.reads = "linearizable"
	_, err := c.Read(ctx, "~ready")
	return err
}

// overHTTP is a Caller with one connection of its own.
type overHTTP struct {
	base   string
	client *http.Client
}

func newHTTP(addr string) *overHTTP {
	return &overHTTP{"http://" + addr, &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 4,
		DisableCompression:  true,
		Proxy:               nil,
	}}}
}

func (h *overHTTP) close() { h.client.CloseIdleConnections() }

// Call implements cluster.Caller. net/http sends a POST again by itself only when
// nothing of it was written, which is one attempt.
func (h *overHTTP) Call(ctx context.Context, _, path string, body []byte) (int, []byte, error) {
	method := http.MethodPost
	if body == nil {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, h.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, errors.Join(err, cluster.ErrNotSent)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			err = errors.Join(err, cluster.ErrNotSent)
		}
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, text, err
}
