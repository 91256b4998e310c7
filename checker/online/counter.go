package online

import (
	"github.com/faultline-dev/faultline/checker/counter"
	"github.com/faultline-dev/faultline/history"
)

// Counter judges counters by the bounds of package counter.
func Counter() *Judge { return newJudge(func() object { return &tally{} }) }

// tally is what was added: up and down, by those who are done and those who were
// asked.
type tally struct{ done, asked [2]int64 }

func split(v any) [2]int64 {
	n, _ := v.(int64)
	return [2]int64{max(n, 0), min(n, 0)}
}

func (t *tally) size() int { return 0 }

func (t *tally) call(_ *key, o *op) {
	if o.inv.F == counter.Read {
		o.note = t.done
		return
	}
	n := split(o.inv.Value)
	t.asked[0] += n[0]
	t.asked[1] += n[1]
}

func (t *tally) ret(_ *key, o *op) string {
	n := split(o.inv.Value)
	switch {
	case o.inv.F == counter.Read && o.done.Type == history.OK:
		before, _ := o.note.([2]int64)
		if n, _ := o.done.Value.(int64); n < before[0]+t.asked[1] || n > t.asked[0]+before[1] {
			return counter.OutOfBounds
		}
	case o.inv.F != counter.Add:
	case o.done.Type == history.OK:
		t.done[0] += n[0]
		t.done[1] += n[1]
	case o.done.Type == history.Fail:
		t.asked[0] -= n[0]
		t.asked[1] -= n[1]
	}
	return ""
}
