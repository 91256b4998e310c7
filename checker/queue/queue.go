// Package queue judges the histories of first-in-first-out queues: enqueue v, each
// v once, and dequeue, which returns an element or nothing where the queue is
// empty.
//
// It looks for pairs and triples that cannot be right: an element dequeued that was
// not enqueued, or twice; one that was enqueued after another for certain and
// dequeued before it for certain; and, where a dequeue found the queue empty,
// elements that were in it for certain and that nobody else can have taken. A
// dequeue of unknown fate may have taken any one element. Hence the checker's
// name: queue-total.
package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// The kinds of operation.
const (
	Enqueue = "enqueue"
	Dequeue = "dequeue"
)

// Anomalies.
const (
	Lost       = "lost"
	Duplicated = "duplicated"
	Phantom    = "phantom"
	Reordered  = "reordered"
)

// Options of a check.
type Options struct {
	// Unordered leaves the order of elements out.
	Unordered    bool
	MaxAnomalies int // how many of each name are told; 16 unless set
}

// New is the checker "queue-total".
func New(o Options) checker.Checker {
	return checker.Func("queue-total", func(_ context.Context, h *history.History) checker.Result { return judge(h, o) })
}

// Loss is an element that is missing: what a report shows of it. Where dequeues of
// unknown fate may have taken some, it is one of those of which some are lost.
type Loss struct {
	Key      string        `json:"key"`
	Element  any           `json:"element"`
	Enqueued time.Duration `json:"enqueued_ns"` // when that had been acknowledged
	Missing  time.Duration `json:"missing_ns"`  // when the queue had been found empty
}

// maxLosses bounds the losses that Detail lists.
const maxLosses = 1000

// Detail is what the figures were counted from.
type Detail struct {
	Losses []Loss `json:"losses,omitempty"`
}

type judgement struct {
	*checker.Findings

	h      *history.History
	detail Detail
}

// call is an operation.
type call struct {
	op       int
	inv, ret time.Duration
	failed   bool
}

// element is one that was enqueued.
type element struct {
	value history.Value
	in    call
	out   *call // the first dequeue of it
}

type object struct {
	name    string
	elems   []*element
	of      map[history.Value]*element
	empty   []call // dequeues that found nothing
	unknown []call // dequeues of unknown fate
	taken   []taking
}

type taking struct {
	call
	value history.Value
}

func judge(h *history.History, o Options) checker.Result {
	found, ok := checker.Find(h, "pairs", o.MaxAnomalies, "enqueued", "dequeued", "lost", "duplicated", "reordered", "recovered")
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
		j.takings(k)
		if !o.Unordered {
			j.order(k)
		}
		j.lost(k)
	}
	if n := j.Figures["enqueued"]; n > 0 {
		j.Figures["lost_percent"] = 100 * j.Figures["lost"] / n
	}
	j.Detail = j.detail
	return j.Done()
}

func (j *judgement) read() ([]*object, error) {
	h := j.h
	keys := make([]*object, len(h.Keys()))
	for i, name := range h.Keys() {
		keys[i] = &object{name: name, of: map[history.Value]*element{}}
	}
	for i := range h.Len() {
		k := keys[h.KeyID(i)]
		c := call{op: i, inv: h.Invoke(i), ret: h.Return(i), failed: h.Type(i) == history.Fail}
		switch f := h.F(i); {
		case f == Enqueue:
			if k.of[h.In(i)] != nil {
				return nil, fmt.Errorf("event %d: an element is enqueued twice, so that dequeues do not tell which they took", h.Index(i))
			}
			e := &element{value: h.In(i), in: c}
			k.of[e.value] = e
			k.elems = append(k.elems, e)
			if h.Type(i) == history.OK {
				j.Figures["enqueued"]++
			}
		case f != Dequeue:
			return nil, fmt.Errorf("a queue knows no operation %q", f)
		case h.Type(i) == history.Info:
			k.unknown = append(k.unknown, c)
		case c.failed:
		case h.Out(i) == history.Nil:
			k.empty = append(k.empty, c)
		default:
			k.taken = append(k.taken, taking{c, h.Out(i)})
			j.Figures["dequeued"]++
		}
	}
	return keys, nil
}

