package set

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// element judges one element.
func (j *judgement) element(key string, e *element) {
	f := j.Figures
	v := j.h.Go(e.value)
	live := slices.DeleteFunc(slices.Clone(e.adds), func(a call) bool { return a.failed })
	byTime := func(a, b call) int { return cmp.Compare(a.inv, b.inv) }
	slices.SortStableFunc(e.present, byTime)
	slices.SortStableFunc(e.absent, byTime)
	if len(live) == 0 {
		if len(e.present) > 0 {
			p := e.present[0]
			ops, why := []int{p.op}, "nobody ever added it"
			if len(e.adds) > 0 {
				ops, why = append(ops, e.adds[0].op), "its add failed for certain"
			}
			j.add(key, Phantom, p.ret, ops, fmt.Sprintf("%v is seen by %s, but %s.", v, checker.At(p.ret), why))
		}
		return
	}
	// Several adds of one element are as good as the first: from then on it may be
	// there; and from the end of whichever ends first it is.
	first, shown := live[0], live[0]
	for _, a := range live {
		if a.inv < first.inv {
			first = a
		}
		if a.ret < shown.ret {
			shown = a
		}
	}
	// What was removed before it was added is there nevertheless.
	e.removes = slices.DeleteFunc(e.removes, func(r call) bool { return r.ret < first.inv })
	if shown.ret < history.Forever {
		f["added"]++
	} else if len(e.present) > 0 {
		f["recovered"]++
	} else {
		f["unsure"]++
	}
	witness := []int{shown.op}
	end := shown.ret
	for _, p := range e.present {
		if p.ret < first.inv {
			j.add(key, Phantom, p.ret, []int{first.op, p.op}, fmt.Sprintf("%v is seen by %s, before it was added, from %s on.", v, checker.At(p.ret), checker.At(first.inv)))
			return
		}
		if p.ret < end {
			end, witness = p.ret, []int{first.op, p.op}
		}
	}
	if len(live) == 1 {
		j.removed(key, e, end, witness)
	}
	j.missing(key, e, end, witness)
}

// removed finds what was removed for certain and is seen afterwards.
func (j *judgement) removed(key string, e *element, end time.Duration, witness []int) {
	for _, r := range e.removes {
		for _, p := range e.present {
			if r.inv > end && r.ret < p.inv {
				j.add(key, Resurrected, p.ret, append([]int{r.op, p.op}, witness...), fmt.Sprintf("%v was added by %s and removed from %s to %s, but is seen again by %s.",
					j.h.Go(e.value), checker.At(end), checker.At(r.inv), checker.At(r.ret), checker.At(p.ret)))
				return
			}
		}
	}
	// Who misses it although it was added shows that a remove has taken effect, by then,
	// or by the time when the removes were over.
	gone, by := call{ret: history.Forever}, history.Forever
	for _, a := range e.absent {
		if a.inv > end && a.ret >= removable(e) && a.ret < gone.ret {
			gone, by = a, min(a.ret, overBy(e.removes))
		}
	}
	for _, p := range e.present {
		if p.inv > by {
			j.add(key, Resurrected, p.ret, append([]int{gone.op, p.op}, witness...), fmt.Sprintf("%v was added by %s, and removed at the latest when the answer from %s to %s was without it, but is seen again by %s.",
				j.h.Go(e.value), checker.At(end), checker.At(gone.inv), checker.At(gone.ret), checker.At(p.ret)))
			return
		}
	}
}

// overBy is when all calls are over.
func overBy(calls []call) time.Duration {
	last := time.Duration(0)
	for _, c := range calls {
		last = max(last, c.ret)
	}
	return last
}

// removable is when the element can have been removed at the earliest.
func removable(e *element) time.Duration {
	first := history.Forever
	for _, r := range e.removes {
		first = min(first, r.inv)
	}
	return first
}

// missing finds what was added for certain, cannot have been removed, and is not
// seen: for good, or for a while.
func (j *judgement) missing(key string, e *element, end time.Duration, witness []int) {
	until := removable(e)
	var first, last *call // the first such answer, and the last
	for i := range e.absent {
		if a := &e.absent[i]; a.inv > end && a.ret < until {
			if first == nil {
				first = a
			}
			last = a
		}
	}
	if first == nil {
		return
	}
	v := j.h.Go(e.value)
	var seen time.Duration
	for _, p := range e.present {
		if p.ret < first.inv {
			seen = max(seen, p.ret)
		}
		if p.inv > first.ret {
			j.Figures["stale"]++
			j.add(key, Stale, first.ret, append([]int{first.op, p.op}, witness...), fmt.Sprintf("%v was added by %s; the answer from %s to %s is without it, though it is seen again from %s on.",
				v, checker.At(end), checker.At(first.inv), checker.At(first.ret), checker.At(p.inv)))
			return
		}
	}
	j.Figures["lost"]++
	if len(j.detail.Losses) < maxLosses {
		j.detail.Losses = append(j.detail.Losses, Loss{Key: key, Element: v, Added: end, Seen: seen, Missing: first.ret})
	}
	before := "it was never seen"
	if seen > 0 {
		before = "it was last seen by " + checker.At(seen)
	}
	j.add(key, Lost, first.ret, append([]int{first.op}, witness...), fmt.Sprintf("%v was added by %s; the answer from %s to %s is without it, and none until %s has it: %s.",
		v, checker.At(end), checker.At(first.inv), checker.At(first.ret), checker.At(last.ret), before))
}
