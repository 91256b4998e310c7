// Package clienttest holds the tests that every client of a real system must pass:
// what it calls failed did not happen, what it calls done stays, and a dead node
// makes no flood.
package clienttest

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/dockertest"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// Kit is what the tests need of a system.
type Kit struct {
	System  clients.System
	Options map[string]string
	Version string
	// Nodes is how many nodes the cluster has, 3 if 0.
	Nodes int
	// Lossy says that the system, with these options, may lose what it acknowledged.
	Lossy bool
	// Stateless says that clients have no sessions: they may go on after an outage.
	Stateless bool
	// Unversioned says that the system has no versions to tell.
	Unversioned bool
}

// register is what a client must be able to do. Read must see every write that was
// acknowledged, with the Kit's options.
type register interface {
	Read(ctx context.Context, key string) (history.Reply, error)
	Write(ctx context.Context, key string, value any) (history.Reply, error)
}

const (
	opTimeout = time.Second
	// backOff is the runner's after a connection error.
	backOff = 100 * time.Millisecond
	// breath is between a worker's operations: each is looked up again at the end.
	breath = 5 * time.Millisecond
	// workers write at the same time, all at the node that is broken.
	workers = 4
	// perSecond is how many operations a worker may do at a node that is down.
	perSecond = 20
)

// Run is the whole kit. Without a container engine only what needs none is tested.
func Run(t *testing.T, k Kit) {
	t.Helper()
	if k.Nodes == 0 {
		k.Nodes = 3
	}
	t.Run("open", func(t *testing.T) { Open(t, k) })
	c, opts := dockertest.Up(t, k.System, k.Nodes, k.Options, k.Version)
	w := &world{Kit: k, cluster: c, opts: opts}
	t.Run("close twice", w.closeTwice)
	t.Run("many goroutines", w.manyGoroutines)
	t.Run("deadline", w.deadline)
	t.Run("versions", w.versions)
	t.Run("lost session", w.lostSession)
	n := c.Nodes()[0].Name
	t.Run("killed", func(t *testing.T) { w.outage(t, "killed", 5*time.Second, c.Kill, c.Start) })
	t.Run("paused", func(t *testing.T) { w.outage(t, "paused", 3*time.Second, c.Pause, c.Resume) })
	t.Run("cut off", func(t *testing.T) {
		links := []cluster.Link{{From: cluster.Clients, To: n}, {From: n, To: cluster.Clients}}
		w.outage(t, "cutoff", 3*time.Second,
			func(ctx context.Context, _ string) error { return c.Cut(ctx, "clients", links) },
			func(ctx context.Context, _ string) error { return c.Mend(ctx, "clients") })
	})
	t.Run("answers cut off", func(t *testing.T) {
		links := []cluster.Link{{From: n, To: cluster.Clients}}
		w.outage(t, "mute", 3*time.Second,
			func(ctx context.Context, _ string) error { return c.Cut(ctx, "answers", links) },
			func(ctx context.Context, _ string) error { return c.Mend(ctx, "answers") })
	})
	if k.Nodes == 1 {
		return
	}
	t.Run("partitioned", func(t *testing.T) {
		var links []cluster.Link
		for _, l := range dockertest.All(c.Nodes()) {
			if l.From == n || l.To == n {
				links = append(links, l)
			}
		}
		w.outage(t, "partitioned", 3*time.Second,
			func(ctx context.Context, _ string) error { return c.Cut(ctx, "partition", links) },
			func(ctx context.Context, _ string) error { return c.Mend(ctx, "partition") })
	})
}

