package power

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// script is a run on two nodes: n writes and reads by two processes, a
// partition in the middle and final reads.
func script(bit, healed, finals bool) *history.History {
	var ops []history.Op
	at := time.Duration(0)
	do := func(p history.Process, node, f string, v any) {
		at += time.Millisecond
		ops = append(ops, history.Op{Time: at, Process: p, F: f, Key: "x", Node: node, Value: v})
		ops = append(ops, history.Op{Time: at, Process: p, Type: history.OK, F: f, Key: "x", Node: node, Value: v})
	}
	nemesis := func(phase, name string, yes bool) {
		at += time.Millisecond
		ops = append(ops, history.Op{
			Time: at, Process: history.Nemesis, Type: history.Info, F: "partition:one",
			Value: map[string]any{"id": "1", "phase": phase, "targets": []any{"n1"}, name: yes, "evidence": map[string]any{"masked": "by another"}},
		})
	}
	for i := range int64(30) {
		do(1, "n1", "write", i)
		do(2, "n2", "read", i)
		if i == 10 {
			nemesis("start", "x", true)
			nemesis("probe", "bit", bit)
		}
		if i == 20 {
			nemesis("heal", "x", true)
			nemesis("gone", "healed", healed)
		}
	}
	if finals {
		do(3, "n1", "read", int64(29))
	}
	h, err := history.Of(ops...)
	if err != nil {
		panic(err)
	}
	return h
}

// irrelevant is a run whose partition bit what nothing reads, with a kill or not.
func irrelevant(kill bool) *history.History {
	var ops []history.Op
	ms := time.Millisecond
	nemesis := func(at time.Duration, f string, v map[string]any) {
		v["id"], v["targets"] = f, []any{"n1"}
		ops = append(ops, history.Op{Time: at, Process: history.Nemesis, Type: history.Info, F: f, Value: v})
	}
	names := []string{"partition"}
	if kill {
		names = append(names, "kill")
	}
	phase := func(at time.Duration, v map[string]any) {
		for _, name := range names {
			own := maps.Clone(v)
			if name == "partition" && v["bit"] != nil {
				own["relevant"] = false
			}
			nemesis(at, name, own)
		}
	}
	for i := range int64(60) {
		at, p := time.Duration(i)*10*ms, history.Process(i%2)
		f, node := "write", "n1"
		if i%2 == 1 {
			f, node = "read", "n2"
		}
		if i == 58 {
			f = "read"
		}
		ops = append(ops, history.Op{Time: at, Process: p, F: f, Key: "x", Node: node, Value: i},
			history.Op{Time: at + ms, Process: p, Type: history.OK, F: f, Key: "x", Node: node, Value: i})
		switch i {
		case 20:
			phase(at+2*ms, map[string]any{"phase": "start"})
			phase(at+3*ms, map[string]any{"phase": "probe", "bit": true})
		case 40:
			phase(at+2*ms, map[string]any{"phase": "heal"})
			phase(at+3*ms, map[string]any{"phase": "gone", "healed": true})
		}
	}
	h, err := history.Of(ops...)
	if err != nil {
		panic(err)
	}
	return h
}

// outage is a run in which nothing succeeds while n1 is cut off and another fault acts
// on n2, for overlapping times or one after the other.
func outage(overlap bool, other string) *history.History {
	var ops []history.Op
	ms := time.Millisecond
	fault := func(name, node string, from, to time.Duration) {
		for _, e := range []struct {
			at time.Duration
			v  map[string]any
		}{
			{from, map[string]any{"phase": "start"}},
			{from, map[string]any{"phase": "probe", "bit": true}},
			{to, map[string]any{"phase": "heal"}},
			{to, map[string]any{"phase": "gone", "healed": true}},
		} {
			e.v["id"], e.v["targets"] = name, []any{node}
			ops = append(ops, history.Op{Time: e.at, Process: history.Nemesis, Type: history.Info, F: name, Value: e.v})
		}
	}
	end, second := 400*ms, 600*ms
	if overlap {
		second = 300 * ms
	}
	fault("partition", "n1", 200*ms, end)
	fault(other, "n2", second, 800*ms)
	for i := range int64(120) {
		at, p, f, t := time.Duration(i)*10*ms, history.Process(i%3), "write", history.OK
		if i%2 == 1 {
			f = "read"
		}
		if i >= 20 && i < 80 {
			t = history.Fail
		}
		node := fmt.Sprint("n", 1+i%3)
		ops = append(ops, history.Op{Time: at, Process: p, F: f, Key: "x", Node: node, Value: i},
			history.Op{Time: at + ms, Process: p, Type: t, F: f, Key: "x", Node: node, Value: i})
	}
	slices.SortStableFunc(ops, func(a, b history.Op) int { return cmp.Compare(a.Time, b.Time) })
	h, err := history.Of(ops...)
	if err != nil {
		panic(err)
	}
	return h
}

