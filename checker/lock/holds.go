package lock

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// grant is an operation as this package reads it.
type grant struct {
	op    int
	f     string
	typ   history.Type
	owner string
	token int64
	lease time.Duration
	inv   time.Duration
	ret   time.Duration // history.Forever unless it is certainly over
	saw   bool          // it failed because it saw another holder
	// before and after are the values that an update replaced and wrote; knows says
	// that both were recorded.
	before, after string
	knows         bool
}

// read decodes all operations.
func (j *judgement) read() {
	h := j.h
	j.ends = map[history.Process]moment{}
	j.ops = make([]grant, h.Len())
	for i := range h.Len() {
		g := grant{op: i, f: h.F(i), typ: h.Type(i), inv: h.Invoke(i), ret: h.Return(i), saw: h.Observed(i) != history.None}
		g.fields(h, i)
		j.ops[i] = g
		end := h.Done(i)
		if end == history.Forever {
			end = h.Invoke(i) // the recording stopped here; nothing is known of later
		}
		if e, ok := j.ends[h.Process(i)]; !ok || end >= e.at {
			j.ends[h.Process(i)] = moment{end, i}
		}
	}
}

// fields reads owner, token and so on from what was asked for and, where it was
// recorded, from what came back.
func (g *grant) fields(h *history.History, i int) {
	g.owner = fmt.Sprintf("process %d", h.Process(i))
	known := 0
	for _, v := range []history.Value{h.In(i), h.Out(i)} {
		m, ok := h.Go(v).(map[string]any)
		if !ok {
			continue
		}
		if o, ok := m["owner"]; ok && o != nil {
			g.owner = fmt.Sprint(o)
		}
		if n, ok := m["token"].(int64); ok {
			g.token = n
		}
		if n, ok := m["lease_ns"].(int64); ok {
			g.lease = time.Duration(n)
		}
		if x, ok := m["read"]; ok {
			g.before = text(x)
			known |= 1
		}
		if x, ok := m["wrote"]; ok {
			g.after = text(x)
			known |= 2
		}
	}
	g.knows = known == 3
}

// nothing is an absent value in words.
const nothing = "nothing"

func text(v any) string {
	if v == nil {
		return nothing
	}
	return fmt.Sprint(v)
}

// hold is the time during which somebody certainly held the lock.
type hold struct {
	grant
	end   ending
	bound time.Duration // its own deadline; history.Forever without a lease
}

// ending is the last moment at which a hold is certain, the operation that shows
// it, and why, in words.
type ending struct {
	at  time.Duration
	op  int
	why string
}

// until is the end of what the promise covers.
func (x hold) until(p Promise) time.Duration {
	if p == WithinLease {
		return min(x.end.at, x.bound)
	}
	return x.end.at
}

// holds are the certain holds among the operations of one key, by their begin.
func (j *judgement) holds(ops []grant) []hold {
	after := map[string][]grant{} // what each owner did, in order
	for _, g := range ops {
		after[g.owner] = append(after[g.owner], g)
	}
	var holds []hold
	for _, g := range ops {
		if g.f != Acquire || g.typ != history.OK {
			continue
		}
		j.Figures["holds"]++
		x := hold{grant: g, end: j.endOf(g, after[g.owner]), bound: history.Forever}
		if g.lease > 0 {
			x.bound = g.inv + time.Duration(float64(g.lease)*(1-j.o.Drift)) - j.o.Clocks
		}
		if x.end.at > g.ret {
			holds = append(holds, x)
		}
	}
	slices.SortStableFunc(holds, func(a, b hold) int { return cmp.Compare(a.ret, b.ret) })
	return holds
}

// endOf is where the hold of the acquire g certainly was to its end, given what
// its owner did.
func (j *judgement) endOf(g grant, own []grant) ending {
	last := j.ends[j.h.Process(g.op)]
	end := ending{last.at, last.op, "when it was last heard of"}
	definite := false
	for k := len(own) - 1; k >= 0 && !definite; k-- {
		if x := own[k]; x.f == Release && x.typ == history.OK && x.inv >= g.ret && !reacquired(own, g, x) {
			// A release that took effect shows that it was held until then, whatever
			// process asked for it.
			end, definite = ending{x.inv, x.op, "when it asked to release it"}, true
		}
	}
	heard := !definite
	for _, x := range own {
		if x.op == g.op || x.inv < g.ret || x.inv > end.at {
			continue
		}
		switch {
		case x.f == Lost:
			end = heeded(g, ending{x.inv, x.op, "when it learnt of the loss"}, own)
		case x.f == Acquire:
			end = ending{x.inv, x.op, "when it asked for it again"}
		case x.f == Release && (!definite || x.typ == history.Fail && x.saw):
			end = ending{x.inv, x.op, "when it asked to release it"}
		default:
			continue
		}
		heard = false
	}
	if heard {
		return heeded(g, end, own) // it may have heeded it, and not have come to say so
	}
	return end
}

// heeded is the end of the hold of g whose owner may heed its lease: by its own
// deadline it relies on the lock no more, however late it says so; but what it did
// under the lock until then shows that it did rely on it.
func heeded(g grant, end ending, own []grant) ending {
	told := end.at
	if g.lease > 0 && g.inv+g.lease < end.at {
		end.at = max(g.ret, g.inv+g.lease)
		end.why = "when its lease ran out by its own clock"
	}
	for _, u := range own {
		if u.f == Update && u.typ == history.OK && u.inv >= g.ret && u.ret <= told && u.ret > end.at {
			end = ending{u.ret, u.op, "when it had updated the guarded data"}
		}
	}
	return end
}

// reacquired says whether the owner acquired the lock again between g and the
// release x, which then tells nothing of g.
func reacquired(own []grant, g, x grant) bool {
	return slices.ContainsFunc(own, func(y grant) bool {
		return y.f == Acquire && y.op != g.op && y.typ != history.Fail && y.inv >= g.inv && y.inv < x.inv
	})
}
