package bundled

import (
	"context"
	"time"

	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// CachePromise says that keys expire neither before their time to live has passed
// nor after it, by the clock of the node that orders a command.
func (*Client) CachePromise(options.Values) (earliest, latest bool, tolerance, clocks time.Duration) {
	return true, true, clockBound + 2*tick, clockBound
}

// tick is how often a node looks at its clock at least.
const tick = 10 * time.Millisecond

// Set sets a key that is gone after ttl; 0 is never.
func (c *Client) Set(ctx context.Context, key string, v any, ttl time.Duration) (history.Reply, error) {
	a, err := c.do(ctx, "write", request{Key: key, Value: v, TTL: ttl})
	return history.Reply{Version: a.Version}, err
}

// Get reads a key, as the option reads says.
func (c *Client) Get(ctx context.Context, key string) (history.Reply, error) {
	return c.Read(ctx, key)
}

// Delete removes a key.
func (c *Client) Delete(ctx context.Context, key string) (history.Reply, error) {
	a, err := c.do(ctx, "delete", request{Key: key})
	return history.Reply{Version: a.Version}, err
}