// TestDuring: what was invoked while the fault acted counts when it succeeds, also
// after the fault.
func TestDuring(t *testing.T) {
	for _, c := range []struct {
		name string
		typ  history.Type
		want string
	}{
		{"answered after the fault", history.OK, ""},
		{"never answered", history.Info, "no operation succeeded during partition"},
	} {
		var ops []history.Op
		at := func(ms int, op history.Op) {
			op.Time = time.Duration(ms) * time.Millisecond
			ops = append(ops, op)
		}
		write := func(from, to, n int, typ history.Type) {
			w := history.Op{Process: history.Process(n), F: "write", Key: "x", Node: "n1", Value: int64(n)}
			at(from, w)
			w.Type = typ
			at(to, w)
		}
		fault := func(ms int, v map[string]any) {
			v["id"], v["targets"] = "1", []any{"n1"}
			at(ms, history.Op{Process: history.Nemesis, Type: history.Info, F: "partition", Value: v})
		}
		for n := range 20 {
			write(n, n, n, history.OK)
		}
		fault(30, map[string]any{"phase": "start"})
		fault(31, map[string]any{"phase": "probe", "bit": true})
		at(40, history.Op{Process: 20, F: "write", Key: "x", Node: "n1", Value: int64(20)})
		fault(50, map[string]any{"phase": "heal"})
		fault(51, map[string]any{"phase": "gone", "healed": true})
		at(60, history.Op{Process: 20, Type: c.typ, F: "write", Key: "x", Node: "n1", Value: int64(20)})
		h, err := history.Of(ops...)
		if err != nil {
			t.Fatal(err)
		}
		r := New(Options{Faults: []string{"partition"}, Nodes: []string{"n1", "n2", "n3"}}).Check(context.Background(), h)
		if r.Reason != c.want {
			t.Errorf("%s: %v %q, want %q", c.name, r.Verdict, r.Reason, c.want)
		}
	}
}

func TestPower(t *testing.T) {
	for _, c := range []struct {
		name   string
		h      *history.History
		faults []string
		want   string
	}{
		{"enough", script(true, true, true), []string{"partition"}, ""},
		{"did not bite", script(false, true, true), []string{"partition"}, "partition never bit: by another"},
		{"not healed", script(true, false, true), []string{"partition"}, "partition was proven healed only 0 of 1 times"},
		{"never started", script(true, true, true), []string{"partition", "kill"}, "kill never started"},
		{"an outage by two together", outage(true, "kill"), []string{"partition", "kill"}, ""},
		{"no outage that either explains", outage(false, "kill"), []string{"partition", "kill"}, "no operation succeeded during partition; no operation succeeded during kill"},
		{"slow nodes explain no outage", outage(true, "delay"), []string{"partition"}, "no operation succeeded during partition"},
		{"no final read", script(true, true, false), []string{"none"}, "no final read succeeded on n1"},
	} {
		r := New(Options{Faults: c.faults}).Check(context.Background(), c.h)
		if c.want == "" && r.Verdict != checker.Valid || c.want != "" && (r.Verdict != checker.Unknown || !strings.Contains(r.Reason, c.want)) {
			t.Errorf("%s: %v %q, want %q", c.name, r.Verdict, r.Reason, c.want)
		}
	}
	for _, c := range []struct {
		faults []string
		want   string
	}{
		{[]string{"partition"}, "partition bit only what no decision reads (relevant: false), and nothing else was tested"},
		{[]string{"partition", "kill"}, ""},
	} {
		r := New(Options{Faults: c.faults}).Check(context.Background(), irrelevant(len(c.faults) > 1))
		if r.Reason != c.want {
			t.Errorf("%v: %v %q, want %q", c.faults, r.Verdict, r.Reason, c.want)
		}
	}
	few := New(Options{MinOK: 100}).Check(context.Background(), script(true, true, true))
	if !strings.Contains(few.Reason, "too few write operations succeeded: 30 of 30") {
		t.Errorf("few: %q", few.Reason)
	}
}
