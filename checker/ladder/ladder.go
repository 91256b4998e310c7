// Package ladder says how strong the consistency of a history of registers is:
// which rungs hold, from linearizable down to eventual, and how stale its reads
// were. Every rung but the first is judged over all keys together.
//
// A rung other than linearizable and eventual holds iff for each process p there
// is a legal total order of all writes and of p's reads that contains:
//
//	sequential           all program order, in one order for all processes
//	causal               causal order: program order and reads-from, transitively
//	pram                 all program order
//	read-your-writes     p's own writes before its later reads
//	monotonic-reads      p's reads in their order
//	monotonic-writes     every process's writes in their order, p's reads in theirs
//	writes-follow-reads  the source of a read before the later writes of the process
//	                     that read it, and p's reads in their order
//
// Causal is causal memory (CM in Bouajjani, Enea, Guerraoui and Hamza, "On
// verifying causal consistency", POPL 2017): the variant that implies pram.
package ladder

import (
	"context"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// The rungs, by name.
const (
	Linearizable      = "linearizable"
	Sequential        = "sequential"
	Causal            = "causal"
	PRAM              = "pram"
	WritesFollowReads = "writes-follow-reads"
	ReadYourWrites    = "read-your-writes"
	MonotonicReads    = "monotonic-reads"
	MonotonicWrites   = "monotonic-writes"
	Eventual          = "eventual"
)

// Names are the rungs from the strongest down.
func Names() []string {
	return []string{Linearizable, Sequential, Causal, PRAM, WritesFollowReads, ReadYourWrites, MonotonicReads, MonotonicWrites, Eventual}
}

// Implied are the rungs that hold wherever the given one does, by definition.
func Implied(name string) []string {
	switch name {
	case Linearizable:
		return append(append([]string{Sequential}, Implied(Sequential)...), Eventual)
	case Sequential:
		return append([]string{Causal}, Implied(Causal)...)
	case Causal:
		return append([]string{PRAM, WritesFollowReads}, Implied(PRAM)...)
	case PRAM:
		return []string{ReadYourWrites, MonotonicReads, MonotonicWrites}
	case WritesFollowReads, MonotonicWrites:
		return []string{MonotonicReads} // their orders contain its order
	}
	return nil
}

// Rung is the judgement of one.
type Rung struct {
	Verdict checker.Verdict  `json:"verdict"`
	Reason  string           `json:"reason,omitempty"`
	Anomaly *checker.Anomaly `json:"anomaly,omitempty"`
}

// Ladder is a history's.
type Ladder struct {
	// Verdicts are the rungs' verdicts alone, as they stand in results.json.
	Verdicts  map[string]checker.Verdict `json:"ladder"`
	Rungs     map[string]Rung            `json:"rungs"`
	Staleness Staleness                  `json:"staleness"`
}

// Options of Judge.
type Options struct {
	// Timeout and Memory are the budget; 0 is none.
	Timeout time.Duration
	Memory  int64
	// Linear is a judgement of linearizability that exists already.
	Linear *checker.Result
}

// New is the checker "ladder". It measures: its verdict is always valid.
func New(o Options) checker.Checker {
	return checker.Func("ladder", func(ctx context.Context, h *history.History) checker.Result {
		start := time.Now()
		l := Judge(ctx, h, o)
		r := checker.Result{Verdict: checker.Valid, Ops: h.Len(), Detail: l, Figures: l.Staleness.All.figures()}
		r.Duration = time.Since(start)
		return r
	})
}

// Judge judges all rungs of h.
func Judge(ctx context.Context, h *history.History, o Options) Ladder {
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	l := Ladder{Rungs: map[string]Rung{}, Verdicts: map[string]checker.Verdict{}}
	lin := o.Linear
	if lin == nil {
		r := linear.Check(ctx, h, linear.Options{Model: model.CASRegister(), Memory: o.Memory})
		lin = &r
	}
	first := Rung{Verdict: lin.Verdict, Reason: lin.Reason}
	if len(lin.Anomalies) > 0 {
		first.Anomaly = &lin.Anomalies[0]
	}
	l.set(Linearizable, first)
	t, err := read(h)
	if err != nil {
		for _, n := range Names() {
			l.set(n, Rung{Reason: err.Error()})
		}
		return l
	}
	l.Staleness = t.staleness()
	j := judge{t: t, ctx: ctx, l: &l}
	j.all()
	return l
}

// set records a judgement, and what follows from it; what is known already
// stands, unless it contradicts: then one of the two judgements is wrong, and
// neither is to be believed.
func (l *Ladder) set(name string, r Rung) {
	if old, ok := l.Rungs[name]; ok && old.Verdict != checker.Unknown {
		if r.Verdict != checker.Unknown && r.Verdict != old.Verdict {
			l.Rungs[name], l.Verdicts[name] = Rung{Reason: "internal error: what was found contradicts the implications between the models"}, checker.Unknown
		}
		return
	}
	l.Rungs[name], l.Verdicts[name] = r, r.Verdict
	switch r.Verdict {
	case checker.Valid:
		for _, n := range Implied(name) {
			l.set(n, Rung{Verdict: checker.Valid})
		}
	case checker.Invalid:
		for _, n := range Names() {
			for _, m := range Implied(n) {
				if m == name && n != Linearizable {
					l.set(n, Rung{Verdict: checker.Invalid, Anomaly: r.Anomaly})
				}
			}
		}
	case checker.Unknown:
	}
}

func (l *Ladder) known(name string) bool { return l.Rungs[name].Verdict != checker.Unknown }

type judge struct {
	t   *table
	ctx context.Context //nolint:containedctx // lives as long as one Judge
	l   *Ladder
}

// all judges from cheap to dear, skipping what is implied.
func (j *judge) all() {
	if j.l.known(Sequential) && j.l.known(Eventual) {
		return
	}
	if a := j.t.thinAir; a != nil {
		for _, n := range []string{ReadYourWrites, MonotonicReads} {
			j.l.set(n, Rung{Verdict: checker.Invalid, Anomaly: a})
		}
	}
	j.judge(ReadYourWrites, j.t.readYourWrites)
	j.judge(MonotonicReads, j.t.monotonicReads)
	for _, n := range []string{Causal, PRAM, WritesFollowReads, MonotonicWrites} {
		j.judge(n, func() Rung { return j.t.saturate(j.ctx, n) })
	}
	j.judge(Sequential, func() Rung { return j.t.sequential(j.ctx) })
	j.judge(Eventual, j.t.eventual)
}

func (j *judge) judge(name string, f func() Rung) {
	if !j.l.known(name) {
		j.l.set(name, f())
	}
}

// kinds of a table's operations.
const (
	skipped uint8 = iota
	reader
	writer
	both // a compare-and-set: reads, then writes
)

// table is the operations of a history with reads-from resolved. Operations of
// unknown fate are in it iff somebody saw their value: otherwise they may be
// left out of any order, so they can only weaken a verdict.
type table struct {
	h    *history.History
	kind []uint8
	// from is the operation whose value was read, initial for the first value.
	from []int32
	// session lists each process's operations in order.
	sessions [][]int32
	session  []int32
	// thinAir is a read of what nobody wrote: no order at all is legal.
	thinAir *checker.Anomaly
	layouts []*layout
}

const initial = -1

// read resolves reads-from; it fails where values do not tell writes apart.
func read(h *history.History) (*table, error) {
	n := h.Len()
	t := &table{h: h, kind: make([]uint8, n), from: make([]int32, n), session: make([]int32, n)}
	type cell struct {
		key int32
		v   history.Value
	}
	writers := make(map[cell]int32, n/2)
	saw := make([]history.Value, n)
	for i := range n {
		kind, see, give, err := decode(h, i)
		if err != nil {
			return nil, err
		}
		t.kind[i], saw[i], t.from[i] = kind, see, initial
		if kind == writer || kind == both {
			c := cell{int32(h.KeyID(i)), give} //nolint:gosec // bounded by events
			if _, twice := writers[c]; twice || give == history.Nil || give.IsPair() {
				return nil, fmt.Errorf("values do not tell the writes of %s apart", h.Keys()[h.KeyID(i)])
			}
			writers[c] = int32(i) //nolint:gosec // an op number
		}
	}
	t.keepSeen(func(i int) (int32, bool) {
		if saw[i] == history.Nil {
			return initial, true
		}
		w, ok := writers[cell{int32(h.KeyID(i)), saw[i]}] //nolint:gosec // bounded by events
		return w, ok
	})
	sessions := map[history.Process]int32{}
	for i := range n {
		if t.kind[i] == skipped {
			continue
		}
		s, ok := sessions[h.Process(i)]
		if !ok {
			s = int32(len(t.sessions)) //nolint:gosec // bounded by events
			sessions[h.Process(i)] = s
			t.sessions = append(t.sessions, nil)
		}
		t.session[i] = s
		t.sessions[s] = append(t.sessions[s], int32(i)) //nolint:gosec // an op number
	}
	return t, nil
}

// decode says what operation i is, what it saw and what it gave.
func decode(h *history.History, i int) (kind uint8, saw, gave history.Value, err error) {
	typ := h.Type(i)
	switch f := h.F(i); f {
	case "read", "get":
		if typ == history.OK {
			return reader, h.Out(i), 0, nil
		}
	case "write", "put":
		if typ != history.Fail {
			return writer, 0, h.In(i), nil
		}
	case "cas":
		if typ == history.Fail {
			if o := h.Observed(i); o != history.None {
				return reader, o, 0, nil
			}
			return skipped, 0, 0, nil
		}
		if h.In(i).IsPair() {
			u, v := h.Pair(h.In(i))
			return both, u, v, nil
		}
	default:
		err = fmt.Errorf("the ladder is for registers; it does not know %q", f)
	}
	return skipped, 0, 0, err
}

// keepSeen resolves reads-from and drops operations of unknown fate that nobody
// who is kept saw.
func (t *table) keepSeen(source func(i int) (int32, bool)) {
	h := t.h
	keep := make([]bool, len(t.kind))
	var todo []int32
	for i, k := range t.kind {
		if k != skipped && h.Type(i) != history.Info {
			keep[i] = true
			todo = append(todo, int32(i)) //nolint:gosec // an op number
		}
	}
	for len(todo) > 0 {
		i := int(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		if t.kind[i] == writer {
			continue
		}
		w, ok := source(i)
		if !ok {
			t.thin(i)
			continue
		}
		t.from[i] = w
		if w >= 0 && !keep[w] {
			keep[w] = true
			todo = append(todo, w)
		}
	}
	for i := range t.kind {
		if !keep[i] {
			t.kind[i] = skipped
		}
	}
}

func (t *table) thin(i int) {
	if t.thinAir == nil || t.h.Index(i) < t.thinAir.Ops[0] {
		t.thinAir = &checker.Anomaly{
			Name: "phantom-read", Key: t.h.Keys()[t.h.KeyID(i)], Ops: []int{t.h.Index(i)}, Time: t.h.Done(i),
			Explain: fmt.Sprintf("process %d %s; but nobody whose request was not refused ever asked for that to be written.", t.h.Process(i), model.Describe(t.h, i)),
		}
	}
}

// anomaly makes one of operation numbers.
func (t *table) anomaly(rung, explain string, ops ...int) Rung {
	a := &checker.Anomaly{Name: "not-" + rung, Explain: explain}
	seen := map[int]bool{}
	for _, i := range ops {
		if i >= 0 && !seen[i] {
			seen[i] = true
			a.Ops = append(a.Ops, t.h.Index(i))
			a.Key = t.h.Keys()[t.h.KeyID(i)]
			if d := t.h.Done(i); d != history.Forever {
				a.Time = max(a.Time, d)
			}
		}
	}
	sortInts(a.Ops)
	return Rung{Verdict: checker.Invalid, Anomaly: a}
}

func (t *table) say(i int) string {
	if i < 0 {
		return "the initial value"
	}
	n := ""
	if node := t.h.Nodes()[t.h.NodeID(i)]; node != "" {
		n = " at " + node
	}
	return fmt.Sprintf("process %d %s%s (key %s, asked at %.3f s)", t.h.Process(i), model.Describe(t.h, i), n, t.h.Keys()[t.h.KeyID(i)], t.h.Invoke(i).Seconds())
}

func (t *table) reads(i int32) bool  { return t.kind[i] == reader || t.kind[i] == both }
func (t *table) writes(i int32) bool { return t.kind[i] == writer || t.kind[i] == both }
