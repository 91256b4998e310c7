package faultlinetest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/faultlinetest"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/workloads/register"
)

// store is somebody's store: a map, read without its lock on the node "slow".
type store struct {
	mu   sync.Mutex
	data map[string]any
	old  map[string]any // as it was a while ago
}

type client struct {
	s    *store
	slow bool
}

func (client) Close() error { return nil }

func (c client) Read(_ context.Context, key string) (history.Reply, error) {
	time.Sleep(time.Millisecond)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.slow {
		return history.Reply{Value: c.s.old[key]}, nil
	}
	return history.Reply{Value: c.s.data[key]}, nil
}

func (c client) Write(_ context.Context, key string, value any) (history.Reply, error) {
	time.Sleep(time.Millisecond)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.old[key] = c.s.data[key]
	c.s.data[key] = value
	return history.Reply{}, nil
}

func (c client) CAS(_ context.Context, key string, prev, next any) (history.Reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if now := c.s.data[key]; now != prev {
		return history.Reply{Observed: &history.Seen{Value: now}}, history.Definite(errors.New("no match"))
	}
	c.s.old[key] = c.s.data[key]
	c.s.data[key] = next
	return history.Reply{}, nil
}

func system() clients.System {
	s := &store{data: map[string]any{}, old: map[string]any{}}
	return clients.System{
		Name:    "mine",
		Methods: func() any { return client{} },
		Open: func(_ context.Context, t clients.Target) (clients.Client, error) {
			return client{s, t.Node.Name == "slow"}, nil
		},
	}
}

func TestCheckPassesACorrectStore(t *testing.T) {
	res := faultlinetest.Check(t, faultlinetest.Test{
		System: system(), Workload: register.Workload(), Nodes: []cluster.Node{{Name: "n1"}, {Name: "n2"}}, Time: time.Second,
	})
	if res.Verdict != checker.Valid || res.Ops.OK < 500 {
		t.Errorf("got %v after %d operations", res.Verdict, res.Ops.OK)
	}
}

func TestRunFindsAStaleNode(t *testing.T) {
	res := faultlinetest.Run(t, faultlinetest.Test{
		System: system(), Workload: register.Workload(), Nodes: []cluster.Node{{Name: "n1"}, {Name: "slow"}}, Time: time.Second,
	})
	if !slices.ContainsFunc(res.Anomalies, func(a reports.Anomaly) bool { return a.Name == "stale-read" }) {
		t.Errorf("got %v with %v, want a stale read", res.Verdict, res.AnomalyCounts())
	}
}
