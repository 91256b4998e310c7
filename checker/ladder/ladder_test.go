package ladder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/synth"
	"github.com/faultline-dev/faultline/history"
)

// random makes a small history of few processes on two keys whose reads see
// anything, mostly something sensible.
func random(r *rand.Rand) *history.History {
	n, procs := 2+r.IntN(6), 1+r.IntN(3)
	type op struct {
		p    int
		f    string
		key  string
		v    any
		old  any
		info bool
	}
	var ops []op
	vals := map[string][]any{"x": {nil}, "y": {nil}}
	for i := range n {
		o := op{p: r.IntN(procs), key: []string{"x", "y"}[r.IntN(2)], f: "read"}
		switch d := r.IntN(10); {
		case d < 4:
			o.f, o.v = "write", int64(i+1)
			vals[o.key] = append(vals[o.key], o.v)
		case d < 5:
			o.f, o.v, o.old = "cas", int64(i+1), vals[o.key][r.IntN(len(vals[o.key]))]
			vals[o.key] = append(vals[o.key], o.v)
		}
		o.info = o.f != "read" && r.IntN(8) == 0
		ops = append(ops, o)
	}
	var events []history.Op
	at := time.Duration(0)
	proc := make([]history.Process, procs)
	for p := range proc {
		proc[p] = history.Process(p)
	}
	open := make([]*history.Op, procs) // completions to come
	complete := func(p int) {
		if e := open[p]; e != nil {
			at++
			e.Time, open[p] = at, nil
			events = append(events, *e)
		}
	}
	for _, o := range ops {
		complete(o.p)
		for p := range procs {
			if r.IntN(2) == 0 {
				complete(p)
			}
		}
		at++
		e := history.Op{Time: at, Process: proc[o.p], F: o.f, Key: o.key, Value: o.v}
		if o.f == "cas" {
			e.Value = []any{o.old, o.v}
		}
		events = append(events, e)
		e.Type = history.OK
		if o.f == "read" {
			vs := vals[o.key]
			e.Value = vs[r.IntN(len(vs))]
		}
		if o.info {
			e.Type = history.Info
			proc[o.p] += history.Process(procs)
		}
		open[o.p] = &e
	}
	for p := range procs {
		complete(p)
	}
	h, err := history.Of(events...)
	if err != nil {
		panic(err)
	}
	return h
}

// brute decides a rung by its definition: for each process it tries all orders
// of all writes and the process' reads.
func brute(t *table, rung string) bool {
	if rung == Sequential {
		var all []int32
		for i := range t.kind {
			if t.kind[i] != skipped {
				all = append(all, int32(i))
			}
		}
		return order(t, all, all, func(a, b int32) bool { return t.session[a] == t.session[b] && a < b })
	}
	for s := range t.sessions {
		p := int32(s)
		var nodes, reads []int32
		for i := range t.kind {
			i := int32(i)
			switch {
			case t.reads(i) && t.session[i] == p:
				nodes, reads = append(nodes, i), append(reads, i)
			case t.writes(i):
				nodes = append(nodes, i)
			}
		}
		if !order(t, nodes, reads, before(t, rung, p)) {
			return false
		}
	}
	return true
}

// before is the order that a rung demands of the nodes of p's view.
func before(t *table, rung string, p int32) func(a, b int32) bool {
	po := func(a, b int32) bool { return t.session[a] == t.session[b] && a < b }
	mine := func(a int32) bool { return t.session[a] == p }
	switch rung {
	case PRAM:
		return func(a, b int32) bool { return po(a, b) && (mine(a) || t.writes(a) && t.writes(b)) }
	case ReadYourWrites:
		return func(a, b int32) bool { return po(a, b) && mine(a) && t.writes(a) && t.reads(b) }
	case MonotonicReads:
		return func(a, b int32) bool { return po(a, b) && mine(a) && t.reads(a) && t.reads(b) }
	case MonotonicWrites:
		return func(a, b int32) bool {
			return po(a, b) && (t.writes(a) && t.writes(b) || mine(a) && t.reads(a) && t.reads(b))
		}
	case WritesFollowReads:
		return func(a, b int32) bool {
			if po(a, b) && mine(a) && t.reads(a) && t.reads(b) {
				return true
			}
			for r := range t.kind {
				r := int32(r)
				if t.reads(r) && t.from[r] == a && t.writes(b) && (po(r, b) || r == b) {
					return true
				}
			}
			return false
		}
	}
	// causal: the transitive closure of program order and reads-from
	n := len(t.kind)
	co := make([][]bool, n)
	for a := range n {
		co[a] = make([]bool, n)
		for b := range n {
			x, y := int32(a), int32(b)
			if t.kind[a] != skipped && t.kind[b] != skipped {
				co[a][b] = po(x, y) || t.reads(y) && t.from[y] == x
			}
		}
	}
	for k := range n {
		for a := range n {
			for b := range n {
				co[a][b] = co[a][b] || co[a][k] && co[k][b]
			}
		}
	}
	return func(a, b int32) bool { return co[a][b] }
}

