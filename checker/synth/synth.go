// Package synth makes synthetic histories of simulated objects: right ones, and
// ones with an anomaly planted at a chosen place, to test and to time checkers
// with. It streams: memory does not grow with the number of operations, except
// for what the object itself holds.
package synth

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// Options of a synthetic history.
type Options struct {
	// Model is register, cas-register, mutex, owner-mutex, kv, set, counter or
	// queue.
	Model     string
	Ops       int
	Processes int
	Keys      int
	// Info is the share of operations with an effect whose fate stays unknown.
	Info float64
	// Anomaly is planted once, after At (0 to 1) of the operations; "" for none.
	Anomaly string
	At      float64
	Seed    uint64
	// Observe lets failed compare-and-sets say what they saw.
	Observe bool
	// Values bounds how many different values are written to a key; 0 is unique
	// ones.
	Values int
	// Versions are carried by completions.
	Versions bool
	// Wait makes acquires wait until the lock is free, instead of failing, and
	// processes hold one lock at a time.
	Wait bool
	// Planted, where it is not nil, is set once the anomaly was planted: an object
	// that never offers the occasion stays right.
	Planted *bool
}

// Models that Events knows.
func Models() []string {
	return []string{"register", "cas-register", "mutex", "owner-mutex", "kv", "set", "counter", "queue"}
}

// Anomalies that can be planted in histories of model.
func Anomalies(model string) []string {
	switch model {
	case "register", "cas-register":
		return []string{"stale-read", "lost-write", "phantom-read", "aborted-read", "future-read"}
	case "mutex", "owner-mutex":
		return []string{"double-hold"}
	case "kv":
		return []string{"stale-read", "phantom-read"}
	case "set":
		return []string{"lost", "phantom"}
	case "counter":
		return []string{"out-of-bounds"}
	case "queue":
		return []string{"lost", "duplicated", "phantom", "reordered"}
	}
	return nil
}

func (o *Options) check() error {
	switch {
	case !slices.Contains(Models(), o.Model):
		return fmt.Errorf("unknown model %q; there are %s", o.Model, strings.Join(Models(), ", "))
	case o.Anomaly != "" && !slices.Contains(Anomalies(o.Model), o.Anomaly):
		return fmt.Errorf("unknown anomaly %q for model %s; there are %s", o.Anomaly, o.Model, strings.Join(Anomalies(o.Model), ", "))
	case o.Ops < 1 || o.Processes < 1 || o.Keys < 1:
		return fmt.Errorf("expected at least one operation, process and key, found %d, %d and %d", o.Ops, o.Processes, o.Keys)
	case o.Info < 0 || o.Info > 1 || o.At < 0 || o.At > 1:
		return fmt.Errorf("expected shares from 0 to 1, found %v and %v", o.Info, o.At)
	}
	return nil
}

// Events simulates the object and yields the history's events in order.
func Events(o Options) (iter.Seq[history.Op], error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return func(yield func(history.Op) bool) {
		s := &sim{o: o, r: rand.New(rand.NewPCG(o.Seed, 0x5eed)), yield: yield}
		s.run()
		if o.Planted != nil {
			*o.Planted = s.planted
		}
	}, nil
}

// History is Events as a history in memory.
func History(o Options) (*history.History, error) {
	events, err := Events(o)
	if err != nil {
		return nil, err
	}
	var b history.Builder
	for op := range events {
		if err := b.Add(op); err != nil {
			return nil, err
		}
	}
	return b.History(true), nil
}

type phase uint8

const (
	idle phase = iota
	invoked
	applied
)

type worker struct {
	at      int64 // when its next event is due
	lat     int64
	process history.Process
	phase   phase
	op      history.Op // the completion to come
	key     int
	inv     int64
	never   bool // of unknown fate, and never happens
	holds   int  // the key of the lock it holds, plus 1
}

type sim struct {
	o       Options
	r       *rand.Rand
	yield   func(history.Op) bool
	workers []worker
	heap    []int32 // workers by their time
	objects []object
	index   int
	started int
	planted bool
	stop    bool
	now     int64
}

const meanLatency = 1_000_000 // ns

