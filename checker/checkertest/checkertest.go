package checkertest

import (
	"bufio"
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// Run is the conformance kit: it judges the readable histories in dir with c and
// compares what it says, and then holds c to the metamorphic rules on them. A
// file has cases like
//
//	check
//	p0 write 1 |--|
//	p1 read 1      |--|
//	----
//	valid
//
// See Parse for the lines. `go test -rewrite` writes what was said anew.
func Run(t *testing.T, dir string, checkers func(command string) checker.Checker) {
	t.Helper()
	datadriven.Walk(t, dir, func(t *testing.T, path string) {
		t.Helper()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			h, err := Parse(d.Input)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			c := checkers(d.Cmd)
			if c == nil {
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			r := c.Check(context.Background(), h)
			metamorphic(t, c, h, r)
			return Format(h, r)
		})
	})
}

// Format says a result in words, as it stands in test files.
func Format(h *history.History, r checker.Result) string {
	var b strings.Builder
	b.WriteString(r.Verdict.String())
	if r.Engine != "" {
		b.WriteString(" by " + r.Engine)
	}
	b.WriteString("\n")
	if r.Reason != "" {
		b.WriteString("because " + r.Reason + "\n")
	}
	for _, a := range r.Anomalies {
		fmt.Fprintf(&b, "%s at %v, events %v: %s\n", a.Name, a.Time, a.Ops, a.Explain)
	}
	return b.String()
}

// metamorphic holds a checker to what must not change its verdict: other names
// of processes and keys; and a run that is cut short is right if all of it is.
func metamorphic(t *testing.T, c checker.Checker, h *history.History, want checker.Result) {
	t.Helper()
	events := Events(h)
	for i := range events {
		if events[i].Process != history.Nemesis {
			events[i].Process = 3*events[i].Process + 5
			events[i].Key += "'"
		}
	}
	renamed, err := history.Of(events...)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Check(context.Background(), renamed); got.Verdict != want.Verdict {
		t.Errorf("renaming processes and keys changed the verdict from %v to %v (%s)", want.Verdict, got.Verdict, got.Reason)
	}
	for n := 1; n < len(events) && want.Verdict == checker.Valid; n++ {
		if events[n].Time == events[n-1].Time {
			continue // of equal stamps, none is before the other
		}
		short, err := history.Of(events[:n]...)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Check(context.Background(), short); got.Verdict == checker.Invalid {
			t.Errorf("all of it is valid, but its first %d events are not: %v", n, got.Anomalies)
		}
	}
}

// Events are the events of h again.
func Events(h *history.History) []history.Op {
	events := append([]history.Op(nil), h.Faults...)
	for i := range h.Len() {
		o := h.Op(i)
		events = append(events, history.Op{
			Index: o.Index, Time: o.Invoke, Process: o.Process, Type: history.Invoke, F: o.F, Key: o.Key, Value: o.In, Node: o.Node,
		})
		if o.Ret >= 0 {
			events = append(events, history.Op{
				Index: o.Ret, Time: o.Done, Process: o.Process, Type: o.Type, F: o.F, Key: o.Key, Value: o.Out, Node: o.Node,
				Observed: o.Observed, Error: o.Error, Version: o.Version,
			})
		}
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].Index < events[j].Index })
	return events
}

// Parse reads a history of lines like
//
//	p1 n2 write 17 |---|      an operation, OK, from one column to the other
//	p2 read nil      |--|     absent values are nil
//	p3 cas 1 2        |--!    ! is a failure; "saw 5" before the bars: it saw 5
//	p4 write 3        |--?    ? is an operation of unknown fate
//	p1 k7: read 3 v4     |-|  k7: is the key, v4 the version
//	p1 acquire owner=a token=1 lease=50 |-|  an object; lease and ttl are in columns
//
// A column is a millisecond. Indentation before the first bar counts from the
// longest description, given as "at 30" in a line of its own, else from the
// column of the first bar in the text's first line.
func Parse(text string) (*history.History, error) {
	var rows []parsed
	base := -1
	in := bufio.NewScanner(strings.NewReader(text))
	for in.Scan() {
		line := strings.TrimRight(in.Text(), " ")
		if line == "" {
			continue
		}
		from := strings.IndexByte(line, '|')
		if from < 0 {
			return nil, fmt.Errorf("no interval in %q", line)
		}
		if base < 0 || from < base {
			base = from
		}
		p, err := parseLine(line[:from])
		if err != nil {
			return nil, err
		}
		p.inv, p.ret, p.typ = from, len(line)-1, history.OK
		switch line[len(line)-1] {
		case '!':
			p.typ = history.Fail
		case '?':
			p.typ = history.Info
		}
		rows = append(rows, p)
	}
	return build(rows, base)
}

