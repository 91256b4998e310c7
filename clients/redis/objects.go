package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// CachePromise says that a key goes at its time, neither before nor after, by the
// server's wall clock.
func (*Client) CachePromise(options.Values) (earliest, latest bool, tolerance, clocks time.Duration) {
	return true, true, clockBound, clockBound
}

// clockBound is how far apart the servers' wall clocks may be: a time to live is an
// absolute time for replicas, and for who is promoted.
const clockBound = 50 * time.Millisecond

// Set sets a key that is gone after ttl; 0 is never.
func (c *Client) Set(ctx context.Context, key string, value any, ttl time.Duration) (history.Reply, error) {
	err := c.at(ctx, c.write, key, func(ctx context.Context, rdb *driver.Client) error {
		text, err := clients.Encode(value)
		if err != nil {
			return err
		}
		if err := rdb.Set(ctx, key, text, max(ttl, 0)).Err(); err != nil {
			return err
		}
		return c.acknowledged(ctx, rdb)
	})
	return history.Reply{}, err
}

// Get reads a key, where the option reads says.
func (c *Client) Get(ctx context.Context, key string) (history.Reply, error) { return c.Read(ctx, key) }

// Delete removes a key.
func (c *Client) Delete(ctx context.Context, key string) (history.Reply, error) {
	return c.change(ctx, key, func(ctx context.Context, rdb *driver.Client) error { return rdb.Del(ctx, key).Err() })
}

// change performs one write.
func (c *Client) change(ctx context.Context, key string, f func(context.Context, *driver.Client) error) (history.Reply, error) {
	err := c.at(ctx, c.write, key, func(ctx context.Context, rdb *driver.Client) error {
		if err := f(ctx, rdb); err != nil {
			return err
		}
		return c.acknowledged(ctx, rdb)
	})
	return history.Reply{}, err
}

// AddElement adds an element to a set.
func (c *Client) AddElement(ctx context.Context, key string, e any) (history.Reply, error) {
	return c.change(ctx, key, func(ctx context.Context, rdb *driver.Client) error { return rdb.SAdd(ctx, key, e).Err() })
}

// RemoveElement removes an element of a set.
func (c *Client) RemoveElement(ctx context.Context, key string, e any) (history.Reply, error) {
	return c.change(ctx, key, func(ctx context.Context, rdb *driver.Client) error { return rdb.SRem(ctx, key, e).Err() })
}

// HasElement says whether an element is in a set.
func (c *Client) HasElement(ctx context.Context, key string, e any) (r history.Reply, err error) {
	err = c.at(ctx, c.read, key, func(ctx context.Context, rdb *driver.Client) error {
		has, err := rdb.SIsMember(ctx, key, e).Result()
		r.Value = has
		return err
	})
	return r, err
}

// Elements are all elements of a set.
func (c *Client) Elements(ctx context.Context, key string) (r history.Reply, err error) {
	err = c.at(ctx, c.read, key, func(ctx context.Context, rdb *driver.Client) error {
		texts, err := rdb.SMembers(ctx, key).Result()
		if err != nil {
			return err
		}
		list := make([]any, len(texts))
		for i, t := range texts {
			n, err := strconv.ParseInt(t, 10, 64)
			if err != nil {
				return fmt.Errorf("a set holds %q, which nobody added: %w", t, err)
			}
			list[i] = n
		}
		r.Value = list
		return nil
	})
	return r, err
}

// Increment adds n to a counter.
func (c *Client) Increment(ctx context.Context, key string, n int64) (history.Reply, error) {
	return c.change(ctx, key, func(ctx context.Context, rdb *driver.Client) error { return rdb.IncrBy(ctx, key, n).Err() })
}

// Count reads a counter.
func (c *Client) Count(ctx context.Context, key string) (history.Reply, error) {
	return c.Read(ctx, key)
}

// Enqueue adds an element at the end of a list.
func (c *Client) Enqueue(ctx context.Context, key string, e any) (history.Reply, error) {
	return c.change(ctx, key, func(ctx context.Context, rdb *driver.Client) error { return rdb.RPush(ctx, key, e).Err() })
}

// Dequeue takes the first element of a list.
func (c *Client) Dequeue(ctx context.Context, key string) (history.Reply, error) {
	var v any
	_, err := c.change(ctx, key, func(ctx context.Context, rdb *driver.Client) error {
		text, err := rdb.LPop(ctx, key).Result()
		if errors.Is(err, driver.Nil) {
			return nil
		}
		if err == nil {
			v = clients.Decode(text)
		}
		return err
	})
	return history.Reply{Value: v}, err
}
