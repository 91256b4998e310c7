package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// CachePromise says that a lease is a minimum: no key goes before, but a change of
// leaders prolongs it.
func (*Client) CachePromise(options.Values) (earliest, latest bool, tolerance, clocks time.Duration) {
	return true, false, rates, 0
}

// rates is by how much a lease may be shorter because of clock rates.
const rates = 50 * time.Millisecond

// CacheTTL is a time to live of which a quarter is still a second.
func (*Client) CacheTTL(_ options.Values, ttl time.Duration) time.Duration {
	const least = 4 * time.Second
	return max(least, (ttl + least - 1).Truncate(least))
}

// Set writes a key bound to a lease of its own. Only the write has an effect.
func (c *Client) Set(ctx context.Context, key string, value any, ttl time.Duration) (history.Reply, error) {
	if ttl <= 0 {
		return c.Write(ctx, key, value)
	}
	text, err := clients.Encode(value)
	if err != nil {
		return history.Reply{}, err
	}
	var l *clientv3.LeaseGrantResponse
	err = c.do(ctx, true, func(ctx context.Context) (err error) {
		l, err = c.driver.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		return err
	})
	if err != nil {
		return history.Reply{}, history.Definite(fmt.Errorf("no lease, nothing was written: %w", err))
	}
	var r *clientv3.PutResponse
	err = c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Put(ctx, key, text, clientv3.WithLease(l.ID))
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	return history.Reply{Version: r.Header.Revision}, nil
}

// Get reads a key, as the option reads says.
func (c *Client) Get(ctx context.Context, key string) (history.Reply, error) { return c.Read(ctx, key) }

// Delete removes a key.
func (c *Client) Delete(ctx context.Context, key string) (history.Reply, error) {
	var r *clientv3.DeleteResponse
	err := c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Delete(ctx, key)
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	return history.Reply{Version: r.Header.Revision}, nil
}

// A set is a prefix with a key an element.

func element(set string, e any) string { return fmt.Sprintf("%s/%v", set, e) }

// AddElement adds an element to a set.
func (c *Client) AddElement(ctx context.Context, key string, e any) (history.Reply, error) {
	return c.Write(ctx, element(key, e), int64(1))
}

// RemoveElement removes an element of a set.
func (c *Client) RemoveElement(ctx context.Context, key string, e any) (history.Reply, error) {
	return c.Delete(ctx, element(key, e))
}

// HasElement says whether an element is in a set, as the option reads says.
func (c *Client) HasElement(ctx context.Context, key string, e any) (history.Reply, error) {
	r, err := c.Read(ctx, element(key, e))
	return history.Reply{Value: r.Value != nil}, err
}

// Elements are all elements of a set, at one revision.
func (c *Client) Elements(ctx context.Context, key string) (history.Reply, error) {
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithKeysOnly()}
	if c.weak {
		opts = append(opts, clientv3.WithSerializable())
	}
	var r *clientv3.GetResponse
	err := c.do(ctx, !c.weak, func(ctx context.Context) (err error) {
		r, err = c.driver.Get(ctx, key+"/", opts...)
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	list := []any{}
	for _, kv := range r.Kvs {
		n, err := strconv.ParseInt(strings.TrimPrefix(string(kv.Key), key+"/"), 10, 64)
		if err != nil {
			return history.Reply{}, fmt.Errorf("etcd: a set holds %q, which nobody added: %w", kv.Key, err)
		}
		list = append(list, n)
	}
	return history.Reply{Value: list}, nil
}

// errRaced says that somebody else was there between a read and the transaction
// that relied on it.
var errRaced = errors.New("etcd: somebody else came in between")

// Increment adds n to a counter: one read, and one transaction on what was read.
func (c *Client) Increment(ctx context.Context, key string, n int64) (history.Reply, error) {
	old, err := c.get(ctx, key, false)
	if err != nil {
		return history.Reply{}, history.Definite(fmt.Errorf("nothing was written: %w", err))
	}
	sum, ok := old.Value.(int64)
	if !ok && old.Value != nil {
		return history.Reply{}, history.Definite(fmt.Errorf("etcd: a counter holds %q", old.Value))
	}
	text, err := clients.Encode(sum + n)
	if err != nil {
		return history.Reply{}, err
	}
	return c.ifUnchanged(ctx, clientv3.Compare(clientv3.ModRevision(key), "=", old.Version), clientv3.OpPut(key, text))
}

// Count reads a counter, as the option reads says.
func (c *Client) Count(ctx context.Context, key string) (history.Reply, error) {
	return c.Read(ctx, key)
}

// Enqueue adds a key of its own to the prefix that is the queue; the order is that
// of their creation.
func (c *Client) Enqueue(ctx context.Context, key string, e any) (history.Reply, error) {
	return c.Write(ctx, element(key, e), e)
}

// Dequeue takes the oldest key away, if it is still there.
func (c *Client) Dequeue(ctx context.Context, key string) (history.Reply, error) {
	var r *clientv3.GetResponse
	err := c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Get(ctx, key+"/", clientv3.WithFirstCreate()...)
		return err
	})
	if err != nil {
		return history.Reply{}, history.Definite(fmt.Errorf("nothing was taken: %w", err))
	}
	if len(r.Kvs) == 0 {
		return history.Reply{}, nil
	}
	oldest := string(r.Kvs[0].Key)
	got, err := c.ifUnchanged(ctx, clientv3.Compare(clientv3.ModRevision(oldest), "=", r.Kvs[0].ModRevision), clientv3.OpDelete(oldest))
	got.Value = clients.Decode(string(r.Kvs[0].Value))
	return got, err
}

func (c *Client) ifUnchanged(ctx context.Context, cmp clientv3.Cmp, op clientv3.Op) (history.Reply, error) {
	var r *clientv3.TxnResponse
	err := c.do(ctx, true, func(ctx context.Context) (err error) {
		r, err = c.driver.Txn(ctx).If(cmp).Then(op).Commit()
		return err
	})
	if err != nil {
		return history.Reply{}, err
	}
	if !r.Succeeded {
		return history.Reply{}, history.Definite(errRaced)
	}
	return history.Reply{Version: r.Header.Revision}, nil
}