func (s *sim) run() {
	s.objects = make([]object, s.o.Keys)
	s.workers = make([]worker, s.o.Processes)
	for i := range s.workers {
		w := &s.workers[i]
		w.process, w.at = history.Process(i), s.r.Int64N(meanLatency)
		s.heap = append(s.heap, int32(i)) //nolint:gosec // few workers
		s.up(i)
	}
	for len(s.heap) > 0 && !s.stop {
		w := &s.workers[s.heap[0]]
		s.now = max(s.now+1, w.at)
		if !s.step(w) {
			last := len(s.heap) - 1
			s.heap[0] = s.heap[last]
			s.heap = s.heap[:last]
		}
		s.down(0)
	}
}

func (s *sim) less(i, j int) bool { return s.workers[s.heap[i]].at < s.workers[s.heap[j]].at }

func (s *sim) up(i int) {
	for ; i > 0 && s.less(i, (i-1)/2); i = (i - 1) / 2 {
		s.heap[i], s.heap[(i-1)/2] = s.heap[(i-1)/2], s.heap[i]
	}
}

func (s *sim) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(s.heap) {
			return
		}
		if c+1 < len(s.heap) && s.less(c+1, c) {
			c++
		}
		if !s.less(c, i) {
			return
		}
		s.heap[i], s.heap[c] = s.heap[c], s.heap[i]
		i = c
	}
}

func (s *sim) emit(op history.Op) {
	op.Index, op.Time = s.index, time.Duration(s.now)
	s.index++
	if !s.yield(op) {
		s.stop = true
	}
}

// step does a worker's next event; false where it is done for good.
func (s *sim) step(w *worker) bool {
	switch w.phase {
	case idle:
		if s.started == s.o.Ops {
			return false
		}
		s.invoke(w)
	case invoked:
		if s.waits(w) {
			w.at = s.now + 1 + s.r.Int64N(meanLatency/4)
			return true
		}
		if !w.never {
			s.apply(w)
		}
		w.phase = applied
		w.inv = max(w.inv, w.at-w.lat)
		w.at = w.inv + w.lat
	case applied:
		s.complete(w)
	}
	return true
}

func (s *sim) invoke(w *worker) {
	s.started++
	w.key = s.r.IntN(s.o.Keys)
	if s.o.Wait && w.holds > 0 {
		w.key = w.holds - 1
	}
	x := &s.objects[w.key]
	f, v := s.choose(w, x)
	w.lat = meanLatency/2 + s.r.Int64N(meanLatency)
	w.inv, w.phase, w.never = s.now, invoked, false
	w.at = s.now + 1 + s.r.Int64N(w.lat)
	w.op = history.Op{Process: w.process, Type: history.OK, F: f, Key: s.key(w.key), Value: v, Node: s.node(w)}
	inv := w.op
	inv.Type = history.Invoke
	s.emit(inv)
	if s.o.Info > 0 && !reads(f) && s.r.Float64() < s.o.Info {
		w.op.Type = history.Info
		w.never = s.r.IntN(2) == 0
		if s.o.Wait { // nobody would free the lock
			w.never = f == "acquire"
		}
	}
}

// waits says whether w has to wait for a lock.
func (s *sim) waits(w *worker) bool {
	return s.o.Wait && w.op.F == "acquire" && !w.never && s.objects[w.key].owner != nil && s.started < s.o.Ops
}

func (s *sim) key(k int) string { return fmt.Sprintf("k%d", k) }

func (s *sim) node(w *worker) string {
	all := nodes()
	return all[int(w.process)%len(all)]
}

func nodes() [3]string { return [3]string{"n1", "n2", "n3"} }

func (s *sim) complete(w *worker) {
	x := &s.objects[w.key]
	op := w.op
	if op.Type == history.Info {
		op.Value = nil
	}
	s.emit(op)
	if op.Type == history.OK && (op.F == "write" || op.F == "put" || op.F == "cas") {
		v := op.Value
		if p, ok := v.([]any); ok {
			v = p[1]
		}
		if w.inv > x.lastRet { // the last one is certainly older
			x.chained = x.last != nil
			x.prev, x.last = x.last, v
			x.lastRet = s.now
		}
	}
	if op.F == "add" && x.lost > 0 && op.Value == any(x.lost) {
		x.lost, x.missing = 0, x.lost
	}
	if x.promised != 0 && op.F == "read" && op.Value == any(x.promised) {
		x.future = true // only now may it be written
	}
	if op.Type == history.Info {
		if x.owner == any(int64(w.process)) {
			x.owner = nil // nobody else could release what an ended session holds
		}
		w.process += history.Process(s.o.Processes)
	}
	w.phase = idle
	w.at = s.now + 1 + s.r.Int64N(meanLatency/4)
}