// order tries to lay out nodes legally. Reads that are not among reads may see
// anything.
func order(t *table, nodes, reads []int32, before func(a, b int32) bool) bool {
	isRead := map[int32]bool{}
	for _, r := range reads {
		isRead[r] = t.reads(r)
	}
	for _, a := range nodes {
		if before(a, a) {
			return false
		}
	}
	held := map[int]int32{}
	for k := range t.h.Keys() {
		held[k] = initial
	}
	used := map[int32]bool{}
	var try func(left int) bool
	try = func(left int) bool {
		if left == 0 {
			return true
		}
	next:
		for _, a := range nodes {
			if used[a] {
				continue
			}
			for _, b := range nodes {
				if !used[b] && b != a && before(b, a) {
					continue next
				}
			}
			k := t.h.KeyID(int(a))
			old := held[k]
			if isRead[a] && old != t.from[a] {
				continue
			}
			if t.writes(a) {
				held[k] = a
			}
			used[a] = true
			if try(left - 1) {
				return true
			}
			used[a] = false
			held[k] = old
		}
		return false
	}
	return try(len(nodes))
}

func text(h *history.History) string {
	s := ""
	for i := range h.Len() {
		o := h.Op(i)
		s += fmt.Sprintf("%d: p%d %v %s %s %v -> %v\n", i, o.Process, o.Type, o.Key, o.F, o.In, o.Out)
	}
	return s
}

// possible decides a rung by its definition for a history with operations of
// unknown fate: some of them happened, and the rest did not, in one way or another.
func possible(h *history.History, rung string) bool {
	var unknown []int
	for i := range h.Len() {
		if h.Type(i) == history.Info {
			unknown = append(unknown, i)
		}
	}
	for some := range 1 << len(unknown) {
		happened := map[int]bool{}
		for n, i := range unknown {
			happened[i] = some>>n&1 == 1
		}
		if t := tableOf(h, happened); t != nil && brute(t, rung) {
			return true
		}
	}
	return false
}

// tableOf is the table of the definite operations and of those that happened; nil
// where a value was read that none of them wrote.
func tableOf(h *history.History, happened map[int]bool) *table {
	t := &table{h: h, kind: make([]uint8, h.Len()), from: make([]int32, h.Len()), session: make([]int32, h.Len())}
	type cell struct {
		key int
		v   history.Value
	}
	writers, sees, sessions := map[cell]int32{}, map[int]history.Value{}, map[history.Process]int32{}
	for i := range h.Len() {
		kind, saw, gave, err := decode(h, i)
		if err != nil || kind == skipped || h.Type(i) == history.Info && !happened[i] {
			continue
		}
		if t.kind[i] = kind; kind != writer {
			sees[i] = saw
		}
		if kind != reader {
			writers[cell{h.KeyID(i), gave}] = int32(i)
		}
		if _, ok := sessions[h.Process(i)]; !ok {
			sessions[h.Process(i)] = int32(len(t.sessions))
			t.sessions = append(t.sessions, nil)
		}
		t.session[i] = sessions[h.Process(i)]
		t.sessions[t.session[i]] = append(t.sessions[t.session[i]], int32(i))
	}
	for i, v := range sees {
		w, ok := writers[cell{h.KeyID(i), v}]
		if t.from[i] = w; v == history.Nil {
			t.from[i] = initial
		} else if !ok {
			return nil
		}
	}
	return t
}

// alone judges a rung without what is known of others.
func alone(t *table, rung string) Rung {
	switch rung {
	case Sequential:
		return t.sequential(context.Background())
	case ReadYourWrites:
		return t.readYourWrites()
	case MonotonicReads:
		return t.monotonicReads()
	case Eventual:
		return t.eventual()
	}
	return t.saturate(context.Background(), rung)
}

