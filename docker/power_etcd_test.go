package docker_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/etcd"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/dockertest"
)

// longEnv asks for tests that build images of old versions.
const longEnv = "FAULTLINE_LONG"

// A single etcd of old acknowledged writes before they were synced (etcd#14370),
// which shows where syncs are slow and the power is cut.
func TestIntegrationLongEtcdAcknowledgesBeforeSync(t *testing.T) {
	if os.Getenv(longEnv) == "" {
		t.Skipf("builds old versions of etcd: set %s=1", longEnv)
	}
	for version, loses := range map[string]bool{"3.5.2": true, "": false} {
		t.Run("version "+version, func(t *testing.T) { etcdAtPowerCut(t, version, loses) })
	}
}

func etcdAtPowerCut(t *testing.T, version string, loses bool) {
	s := etcd.System()
	c, opts := dockertest.UpDisks(t, s, 1, nil, version)
	target := clients.Target{Node: c.Nodes()[0], Cluster: c, Options: opts, Timeout: 2 * time.Second}
	for id, d := range map[string]cluster.Disk{
		"slow": {Fault: cluster.SlowSync, Delay: 50 * time.Millisecond}, "power": {Fault: cluster.LoseUnsynced},
	} {
		if err := c.Break(t.Context(), id, "n1", d); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var (
		mu   sync.Mutex
		keys []string
		wg   sync.WaitGroup
	)
	for w := range 8 {
		wg.Go(func() {
			cl, err := s.Open(ctx, target)
			if err != nil {
				return
			}
			defer cl.Close()
			for i := 0; ctx.Err() == nil && i < 1000; i++ {
				key := fmt.Sprintf("w%d-%d", w, i)
				if _, err := cl.(*etcd.Client).Write(ctx, key, int64(i)); err != nil {
					return
				}
				mu.Lock()
				keys = append(keys, key)
				mu.Unlock()
			}
		})
	}
	time.Sleep(1500 * time.Millisecond)
	if err := c.Kill(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()
	if err := c.Start(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	dockertest.Ready(t, s, target)
	cl, err := s.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	lost := 0
	for _, key := range keys {
		r, err := cl.(*etcd.Client).Read(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if r.Value == nil {
			lost++
		}
	}
	t.Logf("%d of %d acknowledged writes lost", lost, len(keys))
	if len(keys) < 20 || (lost > 0) != loses {
		t.Errorf("%d of %d acknowledged writes lost", lost, len(keys))
	}
}
