package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/faultline-dev/faultline/docker/agent"
)

// agentTimeout bounds one request to an agent.
const agentTimeout = 10 * time.Second

// attached is a container's standard input and output. It holds on to the whole
// answer of the engine: the connection closes when that is collected.
type attached struct {
	conn client.ContainerAttachResult
	out  io.Reader
	wg   sync.WaitGroup
}

// attach connects to a container's standard input and, if out, its output.
func attach(ctx context.Context, c *client.Client, id string, out bool) (*attached, error) {
	r, err := c.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: out})
	if err != nil {
		return nil, err
	}
	a := &attached{conn: r}
	if out {
		pr, pw := io.Pipe()
		a.out = pr
		a.wg.Go(func() {
			_, err := stdcopy.StdCopy(pw, io.Discard, r.Reader)
			if err == nil {
				err = io.EOF
			}
			pw.CloseWithError(err)
		})
	}
	return a, nil
}

func (a *attached) write(b []byte) error {
	_, err := a.conn.Conn.Write(b)
	return err
}

// close ends the container's standard input.
func (a *attached) close() {
	_ = a.conn.CloseWrite()
	a.conn.Close()
	if c, ok := a.out.(io.Closer); ok {
		_ = c.Close()
	}
	a.wg.Wait()
}

// wire speaks with the agent of one node. Requests may be under way at the same
// time; an answer finds its request by number.
type wire struct {
	node string
	*attached
	wg sync.WaitGroup

	mu      sync.Mutex
	n       int
	waiting map[int]chan agent.Response
	err     error // why there are no more answers
}

func newWire(ctx context.Context, c *client.Client, node, id string) (*wire, error) {
	a, err := attach(ctx, c, id, true)
	if err != nil {
		return nil, fmt.Errorf("docker: attach to the agent of %s: %w", node, err)
	}
	w := &wire{node: node, attached: a, waiting: map[int]chan agent.Response{}}
	w.wg.Go(w.receive)
	return w, nil
}

func (w *wire) close() {
	w.attached.close()
	w.wg.Wait()
}

func (w *wire) receive() {
	s := bufio.NewScanner(w.out)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var r agent.Response
		if json.Unmarshal(s.Bytes(), &r) != nil {
			continue
		}
		w.mu.Lock()
		if ch, ok := w.waiting[r.N]; ok {
			ch <- r
			delete(w.waiting, r.N)
		}
		w.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(errors.New("it is gone"), s.Err())
	for _, ch := range w.waiting {
		close(ch)
	}
	w.waiting = nil
}

// ask sends a request and waits for its answer.
func (w *wire) ask(ctx context.Context, q agent.Request) (agent.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	ch, err := w.send(&q)
	if err == nil {
		select {
		case <-ctx.Done():
			w.mu.Lock()
			delete(w.waiting, q.N)
			w.mu.Unlock()
			err = ctx.Err()
		case r, ok := <-ch:
			switch {
			case !ok:
				err = errors.New("it is gone")
			case r.Error != "":
				err = errors.New(r.Error)
			default:
				return r, nil
			}
		}
	}
	return agent.Response{}, fmt.Errorf("docker: agent of %s: %s: %w", w.node, q.Op, err)
}

func (w *wire) send(q *agent.Request) (chan agent.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	w.n++
	q.N = w.n
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ch := make(chan agent.Response, 1)
	w.waiting[q.N] = ch
	if err := w.write(append(b, '\n')); err != nil {
		delete(w.waiting, q.N)
		return nil, err
	}
	return ch, nil
}
