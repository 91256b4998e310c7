package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// sideTimeout bounds a request to a process beside the agent.
const sideTimeout = 8 * time.Second

// SideName is the address, in a node's network namespace, of what serves requests
// of a kind beside one of its containers.
func SideName(kind, container string) string { return "@faultline/" + kind + "/" + container }

// sideAnswer is one line back.
type sideAnswer struct {
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// ServeSide answers what agents forward to the name, a connection at a time, until
// ctx is done.
func ServeSide(ctx context.Context, name string, answer func(context.Context, json.RawMessage) (any, error)) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", name)
	if err != nil {
		return fmt.Errorf("agent: listen on %s: %w", name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("agent: accept: %w", err)
		}
		_ = c.SetDeadline(time.Now().Add(sideTimeout))
		serveOne(ctx, c, answer)
		_ = c.Close()
	}
}

// serveOne answers a request; who asked may be gone.
func serveOne(ctx context.Context, c net.Conn, answer func(context.Context, json.RawMessage) (any, error)) {
	s := bufio.NewScanner(c)
	s.Buffer(nil, maxLine)
	if !s.Scan() {
		return
	}
	var a sideAnswer
	v, err := answer(ctx, s.Bytes())
	if err == nil {
		a.Body, err = json.Marshal(v)
	}
	if err != nil {
		a.Error = err.Error()
	}
	if b, err := json.Marshal(a); err == nil {
		_, _ = c.Write(append(b, '\n'))
	}
}

// forward hands a request on to a process beside the agent.
func forward(ctx context.Context, name string, body json.RawMessage) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, sideTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if d, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(d)
	}
	if _, err := c.Write(append(body, '\n')); err != nil {
		return nil, err
	}
	s := bufio.NewScanner(c)
	s.Buffer(nil, maxLine)
	if !s.Scan() {
		return nil, errors.Join(errors.New("it gave no answer"), s.Err())
	}
	var a sideAnswer
	if err := json.Unmarshal(s.Bytes(), &a); err != nil {
		return nil, err
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return a.Body, nil
}

// pass answers a request that is for a process beside the agent.
func pass(ctx context.Context, q Request) Response {
	r := Response{N: q.N}
	var err error
	if r.Body, err = forward(ctx, q.ID, q.Body); err != nil {
		r.Error = err.Error()
	}
	return r
}

// answers is where answers go, from more than one goroutine.
type answers struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *answers) write(r Response) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.out.Write(append(b, '\n'))
	return err
}
