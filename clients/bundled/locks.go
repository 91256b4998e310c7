package bundled

import (
	"context"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// The lock recipes. Both take the key's lock, which ends with its lease; fenced
// writes the guarded data, the key's value, with the lock's fencing token.
const (
	recipeLease  = "lease"
	recipeFenced = "fenced"
)

// RecipeOption chooses between them.
func RecipeOption() options.Option {
	return options.Option{
		Name: "recipe", Kind: options.String, Default: recipeFenced, Values: []string{recipeLease, recipeFenced},
		Doc: "of locks: lease trusts that a lease has not run out, fenced sends its token with every write under the lock",
	}
}

// clockBound is how far apart the nodes' clocks may be: leases and times to live
// are measured by the clock of the node that orders a command.
const clockBound = 50 * time.Millisecond

// LockPromise says what the chosen recipe promises.
func (*Client) LockPromise(o options.Values) (promise string, clocks time.Duration) {
	if o.String("recipe") == recipeLease {
		return "exclusion-within-lease", clockBound
	}
	return "fenced-data", clockBound
}

// Acquire tries to take the key's lock for ttl.
func (c *Client) Acquire(ctx context.Context, key, owner string, ttl time.Duration) (history.Reply, error) {
	a, err := c.do(ctx, "acquire", request{Key: key, Owner: owner, Lease: ttl})
	if err != nil {
		return history.Reply{}, err
	}
	if !a.OK {
		return history.Reply{}, history.Definite(fmt.Errorf("%s is held by %s", key, a.Owner))
	}
	return history.Reply{Value: map[string]any{"owner": owner, "token": a.Token, "lease_ns": int64(a.Lease)}}, nil
}

// Release gives the key's lock back.
func (c *Client) Release(ctx context.Context, key, owner string, _ int64) (history.Reply, error) {
	a, err := c.do(ctx, "release", request{Key: key, Owner: owner})
	if err == nil && !a.OK {
		err = history.Definite(fmt.Errorf("%s is not held by %s but by %q", key, owner, a.Owner))
		return history.Reply{Observed: &history.Seen{Value: a.Owner}}, err
	}
	return history.Reply{}, err
}

// Load reads the data that the key's lock guards.
func (c *Client) Load(ctx context.Context, key string) (history.Reply, error) {
	a, err := c.do(ctx, "read", request{Key: key, Reads: "linearizable"})
	return history.Reply{Value: a.Value.any, Version: a.Version}, err
}

// Store writes the data that the key's lock guards.
func (c *Client) Store(ctx context.Context, key string, v any, _ string, token int64) (history.Reply, error) {
	q := request{Key: key, Value: v}
	if c.fenced {
		q.Token = token
	}
	a, err := c.do(ctx, "update", q)
	if err == nil && !a.OK {
		err = history.Definite(fmt.Errorf("the token %d is older than %d", token, a.Token))
		return history.Reply{Observed: &history.Seen{Value: a.Token}}, err
	}
	return history.Reply{Version: a.Version}, err
}
