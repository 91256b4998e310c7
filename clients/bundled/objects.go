package bundled

import (
	"context"
	"fmt"

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

// Increment adds n to a counter.
func (c *Client) Increment(ctx context.Context, key string, n int64) (history.Reply, error) {
	a, err := c.do(ctx, "add", request{Key: key, Delta: n})
	return history.Reply{Version: a.Version}, err
}

// Count reads a counter, as the option reads says.
func (c *Client) Count(ctx context.Context, key string) (history.Reply, error) {
	return c.Read(ctx, key)
}
