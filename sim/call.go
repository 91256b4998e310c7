package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/stores/protocol"
	"github.com/faultline-dev/faultline/stores/replica"
)

// What a client sees of a node's end.
var (
	errReset   = errors.New("connection reset by peer")
	errRefused = fmt.Errorf("connection refused: %w", cluster.ErrNotSent)
)

// call is a client's request on its way.
type call struct {
	to     int
	path   string
	body   []byte
	q      replica.Request
	status int
	answer []byte
	err    error
	done   bool
	wait   *waiter
}

// Call implements cluster.Caller. What is lost on the way is never answered; a
// dead node refuses, and one that dies resets.
func (w *World) Call(ctx context.Context, name, path string, body []byte) (int, []byte, error) {
	n, err := w.node(name)
	if err != nil {
		return 0, nil, errors.Join(err, cluster.ErrNotSent)
	}
	if err := ctx.Err(); err != nil {
		return 0, nil, errors.Join(err, cluster.ErrNotSent)
	}
	c := &call{to: n.i, path: path, body: body, wait: w.newWaiter(ctx)}
	if p := w.pass(w.clients(), n.i, len(body), w.now, false); !p.lost {
		w.at(p.at, (*request)(c))
	}
	c.wait.wait(w)
	if !c.done {
		return 0, nil, ctx.Err()
	}
	return c.status, c.answer, c.err
}

// request is a call that arrives at its node.
type request call

func (r *request) fire(w *World) {
	c := (*call)(r)
	n := w.nodes[c.to]
	if w.links[w.clients()][c.to].cut > 0 {
		return
	}
	w.requests++
	w.trace.mix(traceRequest, uint64(w.now), uint64(c.to))
	w.trace.bytes(c.body)
	if n.state == cluster.Dead {
		w.answer(c.to, c, 0, nil, errRefused)
		return
	}
	n.take(r)
}

func (r *request) do(n *node) { n.serve((*call)(r)) }

// serve puts a call to the replica.
func (n *node) serve(c *call) {
	if c.path == protocol.Status {
		status, body := protocol.EncodeStatus(n.r.Status())
		n.w.answer(n.i, c, status, body, nil)
		return
	}
	q, timeout, err := protocol.Decode(c.path, c.body, n.w.cfg.Reads)
	if err != nil {
		status, body := protocol.Refuse(http.StatusBadRequest, err.Error(), true)
		n.w.answer(n.i, c, status, body, nil)
		return
	}
	n.nextID++
	q.ID, q.Deadline = n.nextID, n.clock.at(n.w.now)+timeout
	c.q = q
	n.calls[q.ID] = c
	n.r.Request(q)
}

// reply sends a replica's answer to whoever asked.
func (n *node) reply(x *replica.Reply) {
	c := n.calls[x.ID]
	if c == nil {
		return
	}
	delete(n.calls, x.ID)
	status, body := protocol.Encode(&c.q, x)
	if status == http.StatusOK && c.q.Reads != replica.Local {
		n.w.served(n.i)
	}
	n.w.answer(n.i, c, status, body, nil)
}

// answer sends an answer to the clients, or the end of a connection.
func (w *World) answer(from int, c *call, status int, body []byte, err error) {
	if p := w.pass(from, w.clients(), len(body), w.now, false); !p.lost {
		w.at(p.at, &answer{c, from, status, body, err})
	}
}

type answer struct {
	c      *call
	from   int
	status int
	body   []byte
	err    error
}

func (a *answer) fire(w *World) {
	if w.links[a.from][w.clients()].cut > 0 || a.c.done {
		return
	}
	w.trace.mix(traceReply, uint64(w.now), uint64(a.from), uint64(a.status))
	w.trace.bytes(a.body)
	a.c.status, a.c.answer, a.c.err, a.c.done = a.status, a.body, a.err, true
	a.c.wait.wake(w)
}
