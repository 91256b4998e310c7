package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-zookeeper/zk"

	"github.com/faultline-dev/faultline/history"
)

// An element of a set is a node of its own.

func element(set string, e any) string { return fmt.Sprintf("%s~%v", set, e) }

// AddElement adds an element to a set.
func (c *Client) AddElement(ctx context.Context, key string, e any) (history.Reply, error) {
	return c.Write(ctx, element(key, e), int64(1))
}

// RemoveElement removes an element of a set.
func (c *Client) RemoveElement(ctx context.Context, key string, e any) (history.Reply, error) {
	err := c.do(ctx, func() error {
		err := c.driver.Delete(path(element(key, e)), anyVersion)
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		return err
	})
	return history.Reply{}, err
}

// HasElement says whether an element is in a set, as the option reads says.
func (c *Client) HasElement(ctx context.Context, key string, e any) (history.Reply, error) {
	r, err := c.Read(ctx, element(key, e))
	return history.Reply{Value: r.Value != nil}, err
}

// Increment adds n to a counter: one read, and a write under the version read.
func (c *Client) Increment(ctx context.Context, key string, n int64) (history.Reply, error) {
	var r history.Reply
	err := c.do(ctx, func() error {
		b, stat, err := c.driver.Get(path(key))
		if errors.Is(err, zk.ErrNoNode) {
			data, err := encode(n)
			if err == nil {
				_, err = c.driver.Create(path(key), data, 0, everybody())
			}
			return err
		}
		if err != nil {
			return errors.Join(errUnequal, err) // a read has no effect
		}
		sum, ok := decode(b).(int64)
		if !ok {
			return history.Definite(fmt.Errorf("a counter holds %q", b))
		}
		data, err := encode(sum + n)
		if err != nil {
			return err
		}
		if stat, err = c.driver.Set(path(key), data, stat.Version); err == nil {
			r.Version = stat.Mzxid
		}
		return err
	})
	return r, err
}

// Count reads a counter, as the option reads says.
func (c *Client) Count(ctx context.Context, key string) (history.Reply, error) {
	return c.Read(ctx, key)
}

// Enqueue adds a numbered node below the queue's.
func (c *Client) Enqueue(ctx context.Context, key string, e any) (history.Reply, error) {
	err := c.do(ctx, func() error {
		data, err := encode(e)
		if err != nil {
			return err
		}
		node := path(key) + "/" + prefix
		_, err = c.driver.Create(node, data, zk.FlagSequence, everybody())
		if !errors.Is(err, zk.ErrNoNode) {
			return err
		}
		if _, err = c.driver.Create(path(key), nil, 0, everybody()); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
		_, err = c.driver.Create(node, data, zk.FlagSequence, everybody())
		return err
	})
	return history.Reply{}, err
}

// Dequeue takes the node with the lowest number away, if it is still there.
func (c *Client) Dequeue(ctx context.Context, key string) (history.Reply, error) {
	var r history.Reply
	err := c.do(ctx, func() error {
		if _, err := c.driver.Sync(path(key)); err != nil && !errors.Is(err, zk.ErrNoNode) {
			return errors.Join(errUnequal, err)
		}
		all, _, err := c.driver.Children(path(key))
		if errors.Is(err, zk.ErrNoNode) || err == nil && len(all) == 0 {
			return nil
		}
		if err != nil {
			return errors.Join(errUnequal, err)
		}
		node := path(key) + "/" + slices.Min(all)
		b, stat, err := c.driver.Get(node)
		if err != nil {
			return errors.Join(errUnequal, err)
		}
		if err := c.driver.Delete(node, stat.Version); err != nil {
			return err
		}
		r.Value = decode(b)
		return nil
	})
	return r, err
}