type parsed struct {
	inv, ret int
	typ      history.Type
	op, done history.Op
}

func parseLine(s string) (parsed, error) {
	words := strings.Fields(s)
	var p parsed
	if len(words) < 2 || words[0][0] != 'p' {
		return p, fmt.Errorf("expected a process and an operation in %q", s)
	}
	n, err := strconv.Atoi(words[0][1:])
	if err != nil {
		return p, fmt.Errorf("expected a process in %q", s)
	}
	p.op.Process = history.Process(n)
	words = words[1:]
	if words[0][0] == 'n' && len(words[0]) == 2 {
		p.op.Node, words = words[0], words[1:]
	}
	p.op.Key = "x"
	if k, ok := strings.CutSuffix(words[0], ":"); ok {
		p.op.Key, words = k, words[1:]
	}
	p.op.F = words[0]
	var vals []any
	for i := 1; i < len(words); i++ {
		if name, v, ok := strings.Cut(words[i], "="); ok {
			p.field(name, parseValue(v))
			continue
		}
		if v, ok := strings.CutPrefix(words[i], "v"); ok {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				p.done.Version = n
				continue
			}
		}
		if words[i] == "saw" && i+1 < len(words) {
			p.done.Observed = &history.Seen{Value: parseValue(words[i+1])}
			i++
			continue
		}
		vals = append(vals, parseValue(words[i]))
	}
	if p.op.Value == nil {
		p.values(vals)
	}
	return p, nil
}

// field adds a field to what the operation is given and what it returns.
func (p *parsed) field(name string, v any) {
	m, ok := p.op.Value.(map[string]any)
	if !ok {
		m = map[string]any{}
		p.op.Value, p.done.Value = m, m
	}
	if n, ok := v.(int64); ok && (name == "lease" || name == "ttl") {
		name, v = name+"_ns", n*int64(time.Millisecond)
	}
	m[name] = v
}

func (p *parsed) values(vals []any) {
	var one any
	if len(vals) > 0 {
		one = vals[0]
	}
	switch p.op.F {
	case "read", "load", "get", "dequeue":
		p.done.Value = one
		if _, list := one.([]any); list || p.op.F == "read" && len(vals) > 1 {
			p.done.Value = vals
		}
	case "contains":
		p.op.Value = one
		p.done.Value = len(vals) > 1 && vals[1] == "true"
	case "cas":
		p.op.Value, p.done.Value = vals, vals
	case "acquire", "release":
		p.op.Value = map[string]any{}
		if one != nil {
			p.op.Value = map[string]any{"owner": one}
		}
		p.done.Value = p.op.Value
	default:
		p.op.Value, p.done.Value = one, one
	}
}

func parseValue(w string) any {
	if w == "nil" {
		return nil
	}
	if w == "[]" {
		return []any{}
	}
	if n, err := strconv.ParseInt(w, 10, 64); err == nil {
		return n
	}
	return w
}

func build(rows []parsed, base int) (*history.History, error) {
	type event struct {
		at int
		op history.Op
	}
	var events []event
	for _, p := range rows {
		inv, done := p.op, p.op
		inv.Time = time.Duration(p.inv-base) * time.Millisecond
		done.Type, done.Time = p.typ, time.Duration(p.ret-base)*time.Millisecond
		done.Value, done.Observed, done.Version = p.done.Value, p.done.Observed, p.done.Version
		events = append(events, event{p.inv, inv}, event{p.ret, done})
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].at < events[j].at })
	ops := make([]history.Op, len(events))
	for i, e := range events {
		ops[i] = e.op
	}
	return history.Of(ops...)
}
