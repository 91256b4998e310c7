package online

import (
	"fmt"
	"maps"
	"time"

	"github.com/faultline-dev/faultline/checker/lock"
	"github.com/faultline-dev/faultline/history"
)

// Lock judges locks under a promise by the rules of package lock, as far as they
// concern holds that were released, fencing tokens, and updates of the guarded
// data.
func Lock(o lock.Options) *Judge {
	return newJudge(func() object {
		return &locked{o: o, by: map[string]*hold{}, over: map[any]string{}, unsure: map[string]bool{}, busy: map[string]int{}}
	})
}

// Bounds on what is remembered of a lock: values that were replaced, holds that
// are over, and holders who were never heard of again.
const (
	maxOver    = 4096
	maxPast    = 1024
	maxHolders = 64
	maxUnsure  = 1 << 16
)

type locked struct {
	o     lock.Options
	by    map[string]*hold // who holds it, as far as is known
	past  []hold           // holds that are over, by when
	token int64            // the largest that was granted
	owner string           // to whom
	over  map[any]string   // values that were replaced, and who did
	order []any            // of them
	// unsure are sessions that ended with an operation of unknown fate.
	unsure map[string]bool
	busy   map[string]int // open operations, by session
}

// hold is one that is certain from place from to place to.
type hold struct {
	owner    string
	from, to int
	asked    int           // when its release was first asked for, if that failed
	at       time.Duration // when it was granted
	until    time.Duration // its own deadline, history.Forever without a lease
}

func (l *locked) size() int { return len(l.by) + len(l.past) + len(l.over) + len(l.unsure) }

// fields are those of an operation, the completion's first.
func (o *op) fields() map[string]any {
	all := map[string]any{}
	for _, v := range []any{o.inv.Value, o.done.Value} {
		m, _ := v.(map[string]any)
		maps.Copy(all, m)
	}
	return all
}

func (o *op) owner() string {
	if who, ok := o.fields()["owner"]; ok && who != nil {
		return fmt.Sprint(who)
	}
	return fmt.Sprintf("process %d", o.inv.Process)
}

// asked is what was known when an operation was invoked: the largest token and
// who had it, and who invokes it.
type asked struct {
	token      int64
	owner, who string
}

func (l *locked) call(k *key, o *op) {
	for len(l.past) > maxPast || len(l.past) > 0 && l.past[0].to < min(k.oldest(), l.first()) {
		l.past = l.past[1:]
	}
	who := o.owner()
	if l.busy[who]++; l.busy[who] > 1 {
		l.doubt(who) // what it does at one time has no order
	}
	o.note = asked{l.token, l.owner, who}
}

// doubt leaves out a session from now on: one of unknown fate does not come back,
// so that those of long ago need not be remembered.
func (l *locked) doubt(who string) {
	delete(l.by, who)
	if len(l.unsure) == maxUnsure {
		clear(l.unsure)
	}
	l.unsure[who] = true
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
	note, _ := o.note.(asked)
	if l.busy[note.who]--; l.busy[note.who] == 0 {
		delete(l.busy, note.who)
	}
	if l.unsure[who] || l.unsure[note.who] {
		return ""
	}
	switch {
	case o.inv.F == lock.Acquire && ok:
		if wrong := l.again(o, who); wrong != "" {
			return wrong
		}
		return l.granted(k, o, who)
	case o.inv.F == lock.Acquire && o.done.Type == history.Fail:
		return l.again(o, who)
	case o.inv.F == lock.Release && l.ends(o, who):
		return l.released(o, who)
	case o.inv.F == lock.Lost:
		delete(l.by, who)
	case o.done.Type == history.Info: // its session ends
		l.doubt(who) // and its release may come at any time
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
	before, _ := o.note.(asked)
	if token > 0 && token <= before.token && before.owner != who {
		return lock.FenceRegression
	}
	if token > l.token {
		l.token, l.owner = token, who
	}
	return ""
}

// again is an owner asking for the lock again: it held it until then, if it did
// not rely on a lease.
func (l *locked) again(o *op, who string) string {
	if h := l.by[who]; h != nil && h.until == history.Forever {
		return l.released(o, who)
	}
	return ""
}

// ends says whether the release ends a hold. One that failed, and says nothing of
// other holders, may be asked for again by who relies on a lease; who does not
// held it until it asked.
func (l *locked) ends(o *op, who string) bool {
	if o.done.Type == history.Fail && o.done.Observed == nil {
		h := l.by[who]
		if h != nil && h.asked == 0 {
			h.asked = o.seq
		}
		return h != nil && h.until == history.Forever
	}
	return o.done.Type != history.Info
}

// released ends a hold: it was certain until its release was asked for, for the
// first time unless it succeeded.
func (l *locked) released(o *op, who string) string {
	h := l.by[who]
	delete(l.by, who)
	if h == nil || h.from >= o.seq || l.o.Promise == lock.FencedData {
		return ""
	}
	b := *h
	b.to = o.seq
	if b.asked > 0 && o.done.Type != history.OK {
		b.to = b.asked
	}
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
