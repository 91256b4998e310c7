package local

import (
	"strconv"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/local/localtest"
)

// TestShapesMeasured: what is asked is what is measured, and mending ends it.
func TestShapesMeasured(t *testing.T) {
	c := up(t, 2, true)
	link := cluster.Link{From: "n1", To: "n2"}
	ms := time.Millisecond
	for _, tc := range []struct {
		name  string
		shape cluster.Shape
		p     cluster.Probes
		ok    func(cluster.Quality) bool
	}{
		{
			"delay",
			cluster.Shape{Delay: 50 * ms, Jitter: 5 * ms},
			cluster.Probes{Count: 200, Size: 64, Every: ms},
			func(q cluster.Quality) bool {
				return q.Received == 200 && q.Delay > 45*ms && q.Delay < 60*ms && q.Reordered == 0
			},
		},
		{
			"loss",
			cluster.Shape{Loss: 0.2},
			cluster.Probes{Count: 2000, Size: 64},
			func(q cluster.Quality) bool { return q.Received > 1540 && q.Received < 1660 },
		},
		{
			"duplicate",
			cluster.Shape{Duplicate: 0.3},
			cluster.Probes{Count: 1000, Size: 64},
			func(q cluster.Quality) bool { return q.Received == 1000 && q.Duplicated > 250 && q.Duplicated < 350 },
		},
		{
			"reorder",
			cluster.Shape{Reorder: 0.1},
			cluster.Probes{Count: 500, Size: 64, Every: ms / 2},
			func(q cluster.Quality) bool { return q.Received == 500 && q.Reordered > 25 },
		},
		{
			"corrupt",
			cluster.Shape{Corrupt: 0.5},
			cluster.Probes{Count: 1000, Size: 64},
			func(q cluster.Quality) bool { return q.Received == 1000 && q.Corrupted > 450 && q.Corrupted < 550 },
		},
		{
			"rate",
			cluster.Shape{Rate: 1_000_000},
			cluster.Probes{Count: 100, Size: 625},
			func(q cluster.Quality) bool { return q.Received == 100 && q.Rate > 850_000 && q.Rate < 1_150_000 },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			measure := func() cluster.Quality {
				m, err := c.Measure(ctx(), []cluster.Link{link}, tc.p)
				if err != nil {
					t.Fatal(err)
				}
				return m[link]
			}
			if err := c.Shape(ctx(), "x", []cluster.Link{link}, tc.shape); err != nil {
				t.Fatal(err)
			}
			q := measure()
			t.Logf("%+v: %+v", tc.shape, q)
			if !tc.ok(q) {
				t.Errorf("not as asked: %+v", q)
			}
			if r, err := c.Reach(ctx(), []cluster.Link{link}); err != nil || !r[link] {
				t.Errorf("a degraded link is still reached: %v, %v", r, err)
			}
			_ = c.Mend(ctx(), "x")
			if q := measure(); q.Received != tc.p.Count || q.Duplicated+q.Corrupted > 0 || q.Delay > 20*ms {
				t.Errorf("after mending: %+v", q)
			}
		})
	}
}

// TestShapesBite measures the effect on the nodes' own frames, not on probes.
func TestShapesBite(t *testing.T) {
	c := up(t, 2, true)
	link := []cluster.Link{{From: "n1", To: "n2"}}
	_ = c.Shape(ctx(), "x", link, cluster.Shape{Loss: 0.2})
	must(t, c, "n1", "send n2 2000")
	time.Sleep(100 * time.Millisecond)
	n := got(t, c, "n2", "n1", 0)
	t.Logf("of 2000 frames %d arrived under 20 %% loss", n)
	if n < 1540 || n > 1660 {
		t.Errorf("%d of 2000 arrived, want 1600 within 3 points", n)
	}
	_ = c.Shape(ctx(), "x", link, cluster.Shape{Delay: 300 * time.Millisecond})
	start := time.Now()
	must(t, c, "n1", "send n2 1")
	got(t, c, "n2", "n1", n+1)
	if d := time.Since(start); d < 300*time.Millisecond || d > 450*time.Millisecond {
		t.Errorf("a frame took %v, want 300 ms", d)
	}
	must(t, c, "n1", "send n2 100")
	_ = c.Mend(ctx(), "x") // what is under way goes out at once
	if m := got(t, c, "n2", "n1", n+101); m != n+101 {
		t.Errorf("%d frames, want %d", m, n+101)
	}
}

// TestShapeTakenBack: what one shape alone held back goes out when it is taken back;
// what others hold back stays, and all in order.
func TestShapeTakenBack(t *testing.T) {
	c := up(t, 2, true)
	link := cluster.Link{From: "n1", To: "n2"}
	l, links := c.lines[link][0], []cluster.Link{link}
	const ms = time.Millisecond
	news := make(chan int, 100)
	send := func(n int) time.Time {
		l.submit(item{kind: probe, arrived: func([]byte) { news <- n }})
		return time.Now()
	}
	next := func(want int, sent time.Time, least, most time.Duration) {
		t.Helper()
		got := <-news
		if took := time.Since(sent); got != want || took < least-ms || took > most {
			t.Fatalf("%d after %v, want %d after %v to %v", got, took, want, least, most)
		}
	}
	_ = c.Shape(ctx(), "long", links, cluster.Shape{Delay: 10 * time.Second})
	_ = c.Shape(ctx(), "short", links, cluster.Shape{Delay: 200 * ms, Jitter: 50 * ms})
	first := send(0)
	for n := 1; n < 50; n++ {
		send(n)
	}
	_ = c.Shape(ctx(), "other", links, cluster.Shape{Delay: ms})
	_ = c.Mend(ctx(), "other")
	time.Sleep(20 * ms)
	if len(news) > 0 {
		t.Fatal("a frame went out when a shape ended that did not hold it")
	}
	_ = c.Mend(ctx(), "long")
	for n := 50; n < 60; n++ {
		send(n)
	}
	next(0, first, 20*ms, 600*ms)
	for n := 1; n < 60; n++ {
		next(n, first, 20*ms, 900*ms)
	}
	last := send(60)
	_ = c.Heal(ctx())
	next(60, last, 0, 100*ms)
}

// TestStreamTakenBack: a stream is held back no longer than the shape lasts.
func TestStreamTakenBack(t *testing.T) {
	w := newWire(cluster.Link{From: "n1", To: "n2"}, 1)
	w.put("long", &cluster.Shape{Delay: time.Minute})
	w.put("short", &cluster.Shape{Delay: 100 * time.Millisecond})
	start := time.Now()
	time.AfterFunc(20*time.Millisecond, func() { w.mend("long") })
	hold(ctx(), w, 64)
	if took := time.Since(start); took < 100*time.Millisecond || took > 400*time.Millisecond {
		t.Errorf("held back for %v, want 100 ms", took)
	}
}

func BenchmarkRelay(b *testing.B) {
	c, err := New(Config{Names: Names(2), Ports: localtest.Ports(), Framed: true, Command: localtest.Command(localtest.Node), Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Up(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Down(ctx()) }()
	l := c.(*local)
	want := 0
	for b.Loop() {
		if _, err := localtest.Ask(l, "n1", "send n2 1000"); err != nil {
			b.Fatal(err)
		}
		for want += 1000; ; {
			s, _ := localtest.Ask(l, "n2", "got n1")
			if n, _ := strconv.Atoi(s); n >= want {
				break
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "frames/s")
}