// Open tests what a session's opening says of nodes that are not there.
func Open(t *testing.T, k Kit) {
	t.Helper()
	opts, err := options.Resolve(k.System.Options, k.Options)
	if err != nil {
		t.Fatal(err)
	}
	for name, serve := range map[string]func(net.Conn){
		"refused": nil,
		// A published port's proxy accepts also when nobody listens behind it.
		"accepted and closed": func(c net.Conn) { _ = c.Close() },
		"accepted and silent": func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
	} {
		t.Run(name, func(t *testing.T) {
			n := cluster.Node{Name: "n1", Host: "n1", Ports: map[string]string{}}
			for _, p := range k.System.Ports {
				if !p.Peer {
					n.Ports[p.Name] = listen(t, serve)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), opTimeout)
			defer cancel()
			start := time.Now()
			c, err := k.System.Open(ctx, clients.Target{Node: n, Cluster: lone{n}, Options: opts, Timeout: opTimeout})
			if err == nil {
				_ = c.Close()
				t.Fatal("there is a session with nobody")
			}
			if history.TypeOf(err) != history.Fail {
				t.Errorf("not definite: %v", err)
			}
			if took := time.Since(start); took > 2*opTimeout {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// lone is a cluster of one node that is not there.
type lone struct{ n cluster.Node }

func (l lone) Nodes() []cluster.Node      { return []cluster.Node{l.n} }
func (l lone) Up(context.Context) error   { return nil }
func (l lone) Down(context.Context) error { return nil }

// listen serves connections on a port of its own; nil for a port nobody listens on.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if serve == nil {
		_ = l.Close()
		return addr
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return addr
}

// world is a cluster that the kit runs against.
type world struct {
	Kit
	cluster interface {
		cluster.Cluster
		cluster.Pauser
	}
	opts options.Values
}

func (w *world) target(node int) clients.Target {
	return clients.Target{Node: w.cluster.Nodes()[node], Cluster: w.cluster, Options: w.opts, Timeout: opTimeout}
}

func (w *world) open(ctx context.Context, node int) (clients.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	return w.System.Open(ctx, w.target(node))
}

func (w *world) write(ctx context.Context, c clients.Client, key string, v int64) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	_, err := c.(register).Write(ctx, key, v)
	return err
}

func (w *world) read(ctx context.Context, c clients.Client, key string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	r, err := c.(register).Read(ctx, key)
	return r.Value, err
}

func (w *world) closeTwice(t *testing.T) {
	c, err := w.open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := w.write(t.Context(), c, "closed", 1); err == nil {
		t.Error("a closed client writes")
	}
}

func (w *world) manyGoroutines(t *testing.T) {
	c, err := w.open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			key := fmt.Sprint("many", i)
			if err := w.write(t.Context(), c, key, int64(i)); err != nil {
				t.Error(err)
				return
			}
			if v, err := w.read(t.Context(), c, key); err != nil || v != int64(i) {
				t.Errorf("%s holds %v, %v; want %d", key, v, err, i)
			}
		})
	}
	wg.Wait()
}

