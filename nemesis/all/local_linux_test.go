package all_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/local"
	"github.com/faultline-dev/faultline/cluster/local/localtest"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/nemesis/all"
)

func TestMain(m *testing.M) {
	localtest.Main()
	goleak.VerifyTestMain(m)
}

// lab is a real cluster, and eyes that do not look through the nemesis.
type lab struct {
	*testing.T
	c    cluster.Cluster
	pids map[string]int
}

func (l lab) ask(node, line string) string {
	s, err := localtest.Ask(l.c, node, line)
	if err != nil {
		return "error: " + err.Error()
	}
	return s
}

func (l lab) count(node, line string) int {
	n, err := strconv.Atoi(l.ask(node, line))
	if err != nil {
		n = -1
	}
	return n
}

// starts is how often a node was started; it may be dead just now.
func (l lab) starts(node string) int {
	n := -1
	for i := 0; n < 0 && i < 50; i++ {
		n = l.count(node, "starts")
		time.Sleep(10 * time.Millisecond)
	}
	return n
}

// flow sends frames and returns how many different ones arrived, repeated, late
// and damaged, and how long it took until no more came.
func (l lab) flow(from, to string, n int) (got, twice, late, bad int, took time.Duration) {
	read := func() [4]int {
		return [4]int{l.count(to, "got "+from), l.count(to, "twice "+from), l.count(to, "late "+from), l.count(to, "bad "+from)}
	}
	before := read()
	start := time.Now()
	if s := l.ask(from, fmt.Sprintf("send %s %d", to, n)); s != "sent" {
		l.Fatalf("sending from %s to %s: %s", from, to, s)
	}
	last, changed := before, start
	for patience := quiet(n, &last, &before); time.Since(changed) < patience; patience = quiet(n, &last, &before) {
		if now := read(); now != last {
			last, changed = now, time.Now()
		}
		if last[0]-before[0] == n && last[1] == before[1] && last[2] == before[2] && time.Since(changed) > 30*time.Millisecond {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	return last[0] - before[0], last[1] - before[1], last[2] - before[2], last[3] - before[3], changed.Sub(start)
}

// quiet is how long nothing must come to be sure that nothing more will: longer
// when nothing has come at all, since the machine may be busy with other things.
func quiet(n int, last, before *[4]int) time.Duration {
	if last[0] == before[0] || last[0]-before[0] > n*9/10 {
		return 800 * time.Millisecond
	}
	return 400 * time.Millisecond
}

// passes says whether 10 frames from one node arrive at another.
func (l lab) passes(from, to string) bool {
	got, _, _, _, _ := l.flow(from, to, 10)
	return got == 10
}

// proc is the kernel's letter for the state of a process, "" if there is none.
func (l lab) proc(node string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", l.pids[node]))
	if err != nil {
		return ""
	}
	return string(b[strings.LastIndexByte(string(b), ')')+2])
}

// TestLocal measures each fault on real processes from outside: by the frames that
// nodes get from each other, by /proc, by answers to clients.
func TestLocal(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes; run without -short")
	}
	both := func(l lab, want bool) bool { return l.passes("n1", "n2") == want && l.passes("n2", "n1") == want }
	for _, tc := range []struct {
		spec string
		opts map[string]string
		bit  func(l lab) bool
	}{
		{"partition:n1", nil, func(l lab) bool { return both(l, false) && l.passes("n2", "n3") }},
		{"partition:n1|n2", nil, func(l lab) bool { return both(l, false) && l.passes("n1", "n3") }},
		{"kill:n1", nil, func(l lab) bool { return l.proc("n1") == "" && strings.HasPrefix(l.ask("n1", "ping"), "error") }},
		{"pause:n1+n2", nil, func(l lab) bool {
			return l.proc("n1") == "T" && l.proc("n2") == "T" && strings.Contains(l.ask("n1", "ping"), "timeout")
		}},
		{"restart:n1", nil, func(l lab) bool { return l.proc("n1") == "" && l.ask("n1", "starts") == "2" }},
		{"restart:n1", map[string]string{"every": "100ms"}, func(l lab) bool {
			time.Sleep(time.Second)
			return l.starts("n1") > 4
		}},
		{"rolling", nil, func(l lab) bool {
			time.Sleep(1500 * time.Millisecond)
			return l.starts("n1") == 2 && l.starts("n2") == 2 && l.starts("n3") == 2
		}},
		{"delay:n1", map[string]string{"by": "60ms", "jitter": "1ms"}, func(l lab) bool {
			_, _, _, _, took := l.flow("n1", "n2", 1)
			return took > 55*time.Millisecond && took < 300*time.Millisecond
		}},
		{"loss:n1", nil, func(l lab) bool { got, _, _, _, _ := l.flow("n1", "n2", 2000); return got > 1540 && got < 1660 }},
		{"duplicate:n1", nil, func(l lab) bool { _, twice, _, _, _ := l.flow("n1", "n2", 2000); return twice > 340 && twice < 460 }},
		{"reorder:n1", nil, func(l lab) bool { got, _, late, _, _ := l.flow("n1", "n2", 2000); return got == 2000 && late > 100 }},
		{"corrupt:n1", nil, func(l lab) bool { _, _, _, bad, _ := l.flow("n1", "n2", 2000); return bad > 60 && bad < 140 }},
		{"rate:n1", map[string]string{"bps": "200000"}, func(l lab) bool {
			_, _, _, _, took := l.flow("n1", "n2", 250) // of 29 bytes, 58,000 bits
			return took > 246*time.Millisecond && took < 600*time.Millisecond
		}},
	} {
		t.Run(tc.spec, func(t *testing.T) { onLocal(t, tc.spec, tc.opts, tc.bit) })
	}
}

// onLocal runs one step on a new cluster, looks while it acts and after it.
func onLocal(t *testing.T, spec string, opts map[string]string, bit func(lab) bool) {
	t.Helper()
	c, err := local.New(local.Config{
		Names: local.Names(3), Ports: localtest.Ports(), Framed: true,
		Command: localtest.Command(localtest.Node), Dir: t.TempDir(), Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err = c.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if down := c.Down(t.Context()); down != nil {
			t.Error(down)
		}
	}()
	l := lab{t, c, map[string]int{}}
	for _, n := range local.Names(3) {
		l.pids[n] = l.count(n, "pid")
	}
	name, arg, _ := strings.Cut(spec, ":")
	probed := make(chan struct{}, 1)
	var plan nemesis.Plan
	rt := cluster.Real()
	wait := rt.Go(func() {
		plan, err = nemesis.Run(t.Context(), rt, nemesis.Plan{Steps: []nemesis.Step{
			{ID: "x", Fault: name, Arg: arg, For: 2 * time.Second, Opts: opts, Seed: 1},
		}}, nemesis.Env{Faults: all.All(), Cluster: c, Record: func(op history.Op) {
			if v, ok := op.Value.(map[string]any); ok && v["phase"] == "probe" {
				probed <- struct{}{}
			}
		}})
	})
	<-probed
	if !bit(l) {
		t.Errorf("it does not show from outside")
	}
	wait()
	if r := plan.Steps[0].Done; err != nil || !r.Bit || !r.Healed {
		t.Errorf("%v: %+v", err, r)
	}
	for _, n := range local.Names(3) {
		if s := l.ask(n, "ping"); s != "pong" {
			t.Errorf("after healing %s answers %s", n, s)
		}
	}
	fastest := time.Hour
	for range 3 {
		got, twice, late, bad, took := l.flow("n1", "n2", 50)
		if got != 50 || twice+late+bad > 0 {
			t.Errorf("after healing %d of 50 arrive, %d twice, %d late, %d damaged", got, twice, late, bad)
		}
		fastest = min(fastest, took)
	}
	if fastest > 40*time.Millisecond {
		t.Errorf("after healing 50 frames take %v", fastest)
	}
}
