// Package set judges the histories of sets: elements that are added, removed,
// asked for (contains) and read all together (read). Every element of a key is
// added at most once.
//
// Each element is judged on its own. It must not be seen unless its add may have
// taken effect, must be seen from the end of its add on until a remove may have
// taken effect, and must not be seen after one that has. That is all there is to
// contains; of whole reads it is necessary, not sufficient (two reads may each
// show one of two concurrent adds). Hence the checker's name: set-full.
package set

import (
	"context"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// The kinds of operation.
const (
	Add      = "add"
	Remove   = "remove"
	Contains = "contains"
	Read     = "read"
)

// Anomalies.
const (
	Lost        = "lost"        // added, then missing, and never seen again
	Stale       = "stale-read"  // missing, but seen later
	Phantom     = "phantom"     // seen without an add that can have taken effect
	Duplicated  = "duplicated"  // twice in one read
	Resurrected = "resurrected" // seen after its remove
)

// Options of a check.
type Options struct {
	MaxAnomalies int // how many of each name are told; 16 unless set
}

// Loss is a lost element: what a report shows of it.
type Loss struct {
	Key     string        `json:"key"`
	Element any           `json:"element"`
	Added   time.Duration `json:"added_ns"`
	Seen    time.Duration `json:"seen_ns,omitempty"` // last, 0 for never
	Missing time.Duration `json:"missing_ns"`        // the first answer without it
}

// maxLosses bounds the losses that Detail lists.
const maxLosses = 1000

// Detail is what the figures were counted from.
type Detail struct {
	Losses []Loss `json:"losses,omitempty"`
}

// New is the checker "set-full".
func New(o Options) checker.Checker {
	return checker.Func("set-full", func(_ context.Context, h *history.History) checker.Result { return judge(h, o) })
}

type judgement struct {
	*checker.Findings

	h      *history.History
	detail Detail
}

// call is an operation on one element, or what it saw of it.
type call struct {
	op       int
	inv, ret time.Duration
	failed   bool
}

// element is what a history says of one element.
type element struct {
	value   history.Value
	adds    []call
	removes []call
	present []call
	absent  []call
}

// key is one set.
type key struct {
	name  string
	elems map[history.Value]*element
	order []*element
	reads []int // whole reads that were OK
}

func judge(h *history.History, o Options) checker.Result {
	found, ok := checker.Find(h, "elements", o.MaxAnomalies, "added", "unsure", "recovered", "lost", "stale")
	if !ok {
		return found.Done()
	}
	j := &judgement{Findings: found, h: h}
	keys, err := j.read()
	if err != nil {
		j.Unknown(err.Error())
		return j.Done()
	}
	for _, k := range keys {
		for _, i := range k.reads {
			j.whole(k, i)
		}
		for _, e := range k.order {
			j.element(k.name, e)
		}
	}
	if f := j.Figures; f["added"] > 0 {
		f["lost_percent"] = 100 * f["lost"] / f["added"]
	}
	j.Detail = j.detail
	return j.Done()
}

func (k *key) of(v history.Value) *element {
	e := k.elems[v]
	if e == nil {
		e = &element{value: v}
		k.elems[v] = e
		k.order = append(k.order, e)
	}
	return e
}

// read sorts the operations by key and element.
func (j *judgement) read() ([]*key, error) {
	h := j.h
	keys := make([]*key, len(h.Keys()))
	for i, name := range h.Keys() {
		keys[i] = &key{name: name, elems: map[history.Value]*element{}}
	}
	for i := range h.Len() {
		k := keys[h.KeyID(i)]
		c := call{op: i, inv: h.Invoke(i), ret: h.Return(i), failed: h.Type(i) == history.Fail}
		switch f := h.F(i); {
		case f == Add:
			e := k.of(h.In(i))
			e.adds = append(e.adds, c)
		case f == Remove:
			if e := k.of(h.In(i)); !c.failed {
				e.removes = append(e.removes, c)
			}
		case f != Contains && f != Read:
			return nil, fmt.Errorf("a set knows no operation %q", f)
		case h.Type(i) != history.OK:
		case f == Read:
			k.reads = append(k.reads, i)
		case h.Out(i) == history.True:
			e := k.of(h.In(i))
			e.present = append(e.present, c)
		default:
			e := k.of(h.In(i))
			e.absent = append(e.absent, c)
		}
	}
	return keys, nil
}

// whole turns a read of the whole set into what it says of each element.
func (j *judgement) whole(k *key, i int) {
	h := j.h
	c := call{op: i, inv: h.Invoke(i), ret: h.Return(i)}
	list, _ := h.Go(h.Out(i)).([]any)
	seen := map[history.Value]bool{}
	for _, x := range list {
		n, ok := x.(int64)
		if !ok {
			j.add(k.name, Phantom, c.ret, []int{i}, fmt.Sprintf("a read shows %v, which nobody can have added.", x))
			continue
		}
		v := history.Int(n)
		if seen[v] {
			j.add(k.name, Duplicated, c.ret, []int{i}, fmt.Sprintf("the read from %s to %s shows %d twice.", checker.At(c.inv), checker.At(c.ret), n))
			continue
		}
		seen[v] = true
		e := k.of(v)
		e.present = append(e.present, c)
	}
	for _, e := range k.order {
		if !seen[e.value] && len(e.adds) > 0 && e.adds[0].inv < c.ret {
			e.absent = append(e.absent, c)
		}
	}
}

func (j *judgement) add(key, name string, when time.Duration, ops []int, explain string) {
	j.Add(checker.Anomaly{Name: name, Key: key, Time: when, Explain: explain}, ops...)
}
