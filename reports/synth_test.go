package reports

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// synth is a made-up run of a register: n operations under a partition and a kill.
type synth struct {
	n, workers, keys int
	length           time.Duration
	events           []history.Op
	rnd              *rand.Rand
	value            int64
	current          map[string][]written
}

type written struct {
	at    time.Duration
	value int64
}

// synthFolder writes a folder as a run leaves it, results included.
func synthFolder(tb testing.TB, n int, shape func(*synth, *Results)) *Folder {
	tb.Helper()
	s := &synth{
		n: n, workers: 10, keys: 10, length: 10 * time.Second,
		rnd: rand.New(rand.NewPCG(1, 2)), current: map[string][]written{},
	}
	if n > 50_000 {
		s.keys, s.workers = 100, 50
	}
	now := time.Date(2026, 11, 23, 3, 36, 10, 0, time.UTC)
	f, err := Create(tb.TempDir(), "raft", "register", now, 7)
	if err != nil {
		tb.Fatal(err)
	}
	r := Results{
		Verdict: checker.Valid, System: "raft", Version: "0.1.0", Workload: "register", Nemesis: []string{"partition", "kill"},
		On: "local", Seed: 7, Nodes: 3, Concurrency: s.workers, Started: now, Duration: s.length,
		Power: Power{Enough: true}, Reproduce: "faultline run --system raft --workload register --nemesis partition,kill --seed 7",
	}
	s.faults()
	s.load()
	if shape != nil {
		shape(s, &r)
	}
	s.write(tb, f)
	h, err := f.History()
	if err != nil {
		tb.Fatal(err)
	}
	r.Ops = CountOps(h)
	r.Faults = FaultsOf(h)
	r.Availability = Measure(h, r.Faults)
	r.Anomalies = s.indices(h, r.Anomalies)
	r.Checks = append(r.Checks, Check{
		Checker: "linear", Engine: "zones", Verdict: r.Verdict, Ops: h.Len(), Duration: 31 * time.Millisecond, PeakBytes: 4 << 20,
	}, Check{Checker: "stats", Verdict: checker.Valid, Ops: h.Len(), Duration: time.Millisecond})
	test := Test{
		System: "raft", Version: "0.1.0", Workload: "register", Nemesis: r.Nemesis, On: "local", Seed: 7, Time: s.length,
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

func (s *synth) fault(id int, f string, from, to float64, targets []any, evidence map[string]any, bit bool) {
	event := func(at time.Duration, phase string, more map[string]any) {
		v := map[string]any{"id": int64(id), "phase": phase, "targets": targets}
		maps.Copy(v, more)
		s.events = append(s.events, history.Op{Time: at, Process: history.Nemesis, Type: history.Info, F: f, Value: v})
	}
	event(s.at(from), "start", nil)
	event(s.at(from+0.004), "probe", map[string]any{"evidence": evidence, "bit": bit})
	event(s.at(to), "heal", nil)
	event(s.at(to+0.004), "gone", map[string]any{"evidence": map[string]any{"state": "as before"}, "healed": true})
}

func (s *synth) faults() {
	cut := map[string]any{"cut": []any{"n1>n2", "n2>n1", "n1>n3", "n3>n1"}, "open": []any{"n2>n3", "n3>n2"}}
	s.fault(1, "partition", 0.2, 0.38, []any{"n1"}, cut, true)
	s.fault(2, "kill", 0.5, 0.6, []any{"n2"}, map[string]any{"n2": "dead"}, true)
	s.fault(3, "partition", 0.7, 0.82, []any{"n3"}, cut, true)
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
		s.current[key] = append(s.current[key], written{to, s.value})
		ret.Version = s.value
	default:
		if c := s.current[key]; len(c) > 0 {
			ret.Value = c[len(c)-1].value
		}
	}
	s.events = append(s.events, inv, ret)
	return ret.Type != history.Info
}

// plant adds an operation of a process of its own and returns it.
func (s *synth) plant(process int, f string, value any, node string, from, to time.Duration, typ history.Type) {
	inv := history.Op{Time: from, Process: history.Process(process), Type: history.Invoke, F: f, Key: "k3", Node: node}
	ret := inv
	ret.Type, ret.Time, ret.Value = typ, to, value
	if f == "write" || typ != history.OK {
		inv.Value = value
	}
	s.events = append(s.events, inv, ret)
}

// staleRead plants a stale read, with a write of unknown fate beside it.
func staleRead(s *synth, r *Results) {
	ms, base := time.Millisecond, s.at(0.25)
	s.plant(900001, "write", int64(9017), "n2", base, base+12*ms, history.OK)
	s.plant(900002, "write", int64(9018), "n3", base+20*ms, base+31*ms, history.OK)
	s.plant(900003, "write", int64(9019), "n1", base+24*ms, base+210*ms, history.Info)
	s.plant(900004, "read", int64(9018), "n2", base+35*ms, base+39*ms, history.OK)
	s.plant(900005, "read", int64(9017), "n1", base+44*ms, base+46*ms, history.OK)
	r.Verdict = checker.Invalid
	r.Anomalies = []Anomaly{{Checker: "linear", Anomaly: checker.Anomaly{
		Name: "stale-read", Key: "k3", Ops: []int{900001, 900002, 900003, 900004, 900005}, Time: base + 46*ms,
		Explain: "Process 900005 read 9017 from k3 at n1, although 9018 had overwritten it: the write of 9018 returned 13 ms before the read was called, and process 900004 had already read 9018.",
		Forces:  [][2]int{{900001, 900002}, {900002, 900004}, {900005, 900002}},
	}}}
	r.Ladder = map[string]checker.Verdict{"linearizable": checker.Invalid, "sequential": checker.Valid, "causal": checker.Valid, "eventual": checker.Valid}
}

// planted adds an invocation and its completion as they are given.
func (s *synth) planted(process int, node string, from, to time.Duration, inv, ret history.Op) {
	inv.Time, inv.Process, inv.Type, inv.Node = from, history.Process(process), history.Invoke, node
	ret.Time, ret.Process, ret.Node, ret.F, ret.Key = to, inv.Process, node, inv.F, inv.Key
	s.events = append(s.events, inv, ret)
}

// invalid sets the verdict with its one anomaly.
func (r *Results) invalid(a checker.Anomaly) {
	r.Verdict = checker.Invalid
	r.Anomalies = []Anomaly{{Checker: "planted", Anomaly: a}}
}

// holds plants holds of a lock by three processes; the second believes to hold it
// while it is paused for longer than its lease.
func holds(s *synth, pause time.Duration) {
	s.events = slices.DeleteFunc(s.events, func(op history.Op) bool { return op.Process != history.Nemesis })
	at := 100 * time.Millisecond
	for i := range 60 {
		who := 900000 + i%3
		lease := map[string]any{"owner": fmt.Sprintf("session-%d", i%3), "token": int64(i + 1), "lease_ns": int64(200 * time.Millisecond)}
		hold := 120 * time.Millisecond
		if i == 20 {
			hold += pause
		}
		s.planted(who, fmt.Sprintf("n%d", i%3+1), at, at+5*time.Millisecond, history.Op{F: "acquire", Key: "lock"}, history.Op{Type: history.OK, Value: lease})
		s.planted(who, fmt.Sprintf("n%d", i%3+1), at+hold, at+hold+4*time.Millisecond, history.Op{F: "release", Key: "lock"}, history.Op{Type: history.OK})
		at += 150 * time.Millisecond
	}
}

func doubleHold(s *synth, r *Results) {
	holds(s, 140*time.Millisecond)
	r.Workload, r.Nemesis = "lock", []string{"pause:clients"}
	r.invalid(checker.Anomaly{
		Name: "double-hold", Key: "lock", Time: 3255 * time.Millisecond, Ops: []int{900002, 900000},
		Explain: "session-2 and session-0 held lock at the same time for 105 ms: session-2 was granted it for 200 ms at 3.105 s and released it only at 3.360 s, while session-0 had been granted it at 3.255 s.",
	})
}

func naiveLock(s *synth, r *Results) {
	holds(s, 90*time.Millisecond)
	r.Workload, r.Nemesis = "lock", []string{"none"}
	s.events = slices.DeleteFunc(s.events, func(op history.Op) bool { return op.Process == history.Nemesis })
	r.invalid(checker.Anomaly{
		Name: "double-hold", Key: "lock", Time: 3255 * time.Millisecond, Ops: []int{900002, 900000},
		Explain: "session-2 took an error for success: session-0 was granted lock at 3.255 s while session-2 believed to hold it until 3.310 s.",
	})
}

func expiredRead(s *synth, r *Results) {
	s.events = slices.DeleteFunc(s.events, func(op history.Op) bool { return op.Process != history.Nemesis })
	ms := time.Millisecond
	for i := range 12 {
		at := time.Duration(i)*700*ms + 50*ms
		s.planted(900001, "n1", at, at+6*ms, history.Op{F: "set", Key: "session", Value: map[string]any{"v": int64(i), "ttl_ns": int64(400 * ms)}}, history.Op{Type: history.OK})
		for k := range 4 {
			t := at + time.Duration(60+110*k)*ms
			var v any = int64(i)
			if t > at+406*ms && i != 5 {
				v = nil
			}
			if i == 5 && k == 3 {
				t += 80 * ms
			}
			s.planted(900002+k, "n2", t, t+3*ms, history.Op{F: "get", Key: "session"}, history.Op{Type: history.OK, Value: v})
		}
	}
	r.Workload, r.Nemesis = "cache", []string{"clock"}
	r.invalid(checker.Anomaly{
		Name: "expired-read", Key: "session", Time: 4023 * ms, Ops: []int{900001, 900005},
		Explain: "process 900005 read 5 from session 64 ms after it must have expired: it was set by 3.556 s for 400 ms.",
	})
}

func lostWrite(s *synth, r *Results) {
	ms, base := time.Millisecond, s.at(0.25)
	s.plant(900001, "write", int64(9016), "n2", base-100*ms, base-80*ms, history.OK)
	s.plant(900002, "write", int64(9017), "n1", base, base+12*ms, history.OK)
	s.plant(900003, "read", int64(9016), "n2", s.at(0.95), s.at(0.95)+3*ms, history.OK)
	r.invalid(checker.Anomaly{
		Name: "lost-write", Key: "k3", Ops: []int{900001, 900002, 900003}, Time: s.at(0.95) + 3*ms,
		Explain: "the write of 9017 was acknowledged at 2.512 s, but all later reads of k3, also those after the last heal, return 9016 or older.",
		Forces:  [][2]int{{900001, 900002}, {900003, 900002}},
	})
}

func causalViolation(s *synth, r *Results) {
	ms, base := time.Millisecond, s.at(0.25)
	s.plant(900001, "write", int64(9017), "n1", base, base+9*ms, history.OK)
	s.plant(900002, "read", int64(9017), "n2", base+15*ms, base+18*ms, history.OK)
	s.plant(900003, "read", nil, "n3", base+30*ms, base+33*ms, history.OK)
	r.invalid(checker.Anomaly{
		Name: "causal-violation", Key: "k3", Ops: []int{900001, 900002, 900003}, Time: base + 33*ms,
		Explain: "process 900003 had seen an effect of process 900002, which had read 9017 from k3, but does not see 9017 itself.",
		Forces:  [][2]int{{900001, 900002}, {900003, 900001}},
	})
	r.Ladder = map[string]checker.Verdict{"linearizable": checker.Invalid, "causal": checker.Invalid, "monotonic-reads": checker.Valid, "eventual": checker.Valid}
}

func didNotBite(s *synth, r *Results) {
	for i, e := range s.events {
		if v, ok := e.Value.(map[string]any); ok && v["phase"] == "probe" && e.F == "partition" {
			v["bit"] = false
			s.events[i].Value = v
		}
	}
	r.Verdict = checker.Unknown
	r.Power = Power{Missing: []string{"partition was asked for, but no probe saw it bite: n1 still reached n2 and n3"}, Rules: []PowerRule{
		{"partition starts, bites and heals, and operations succeed meanwhile", "started 2 times, bit 0 times", false},
		{"at least 20 read operations and 5 % of them succeed", "188 of 205 (91.7 %)", true},
	}}
}

func nothingSucceeded(s *synth, r *Results) {
	for i, e := range s.events {
		if e.Process != history.Nemesis && e.Type == history.OK {
			s.events[i].Type, s.events[i].Value, s.events[i].Error, s.events[i].Version = history.Fail, nil, "connection refused", 0
		}
	}
	r.Verdict = checker.Unknown
	r.Power = Power{Missing: []string{"too few read operations succeeded: 0 of 205", "too few write operations succeeded: 0 of 195"}}
}

// indices turns the processes that the planted operations ran in into the indices
// of their invocations.
func (s *synth) indices(h *history.History, anomalies []Anomaly) []Anomaly {
	for i := range anomalies {
		at := map[int]int{}
		for j := range h.Len() {
			p := int(h.Process(j))
			if p >= 900000 && h.Invoke(j) <= anomalies[i].Time && h.F(j) != "release" {
				at[p] = h.Index(j)
			}
		}
		for j, p := range anomalies[i].Ops {
			anomalies[i].Ops[j] = at[p]
		}
		for j, f := range anomalies[i].Forces {
			anomalies[i].Forces[j] = [2]int{at[f[0]], at[f[1]]}
		}
	}
	return anomalies
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
