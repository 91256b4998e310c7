package etcd_test

import (
	"testing"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/clienttest"
	"github.com/faultline-dev/faultline/clients/etcd"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/dockertest"
	"github.com/faultline-dev/faultline/history"
)

func kit() clienttest.Kit {
	return clienttest.Kit{System: etcd.System()}
}

func TestOpen(t *testing.T) { clienttest.Open(t, kit()) }

func TestIntegrationConformance(t *testing.T) { clienttest.Run(t, kit()) }

func TestIntegrationRegister(t *testing.T) {
	c, opts := dockertest.Up(t, etcd.System(), 1, nil, "")
	s, err := etcd.Open(t.Context(), clients.Target{Node: c.Nodes()[0], Cluster: c, Options: opts})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx := t.Context()
	if r, err := s.Read(ctx, "k"); err != nil || r.Value != nil || r.Version != 0 {
		t.Errorf("an absent key: %+v, %v", r, err)
	}
	if r, err := s.CAS(ctx, "k", int64(1), int64(2)); history.TypeOf(err) != history.Fail || r.Observed == nil || r.Observed.Value != nil {
		t.Errorf("a compare-and-set of an absent key: %+v, %v", r, err)
	}
	first, err := s.CAS(ctx, "k", nil, int64(1))
	if err != nil || first.Version == 0 {
		t.Errorf("a compare-and-set from nothing: %+v, %v", first, err)
	}
	w, err := s.Write(ctx, "k", int64(-7))
	if err != nil || w.Version <= first.Version {
		t.Errorf("a write: %+v, %v", w, err)
	}
	if r, err := s.Read(ctx, "k"); err != nil || r.Value != int64(-7) || r.Version != w.Version {
		t.Errorf("a read: %+v, %v; written as %+v", r, err, w)
	}
	if r, err := s.CAS(ctx, "k", int64(3), int64(4)); history.TypeOf(err) != history.Fail || r.Observed == nil || r.Observed.Value != int64(-7) || r.Version != w.Version {
		t.Errorf("a compare-and-set of another value: %+v, %v", r, err)
	}
	if _, err := s.CAS(ctx, "k", int64(-7), int64(8)); err != nil {
		t.Error(err)
	}
	if _, err := s.Write(ctx, "k", "text"); history.TypeOf(err) != history.Fail {
		t.Errorf("writing text: %v", err)
	}
	if who, err := etcd.System().Leader(ctx, c, cluster.Real(), opts); err != nil || who != "n1" {
		t.Errorf("the leader is %q, %v", who, err)
	}
}

func TestIntegrationLock(t *testing.T) {
	c, opts := dockertest.Up(t, etcd.System(), 1, map[string]string{"recipe": "guarded"}, "")
	ctx := t.Context()
	open := func() *etcd.Client {
		s, err := etcd.Open(ctx, clients.Target{Node: c.Nodes()[0], Cluster: c, Options: opts, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	held := func(r history.Reply) (string, int64) {
		v, _ := r.Value.(map[string]any)
		owner, _ := v["owner"].(string)
		token, _ := v["token"].(int64)
		return owner, token
	}
	a, b := open(), open()
	const ttl = 2 * time.Second
	r, err := a.Acquire(ctx, "k", "a.1", ttl)
	if err != nil {
		t.Fatal(err)
	}
	owner, token := held(r)
	if owner == "" || token <= 0 || !a.Held("k", owner, token) {
		t.Errorf("acquired as %q with the token %d", owner, token)
	}
	if _, err := b.Acquire(ctx, "k", "b.1", ttl); history.TypeOf(err) != history.Fail || history.IsSessionLost(err) {
		t.Errorf("the lock of another: %v", err)
	}
	if _, err := a.Store(ctx, "k", int64(1), owner, token); err != nil {
		t.Error(err)
	}
	// While its process stands still, its lease runs out, and another takes the lock.
	a.Freeze()
	var next int64
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if r, err = b.Acquire(ctx, "k", "b.2", ttl); err == nil {
			_, next = held(r)
			break
		}
		if time.Since(start) > 20*ttl {
			t.Fatalf("the lock outlives its session: %v", err)
		}
	}
	if next <= token {
		t.Errorf("the token %d follows %d", next, token)
	}
	a.Thaw()
	if r, err := a.Store(ctx, "k", int64(2), owner, token); history.TypeOf(err) != history.Fail || r.Observed == nil {
		t.Errorf("a guarded write after the loss: %+v, %v", r, err)
	}
	if r, err := b.Load(ctx, "k"); err != nil || r.Value != int64(1) {
		t.Errorf("the guarded data: %+v, %v", r, err)
	}
	for start := time.Now(); a.Held("k", owner, token); time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > 20*ttl {
			t.Fatal("the holder never learns that its session is over")
		}
	}
	if _, err := a.Acquire(ctx, "k", "a.2", ttl); !history.IsSessionLost(err) || history.TypeOf(err) != history.Fail {
		t.Errorf("acquiring without a session: %v", err)
	}
}
