package faultline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/workloads"
	"github.com/faultline-dev/faultline/workloads/register"
)

// memory is a store in this process: every node serves the same map.
type memory struct {
	mu      sync.Mutex
	data    map[string]any
	version int64
	stale   map[string]any // what a broken node still believes
	broken  string         // a node that never hears of anything after a second

	latency time.Duration
	upErr   error
	downs   int
	mute    bool   // no node ever serves
	dead    string // a node whose processes have ended
	open    func(ctx context.Context) error
	perform func(ctx context.Context) error
}

func (m *memory) Nodes() []cluster.Node {
	return []cluster.Node{{Name: "n1"}, {Name: "n2"}, {Name: "n3"}}
}

func (m *memory) Up(context.Context) error {
	m.data = map[string]any{}
	return m.upErr
}

func (m *memory) Down(context.Context) error {
	m.downs++
	return nil
}

func (m *memory) State(_ context.Context, node string) (cluster.State, error) {
	if node == m.dead {
		return cluster.Dead, nil
	}
	return cluster.Running, nil
}

func (m *memory) Logs(_ context.Context, node string) (map[string]io.ReadCloser, error) {
	if !m.mute {
		return nil, nil //nolint:nilnil // it has none
	}
	return map[string]io.ReadCloser{"db.log": io.NopCloser(strings.NewReader("starting\n" + node + " says why\n"))}, nil
}

type session struct {
	m    *memory
	node string
}

func (s *session) Close() error { return nil }

func (s *session) do(ctx context.Context, f func() (history.Reply, error)) (history.Reply, error) {
	if s.m.perform != nil {
		if err := s.m.perform(ctx); err != nil {
			return history.Reply{}, err
		}
	}
	time.Sleep(s.m.latency)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return f()
}

func (s *session) Read(ctx context.Context, key string) (history.Reply, error) {
	return s.do(ctx, func() (history.Reply, error) {
		if s.node == s.m.broken {
			if s.m.stale == nil && s.m.version > 500 {
				s.m.stale = map[string]any{}
				maps.Copy(s.m.stale, s.m.data)
			}
			if v, ok := s.m.stale[key]; ok {
				return history.Reply{Value: v}, nil
			}
		}
		return history.Reply{Value: s.m.data[key]}, nil
	})
}

func (s *session) Write(ctx context.Context, key string, value any) (history.Reply, error) {
	return s.do(ctx, func() (history.Reply, error) {
		s.m.version++
		s.m.data[key] = value
		return history.Reply{Value: value}, nil
	})
}

func (s *session) CAS(ctx context.Context, key string, prev, next any) (history.Reply, error) {
	return s.do(ctx, func() (history.Reply, error) {
		if now := s.m.data[key]; now != prev {
			return history.Reply{Observed: &history.Seen{Value: now}}, history.Definite(errors.New("no match"))
		}
		s.m.version++
		s.m.data[key] = next
		return history.Reply{}, nil
	})
}

func (m *memory) system() clients.System {
	return clients.System{
		Name:    "memory",
		Methods: func() any { return &session{} },
		Ready: func(context.Context, clients.Target) error {
			if m.mute {
				return errors.New("refused")
			}
			return nil
		},
		Open: func(ctx context.Context, t clients.Target) (clients.Client, error) {
			if m.open != nil {
				if err := m.open(ctx); err != nil {
					return nil, err
				}
			}
			return &session{m, t.Node.Name}, nil
		},
	}
}

func registers(tb testing.TB, workers int) *workloads.Instance {
	tb.Helper()
	w := register.Workload()
	opts, err := options.Resolve(w.Options, nil)
	if err != nil {
		tb.Fatal(err)
	}
	instance, err := w.New(workloads.Params{Options: opts, Keys: 3, Concurrency: workers, Nodes: []string{"n1", "n2", "n3"}, Opened: &session{}})
	if err != nil {
		tb.Fatal(err)
	}
	return instance
}

func newTest(tb testing.TB, m *memory) faultline.Test {
	tb.Helper()
	folder, err := reports.Create(tb.TempDir(), "memory", "register", time.Unix(0, 0), 1)
	if err != nil {
		tb.Fatal(err)
	}
	return faultline.Test{
		System: m.system(), Cluster: m, Workload: registers(tb, 6), Folder: folder, Concurrency: 6, Time: 5 * time.Second, Seed: 1,
		Record: reports.Test{System: "memory", Workload: "register", Nodes: []string{"n1", "n2", "n3"}, Concurrency: 6},
	}
}

// inVirtualTime runs the test in a bubble whose clock jumps to the next event.
func inVirtualTime(t *testing.T, m *memory, change func(*faultline.Test)) (res reports.Results, folder *reports.Folder, err error) {
	t.Helper()
	synctest.Test(t, func(bubble *testing.T) {
		test := newTest(t, m)
		if change != nil {
			change(&test)
		}
		test.Runtime = cluster.Real()
		folder = test.Folder
		res, err = faultline.Run(bubble.Context(), test)
		if m.downs == 0 {
			t.Error("the cluster was not taken down")
		}
	})
	return res, folder, err
}

