package reports

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/cache"
	"github.com/faultline-dev/faultline/checker/ladder"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/lock"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/power"
	"github.com/faultline-dev/faultline/history"
)

// synth is a made-up run of a register: n operations under a partition and a kill,
// each of which takes effect as it is called.
type synth struct {
	n, workers, keys int
	other            int // the first of the processes that are no worker's
	length           time.Duration
	events           []history.Op
	rnd              *rand.Rand
	value            int64
	current          map[string]int64
	judges           []checker.Checker
}

// synthFolder writes a folder as a run leaves it, judged by the checkers that the
// shape asks for.
func synthFolder(tb testing.TB, n int, shape func(*synth, *Results)) *Folder {
	tb.Helper()
	s := &synth{
		n: n, workers: 10, keys: 10, other: 1000, length: 10 * time.Second,
		rnd: rand.New(rand.NewPCG(1, 2)), current: map[string]int64{},
	}
	if n > 50_000 {
		s.keys, s.workers, s.other = 100, 50, 10_000_000
	}
	now := time.Date(2026, 11, 23, 3, 36, 10, 0, time.UTC)
	f, err := Create(tb.TempDir(), "raft", "register", now, 7)
	if err != nil {
		tb.Fatal(err)
	}
	r := Results{
		System: "raft", Version: "0.1.0", Workload: "register", Nemesis: []string{"partition", "kill"},
		On: "local", Seed: 7, Nodes: 3, Concurrency: s.workers, Started: now, Duration: s.length,
	}
	s.judges = []checker.Checker{linear.New(linear.Options{Model: model.CASRegister()})}
	s.faults()
	s.load()
	s.finals()
	if shape != nil {
		shape(s, &r)
	}
	r.Reproduce = fmt.Sprintf("faultline run --system raft --workload %s --nemesis %s --seed 7", r.Workload, strings.Join(r.Nemesis, ","))
	s.write(tb, f)
	s.judge(tb, f, &r)
	test := Test{
		System: "raft", Version: "0.1.0", Workload: r.Workload, Nemesis: r.Nemesis, On: "local", Seed: 7, Time: s.length,
		Nodes: []string{"n1", "n2", "n3"}, Concurrency: s.workers, Keys: s.keys, Argv: []string{"run", "--seed", "7"},
		Options: map[string]string{"reads": "linearizable"}, Check: CheckBudget{time.Minute, 2 << 30}, Started: now,
		Faultline: Build{"0.1.0", "abcdef0", "go1.26"}, Host: Host{"linux", "amd64", 2, "6.1"},
	}
	for _, err := range []error{f.WriteTest(test), f.WritePlan([]int{1}), f.WriteResults(r)} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	s.logs(tb, f, now)
	return f
}

// judge fills in what checkers say of the history. Time and memory are as if.
func (s *synth) judge(tb testing.TB, f *Folder, r *Results) {
	tb.Helper()
	h, err := f.History()
	if err != nil {
		tb.Fatal(err)
	}
	r.Ops, r.Faults = CountOps(h), FaultsOf(h)
	r.Availability = Measure(h, r.Faults)
	if r.Error != "" {
		return // nobody judges what could not be tested
	}
	if r.Power.Missing == nil {
		s.judges = append(s.judges, power.New(power.Options{Faults: r.Nemesis}))
	}
	for _, c := range s.judges {
		got := c.Check(context.Background(), h)
		got.Duration, got.PeakBytes = 31*time.Millisecond, 4<<20
		if err := r.Add(got); err != nil {
			tb.Fatal(err)
		}
	}
}

func (s *synth) logs(tb testing.TB, f *Folder, now time.Time) {
	tb.Helper()
	for _, n := range []string{"n1", "n2", "n3"} {
		w, err := f.NodeLog(n, "raft.log")
		if err != nil {
			tb.Fatal(err)
		}
		for i := range 20 {
			at := now.Add(time.Duration(i) * s.length / 20)
			fmt.Fprintf(w, "%s level=info msg=\"term %d, i am <b>%s</b>\"\n", at.Format(time.RFC3339Nano), i/4+1, n)
		}
		if err := w.Close(); err != nil {
			tb.Fatal(err)
		}
	}
}

