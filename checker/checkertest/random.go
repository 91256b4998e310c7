// Package checkertest helps to test checkers: random histories that are right or
// just barely wrong, a brute-force judge, and a conformance kit with readable
// histories.
package checkertest

import (
	"math/rand/v2"
	"sort"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// Row is an operation before it is a history: it may be moved and changed freely.
type Row struct {
	Invoke, Return int64 // Return is ignored where Type is Info
	Type           history.Type
	F, Key         string
	In, Out        any
	Observed       *history.Seen
	Version        int64
}

// Config shapes random histories.
type Config struct {
	Model     string // register, cas-register, excluding-register, mutex, owner-mutex, kv, set, counter, queue
	Ops       int
	Processes int
	Values    int     // how many different values are written; 0 for unique ones
	Info      float64 // share of operations that write and whose fate is unknown
	Ties      bool    // equal stamps happen
	Observe   bool    // failed compare-and-sets say what they saw
}

// Random simulates an object: operations take effect at random points between
// invocation and return, so that the history is right.
func Random(r *rand.Rand, c Config) []Row {
	s := sim{r: r, c: c, reg: nil, set: map[int64]bool{}}
	type running struct {
		row     int
		applied bool
	}
	procs := make([]*running, max(1, c.Processes))
	for len(s.rows) < c.Ops || s.open > 0 {
		if !c.Ties || r.IntN(3) > 0 {
			s.now++
		}
		p := r.IntN(len(procs))
		switch run := procs[p]; {
		case run == nil && len(s.rows) < c.Ops:
			s.rows = append(s.rows, s.invoke(p))
			s.open++
			procs[p] = &running{row: len(s.rows) - 1}
		case run == nil:
		case !run.applied:
			row := &s.rows[run.row]
			run.applied = true
			if row.Type == history.Info && r.IntN(2) == 0 {
				break // never happens
			}
			s.apply(row)
		default:
			row := &s.rows[run.row]
			if row.Type != history.Info || r.IntN(2) == 0 {
				row.Return = s.now
				procs[p] = nil
				s.open--
			} else {
				procs[p] = nil
				s.open--
			}
		}
	}
	return s.rows
}

type sim struct {
	r     *rand.Rand
	c     Config
	rows  []Row
	now   int64
	open  int
	next  int64
	reg   any
	set   map[int64]bool
	queue []int64
	count int64
	owner any
}

func (s *sim) value() any {
	if s.c.Values > 0 {
		return int64(1 + s.r.IntN(s.c.Values))
	}
	s.next++
	return s.next
}

// recent is a value that is or was there lately.
func (s *sim) recent() any {
	if s.c.Values > 0 {
		return s.value()
	}
	if s.r.IntN(4) > 0 {
		return s.reg
	}
	return max(1, s.next-int64(s.r.IntN(3)))
}

func (s *sim) invoke(p int) Row {
	row := Row{Invoke: s.now, Type: history.OK, Key: "x"}
	pick := s.r.IntN(10)
	switch s.c.Model {
	case "register", "cas-register", "excluding-register":
		switch {
		case pick < 4:
			row.F = "read"
		case pick < 7 || s.c.Model == "register":
			row.F, row.In = "write", s.value()
		default:
			row.F, row.In = "cas", []any{s.recent(), s.value()}
		}
	case "kv":
		row.F = []string{"get", "put", "append", "delete"}[s.r.IntN(4)]
		if row.F == "put" || row.F == "append" {
			row.In = string(rune('a' + s.r.IntN(3)))
		}
	case "mutex", "owner-mutex":
		row.F = []string{"acquire", "release"}[pick%2]
		row.In = map[string]any{"owner": int64(p)}
	case "set":
		row.F, row.In = []string{"add", "contains", "remove", "contains"}[pick%4], int64(s.r.IntN(4))
		if pick == 9 {
			row.F, row.In = "read", nil
		}
	case "counter":
		row.F, row.In = "add", int64(1+s.r.IntN(3))
		if pick < 5 {
			row.F, row.In = "read", nil
		}
	case "queue":
		if row.F = "dequeue"; pick < 5 {
			row.F, row.In = "enqueue", s.value()
		}
	}
	if s.r.Float64() < s.c.Info {
		row.Type = history.Info
	}
	return row
}

func (s *sim) apply(row *Row) {
	switch row.F {
	case "read", "get":
		row.Out = s.reg
		switch s.c.Model {
		case "set":
			list := []any{}
			for e := range int64(8) {
				if s.set[e] {
					list = append(list, e)
				}
			}
			row.Out = list
		case "counter":
			row.Out = s.count
		}
	case "write", "put":
		s.reg = row.In
	case "append":
		old, _ := s.reg.(string)
		add, _ := row.In.(string)
		s.reg = old + add
	case "delete":
		s.reg = nil
	case "cas":
		p, _ := row.In.([]any)
		if s.reg == p[0] {
			s.reg = p[1]
		} else if row.Type != history.Info {
			row.Type = history.Fail
			if s.c.Observe {
				row.Observed = &history.Seen{Value: s.reg}
			}
		}
	case "contains":
		e, _ := row.In.(int64)
		row.Out = s.set[e]
	case "add":
		n, _ := row.In.(int64)
		s.set[n] = true
		s.count += n
	case "remove":
		e, _ := row.In.(int64)
		delete(s.set, e)
	case "enqueue":
		v, _ := row.In.(int64)
		s.queue = append(s.queue, v)
	case "dequeue":
		if len(s.queue) > 0 {
			row.Out = s.queue[0]
			s.queue = s.queue[1:]
		}
	case "acquire", "release":
		s.lock(row)
	}
}

func (s *sim) lock(row *Row) {
	who := any(true)
	if m, ok := row.In.(map[string]any); ok && s.c.Model == "owner-mutex" {
		who = m["owner"]
	}
	switch {
	case row.F == "acquire" && s.owner == nil:
		s.owner = who
	case row.F == "release" && s.owner == who:
		s.owner = nil
	case row.Type != history.Info:
		row.Type = history.Fail
	}
}

// Mutate changes one thing at random: a result, an interval, a fate. The history
// may stay right.
func Mutate(r *rand.Rand, rows []Row) {
	if len(rows) == 0 {
		return
	}
	a := &rows[r.IntN(len(rows))]
	b := &rows[r.IntN(len(rows))]
	switch r.IntN(7) {
	case 0, 1: // a read sees what another saw or wrote
		for range 8 {
			if a.Out != nil || a.F == "read" || a.F == "get" {
				break
			}
			a = &rows[r.IntN(len(rows))]
		}
		if a.Out == nil && a.F != "read" && a.F != "get" && a.F != "dequeue" {
			return
		}
		switch b.F {
		case a.F:
			a.Out = b.Out
		case "write", "put", "enqueue":
			a.Out = b.In
		}
	case 2: // later
		d := int64(1 + r.IntN(6))
		a.Invoke += d
		a.Return += d
	case 3: // narrower
		if a.Return > a.Invoke+1 {
			a.Invoke++
		}
		if a.Return > a.Invoke+1 && r.IntN(2) == 0 {
			a.Return--
		}
	case 4: // another fate
		if a.F == "cas" || a.F == "acquire" || a.F == "release" {
			a.Type = []history.Type{history.OK, history.Fail, history.Info}[r.IntN(3)]
			a.Observed = nil
		}
	case 5: // earlier
		d := min(a.Invoke, int64(1+r.IntN(6)))
		a.Invoke -= d
		a.Return -= d
	case 6: // a compare-and-set expects what another expected
		if p, ok := a.In.([]any); ok {
			if q, ok := b.In.([]any); ok {
				a.In = []any{q[0], p[1]}
			}
		}
	}
}

// Rows are the operations of h, so that they can be changed.
func Rows(h *history.History) []Row {
	rows := make([]Row, h.Len())
	for i := range rows {
		o := h.Op(i)
		rows[i] = Row{
			Invoke: int64(o.Invoke), Return: int64(o.Done), Type: o.Type, F: o.F, Key: o.Key,
			In: o.In, Out: o.Out, Observed: o.Observed, Version: o.Version,
		}
	}
	return rows
}

// History makes a history of rows, each with the first process that is free.
func History(rows []Row) *history.History {
	type event struct {
		at    int64
		row   int
		typ   history.Type
		order int
	}
	rows = append([]Row(nil), rows...)
	sort.SliceStable(rows, func(i, j int) bool { return rows[i].Invoke < rows[j].Invoke })
	proc, until := make([]history.Process, len(rows)), []int64{}
	var events []event
	for i, row := range rows {
		ret := max(row.Return, row.Invoke+1)
		if row.Type == history.Info {
			ret = 1 << 60
		}
		p := 0
		for p < len(until) && until[p] >= row.Invoke {
			p++
		}
		if p == len(until) {
			until = append(until, 0)
		}
		until[p], proc[i] = ret, history.Process(p)
		events = append(events, event{row.Invoke, i, history.Invoke, 0})
		if row.Type != history.Info {
			events = append(events, event{ret, i, row.Type, 1})
		}
	}
	sort.SliceStable(events, func(i, j int) bool {
		if events[i].at != events[j].at {
			return events[i].at < events[j].at
		}
		return (events[i].row*7+events[i].order*3)%5 < (events[j].row*7+events[j].order*3)%5
	})
	var b history.Builder
	for n, e := range events {
		row := rows[e.row]
		op := history.Op{Index: n, Time: time.Duration(e.at), Process: proc[e.row], Type: e.typ, F: row.F, Key: row.Key, Value: row.In}
		if e.typ != history.Invoke {
			op.Version = row.Version
			op.Observed = row.Observed
			if row.Out != nil || row.F == "read" || row.F == "get" || row.F == "dequeue" {
				op.Value = row.Out
			}
		}
		if err := b.Add(op); err != nil {
			panic(err) // a bug of this function
		}
	}
	return b.History(true)
}

// Brute decides linearizability of all operations of h, whatever their keys, by
// trying all orders: obviously right, and good for some ten operations.
func Brute(h *history.History, spec model.Spec) (checker.Verdict, error) {
	m := spec.New(h)
	var b brute
	b.m = m
	for i := range h.Len() {
		op, fate, err := m.Decode(i)
		if err != nil {
			return checker.Unknown, err
		}
		if fate == model.Drop {
			continue
		}
		ret := history.Forever
		if fate == model.Must {
			ret = h.Done(i)
			b.musts++
		}
		b.ops = append(b.ops, bruteOp{op, h.Invoke(i), ret, fate == model.Must})
	}
	b.used = make([]bool, len(b.ops))
	if b.try(m.Init(), b.musts) {
		return checker.Valid, nil
	}
	return checker.Invalid, nil
}

type bruteOp struct {
	op       model.Op
	inv, ret time.Duration
	must     bool
}

type brute struct {
	m     model.Machine
	ops   []bruteOp
	used  []bool
	musts int
}

// try puts each operation next that none of the rest precedes.
func (b *brute) try(s model.State, left int) bool {
	if left == 0 {
		return true
	}
	minRet := history.Forever
	for i, o := range b.ops {
		if !b.used[i] && o.must {
			minRet = min(minRet, o.ret)
		}
	}
	for i, o := range b.ops {
		if b.used[i] || o.inv > minRet {
			continue
		}
		to, ok := b.m.Step(s, o.op)
		if !ok {
			continue
		}
		n := left
		if o.must {
			n--
		}
		b.used[i] = true
		if b.try(to, n) {
			return true
		}
		b.used[i] = false
	}
	return false
}