func TestRunInVirtualTime(t *testing.T) {
	began := time.Now()
	res, _, err := inVirtualTime(t, &memory{latency: 2 * time.Millisecond}, func(x *faultline.Test) { x.Time = time.Minute })
	if err != nil || res.Verdict != checker.Valid {
		t.Fatalf("got %v (%s), error %v; want valid", res.Verdict, res.Reason, err)
	}
	if want := 6 * 60 * 500; res.Ops.Total < want*9/10 || res.Ops.Total > want*11/10 {
		t.Errorf("got %d operations in a minute of 2 ms each by 6 workers, want about %d", res.Ops.Total, want)
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("a virtual minute took %v", took)
	}
}

func TestRunFindsAStaleNode(t *testing.T) {
	res, folder, err := inVirtualTime(t, &memory{latency: time.Millisecond, broken: "n2"}, nil)
	if err != nil || res.Verdict != checker.Invalid {
		t.Fatalf("got %v, error %v; want invalid", res.Verdict, err)
	}
	if !slices.ContainsFunc(res.Anomalies, func(a reports.Anomaly) bool { return a.Name == "stale-read" }) {
		t.Errorf("got anomalies %v, want stale-read among them", res.AnomalyCounts())
	}
	for _, name := range []string{reports.TestFile, reports.HistoryFile, reports.ResultsFile, reports.IndexFile, reports.JUnitFile, reports.SummaryFile} {
		if _, err := os.Stat(filepath.Join(folder.Path, name)); err != nil {
			t.Errorf("the run's folder lacks %s", name)
		}
	}
}