// deadline: an operation keeps to its deadline at a node that does not answer, and
// its fate is open.
func (w *world) deadline(t *testing.T) {
	c, err := w.open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	n := w.cluster.Nodes()[0].Name
	if err := w.cluster.Pause(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err = w.write(t.Context(), c, "deadline", 1)
	took := time.Since(start)
	if e := w.cluster.Resume(t.Context(), n); e != nil {
		t.Fatal(e)
	}
	if err == nil || history.TypeOf(err) != history.Info {
		t.Errorf("a write to a node that does not answer: %v; want an open fate", err)
	}
	if took > opTimeout+opTimeout/2 {
		t.Errorf("it took %v with a deadline of %v", took, opTimeout)
	}
	dockertest.Ready(t, w.System, w.target(0))
}

// versions: what the system says of the order of its writes comes with the operation.
func (w *world) versions(t *testing.T) {
	if w.Unversioned {
		t.Skip("the system has no versions")
	}
	c, err := w.open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var last int64
	for i := range int64(3) {
		wrote, err := c.(register).Write(t.Context(), "versions", i)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.(register).Read(t.Context(), "versions")
		if err != nil || r.Version <= last || wrote.Version != 0 && wrote.Version != r.Version || i > 0 && wrote.Version == 0 {
			t.Errorf("write %d has version %d, the read after it %d, %v; the last had %d", i, wrote.Version, r.Version, err, last)
		}
		last = r.Version
	}
}

// lostSession: an operation on a session that is lost says so, which ends the
// process, and the session never comes back, also not when the node does.
func (w *world) lostSession(t *testing.T) {
	c, err := w.open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := w.write(t.Context(), c, "session", 1); err != nil {
		t.Fatal(err)
	}
	n := w.cluster.Nodes()[0].Name
	if err := w.cluster.(cluster.Killer).Kill(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	err = w.write(t.Context(), c, "session", 2)
	if e := w.cluster.(cluster.Killer).Start(t.Context(), n); e != nil {
		t.Fatal(e)
	}
	if err == nil || !history.IsSessionLost(err) && history.TypeOf(err) != history.Info {
		t.Errorf("a write on a lost session: %v; want the session's end or an open fate", err)
	}
	dockertest.Ready(t, w.System, w.target(0))
	if err := w.write(t.Context(), c, "session", 3); err == nil && !w.Stateless {
		t.Error("a lost session came back")
	}
}

// attempt is one write, to a key of its own.
type attempt struct {
	key        string
	value      int64
	start, end time.Time
	fate       history.Type
	err        error
}

// outage writes at a node while it breaks and heals, as the runner does, and then
// looks what became of each write.
func (w *world) outage(t *testing.T, name string, length time.Duration, begin, end func(context.Context, string) error) {
	t.Helper()
	node := w.cluster.Nodes()[0].Name
	ctx, stop := context.WithCancel(t.Context())
	all := make([][]attempt, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() { all[i] = w.work(ctx, fmt.Sprint(name, "-", i, "-")) })
	}
	time.Sleep(500 * time.Millisecond)
	down := time.Now()
	if err := begin(t.Context(), node); err != nil {
		t.Error(err)
	}
	time.Sleep(length)
	up := time.Now()
	if err := end(t.Context(), node); err != nil {
		t.Error(err)
	}
	dockertest.Ready(t, w.System, w.target(0))
	time.Sleep(500 * time.Millisecond)
	stop()
	wg.Wait()
	var attempts []attempt
	for _, a := range all {
		attempts = append(attempts, a...)
	}
	w.noFlood(t, attempts, down, up)
	w.fates(t, attempts)
}

// work is what a worker of the runner does.
func (w *world) work(ctx context.Context, prefix string) (done []attempt) {
	var c clients.Client
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	for i := int64(0); ctx.Err() == nil; i++ {
		a := attempt{key: fmt.Sprint(prefix, i), value: i, start: time.Now()}
		if c == nil {
			c, a.err = w.open(context.WithoutCancel(ctx), 0)
		}
		opened := a.err == nil
		if opened {
			a.err = w.write(context.WithoutCancel(ctx), c, a.key, a.value)
		} else {
			c = nil
		}
		a.end, a.fate = time.Now(), history.TypeOf(a.err)
		done = append(done, a)
		lost := history.IsSessionLost(a.err) || a.fate == history.Info
		if lost && c != nil {
			_ = c.Close()
			c = nil
		}
		if lost || !opened {
			time.Sleep(backOff)
		} else {
			time.Sleep(breath)
		}
	}
	return done
}

// noFlood: while the node is down a worker does few operations, and of these only
// those that were under way when it went down have an open fate, or that waited for
// an answer until their deadline.
func (w *world) noFlood(t *testing.T, attempts []attempt, down, up time.Time) {
	t.Helper()
	count := map[history.Type]int{}
	for _, a := range attempts {
		if a.start.After(down) && a.end.Before(up) {
			count[a.fate]++
		}
	}
	seconds := up.Sub(down).Seconds()
	if n := count[history.Fail] + count[history.Info]; float64(n) > perSecond*workers*seconds {
		t.Errorf("%d operations failed in %.1f s, more than %d a second and worker", n, seconds, perSecond)
	}
	if most := int(workers * (seconds/opTimeout.Seconds() + 1)); count[history.Info] > most {
		t.Errorf("%d operations of open fate in %.1f s, more than %d", count[history.Info], seconds, most)
	}
	t.Logf("in the outage of %.1f s: %d ok, %d fail, %d info", seconds, count[history.OK], count[history.Fail], count[history.Info])
}

// fates: what failed is not there, what succeeded is.
func (w *world) fates(t *testing.T, attempts []attempt) {
	t.Helper()
	var c clients.Client
	var err error
	for range 50 {
		if c, err = w.open(t.Context(), len(w.cluster.Nodes())-1); err == nil {
			break
		}
		time.Sleep(backOff)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	count, took := map[history.Type]int{}, 0
	wrong := 0
	for _, a := range attempts {
		v, err := w.read(t.Context(), c, a.key)
		if err != nil {
			t.Fatalf("reading %s: %v", a.key, err)
		}
		count[a.fate]++
		there := v == any(a.value)
		switch {
		case a.fate == history.Fail && v != nil:
			t.Errorf("%s failed (%v), and is there: %v", a.key, a.err, v)
		case a.fate == history.OK && !there:
			wrong++
			if !w.Lossy {
				t.Errorf("%s succeeded, and holds %v", a.key, v)
			}
		case a.fate == history.Info && there:
			took++
		}
	}
	if count[history.OK] < 10 {
		t.Errorf("only %d writes succeeded", count[history.OK])
	}
	t.Logf("in all: %d ok (%d of them lost), %d fail, %d info (%d of them took effect)",
		count[history.OK], wrong, count[history.Fail], count[history.Info], took)
}
