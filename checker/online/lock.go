package online

import (
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/checker/lock"
	"github.com/faultline-dev/faultline/history"
)

// Lock judges locks under a promise by the rules of package lock, as far as they
// concern holds that were released, fencing tokens, and updates of the guarded
// data.
func Lock(o lock.Options) *Judge {
	return newJudge(func() object { return &locked{o: o, by: map[string]*hold{}, over: map[any]string{}} })
}

// Bounds on what is remembered of a lock: values that were replaced, holds that
// are over, and holders who were never heard of again.
const (
	maxOver    = 4096
	maxPast    = 1024
	maxHolders = 64
)

type locked struct {
	o     lock.Options
	by    map[string]*hold // who holds it, as far as is known
	past  []hold           // holds that are over, by when
	token int64            // the largest that was granted
	owner string           // to whom
	over  map[any]string   // values that were replaced, and who did
	order []any            // of them
}

// hold is one that is certain from place from to place to.
type hold struct {
	owner    string
	from, to int
	at       time.Duration // when it was granted
	until    time.Duration // its own deadline, history.Forever without a lease
}

func (l *locked) size() int { return len(l.by) + len(l.past) + len(l.over) }

// fields are those of an operation, the completion's first.
func (o *op) fields() map[string]any {
	all := map[string]any{}
	for _, v := range []any{o.inv.Value, o.done.Value} {
		m, _ := v.(map[string]any)
		for name, x := range m {
			all[name] = x
		}
	}
	return all
}

func (o *op) owner() string {
	if who, ok := o.fields()["owner"]; ok && who != nil {
		return fmt.Sprint(who)
	}
	return fmt.Sprintf("process %d", o.inv.Process)
}

type grants struct {
	token int64
	owner string
}

func (l *locked) call(k *key, o *op) {
	for len(l.past) > maxPast || len(l.past) > 0 && l.past[0].to < min(k.oldest(), l.first()) {
		l.past = l.past[1:]
	}
	if o.inv.F == lock.Acquire {
		o.note = grants{l.token, l.owner}
	}
}

// first is when the first hold began that is not over.
func (l *locked) first() int {
	least, who := int(^uint(0)>>1), ""
	for _, h := range l.by {
		if h.from < least {
			least, who = h.from, h.owner
		}
	}
	if len(l.by) > maxHolders {
		delete(l.by, who)
	}
	return least
}

func (l *locked) ret(k *key, o *op) string {
	who, ok := o.owner(), o.done.Type == history.OK
	switch {
	case o.inv.F == lock.Acquire && ok:
		return l.granted(k, o, who)
	case o.inv.F == lock.Release && l.ends(o, who):
		return l.released(o, who)
	case o.inv.F == lock.Lost || o.done.Type == history.Info:
		delete(l.by, who) // it learnt of the loss, or its session ends: less is certain
	case o.inv.F == lock.Update && ok:
		return l.updated(o, who)
	}
	return ""
}

func (l *locked) granted(k *key, o *op, who string) string {
	f := o.fields()
	h := &hold{owner: who, from: k.seq, at: o.done.Time, until: history.Forever}
	if n, ok := f["lease_ns"].(int64); ok && n > 0 {
		h.until = o.inv.Time + time.Duration(float64(n)*(1-l.o.Drift)) - l.o.Clocks
	}
	l.by[who] = h
	token, _ := f["token"].(int64)
	before, _ := o.note.(grants)
	if token > 0 && token <= before.token && before.owner != who {
		return lock.FenceRegression
	}
	if token > l.token {
		l.token, l.owner = token, who
	}
	return ""
}

// ends says whether the release ends a hold that was certain until then: it was
// done, or shows that its owner thought so, who did not rely on a lease.
func (l *locked) ends(o *op, who string) bool {
	if o.done.Type == history.Fail && o.done.Observed == nil {
		h := l.by[who]
		return h != nil && h.until == history.Forever
	}
	return o.done.Type != history.Info
}

// released ends a hold: it was certain until its release was asked for.
func (l *locked) released(o *op, who string) string {
	h := l.by[who]
	delete(l.by, who)
	if h == nil || h.from >= o.seq || l.o.Promise == lock.FencedData {
		return ""
	}
	b := *h
	b.to = o.seq
	for _, a := range l.past {
		if a.owner == b.owner || a.from >= b.to || b.from >= a.to {
			continue
		}
		within := max(a.at, b.at) < min(a.until, b.until)
		if l.o.Promise != lock.WithinLease || within {
			return lock.DoubleHold
		}
	}
	l.past = append(l.past, b)
	return ""
}

func (l *locked) updated(o *op, who string) string {
	f := o.fields()
	before, read := f["read"]
	if _, wrote := f["wrote"]; !read || !wrote || l.o.Promise == lock.WithinLease {
		return ""
	}
	v := fmt.Sprint(before)
	if _, twice := l.over[v]; twice {
		return lock.LostUpdate
	}
	l.over[v] = who
	if l.order = append(l.order, v); len(l.order) > maxOver {
		delete(l.over, l.order[0])
		l.order = l.order[1:]
	}
	return ""
}