// at is a moment of the run by its share.
func (s *synth) at(share float64) time.Duration { return time.Duration(share * float64(s.length)) }

func (s *synth) fault(id int, f string, from, to float64, targets []any, evidence map[string]any) {
	event := func(at time.Duration, phase string, more map[string]any) {
		v := map[string]any{"id": int64(id), "phase": phase, "targets": targets}
		maps.Copy(v, more)
		s.events = append(s.events, history.Op{Time: at, Process: history.Nemesis, Type: history.Info, F: f, Value: v})
	}
	event(s.at(from), "start", nil)
	event(s.at(from+0.004), "probe", map[string]any{"evidence": evidence, "bit": true})
	event(s.at(to), "heal", nil)
	event(s.at(to+0.004), "gone", map[string]any{"evidence": map[string]any{"state": "as before"}, "healed": true})
}

func (s *synth) faults() {
	cut := map[string]any{"cut": []any{"n1>n2", "n2>n1", "n1>n3", "n3>n1"}, "open": []any{"n2>n3", "n3>n2"}}
	s.fault(1, "partition", 0.2, 0.38, []any{"n1"}, cut)
	s.fault(2, "kill", 0.5, 0.6, []any{"n2"}, map[string]any{"n2": "dead"})
	s.fault(3, "partition", 0.7, 0.82, []any{"n3"}, cut)
}

func (s *synth) down(node string, at time.Duration) bool {
	in := func(a, b float64) bool { return at >= s.at(a) && at < s.at(b) }
	return node == "n1" && in(0.2, 0.38) || node == "n2" && in(0.5, 0.6) || node == "n3" && in(0.7, 0.82)
}

// load is closed-loop: each worker performs one operation after the other.
func (s *synth) load() {
	type worker struct {
		at      time.Duration
		process int
	}
	w := make([]worker, s.workers)
	mean := float64(s.length) * float64(s.workers) / float64(s.n)
	for i := range w {
		w[i] = worker{time.Duration(s.rnd.Float64() * mean), i}
	}
	for range s.n {
		next := 0
		for i := range w {
			if w[i].at < w[next].at {
				next = i
			}
		}
		x := &w[next]
		node := fmt.Sprintf("n%d", next%3+1)
		took := time.Duration(mean * 0.5 * math.Exp(s.rnd.NormFloat64()*0.5))
		if s.down(node, x.at) {
			took = min(took*20, 200*time.Millisecond)
			if !s.op(x.process, node, x.at, x.at+took, true) {
				x.process += s.workers
			}
		} else {
			s.op(x.process, node, x.at, x.at+took, false)
		}
		x.at += took + time.Duration(mean*0.3*s.rnd.Float64()) + 1
	}
}

// finals read every key at every node, once all is healed.
func (s *synth) finals() {
	for n := range 3 {
		for k := range s.keys {
			key, at := fmt.Sprintf("k%d", k), int(s.length/time.Millisecond)+k
			var v any
			if s.current[key] != 0 {
				v = s.current[key]
			}
			s.do(s.other+100+n, fmt.Sprintf("n%d", n+1), at, at+1, "read", key, nil, v)
		}
	}
}

// op performs one operation; false where its fate stays unknown.
func (s *synth) op(process int, node string, from, to time.Duration, down bool) bool {
	key := fmt.Sprintf("k%d", s.rnd.IntN(s.keys))
	inv := history.Op{Time: from, Process: history.Process(process), Type: history.Invoke, F: "read", Key: key, Node: node}
	ret := inv
	ret.Time, ret.Type = to, history.OK
	if s.rnd.IntN(2) == 0 {
		s.value++
		inv.F, ret.F, inv.Value, ret.Value = "write", "write", s.value, s.value
	}
	switch {
	case down && inv.F == "read":
		ret.Type, ret.Error = history.Fail, "connection refused"
	case down:
		ret.Type, ret.Error = history.Info, "deadline exceeded: no answer within 200 ms"
	case inv.F == "write":
		s.current[key] = s.value
		ret.Version = s.value
	case s.current[key] != 0:
		ret.Value = s.current[key]
	}
	s.events = append(s.events, inv, ret)
	return ret.Type != history.Info
}

