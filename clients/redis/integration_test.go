package redis_test

import (
	"fmt"
	"testing"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/clienttest"
	"github.com/faultline-dev/faultline/clients/redis"
	"github.com/faultline-dev/faultline/docker/dockertest"
	"github.com/faultline-dev/faultline/history"
)

func kit(mode string, nodes int) clienttest.Kit {
	return clienttest.Kit{
		System: redis.System(), Options: map[string]string{"mode": mode}, Nodes: nodes,
		Lossy: mode != "single", Unversioned: true,
	}
}

func TestOpen(t *testing.T) {
	for _, mode := range []string{"single", "sentinel", "cluster"} {
		t.Run(mode, func(t *testing.T) { clienttest.Open(t, kit(mode, 1)) })
	}
}

func TestIntegrationConformanceSingle(t *testing.T) { clienttest.Run(t, kit("single", 1)) }

func TestIntegrationConformanceSentinel(t *testing.T) { clienttest.Run(t, kit("sentinel", 3)) }

// Every mode comes up, and a register works in it.
func TestIntegrationModes(t *testing.T) {
	for mode, nodes := range map[string]int{"replicated": 2, "cluster": 6, "independent": 2} {
		t.Run(mode, func(t *testing.T) {
			c, opts := dockertest.Up(t, redis.System(), nodes, map[string]string{"mode": mode}, "")
			s, err := redis.Open(t.Context(), clients.Target{Node: c.Nodes()[0], Cluster: c, Options: opts})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			for i := range int64(5) {
				register(t, s, fmt.Sprint("k", i), i)
			}
		})
	}
}

func register(t *testing.T, s *redis.Client, key string, v int64) {
	t.Helper()
	ctx := t.Context()
	if r, err := s.Read(ctx, key); err != nil || r.Value != nil {
		t.Errorf("an absent key: %+v, %v", r, err)
	}
	if r, err := s.CAS(ctx, key, int64(1), v); history.TypeOf(err) != history.Fail || r.Observed == nil || r.Observed.Value != nil {
		t.Errorf("a compare-and-set of an absent key: %+v, %v", r, err)
	}
	if _, err := s.CAS(ctx, key, nil, v); err != nil {
		t.Error(err)
	}
	if r, err := s.CAS(ctx, key, v+1, v); history.TypeOf(err) != history.Fail || r.Observed == nil || r.Observed.Value != v {
		t.Errorf("a compare-and-set of another value: %+v, %v", r, err)
	}
	if _, err := s.Write(ctx, key, v+100); err != nil {
		t.Error(err)
	}
	if r, err := s.Read(ctx, key); err != nil || r.Value != v+100 {
		t.Errorf("a read: %+v, %v", r, err)
	}
}
