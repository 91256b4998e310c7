package online

import (
	"container/list"

	"github.com/faultline-dev/faultline/checker/queue"
	"github.com/faultline-dev/faultline/history"
)

// Queue judges first-in-first-out queues of distinct elements by the rules of
// package queue. A queue whose elements repeat is not judged.
func Queue() *Judge {
	return newJudge(func() object { return &line{of: map[any]*waiting{}, certain: list.New()} })
}

// line is a queue: what was enqueued and not seen to be dequeued.
type line struct {
	of      map[any]*waiting
	certain *list.List // those whose enqueue is over, in that order
	// newest is the latest call of an enqueue among the elements dequeued.
	newest       int
	open, unsure int // dequeues that are open, and that ended with an unknown fate
	lost         bool
}

type waiting struct {
	inv, ret int // places; ret is 0 while the enqueue is not certainly over
	in       *list.Element
}

func (q *line) size() int { return len(q.of) }

func (q *line) call(_ *key, o *op) {
	if o.inv.F == queue.Dequeue {
		q.open++
		o.note = q.newest
		return
	}
	v, ok := scalar(o.inv.Value)
	if !ok || q.of[v] != nil {
		q.lost = true
		return
	}
	q.of[v] = &waiting{inv: o.seq}
}

func (q *line) ret(k *key, o *op) string {
	if o.inv.F == queue.Dequeue {
		q.open--
		switch {
		case o.done.Type == history.Info:
			q.unsure++
		case q.lost || o.done.Type != history.OK:
		case o.done.Value == nil:
			return q.empty(o)
		default:
			return q.take(o)
		}
		return ""
	}
	v, _ := scalar(o.inv.Value)
	e := q.of[v]
	switch {
	case e == nil: // dequeued already
	case o.done.Type == history.Fail:
		delete(q.of, v)
	case o.done.Type == history.OK:
		e.ret = k.seq
		e.in = q.certain.PushBack(e)
	}
	return ""
}

// empty judges a dequeue that found nothing: what was in the queue for certain
// when it was invoked must have been taken by others who are open or of unknown
// fate.
func (q *line) empty(o *op) string {
	takers := q.open + q.unsure
	for x := q.certain.Front(); x != nil; x = x.Next() {
		if e, _ := x.Value.(*waiting); e.ret > o.seq {
			break
		}
		if takers--; takers < 0 {
			return queue.Lost
		}
	}
	return ""
}

func (q *line) take(o *op) string {
	v, _ := scalar(o.done.Value)
	e := q.of[v]
	if e == nil {
		return queue.Phantom + " or " + queue.Duplicated
	}
	delete(q.of, v)
	if e.in != nil {
		q.certain.Remove(e.in)
	}
	if newest, _ := o.note.(int); e.ret > 0 && e.ret < newest {
		return queue.Reordered
	}
	q.newest = max(q.newest, e.inv)
	return ""
}