// do adds an operation of a process: milliseconds from and to, what it asked for
// and what came back. A nil outcome is the input; "?" is an unknown fate.
func (s *synth) do(process int, node string, from, to int, f, key string, in, out any) {
	inv := history.Op{
		Time: time.Duration(from) * time.Millisecond, Process: history.Process(process), Type: history.Invoke, F: f, Key: key, Value: in, Node: node,
	}
	ret := inv
	ret.Type, ret.Time, ret.Value = history.OK, time.Duration(to)*time.Millisecond, out
	if out == "?" {
		ret.Type, ret.Value, ret.Error = history.Info, in, "deadline exceeded: no answer within 200 ms"
	}
	s.events = append(s.events, inv, ret)
}

// only leaves of the operations none, of the faults those that stay says.
func (s *synth) only(stay bool) {
	s.events = slices.DeleteFunc(s.events, func(op history.Op) bool { return op.Process != history.Nemesis || !stay })
}

// climb has the ladder judged too.
func (s *synth) climb() { s.judges = append(s.judges, ladder.New(ladder.Options{})) }

// staleRead: a node that is cut off answers from its own past. A write of unknown
// fate lies beside it.
func staleRead(s *synth, _ *Results) {
	const key = "stock"
	s.do(s.other+1, "n2", 2500, 2512, "write", key, int64(9017), int64(9017))
	s.do(s.other+2, "n3", 2520, 2531, "write", key, int64(9018), int64(9018))
	s.do(s.other+3, "n1", 2524, 2710, "write", key, int64(9019), "?")
	s.do(s.other+4, "n2", 2535, 2539, "read", key, nil, int64(9018))
	s.do(s.other+5, "n1", 2544, 2546, "read", key, nil, int64(9017))
	s.do(s.other+6, "n1", 9500, 9503, "read", key, nil, int64(9018))
	if s.n < 5000 {
		s.climb()
	}
}

// lostWrite: what the minority acknowledged is gone after healing.
func lostWrite(s *synth, _ *Results) {
	const key = "stock"
	s.do(s.other+1, "n2", 2400, 2420, "write", key, int64(9016), int64(9016))
	s.do(s.other+2, "n1", 2500, 2512, "write", key, int64(9017), int64(9017))
	s.do(s.other+3, "n1", 2550, 2553, "read", key, nil, int64(9017))
	for i, n := range []string{"n1", "n2", "n3"} {
		s.do(s.other+4+i, n, 9500+10*i, 9503+10*i, "read", key, nil, int64(9016))
	}
	s.climb()
}

// causalViolation: a node shows the answer, but not yet the question.
func causalViolation(s *synth, _ *Results) {
	s.do(s.other+1, "n1", 2500, 2509, "write", "question", int64(7001), int64(7001))
	s.do(s.other+2, "n2", 2515, 2518, "read", "question", nil, int64(7001))
	s.do(s.other+2, "n2", 2520, 2528, "write", "answer", int64(7002), int64(7002))
	s.do(s.other+3, "n3", 2535, 2538, "read", "answer", nil, int64(7002))
	s.do(s.other+3, "n3", 2540, 2543, "read", "question", nil, nil)
	s.do(s.other+4, "n3", 9500, 9503, "read", "question", nil, int64(7001))
	s.climb()
}

// holds are turns of three clients at one lock, each with a counter under it. The
// one of turn late goes on for more milliseconds than it should.
func holds(s *synth, late, more int) {
	s.judges = []checker.Checker{lock.New(lock.Options{})}
	at := 100
	var last any
	for i := range 60 {
		who, node := 10+i%3, fmt.Sprintf("n%d", i%3+1)
		mine := map[string]any{"owner": fmt.Sprintf("client-%d", i%3), "token": int64(i + 1)}
		lease := map[string]any{"owner": mine["owner"], "token": mine["token"], "lease_ns": int64(200 * time.Millisecond)}
		s.do(who, node, at, at+5, "acquire", "invoices", map[string]any{"owner": mine["owner"], "ttl_ns": int64(200 * time.Millisecond)}, lease)
		end := at + 120
		if i == late {
			end += more
		}
		was := last
		last = int64(i + 1)
		switch {
		case i == late+1:
			was = int64(late) // what the late one had found too
		case i == late+2 && more > 100:
			was = int64(late + 1) // the late one wrote last
		}
		s.do(who, node, end-20, end-16, "update", "invoices", merge(mine, "write", last), merge(mine, "wrote", last, "read", was))
		s.do(who, node, end, end+4, "release", "invoices", mine, mine)
		if at += 150; i == late && more > 100 {
			at += 100 // the lease runs out first
		}
	}
}

