package generator

import (
	"container/heap"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/faultline-dev/faultline/history"
)

func keyName(n int) string { return "k" + strconv.Itoa(n) }

// Completion says how an operation ends in a simulation, and after how long.
type Completion func(r *rand.Rand, op history.Op) (history.Op, time.Duration)

// Perfect completes every operation with ok after 10 ns.
func Perfect(_ *rand.Rand, op history.Op) (history.Op, time.Duration) {
	op.Type = history.OK
	return op, 10
}

// Imperfect completes a third of the operations each with ok, fail and info,
// after up to 100 ns.
func Imperfect(r *rand.Rand, op history.Op) (history.Op, time.Duration) {
	op.Type = []history.Type{history.OK, history.Fail, history.Info}[r.IntN(3)]
	return op, time.Duration(1 + r.IntN(100))
}

// Simulate is the history of g performed by a number of workers in virtual time:
// no clocks, no threads, the same for the same seed. It ends when g is over for
// all workers, or after limit events.
func Simulate(g Generator, workers int, seed uint64, limit int, complete Completion) []history.Op {
	s := simulation{
		g: g, workers: workers, complete: complete, limit: limit,
		rng:     rand.New(rand.NewPCG(seed, 45100)),
		process: make([]history.Process, workers),
	}
	for w := range workers {
		s.process[w] = history.Process(w)
		heap.Push(&s.queue, event{0, w, nil, s.seq})
		s.seq++
	}
	s.run()
	return s.out
}

type event struct {
	at     time.Duration
	worker int
	done   *history.Op // a completion, else the worker asks
	seq    int
}

type queue []event //nolint:recvcheck // as container/heap wants it

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

type simulation struct {
	g        Generator
	workers  int
	complete Completion
	limit    int
	rng      *rand.Rand
	process  []history.Process
	queue    queue
	waiting  []int // workers that wait for something to change
	seq      int
	out      []history.Op
}

func (s *simulation) run() {
	for len(s.queue) > 0 && len(s.out) < s.limit {
		e, _ := heap.Pop(&s.queue).(event)
		if e.done != nil {
			s.finish(e)
		} else {
			s.ask(e)
		}
	}
}

func (s *simulation) context(now time.Duration, w int) Context {
	return Context{Now: now, Worker: w, Workers: s.workers, Process: s.process[w], Rand: s.rng}
}

func (s *simulation) push(at time.Duration, w int, done *history.Op) {
	heap.Push(&s.queue, event{at, w, done, s.seq})
	s.seq++
}

func (s *simulation) record(now time.Duration, op history.Op, c Context) {
	op.Index, op.Time = len(s.out), now
	s.out = append(s.out, op)
	s.g = s.g.Update(c, op)
	for _, w := range s.waiting {
		s.push(now, w, nil)
	}
	s.waiting = s.waiting[:0]
}

func (s *simulation) ask(e event) {
	c := s.context(e.at, e.worker)
	step, g := s.g.Next(c)
	s.g = g
	switch {
	case step.Kind == Done:
	case step.Kind == Wait && step.At <= e.at:
		s.waiting = append(s.waiting, e.worker)
	case step.Kind == Wait:
		s.push(step.At, e.worker, nil)
	default:
		op := step.Op
		op.Process, op.Type = c.Process, history.Invoke
		at := max(step.At, e.at)
		s.push(at, e.worker, &op)
	}
}

// finish invokes an operation whose time has come, or completes it.
func (s *simulation) finish(e event) {
	c := s.context(e.at, e.worker)
	s.record(e.at, *e.done, c)
	if e.done.Type == history.Invoke {
		done, after := s.complete(s.rng, *e.done)
		s.push(e.at+after, e.worker, &done)
		return
	}
	if e.done.Type == history.Info {
		s.process[e.worker] += history.Process(s.workers)
	}
	s.push(e.at, e.worker, nil)
}
