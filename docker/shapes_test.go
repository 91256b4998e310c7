package docker_test

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/agent"
)

func shapes(t *testing.T, c *docker.Cluster) {
	t.Helper()
	for name, s := range map[string]cluster.Shape{"between 0 and 1": {Loss: 2}, "not negative": {Delay: -1}} {
		if err := c.Shapes(s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	f, err := c.Features(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("this kernel: %v", f)
	for _, s := range []struct {
		name, feature string
		measure       func(measuring, *docker.Cluster)
	}{
		{"loss", agent.FeatureLoss, lossy},
		{"delay", agent.FeatureQueue, delayed},
		{"rate", agent.FeatureQueue, limited},
		{"reorder", agent.FeatureQueue, reordered},
		{"duplicate", agent.FeatureCopy, duplicated},
		{"corrupt", agent.FeatureCopy, corrupted},
	} {
		if f[s.feature] == "" {
			t.Run(s.name, func(t *testing.T) { measure(t, func(t measuring) { s.measure(t, c) }) })
		}
	}
}

// measuring collects what is wrong with one measurement.
type measuring struct {
	*testing.T
	wrong *[]string
}

// Errorf hides that of testing.T.
func (m measuring) Errorf(format string, args ...any) {
	*m.wrong = append(*m.wrong, fmt.Sprintf(format, args...))
}

// measure measures up to three times until nothing is wrong: one measurement may go
// wrong on a busy machine, or by chance.
func measure(t *testing.T, f func(measuring)) {
	t.Helper()
	var wrong []string
	for range 3 {
		wrong = nil
		if f(measuring{t, &wrong}); wrong == nil {
			return
		}
		t.Log(strings.Join(wrong, "; "))
	}
	t.Error("three times in a row")
}

func measured(t *testing.T, c *docker.Cluster, p cluster.Probes, l cluster.Link) cluster.Quality {
	t.Helper()
	q, err := c.Measure(t.Context(), []cluster.Link{l}, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %+v", l, q[l])
	return q[l]
}

func shape(t *testing.T, c *docker.Cluster, s cluster.Shape, links ...cluster.Link) {
	t.Helper()
	if err := c.Shape(t.Context(), "shape", links, s); err != nil {
		t.Fatal(err)
	}
}

func lossy(t measuring, c *docker.Cluster) {
	t.Helper()
	const loss = 0.2
	p := cluster.Probes{Count: 2000, Size: 64, Every: 200 * time.Microsecond}
	there, back := link("n1", "n2"), link("n2", "n1")
	shape(t.T, c, cluster.Shape{Loss: loss}, there)
	if q := measured(t.T, c, p, there); math.Abs(1-float64(q.Received)/float64(q.Sent)-loss) > 0.03 {
		t.Errorf("%d of %d arrived, with a loss of %v", q.Received, q.Sent, loss)
	}
	if q := measured(t.T, c, p, back); q.Received != q.Sent {
		t.Errorf("the way back lost %d", q.Sent-q.Received)
	}
	mend(t.T, c, "shape")
	if q := measured(t.T, c, p, there); q.Received != q.Sent {
		t.Errorf("after mending %d were lost", q.Sent-q.Received)
	}
}

func delayed(t measuring, c *docker.Cluster) {
	t.Helper()
	const delay = 50 * time.Millisecond
	p := cluster.Probes{Count: 200, Size: 64, Every: time.Millisecond}
	l := link("n1", "n2")
	shape(t.T, c, cluster.Shape{Delay: delay, Jitter: 5 * time.Millisecond / 3}, l)
	if q := measured(t.T, c, p, l); q.Received != q.Sent || (q.Delay-delay).Abs() > delay/10 {
		t.Errorf("median %v, asked for %v; %d of %d arrived", q.Delay, delay, q.Received, q.Sent)
	}
	mend(t.T, c, "shape")
	if q := measured(t.T, c, p, l); q.Delay > delay/10 {
		t.Errorf("after mending still %v", q.Delay)
	}
	// From outside: requests to the node take so much longer.
	in := link(cluster.Clients, "n2")
	url := "http://" + c.Nodes()[1].Ports["client"] + "/"
	bare := roundTrip(t.T, url)
	shape(t.T, c, cluster.Shape{Delay: delay}, in)
	slow := roundTrip(t.T, url)
	mend(t.T, c, "shape")
	t.Logf("a request takes %v, delayed %v", bare, slow)
	if d := slow - bare; (d - delay).Abs() > delay/5 {
		t.Errorf("a request takes %v longer, asked for %v", d, delay)
	}
}

// roundTrip is the median time of a request over an open connection.
func roundTrip(t *testing.T, url string) time.Duration {
	t.Helper()
	h := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext}}
	defer h.CloseIdleConnections()
	var took []time.Duration
	for range 11 {
		start := time.Now()
		r, err := h.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body) // so that the connection is used again
		_ = r.Body.Close()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[5]
}

func limited(t measuring, c *docker.Cluster) {
	t.Helper()
	const rate = 1_000_000
	l := link("n1", "n2")
	shape(t.T, c, cluster.Shape{Rate: rate}, l)
	// Twice as much as fits, for a second.
	q := measured(t.T, c, cluster.Probes{Count: 250, Size: 1000, Every: 4 * time.Millisecond}, l)
	mend(t.T, c, "shape")
	if math.Abs(float64(q.Rate)/rate-1) > 0.15 {
		t.Errorf("%d bits a second passed, asked for %d", q.Rate, rate)
	}
	free := measured(t.T, c, cluster.Probes{Count: 250, Size: 1000, Every: time.Millisecond}, l)
	if free.Received != free.Sent || free.Rate < 4*rate {
		t.Errorf("after mending %+v", free)
	}
}

func reordered(t measuring, c *docker.Cluster) {
	t.Helper()
	l := link("n1", "n2")
	shape(t.T, c, cluster.Shape{Reorder: 0.1}, l)
	q := measured(t.T, c, cluster.Probes{Count: 500, Size: 64, Every: time.Millisecond}, l)
	mend(t.T, c, "shape")
	if q.Received != q.Sent || q.Reordered == 0 {
		t.Errorf("%+v", q)
	}
}

func duplicated(t measuring, c *docker.Cluster) {
	t.Helper()
	const share = 0.2
	p := cluster.Probes{Count: 2000, Size: 64, Every: 200 * time.Microsecond}
	there, back := link("n1", "n2"), link("n2", "n1")
	shape(t.T, c, cluster.Shape{Duplicate: share, Delay: 5 * time.Millisecond}, there)
	if q := measured(t.T, c, p, there); q.Received != q.Sent || math.Abs(float64(q.Duplicated)/float64(q.Sent)-share) > 0.04 {
		t.Errorf("%d of %d arrived, %d twice, asked for %v", q.Received, q.Sent, q.Duplicated, share)
	}
	if q := measured(t.T, c, p, back); q.Duplicated > 0 {
		t.Errorf("on the way back %d came twice", q.Duplicated)
	}
	mend(t.T, c, "shape")
	if q := measured(t.T, c, p, there); q.Received != q.Sent || q.Duplicated > 0 {
		t.Errorf("after mending %+v", q)
	}
}

// corrupted: the checksum of the datagrams turns damage into loss.
func corrupted(t measuring, c *docker.Cluster) {
	t.Helper()
	const share = 0.2
	p := cluster.Probes{Count: 2000, Size: 64, Every: 200 * time.Microsecond}
	l := link("n1", "n2")
	shape(t.T, c, cluster.Shape{Corrupt: share}, l)
	if q := measured(t.T, c, p, l); q.Corrupted > 0 || math.Abs(1-float64(q.Received)/float64(q.Sent)-share) > 0.04 {
		t.Errorf("%+v, asked for %v", q, share)
	}
	mend(t.T, c, "shape")
	if q := measured(t.T, c, p, l); q.Received != q.Sent {
		t.Errorf("after mending %+v", q)
	}
}

// firstDatagram measures how soon after the request the first datagram is blocked,
// and how soon one passes again: n2 sends one a millisecond to n1.
func firstDatagram(t *testing.T, c *docker.Cluster) {
	t.Helper()
	const count, every, rounds = 250, time.Millisecond, 15
	to, err := c.Addr("n1")
	if err != nil {
		t.Fatal(err)
	}
	from, err := c.Addr("n2")
	if err != nil {
		t.Fatal(err)
	}
	round := func(name string, change func()) (received int, began, asked time.Time) {
		t.Helper()
		q := agent.Request{Op: agent.OpSend, Token: name, Addrs: []string{to}, Probes: cluster.Probes{Count: count, Size: 64, Every: every}}
		began = time.Now()
		if _, err := c.AskAgent(t.Context(), "n2", q); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		asked = time.Now()
		change()
		time.Sleep(count*every + 100*time.Millisecond)
		r, err := c.AskAgent(t.Context(), "n1", agent.Request{Op: agent.OpCount, Token: name})
		if err != nil {
			t.Fatal(err)
		}
		return r.Counts[from].Received, began, asked
	}
	var blocked, passing []time.Duration
	l := link("n2", "n1")
	for i := range rounds {
		n, began, asked := round(fmt.Sprint("cut", i), func() { cut(t, c, "first", l) })
		blocked = append(blocked, began.Add(time.Duration(n)*every).Sub(asked))
		n, began, asked = round(fmt.Sprint("mend", i), func() { mend(t, c, "first") })
		passing = append(passing, began.Add(time.Duration(count-n)*every).Sub(asked))
	}
	slices.Sort(blocked)
	slices.Sort(passing)
	t.Logf("first datagram blocked after %v, first passing again after %v (medians of %d)", blocked[rounds/2], passing[rounds/2], rounds)
	if blocked[rounds/2] > 100*time.Millisecond || passing[rounds/2] > 100*time.Millisecond {
		t.Errorf("blocked after %v, passing after %v, want at most 100ms", blocked, passing)
	}
}
