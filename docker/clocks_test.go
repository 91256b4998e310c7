package docker_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/bundled"
	"github.com/faultline-dev/faultline/clients/etcd"
	"github.com/faultline-dev/faultline/clients/raft"
	"github.com/faultline-dev/faultline/clients/redis"
	"github.com/faultline-dev/faultline/clients/zookeeper"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/dockertest"
)

// The node's own idea of time is asked over its clients' port.

func TestIntegrationClockRedis(t *testing.T) {
	c, _ := dockertest.Up(t, redis.System(), 1, map[string]string{"mode": "single"}, "")
	wrong(t, c, 200*time.Millisecond, redisTime)
	drifts(t, c, redisTime)
}

func TestIntegrationClockEtcd(t *testing.T) {
	c, _ := dockertest.Up(t, etcd.System(), 1, nil, "")
	wrong(t, c, 2*time.Second, httpDate) // the header counts seconds
}

func TestIntegrationClockZooKeeper(t *testing.T) {
	c, _ := dockertest.Up(t, zookeeper.System(), 1, nil, "")
	wrong(t, c, time.Second, modified)
}

// A static Go program that goes by its monotonic clock.
func TestIntegrationClockRaft(t *testing.T) {
	s := raft.System(nil)
	c, opts := dockertest.Up(t, s, 3, nil, "")
	client := bundled.New(clients.Target{Node: c.Nodes()[0], Cluster: c, Options: opts, Timeout: time.Second})
	defer func() { _ = client.Close() }()
	pace := func() float64 {
		t.Helper()
		from, start := status(t, client), time.Now()
		time.Sleep(500 * time.Millisecond)
		return float64(status(t, client)-from) / float64(time.Since(start))
	}
	for _, rate := range []float64{3, 1, 0.5, 1} {
		skew(t, c, cluster.Skew{Rate: rate})
		measure(t, func(t measuring) {
			got := pace()
			t.Logf("rate %v: the node's clock runs %.3f times as fast", rate, got)
			if got < rate*0.85 || got > rate*1.15 {
				t.Errorf("rate %v: the node's clock runs %.3f times as fast", rate, got)
			}
		})
	}
}

func status(t *testing.T, c *bundled.Client) time.Duration {
	t.Helper()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(s.Now)
}

func skew(t *testing.T, c *docker.Cluster, s cluster.Skew) {
	t.Helper()
	start := time.Now()
	if err := c.Skew(t.Context(), "n1", s); err != nil {
		t.Fatal(err)
	}
	t.Logf("set in %v", time.Since(start).Round(100*time.Microsecond))
}

// wrong sets the clock of n1 ahead and back, kills and starts it, and sets it
// right; each time the node is asked.
func wrong(t *testing.T, c *docker.Cluster, slack time.Duration, ask func(*testing.T, *docker.Cluster) time.Time) {
	t.Helper()
	look := func(what string, want time.Duration) {
		t.Helper()
		measure(t, func(m measuring) {
			got := time.Until(ask(t, c))
			m.Logf("%s: by the node itself %v ahead", what, got)
			if (got - want).Abs() > slack {
				m.Errorf("%s: by the node itself %v ahead, want %v", what, got, want)
			}
			measured, err := c.Offsets(m.Context(), []string{"n1"})
			if err != nil {
				m.Fatal(err)
			}
			if got, ok := measured["n1"]; !ok || (got-want).Abs() > 10*time.Millisecond {
				m.Errorf("%s: measured %v ahead, want %v", what, got, want)
			}
		})
	}
	look("before", 0)
	for _, off := range []time.Duration{time.Hour, -2 * time.Hour} {
		skew(t, c, cluster.Skew{Offset: off})
		look(off.String(), off)
	}
	if err := c.Kill(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if left, err := c.Offsets(t.Context(), []string{"n1"}); err != nil || len(left) > 0 {
		t.Errorf("a dead node has the clock %v, %v", left, err)
	}
	start := time.Now()
	if err := c.Start(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	t.Logf("started, with its clock, in %v", time.Since(start))
	look("started again", -2*time.Hour)
	if err := c.Reset(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	look("after", 0)
}

func drifts(t *testing.T, c *docker.Cluster, ask func(*testing.T, *docker.Cluster) time.Time) {
	t.Helper()
	skew(t, c, cluster.Skew{Rate: 3})
	time.Sleep(time.Second)
	if got := time.Until(ask(t, c)); got < 1800*time.Millisecond {
		t.Errorf("after a second at triple speed %v ahead", got)
	}
	if err := c.Reset(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	measure(t, func(m measuring) {
		if got := time.Until(ask(t, c)); got.Abs() > 200*time.Millisecond {
			m.Errorf("after it %v ahead", got)
		}
	})
}

// eventually asks until the node answers: it may just start.
func eventually[T any](t *testing.T, ask func(ctx context.Context) (T, error)) (answer T) {
	t.Helper()
	var err error
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		answer, err = ask(ctx)
		cancel()
		if err == nil {
			return answer
		}
	}
	t.Fatal(err)
	return answer
}

func redisTime(t *testing.T, c *docker.Cluster) time.Time {
	t.Helper()
	return eventually(t, func(ctx context.Context) (time.Time, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Nodes()[0].Ports["redis"])
		if err != nil {
			return time.Time{}, err
		}
		defer conn.Close()
		if _, err := fmt.Fprint(conn, "TIME\r\n"); err != nil {
			return time.Time{}, err
		}
		var n [2]int64
		s := bufio.NewScanner(conn)
		for i := 0; i < 5 && s.Scan(); i++ { // *2 $10 seconds $6 microseconds
			if i == 2 || i == 4 {
				if n[i/2-1], err = strconv.ParseInt(strings.TrimSpace(s.Text()), 10, 64); err != nil {
					return time.Time{}, err
				}
			}
		}
		if n[0] == 0 {
			return time.Time{}, fmt.Errorf("no answer: %w", s.Err())
		}
		return time.Unix(n[0], n[1]*1000), nil
	})
}

func httpDate(t *testing.T, c *docker.Cluster) time.Time {
	t.Helper()
	return eventually(t, func(ctx context.Context) (time.Time, error) {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Nodes()[0].Ports["client"]+"/version", nil)
		if err != nil {
			return time.Time{}, err
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			return time.Time{}, err
		}
		_ = r.Body.Close()
		return http.ParseTime(r.Header.Get("Date"))
	})
}

// modified is when ZooKeeper says that a node was written just now.
func modified(t *testing.T, c *docker.Cluster) time.Time {
	t.Helper()
	return eventually(t, func(context.Context) (time.Time, error) {
		conn, _, err := zk.Connect([]string{c.Nodes()[0].Ports["client"]}, 4*time.Second, zk.WithLogInfo(false), zk.WithLogger(silent{}))
		if err != nil {
			return time.Time{}, err
		}
		defer conn.Close()
		path, err := conn.Create("/clock-", nil, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
		if err != nil {
			return time.Time{}, err
		}
		_, s, err := conn.Exists(path)
		if err != nil {
			return time.Time{}, err
		}
		return time.UnixMilli(s.Mtime), nil
	})
}

type silent struct{}

func (silent) Printf(string, ...any) {}
