package lock

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// overlaps finds the holds that were at one time: one sweep by their begin.
func (j *judgement) overlaps(key string, holds []hold) {
	var active []hold
	for _, b := range holds {
		active = slices.DeleteFunc(active, func(a hold) bool { return a.end.at <= b.ret })
		for _, a := range active {
			if a.owner != b.owner {
				j.overlap(key, a, b)
			}
		}
		active = append(active, b)
	}
}

// overlap takes two holds of which a began first and b before a ended.
func (j *judgement) overlap(key string, a, b hold) {
	o := Overlap{
		Key: key, Owners: [2]string{a.owner, b.owner}, Start: b.ret,
		Length: min(a.end.at, b.end.at) - b.ret, Expired: b.ret >= a.bound,
	}
	f := j.Figures
	f["overlaps"]++
	f["overlap_ms_max"] = max(f["overlap_ms_max"], ms(o.Length))
	j.length += o.Length
	within := b.ret < a.bound && b.ret < b.bound
	if within {
		f["overlaps_within_lease"]++
	}
	if len(j.detail.Overlaps) < maxOverlaps {
		j.detail.Overlaps = append(j.detail.Overlaps, o)
	}
	if j.o.Promise == FencedData || j.o.Promise == WithinLease && !within {
		return
	}
	j.Add(checker.Anomaly{
		Name: DoubleHold, Key: key, Time: b.ret,
		Explain: fmt.Sprintf("%s held the lock from %s, when its acquire returned, %s; yet %s was granted it too by %s and held it %s: both held it for %s%s.",
			j.who(a.grant), checker.At(a.ret), j.ended(a), j.who(b.grant), checker.At(b.ret), j.ended(b), checker.At(min(a.until(j.o.Promise), b.until(j.o.Promise))-b.ret), leased(a, b.ret)),
	}, a.op, a.end.op, b.op, b.end.op)
}

// ended says how a hold's end is known.
func (j *judgement) ended(x hold) string {
	return fmt.Sprintf("until %s, %s", checker.At(x.end.at), x.end.why)
}

// leased says how the earlier hold stood to its lease at a moment.
func leased(a hold, when time.Duration) string {
	switch {
	case a.bound == history.Forever:
		return ""
	case when < a.bound:
		return fmt.Sprintf(", %s before the first one's lease of %s can have run out", checker.At(a.bound-when), checker.At(a.lease))
	}
	return fmt.Sprintf("; the first one's lease of %s had run out by its own clock, %s before", checker.At(a.lease), checker.At(when-a.bound))
}

// fences: a later grant has a greater token, no two holders have one token, and
// where the recipe says so, no update is taken under an old one.
func (j *judgement) fences(key string, ops []grant) {
	var granted, used []grant
	for _, g := range ops {
		switch {
		case g.typ == history.Fail && g.f == Update && g.saw:
			j.Figures["updates_refused"]++
		case g.typ != history.OK || g.token == 0:
		case g.f == Acquire:
			granted = append(granted, g)
		case g.f == Update:
			used = append(used, g)
		}
	}
	j.sameTokens(key, granted)
	j.regressions(granted, func(a, b grant) {
		j.fence(key, a, b, fmt.Sprintf("%s was granted the lock with fencing token %d by %s; %s, which asked after that, at %s, was granted it with token %d, which is not greater.",
			j.who(a), a.token, checker.At(a.ret), j.who(b), checker.At(b.inv), b.token))
	})
	if j.o.Promise != FencedData {
		return
	}
	j.regressions(used, func(a, b grant) {
		j.fence(key, a, b, fmt.Sprintf("%s updated the guarded data with fencing token %d by %s; %s updated it after that, from %s, with the older token %d: the fence was not checked.",
			j.who(a), a.token, checker.At(a.ret), j.who(b), checker.At(b.inv), b.token))
	})
}

func (j *judgement) fence(key string, a, b grant, explain string) {
	j.Figures["fence_regressions"]++
	j.Add(checker.Anomaly{Name: FenceRegression, Key: key, Time: b.ret, Explain: explain}, a.op, b.op)
}

