package cache

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// expire takes a value away if it is there.
const expire = "expire"

// spec is a cell of which values can be taken away by name.
func spec() model.Spec {
	return model.Spec{
		Name: "cache", Doc: "set, get and delete of keys with a time to live; expiry is an operation",
		Ops: []string{Set, Get, Delete, expire},
		New: func(h *history.History) model.Machine { return cell{h} },
	}
}

const (
	codeRead uint8 = iota
	codeWrite
	codeExpire
)

type cell struct{ h *history.History }

func (cell) Init() model.State { return model.State(history.Nil) }
func (cell) Bytes() int64      { return 0 }

func (c cell) DescribeState(s model.State) string { return model.Text(c.h, history.Value(s)) }

func (c cell) Decode(i int) (model.Op, model.Fate, error) {
	fate := model.Must
	if c.h.Type(i) == history.Info {
		fate = model.May
	}
	switch c.h.F(i) {
	case Get:
		return model.Op{Code: codeRead, Pure: true, A: c.h.Out(i)}, fate, nil
	case Set, Delete:
		return model.Op{Code: codeWrite, A: c.h.In(i)}, fate, nil
	}
	return model.Op{Code: codeExpire, A: c.h.In(i)}, fate, nil
}

func (cell) Step(s model.State, op model.Op) (model.State, bool) {
	switch {
	case op.Code == codeWrite:
		return model.State(op.A), true
	case op.Code == codeRead:
		return s, s == model.State(op.A)
	case s == model.State(op.A):
		return model.State(history.Nil), true
	}
	return s, true
}

// event is one of the history that the search is given.
type event struct {
	op   history.Op
	from int // the operation it stands for
}

// exact decides what the rules over windows found nothing wrong with. Anything of
// unknown fate may happen at any time from its invocation on, or never.
func (j *judgement) exact(ctx context.Context, keys []*object) {
	var events []event
	for _, k := range keys {
		events = k.events(events)
	}
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.op.Time, b.op.Time), cmp.Compare(min(a.op.Type, 1), min(b.op.Type, 1)))
	})
	ops := make([]history.Op, len(events))
	for i, e := range events {
		ops[i] = e.op
	}
	h, err := history.Of(ops...)
	if err != nil {
		j.Verdict, j.Reason = checker.Unknown, "internal error: "+err.Error()
		return
	}
	r := linear.Check(ctx, h, linear.Options{Model: spec(), Engine: linear.Search, Timeout: j.o.Budget.Time, Memory: j.o.Budget.Memory, MaxAnomalies: j.o.MaxAnomalies})
	j.Engine = "windows+search"
	j.Verdict, j.PeakBytes = r.Verdict, r.PeakBytes
	if r.Reason != "" {
		j.Reason = r.Reason
	}
	for _, a := range r.Anomalies {
		var witness []int
		for _, index := range a.Ops {
			witness = append(witness, events[index].from)
		}
		j.add(a.Key, a.Name, a.Time, witness, j.words(witness))
	}
}

// words says what a witness of the search's is.
func (j *judgement) words(ops []int) string {
	slices.Sort(ops)
	var list []string
	for _, i := range slices.Compact(ops) {
		text := fmt.Sprintf("%s (from %s", model.Describe(j.h, i), checker.At(j.h.Invoke(i)))
		if j.h.Type(i) == history.OK {
			text += " to " + checker.At(j.h.Done(i)) + ")"
		} else {
			text += ", fate unknown)"
		}
		list = append(list, text)
	}
	return "No order of these, with values that expire within their windows, explains what was got: " + strings.Join(list, ", ") + "."
}

// events appends what the search is to order: a process for each operation, since
// order comes from time alone.
func (k *object) events(out []event) []event {
	add := func(op int, f string, in, got any, inv, ret time.Duration) {
		o := history.Op{Time: inv, Process: history.Process(len(out)), Type: history.Invoke, F: f, Key: k.name, Value: in}
		out = append(out, event{o, op})
		if ret < history.Forever {
			o.Time, o.Type, o.Value = ret, history.OK, got
			out = append(out, event{o, op})
		}
	}
	for _, s := range k.sets {
		if s.failed {
			continue
		}
		v := k.j.h.Go(s.value)
		add(s.op, Set, v, v, s.inv, s.ret)
		if s.earliest < history.Forever {
			add(s.op, expire, v, v, s.earliest, s.latest)
		}
	}
	for _, d := range k.deletes {
		add(d.op, Delete, nil, nil, d.inv, d.ret)
	}
	for _, g := range k.gets {
		v := k.j.h.Go(g.value)
		add(g.op, Get, nil, v, g.inv, g.ret)
	}
	return out
}
