// Package layered puts a cache before a store: two systems in one cluster, as one
// system under test for the workload cache-aside. Every node runs a member of the
// store; the cache runs beside it, on the first node alone or on every one, as the
// cache's options say. What breaks a node breaks both.
//
// Errors are those of the two clients; which of them are definite their packages say.
package layered

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// Layers are a cache and a store.
type Layers struct {
	Cache, Store clients.System
	// Single says whether the cache is on the first node alone with these options.
	Single func(options.Values) bool
	// CacheOptions and StoreOptions are the options that remain open, by the systems'
	// own names, which must differ; the others have their defaults.
	CacheOptions, StoreOptions []options.Option
}

// Client is a session with each layer.
type Client struct{ cache, store clients.Client }

// Layers are the two clients.
func (c *Client) Layers() (cache, store any) { return c.cache, c.store }

// Close implements clients.Client.
func (c *Client) Close() error { return errors.Join(c.cache.Close(), c.store.Close()) }

// System is the two as one. It does not say what else than their layers its clients
// can do.
func (l Layers) System() clients.System {
	return clients.System{
		Name:    l.Cache.Name + "+" + l.Store.Name,
		Doc:     fmt.Sprintf("%s as a cache before %s, for the workload cache-aside", l.Cache.Name, l.Store.Name),
		Options: slices.Concat(l.CacheOptions, l.StoreOptions),
		Ports:   slices.Concat(l.Cache.Ports, l.Store.Ports),
		Pod:     l.pod, Composed: true,
		Nodes: l.nodes,
		Check: func(o options.Values) error {
			return errors.Join(check(l.Cache, of(l.Cache, o)), check(l.Store, of(l.Store, o)))
		},
		Ready: l.ready,
		Open:  l.open,
		Methods: func() any {
			return methods{l.Cache.Methods(), l.Store.Methods()}
		},
		Leader: func(ctx context.Context, c cluster.Cluster, rt cluster.Runtime, o options.Values) (string, error) {
			return l.Store.Leader(ctx, c, rt, of(l.Store, o))
		},
	}
}

// methods stands for a client that is connected to nothing.
type methods struct{ cache, store any }

// Layers are the two clients.
func (m methods) Layers() (cache, store any) { return m.cache, m.store }

func check(s clients.System, o options.Values) error {
	if s.Check == nil {
		return nil
	}
	return s.Check(o)
}

// of are all of a layer's options: those that are open, and the others' defaults.
func of(s clients.System, o options.Values) options.Values {
	own := options.Values{}
	for _, x := range s.Options {
		own[x.Name] = x.Default
		if v, ok := o[x.Name]; ok {
			own[x.Name] = v
		}
	}
	return own
}

// nodes bounds how many nodes both layers allow.
func (l Layers) nodes(o options.Values) (least, most int) {
	least, most = bounds(l.Store, of(l.Store, o))
	if own := of(l.Cache, o); !l.Single(own) {
		a, b := bounds(l.Cache, own)
		least, most = max(least, a), min(most, b)
	}
	return least, most
}

func bounds(s clients.System, o options.Values) (least, most int) {
	if s.Nodes == nil {
		const anyLeast, anyMost = 1, 9
		return anyLeast, anyMost
	}
	return s.Nodes(o)
}

// pod has the store's containers and, where the cache is on the node, the cache's.
func (l Layers) pod(x cluster.Launch) (cluster.Pod, error) {
	o := options.Values(x.Options)
	x.Options = of(l.Store, o)
	p, err := l.Store.Pod(x)
	if err != nil {
		return p, err
	}
	for i := range p.Containers {
		p.Containers[i].Name = "store-" + p.Containers[i].Name
	}
	own := of(l.Cache, o)
	if l.Single(own) {
		if x.Node != x.Nodes[0] {
			return p, nil
		}
		x.Nodes = x.Nodes[:1]
	}
	x.Options = own
	c, err := l.Cache.Pod(x)
	return cluster.Pod{Containers: append(c.Containers, p.Containers...)}, err
}

// targets are where a client of each layer is opened for one of a node.
func (l Layers) targets(t clients.Target) (cache, store clients.Target) {
	cache, store = t, t
	store.Options, cache.Options = of(l.Store, t.Options), of(l.Cache, t.Options)
	if l.Single(cache.Options) {
		first := t.Cluster.Nodes()[0]
		cache.Node, cache.Cluster = first, alone{t.Cluster, []cluster.Node{first}}
	}
	return cache, store
}

// alone is a cluster of which one node is seen.
type alone struct {
	cluster.Cluster
	nodes []cluster.Node
}

// Nodes implements cluster.Cluster.
func (a alone) Nodes() []cluster.Node { return a.nodes }

func (l Layers) ready(ctx context.Context, t clients.Target) error {
	cache, store := l.targets(t)
	if err := l.Store.Ready(ctx, store); err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	if cache.Node.Name != t.Node.Name {
		return nil // it is another node's
	}
	if err := l.Cache.Ready(ctx, cache); err != nil {
		return fmt.Errorf("the cache: %w", err)
	}
	return nil
}

func (l Layers) open(ctx context.Context, t clients.Target) (clients.Client, error) {
	cache, store := l.targets(t)
	s, err := l.Store.Open(ctx, store)
	if err != nil {
		return nil, err
	}
	c, err := l.Cache.Open(ctx, cache)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return &Client{c, s}, nil
}