func merge(m map[string]any, more ...any) map[string]any {
	m = maps.Clone(m)
	for i := 0; i < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	return m
}

// doubleHold: a client sleeps for longer than its lease and goes on.
func doubleHold(s *synth, r *Results) {
	s.only(false)
	r.Workload, r.Nemesis = "lock", []string{"pause:clients"}
	s.fault(1, "pause", 0.315, 0.345, []any{"clients"}, map[string]any{"stalled": int64(1), "stalled_sum": int64(1)})
	holds(s, 20, 280)
}

// naiveLock: two clients that both saw the lock free took it.
func naiveLock(s *synth, r *Results) {
	s.only(false)
	r.Workload, r.Nemesis = "lock", []string{"none"}
	holds(s, 20, 60)
}

// expiredRead: a node that restarts lets its entries live once more.
func expiredRead(s *synth, r *Results) {
	s.only(false)
	s.judges = []checker.Checker{cache.New(cache.Options{Earliest: true, Latest: true, Tolerance: 20 * time.Millisecond})}
	s.fault(1, "kill", 0.36, 0.38, []any{"n2"}, map[string]any{"n2": "dead"})
	for n, key := range []string{"session", "basket"} {
		for i := range 12 {
			at, entry := 700*i+50, map[string]any{"v": int64(i + 1), "ttl_ns": int64(400 * time.Millisecond)}
			s.do(11+10*n, "n1", at, at+6, "set", key, entry, entry)
			for k, node := range []string{"n2", "n3", "n2", "n2", "n1"} {
				t, v := at+60+110*k, any(int64(i+1))
				if k >= 3 {
					t += 90
				}
				if k == 4 || k == 3 && (i != 5 || key != "session") {
					v = nil
				}
				s.do(12+10*n+k, node, t, t+3, "get", key, nil, v)
			}
		}
	}
	s.do(13, "n2", 9000, 9003, "get", "session", nil, nil)
	s.do(14, "n3", 9000, 9003, "get", "session", nil, nil)
	s.do(15, "n1", 9000, 9003, "get", "session", nil, nil)
	r.Workload, r.Nemesis = "cache", []string{"kill"}
}

// didNotBite: the probes of the partitions saw all links open.
func didNotBite(s *synth, _ *Results) {
	for i, e := range s.events {
		if v, ok := e.Value.(map[string]any); ok && v["phase"] == "probe" && e.F == "partition" {
			v["bit"], v["evidence"] = false, map[string]any{"open": []any{"n1>n2", "n2>n1", "n1>n3", "n3>n1", "n2>n3", "n3>n2"}}
			s.events[i].Value = v
		}
	}
}

func nothingSucceeded(s *synth, _ *Results) {
	for i, e := range s.events {
		if e.Process != history.Nemesis && e.Type == history.OK {
			s.events[i].Type, s.events[i].Value, s.events[i].Error, s.events[i].Version = history.Fail, nil, "connection refused", 0
		}
	}
}

func (s *synth) write(tb testing.TB, f *Folder) {
	tb.Helper()
	slices.SortStableFunc(s.events, func(a, b history.Op) int { return cmp.Compare(a.Time, b.Time) })
	file, err := f.CreateHistory()
	if err != nil {
		tb.Fatal(err)
	}
	w := history.NewWriter(file)
	for _, e := range s.events {
		if err := w.Write(e); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := file.Close(); err != nil {
		tb.Fatal(err)
	}
}