// regressions visits each operation that was invoked after the return of one by
// another owner with a greater token: one sweep with the largest token so far.
func (j *judgement) regressions(ops []grant, visit func(a, b grant)) {
	byRet := slices.Clone(ops)
	slices.SortStableFunc(byRet, func(a, b grant) int { return cmp.Compare(a.ret, b.ret) })
	slices.SortStableFunc(ops, func(a, b grant) int { return cmp.Compare(a.inv, b.inv) })
	var top grant
	next := 0
	for _, b := range ops {
		for ; next < len(byRet) && byRet[next].ret < b.inv; next++ {
			if byRet[next].token > top.token {
				top = byRet[next]
			}
		}
		if top.token > b.token && top.owner != b.owner {
			visit(top, b)
		}
	}
}

// sameTokens finds different holders with one token.
func (j *judgement) sameTokens(key string, granted []grant) {
	first := map[int64]grant{}
	for _, b := range granted {
		a, ok := first[b.token]
		if !ok {
			first[b.token] = b
			continue
		}
		if a.owner != b.owner {
			j.fence(key, a, b, fmt.Sprintf("%s (granted by %s) and %s (granted by %s) both hold fencing token %d: nothing can tell the newer from the older.",
				j.who(a), checker.At(a.ret), j.who(b), checker.At(b.ret), b.token))
		}
	}
}

// updates finds lost updates of the guarded data. Every update writes a value of
// its own and records the value that it replaced: of two that replaced the same
// one, one overwrote the other unseen, whatever became of others.
func (j *judgement) updates(key string, ops []grant, holds []hold) {
	f := j.Figures
	seen := map[string][]grant{} // by the value they replaced
	for _, b := range ops {
		if b.f != Update || b.typ != history.OK || !b.knows {
			continue
		}
		f["updates"]++
		if earlier := seen[b.before]; len(earlier) > 0 {
			f["lost_updates"]++
			j.loss(key, earlier[len(earlier)-1], b)
		}
		if a, more, ok := j.broken(seen[b.before], b, holds); ok {
			j.lost(key, a, b, more)
		}
		seen[b.before] = append(seen[b.before], b)
	}
}

// loss lists a lost update: of two that replaced one value, the one that was over
// first was overwritten unseen.
func (j *judgement) loss(key string, a, b grant) {
	if len(j.detail.Losses) == maxLosses {
		return
	}
	if b.ret < a.ret {
		a, b = b, a
	}
	j.detail.Losses = append(j.detail.Losses, Loss{Key: key, Owners: [2]string{a.owner, b.owner}, Wrote: [2]string{a.after, b.after}, At: b.ret})
}

// broken finds one of the earlier updates of the same value that together with b
// breaks the promise, and the acquires that this rests on.
func (j *judgement) broken(earlier []grant, b grant, holds []hold) (a grant, acquires []int, ok bool) {
	if j.o.Promise != WithinLease {
		if len(earlier) == 0 {
			return a, nil, false
		}
		return earlier[0], nil, true
	}
	// Of an update that is made after its lease nothing is promised.
	y, ok := covering(holds, b)
	if !ok {
		return a, nil, false
	}
	for _, a := range earlier {
		if x, ok := covering(holds, a); ok && x.owner != y.owner {
			return a, []int{x.op, y.op}, true
		}
	}
	return a, nil, false
}

// lost tells of two updates of one value.
func (j *judgement) lost(key string, a, b grant, acquires []int) {
	within := ""
	if acquires != nil {
		within = ", both within their leases"
	}
	what := "both replaced " + a.before
	if a.before == nothing {
		what = "both found nothing there"
	}
	j.Add(checker.Anomaly{
		Name: LostUpdate, Key: key, Time: max(a.ret, b.ret),
		Explain: fmt.Sprintf("%s wrote %s (from %s to %s) and %s wrote %s (from %s to %s) under the lock%s, and %s: one of the two updates is lost.",
			j.who(a), a.after, checker.At(a.inv), checker.At(a.ret), j.who(b), b.after, checker.At(b.inv), checker.At(b.ret), within, what),
	}, append(acquires, a.op, b.op)...)
}

// covering is the hold within whose lease the update lies from begin to end.
func covering(holds []hold, u grant) (hold, bool) {
	i := slices.IndexFunc(holds, func(x hold) bool {
		return x.owner == u.owner && x.ret <= u.inv && u.ret <= min(x.end.at, x.bound)
	})
	if i < 0 {
		return hold{}, false
	}
	return holds[i], true
}