// takings looks at each dequeue of an element by itself.
func (j *judgement) takings(k *object) {
	for i := range k.taken {
		t := &k.taken[i]
		v := j.h.Go(t.value)
		e := k.of[t.value]
		switch {
		case e == nil:
			j.add(k, Phantom, t.ret, fmt.Sprintf("%v was dequeued by %s, which nobody enqueued.", v, checker.At(t.ret)), t.op)
		case e.in.failed:
			j.add(k, Phantom, t.ret, fmt.Sprintf("%v was dequeued by %s, whose enqueue failed for certain.", v, checker.At(t.ret)), e.in.op, t.op)
		case t.ret < e.in.inv:
			j.add(k, Phantom, t.ret, fmt.Sprintf("%v was dequeued by %s, before it was enqueued, from %s on.", v, checker.At(t.ret), checker.At(e.in.inv)), e.in.op, t.op)
		case e.out != nil:
			j.Figures["duplicated"]++
			j.add(k, Duplicated, t.ret, fmt.Sprintf("%v was dequeued twice, by %s and by %s.", v, checker.At(e.out.ret), checker.At(t.ret)), e.in.op, e.out.op, t.op)
		default:
			e.out = &t.call
			if e.in.ret == history.Forever {
				j.Figures["recovered"]++
			}
		}
	}
}

// order finds elements that overtook others: enqueued after, dequeued before. One
// sweep over the elements by their enqueues, backwards, with the one that was
// dequeued first among those enqueued later.
func (j *judgement) order(k *object) {
	var out []*element
	for _, e := range k.elems {
		if e.out != nil {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b *element) int { return cmp.Compare(a.in.inv, b.in.inv) })
	first := make([]*element, len(out)+1)
	for i := len(out) - 1; i >= 0; i-- {
		first[i] = out[i]
		if x := first[i+1]; x != nil && x.out.ret < out[i].out.ret {
			first[i] = x
		}
	}
	for _, a := range out {
		n, _ := slices.BinarySearchFunc(out, a.in.ret, func(e *element, t time.Duration) int {
			if e.in.inv <= t {
				return -1
			}
			return 1
		})
		b := first[n]
		if b == nil || b.out.ret >= a.out.inv {
			continue
		}
		j.Figures["reordered"]++
		j.add(k, Reordered, a.out.inv, fmt.Sprintf("%v was enqueued by %s, before %v, enqueued from %s on; yet %v was dequeued first, by %s, and %v only from %s on.",
			j.h.Go(a.value), checker.At(a.in.ret), j.h.Go(b.value), checker.At(b.in.inv), j.h.Go(b.value), checker.At(b.out.ret), j.h.Go(a.value), checker.At(a.out.inv)),
			a.in.op, b.in.op, a.out.op, b.out.op)
	}
}

// lost compares what was in the queue for certain when it was found empty with who
// can have taken it, at the last time that it was.
func (j *judgement) lost(k *object) {
	if len(k.empty) == 0 {
		return
	}
	last := k.empty[0]
	for _, d := range k.empty {
		if d.inv > last.inv {
			last = d
		}
	}
	var missing []*element
	for _, e := range k.elems {
		if !e.in.failed && e.in.ret < last.inv && e.out == nil {
			missing = append(missing, e)
		}
	}
	takers := 0
	for _, d := range k.unknown {
		if d.inv <= last.ret {
			takers++
		}
	}
	if len(missing) <= takers {
		return
	}
	j.Figures["lost"] += float64(len(missing) - takers)
	for _, e := range missing[:min(len(missing), maxLosses-len(j.detail.Losses))] {
		j.detail.Losses = append(j.detail.Losses, Loss{Key: k.name, Element: j.h.Go(e.value), Enqueued: e.in.ret, Missing: last.ret})
	}
	ops := []int{last.op}
	for _, e := range missing[:min(len(missing), most)] {
		ops = append(ops, e.in.op)
	}
	j.add(k, Lost, last.ret, fmt.Sprintf("the dequeue from %s to %s found the queue empty, but %d elements that were enqueued before (the first is %v, by %s) were never dequeued, and only %d dequeues of unknown fate can have taken one each.",
		checker.At(last.inv), checker.At(last.ret), len(missing), j.h.Go(missing[0].value), checker.At(missing[0].in.ret), takers), ops...)
}

// most bounds the operations that an anomaly lists.
const most = 32

func (j *judgement) add(k *object, name string, when time.Duration, explain string, ops ...int) {
	j.Add(checker.Anomaly{Name: name, Key: k.name, Time: when, Explain: explain}, ops...)
}