func TestRunThatTestsNothingIsUnknown(t *testing.T) {
	for name, m := range map[string]*memory{
		"no session is to be had": {open: func(context.Context) error { return errors.New("refused") }},
		"nothing succeeds":        {perform: func(context.Context) error { return history.Definite(errors.New("no")) }},
		"nothing is known":        {perform: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	} {
		t.Run(name, func(t *testing.T) {
			res, _, err := inVirtualTime(t, m, nil)
			if err != nil || res.Verdict != checker.Unknown {
				t.Fatalf("got %v, error %v; want unknown", res.Verdict, err)
			}
			if res.Reason == "" && len(res.Power.Missing) == 0 {
				t.Error("the results do not say what is missing")
			}
		})
	}
}

// An unreachable node makes at most ten operations a second and worker.
func TestRunBacksOff(t *testing.T) {
	res, _, _ := inVirtualTime(t, &memory{open: func(context.Context) error { return errors.New("refused") }}, nil)
	if most := 6 * (5*10 + 100); res.Ops.Total > most {
		t.Errorf("got %d operations, want at most %d", res.Ops.Total, most)
	}
	if res.Ops.Info != 0 {
		t.Errorf("%d operations are info though nothing was sent", res.Ops.Info)
	}
}

// After an info the worker goes on as another process with a fresh client.
func TestRunEndsProcesses(t *testing.T) {
	var n atomic.Int64
	_, folder, err := inVirtualTime(t, &memory{latency: time.Millisecond, perform: func(context.Context) error {
		if n.Add(1)%50 == 0 {
			return errors.New("connection reset")
		}
		return nil
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := folder.History()
	if err != nil {
		t.Fatal(err)
	}
	ended := map[history.Process]bool{}
	for i := range h.Len() {
		if ended[h.Process(i)] {
			t.Fatalf("process %d goes on after an info", h.Process(i))
		}
		if h.Type(i) == history.Info {
			if h.F(i) == register.Read {
				t.Fatal("a read of unknown outcome is recorded as info: it has no effect and fails")
			}
			ended[h.Process(i)] = true
		}
	}
	if len(ended) == 0 {
		t.Fatal("no operation was of unknown fate")
	}
}

// With fewer workers than nodes every node answers in the final phase nevertheless,
// and still no process is ever at two nodes.
func TestRunReadsAtEveryNodeAtLast(t *testing.T) {
	res, folder, err := inVirtualTime(t, &memory{latency: time.Millisecond}, func(x *faultline.Test) {
		x.Concurrency, x.Record.Concurrency, x.Workload = 2, 2, registers(t, 2)
	})
	if err != nil || res.Verdict != checker.Valid {
		t.Fatalf("got %v (%s, missing %v), error %v; want valid", res.Verdict, res.Reason, res.Power.Missing, err)
	}
	h, err := folder.History()
	if err != nil {
		t.Fatal(err)
	}
	at := map[history.Process]string{}
	seen := map[string]bool{}
	for i := range h.Len() {
		node := h.Nodes()[h.NodeID(i)]
		if p := h.Process(i); at[p] != "" && at[p] != node {
			t.Fatalf("process %d was at %s and at %s", p, at[p], node)
		}
		at[h.Process(i)], seen[node] = node, true
	}
	if !seen["n3"] {
		t.Error("nothing was asked of n3, which has no worker at first")
	}
}

func TestRunStopsAndStillReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{latency: time.Millisecond}
		test := newTest(t, m)
		test.Runtime, test.Time = cluster.Real(), time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		res, err := faultline.Run(ctx, test)
		if err != nil || res.Verdict != checker.Unknown || !strings.Contains(res.Reason, "interrupted") {
			t.Errorf("got %v (%s), error %v; want unknown, as interrupted", res.Verdict, res.Reason, err)
		}
		if res.Ops.OK < 1000 || m.downs == 0 {
			t.Errorf("%d operations were kept, the cluster was taken down %d times", res.Ops.OK, m.downs)
		}
	})
}

func TestRunThatCannotTest(t *testing.T) {
	for name, c := range map[string]struct {
		m    *memory
		want string
	}{
		"up fails":         {&memory{upErr: errors.New("no engine")}, "no engine"},
		"nobody serves":    {&memory{mute: true}, "n3 says why"},
		"a node has ended": {&memory{mute: true, dead: "n2"}, "n2 does not serve: its processes have ended; the last it said:\n  starting\n  n2 says why"},
	} {
		t.Run(name, func(t *testing.T) {
			res, _, err := inVirtualTime(t, c.m, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			if c.m.dead != "" && strings.Contains(err.Error(), "n1") {
				t.Errorf("the innocent are named: %v", err)
			}
			if res.Verdict != checker.Unknown {
				t.Errorf("the verdict is %v", res.Verdict)
			}
		})
	}
}

func TestRunSurvivesPanics(t *testing.T) {
	var n atomic.Int64
	res, _, err := inVirtualTime(t, &memory{latency: time.Millisecond, perform: func(context.Context) error {
		if n.Add(1) == 1000 {
			panic("a client's mistake")
		}
		return nil
	}}, nil)
	if err != nil || res.Verdict != checker.Unknown || !strings.Contains(res.Reason, "a client's mistake") {
		t.Errorf("got %v (%s), error %v; want unknown, naming the panic", res.Verdict, res.Reason, err)
	}
}

// A client that hangs, deaf to its context, does not outlive the global deadline.
func TestRunOutlivesAHang(t *testing.T) {
	release := make(chan struct{})
	m := &memory{latency: time.Millisecond}
	var n atomic.Int64
	m.perform = func(context.Context) error {
		if n.Add(1) == 100 {
			<-release
		}
		return nil
	}
	test := newTest(t, m)
	test.Time = time.Second
	test.Limits = faultline.Limits{Up: 1, Ready: 1, Settle: 1, Final: 1, Down: 100 * time.Millisecond, Slack: 100 * time.Millisecond}
	res, err := faultline.Run(t.Context(), test)
	if err == nil || !strings.Contains(err.Error(), "hangs") || res.Verdict != checker.Unknown {
		t.Errorf("got %v, error %v; want unknown and that the run hangs", res.Verdict, err)
	}
	if res.Ops.OK < 80 {
		t.Errorf("only %d operations are in the partial report", res.Ops.OK)
	}
	dump, err := os.ReadFile(filepath.Join(test.Folder.Path, "goroutines.txt"))
	if err != nil || !strings.Contains(string(dump), "run_test.go") {
		t.Errorf("no dump of the goroutines: %v", err)
	}
	close(release)
	goleak.VerifyNone(t, goleak.IgnoreCurrent())
}

// BenchmarkScheduler feeds a client that does nothing, and records it all.
func BenchmarkScheduler(b *testing.B) {
	for _, workers := range []int{10, 1000} {
		b.Run(fmt.Sprintf("%d-processes", workers), func(b *testing.B) {
			for b.Loop() {
				m := &memory{}
				test := newTest(b, m)
				test.Workload.Perform = func(_ context.Context, _ any, op history.Op) (history.Reply, error) {
					return history.Reply{Value: op.Value}, nil
				}
				test.Workload.Checkers = nil
				test.Concurrency, test.Time = workers, 2*time.Second
				began := time.Now()
				ops, err := faultline.Feed(b.Context(), test)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(ops)/time.Since(began).Seconds(), "ops/s")
			}
		})
	}
}

// A seed gives the same operations, whatever the workers do.
func TestSeedDecidesOperations(t *testing.T) {
	first := func(seed uint64) []string {
		var ops []string
		synctest.Test(t, func(t *testing.T) {
			m := &memory{latency: time.Millisecond}
			test := newTest(t, m)
			test.Runtime, test.Time, test.Seed, test.Concurrency = cluster.Real(), time.Second, seed, 1
			if _, err := faultline.Run(t.Context(), test); err != nil {
				t.Fatal(err)
			}
			h, err := test.Folder.History()
			if err != nil {
				t.Fatal(err)
			}
			for i := range min(500, h.Len()) {
				ops = append(ops, fmt.Sprint(h.F(i), h.Op(i).Key, h.Op(i).In))
			}
		})
		return ops
	}
	seed := rand.Uint64N(1000)
	a := first(seed)
	if !slices.Equal(a, first(seed)) {
		t.Errorf("seed %d gave two different runs", seed)
	}
	if slices.Equal(a, first(seed+1)) {
		t.Error("two seeds gave the same run")
	}
}
