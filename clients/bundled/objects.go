package bundled

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/faultline-dev/faultline/history"
)

// elementKey is where a set keeps one of its elements: a key of its own.
func elementKey(set string, element any) string { return fmt.Sprintf("%s/%v", set, element) }

// AddElement adds an element to a set.
func (c *Client) AddElement(ctx context.Context, key string, element any) (history.Reply, error) {
	return c.Write(ctx, elementKey(key, element), int64(1))
}

// RemoveElement removes an element of a set.
func (c *Client) RemoveElement(ctx context.Context, key string, element any) (history.Reply, error) {
	return c.Delete(ctx, elementKey(key, element))
}

// HasElement says whether an element is in a set, as the option reads says.
func (c *Client) HasElement(ctx context.Context, key string, element any) (history.Reply, error) {
	r, err := c.Read(ctx, elementKey(key, element))
	r.Value, r.Version = r.Value != nil, 0
	return r, err
}

// A queue is a register with its elements in order, separated by blanks: one read,
// and one compare-and-set on what was read.

// Enqueue adds an element to the end of a queue.
func (c *Client) Enqueue(ctx context.Context, key string, e any) (history.Reply, error) {
	all, err := c.queued(ctx, key)
	if err != nil {
		return history.Reply{}, err
	}
	return c.requeue(ctx, key, all, append(strings.Fields(all.text), fmt.Sprint(e)))
}

// Dequeue takes the first element of a queue.
func (c *Client) Dequeue(ctx context.Context, key string) (history.Reply, error) {
	all, err := c.queued(ctx, key)
	elements := strings.Fields(all.text)
	if err != nil || len(elements) == 0 {
		return history.Reply{}, err
	}
	first, err := strconv.ParseInt(elements[0], 10, 64)
	if err != nil {
		return history.Reply{}, history.Definite(fmt.Errorf("a queue holds %q, which nobody enqueued: %w", elements[0], err))
	}
	r, err := c.requeue(ctx, key, all, elements[1:])
	r.Value = first
	return r, err
}

// queue is what a queue's register holds.
type queue struct {
	text string
	held any // nil before the first element
}

// queued reads a queue. It has no effect, whatever becomes of it.
func (c *Client) queued(ctx context.Context, key string) (queue, error) {
	a, err := c.do(ctx, "read", request{Key: key, Reads: "linearizable"})
	if err != nil {
		return queue{}, history.Definite(fmt.Errorf("nothing was changed: %w", err))
	}
	text, _ := a.Value.any.(string)
	return queue{text, a.Value.any}, nil
}

// errRaced says that somebody else was there between a read and the compare-and-set
// that relied on it.
var errRaced = errors.New("somebody else came in between")

// requeue replaces what a queue held.
func (c *Client) requeue(ctx context.Context, key string, old queue, elements []string) (history.Reply, error) {
	r, err := c.CAS(ctx, key, old.held, strings.Join(elements, " "))
	if r.Observed != nil {
		err = history.Definite(errRaced)
	}
	return history.Reply{Version: r.Version}, err
}

// Increment adds n to a counter.
func (c *Client) Increment(ctx context.Context, key string, n int64) (history.Reply, error) {
	a, err := c.do(ctx, "add", request{Key: key, Delta: n})
	return history.Reply{Version: a.Version}, err
}

// Count reads a counter, as the option reads says.
func (c *Client) Count(ctx context.Context, key string) (history.Reply, error) {
	return c.Read(ctx, key)
}