// TestAgainstDefinition compares every rung with its definition, tried out, and
// holds judgements that know nothing of each other to the implications between
// them.
func TestAgainstDefinition(t *testing.T) {
	t.Parallel()
	n := 30_000
	if testing.Short() {
		n = 4_000
	}
	valid, invalid := map[string]int{}, map[string]int{}
	for seed := range uint64(n) {
		h := random(rand.New(rand.NewPCG(seed, 1)))
		tab, err := read(h)
		if err != nil {
			t.Fatal(err)
		}
		l := Judge(context.Background(), h, Options{})
		found := map[string]checker.Verdict{Linearizable: l.Rungs[Linearizable].Verdict}
		for _, rung := range Names()[1:8] {
			got := l.Rungs[rung]
			if tab.thinAir != nil {
				continue
			}
			want := checker.Invalid
			if possible(h, rung) {
				want = checker.Valid
				valid[rung]++
			} else {
				invalid[rung]++
			}
			found[rung] = alone(tab, rung).Verdict
			if got.Verdict != want || found[rung] != want {
				t.Fatalf("seed %d: %s is %v (%s), judged alone %v, by definition %v\n%s", seed, rung, got.Verdict, got.Reason, found[rung], want, text(h))
			}
			if want == checker.Invalid && (got.Anomaly == nil || len(got.Anomaly.Ops) == 0 || got.Anomaly.Explain == "") {
				t.Fatalf("seed %d: %s without a witness\n%s", seed, rung, text(h))
			}
		}
		if tab.thinAir == nil {
			found[Eventual] = alone(tab, Eventual).Verdict
		}
		for _, rung := range Names() {
			for _, m := range Implied(rung) {
				if l.Rungs[rung].Verdict == checker.Valid && l.Rungs[m].Verdict != checker.Valid || found[rung] == checker.Valid && found[m] == checker.Invalid {
					t.Fatalf("seed %d: %s holds, but %s does not: %v\n%s", seed, rung, m, found, text(h))
				}
			}
		}
	}
	t.Logf("%d histories; of those without a phantom valid %v, invalid %v", n, valid, invalid)
}

// TestStaleReads: a read that the register engine calls stale was behind.
func TestStaleReads(t *testing.T) {
	for seed := range uint64(30) {
		h, err := synth.History(synth.Options{Model: "register", Ops: 600, Processes: 5, Keys: 2, Info: 0.05, Anomaly: "stale-read", At: 0.5, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		l := Judge(context.Background(), h, Options{})
		a := l.Rungs[Linearizable].Anomaly
		if a == nil {
			continue
		}
		if a.Name != "stale-read" {
			continue
		}
		tab, err := read(h)
		if err != nil {
			t.Fatal(err)
		}
		read := a.Ops[len(a.Ops)-1] // it was invoked last
		for _, lag := range tab.lags() {
			if h.Index(int(lag.op)) == read && (lag.versions < 1 || lag.time <= 0) {
				t.Errorf("seed %d: %s, but it was not behind: %+v", seed, a.Explain, lag)
			}
		}
	}
	right, _ := synth.History(synth.Options{Model: "cas-register", Ops: 5000, Processes: 8, Keys: 3, Info: 0.05, Seed: 1})
	if l := Judge(context.Background(), right, Options{}); l.Staleness.All.Behind != 0 {
		t.Errorf("a right history has stale reads: %+v", l.Staleness.All)
	}
}

// A read is behind by what was certainly written since, whatever other reads saw.
func TestLags(t *testing.T) {
	for text, want := range map[string][]int{
		// A stale read makes no other one stale.
		`
p1 write 1 |-|
p1 write 2     |-|
p2 read 1          |-|
p3 read 2              |-|
p3 read 2                  |-|`: {1, 0, 0},
		// Writes at one time have no order.
		`
p1 write 1 |-------|
p2 write 2   |-|
p3 read 1            |-|
p3 read nil            |-|`: {0, 2},
		// A write of unknown fate counts from when it was seen.
		`
p1 write 1 |-|
p2 write 2     |-?
p3 read 1          |-|
p3 read 2              |-|
p3 read 1                  |-|`: {0, 0, 1},
	} {
		h, err := checkertest.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		tab, err := read(h)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, l := range tab.lags() {
			got = append(got, int(l.versions))
		}
		if !slices.Equal(got, want) {
			t.Errorf("reads are behind by %v, not %v, in%s", got, want, text)
		}
	}
}

// Nodes disagree for good only if they do after the last write was over.
func TestEventual(t *testing.T) {
	for text, want := range map[string]checker.Verdict{
		`
p1 n1 write 1 |-|
p2 n1 read 1      |-|
p3 n2 read nil    |-|`: checker.Invalid,
		`
p1 n1 write 1 |------|
p2 n1 read 1     |-|
p3 n2 read nil   |-|`: checker.Unknown,
		`
p1 n1 write 1 |-?
p2 n1 read 1       |-|
p3 n2 read nil     |-|`: checker.Unknown,
		`
p1 n1 write 1 |-|
p2 n1 read 1      |-|
p3 n2 read 1      |-|`: checker.Valid,
		`
p2 n1 read 1      |-|
p3 n2 read 2      |-|`: checker.Unknown,
	} {
		h, err := checkertest.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		tab, err := read(h)
		if err != nil {
			t.Fatal(err)
		}
		if r := tab.eventual(); r.Verdict != want {
			t.Errorf("%v (%s), not %v:%s", r.Verdict, r.Reason, want, text)
		}
	}
}
