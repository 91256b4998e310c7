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
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/dockertest"
	"github.com/faultline-dev/faultline/history"
)

// powerCuts is how often the power is cut: enough to see it, or as often as the
// claims in the docs were measured.
func powerCuts() int {
	if os.Getenv("FAULTLINE_LONG") != "" {
		return 20
	}
	return 3
}

// TestIntegrationPowerLossOfOneEtcd: a single member of etcd 3.5.2 acknowledges
// writes that its disk has not taken yet (etcd-io/etcd#14370), a current one does
// not. The power is cut while clients write.
func TestIntegrationPowerLossOfOneEtcd(t *testing.T) {
	for version, loses := range map[string]bool{"3.5.2": true, "": false} {
		t.Run("etcd "+version, func(t *testing.T) {
			s := etcd.System()
			c, opts := dockertest.UpDisks(t, s, 1, nil, version)
			breakAll(t, c, cluster.Disk{Fault: cluster.LoseUnsynced})
			lost, acknowledged, cuts, lossy := 0, 0, 0, 0
			// Whether a cut meets a write between its acknowledgement and its sync is up to
			// the machine.
			for cuts < powerCuts() || loses && lost == 0 && cuts < 10*powerCuts() {
				keys := writeUntilCut(t, s, c, opts, fmt.Sprintf("cut%d-", cuts))
				acknowledged += len(keys)
				n := missing(t, s, c, opts, keys)
				if lost += n; n > 0 {
					lossy++
				}
				cuts++
			}
			t.Logf("%d of %d acknowledged writes lost, in %d of %d power cuts", lost, acknowledged, lossy, cuts)
			if acknowledged < 5*cuts || (lost > 0) != loses {
				t.Errorf("%d of %d acknowledged writes lost, want some: %v", lost, acknowledged, loses)
			}
		})
	}
}

// writeUntilCut lets 8 clients write to a disk that syncs slowly, cuts the power
// just after an acknowledgement, starts the node again, and returns what was
// acknowledged.
func writeUntilCut(t *testing.T, s clients.System, c *docker.Cluster, opts map[string]string, prefix string) []string {
	t.Helper()
	const writers = 8
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := c.Break(ctx, "slow", "n1", cluster.Disk{Fault: cluster.SlowSync, Delay: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var keys []string
	told := make(chan struct{}, writers)
	to := clients.Target{Node: c.Nodes()[0], Cluster: c, Options: opts, Timeout: time.Second}
	for w := range writers {
		cl, err := s.Open(ctx, to)
		if err != nil {
			t.Fatal(err)
		}
		store := cl.(*etcd.Client)
		wg.Go(func() {
			defer func() { _ = store.Close() }()
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprint(prefix, w, "-", i)
				if _, err := store.Write(ctx, key, 1); err != nil {
					return
				}
				mu.Lock()
				keys = append(keys, key)
				mu.Unlock()
				select {
				case told <- struct{}{}:
				default:
				}
			}
		})
	}
	time.Sleep(time.Second)
	for range cap(told) + 1 { // those of before, and one of now
		<-told
	}
	if err := c.Kill(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()
	if err := c.Repair(t.Context(), "slow", "n1"); err != nil { // it starts faster so
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	dockertest.Ready(t, s, to)
	return keys
}

func missing(t *testing.T, s clients.System, c *docker.Cluster, opts map[string]string, keys []string) (lost int) {
	t.Helper()
	anew := open[*etcd.Client](t, s, c, opts)
	client := anew()
	for _, k := range keys {
		r := eventually(t, func(ctx context.Context) (history.Reply, error) {
			r, err := client.Read(ctx, k)
			if err != nil {
				client = anew()
			}
			return r, err
		})
		if r.Value == nil {
			lost++
		}
	}
	return lost
}
