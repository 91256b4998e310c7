package synth

import (
	"slices"

	"github.com/faultline-dev/faultline/history"
)

// object is one key's state.
type object struct {
	value any
	// prev and last are two successful writes, the first returned before the
	// second was invoked.
	prev, last     any
	lastRet        int64
	chained        bool
	next           int64
	version        int64
	frozen         bool // a write was lost: nothing overwrites it any more
	promised       int64
	elems          map[int64]bool
	list           []int64
	count, highest int64
	owner          any
	future         bool
	lost, missing  int64 // an element that was lost, and that somebody has to ask for once its add is over
}

func reads(f string) bool { return f == "read" || f == "get" || f == "contains" || f == "dequeue" }

func (s *sim) fresh(x *object) int64 {
	if x.promised != 0 && x.future {
		v := x.promised
		x.promised, x.future = 0, false
		return v
	}
	x.next++
	if s.o.Values > 0 {
		return 1 + s.r.Int64N(int64(s.o.Values))
	}
	return x.next
}

// choose picks an operation and what it asks.
func (s *sim) choose(w *worker, x *object) (f string, v any) {
	dice := s.r.IntN(100)
	switch s.o.Model {
	case "register", "cas-register":
		switch {
		case dice < 50 || x.frozen:
			return "read", nil
		case dice < 75 && s.o.Model == "cas-register":
			return "cas", []any{x.value, s.fresh(x)}
		}
		return "write", s.fresh(x)
	case "kv":
		switch {
		case dice < 50 || x.frozen:
			return "get", nil
		case dice < 60:
			return "delete", nil
		}
		return "put", s.fresh(x)
	case "mutex", "owner-mutex":
		if x.owner == int64(w.process) {
			return "release", map[string]any{"owner": int64(w.process)}
		}
		return "acquire", map[string]any{"owner": int64(w.process)}
	case "set":
		switch {
		case x.missing > 0: // so that somebody asks for it
			e := x.missing
			x.missing = 0
			return "contains", e
		case s.due("phantom"):
			return "contains", x.next + 1000 // which nobody has added
		case dice < 40:
			x.next++
			return "add", x.next
		case dice < 50 && x.next > 4:
			return "remove", x.next - 4
		}
		return "contains", max(1, x.next-s.r.Int64N(8))
	case "counter":
		if dice < 50 {
			return "read", nil
		}
		return "add", 1 + s.r.Int64N(5)
	default:
		if dice < 50 || s.due("reordered") && len(x.list) <= 3*s.o.Processes { // until there is enough to reorder
			x.next++
			return "enqueue", x.next
		}
		return "dequeue", nil
	}
}

// due says whether the anomaly is to be planted now.
func (s *sim) due(name string) bool {
	return !s.planted && s.o.Anomaly == name && float64(s.started) >= s.o.At*float64(s.o.Ops)
}

func (s *sim) apply(w *worker) {
	x := &s.objects[w.key]
	x.version++
	if s.o.Versions {
		w.op.Version = x.version
	}
	switch w.op.F {
	case "read", "get":
		s.read(w, x)
	case "write", "put":
		x.value = w.op.Value
		if s.due("aborted-read") && w.op.Type == history.OK && s.quiet(w, x) {
			w.op.Type, s.planted = history.Fail, true
			x.frozen = true // so that somebody reads it
		}
	case "delete":
		x.value = nil
	case "cas":
		p, _ := w.op.Value.([]any)
		switch {
		case x.value == p[0]:
			x.value = p[1]
		case w.op.Type == history.OK:
			w.op.Type = history.Fail
			if s.o.Observe {
				w.op.Observed = &history.Seen{Value: x.value}
			}
		}
	case "acquire", "release":
		s.lock(w, x)
	case "add", "remove", "contains":
		s.set(w, x)
	case "enqueue", "dequeue":
		s.queue(w, x)
	}
}

func (s *sim) read(w *worker, x *object) {
	w.op.Value = x.value
	if s.o.Model == "counter" {
		w.op.Value = x.count
		if s.due("out-of-bounds") {
			w.op.Value, s.planted = x.highest+1000, true
		}
		return
	}
	switch {
	case s.due("stale-read") && x.chained && x.lastRet < w.inv && x.prev != x.value:
		w.op.Value, s.planted = x.prev, true
	case s.due("lost-write") && x.chained && x.lastRet < w.inv && x.value == x.last && s.quiet(w, x):
		x.value, x.frozen, s.planted = x.prev, true, true
		w.op.Value = x.value
	case s.due("phantom-read"):
		w.op.Value, s.planted = int64(1)<<40, true
	case s.due("future-read") && !x.future:
		x.next++
		x.promised = x.next
		w.op.Value, s.planted = x.promised, true
	}
}

// quiet says whether no other write of w's key is open.
func (s *sim) quiet(w *worker, _ *object) bool {
	for i := range s.workers {
		if v := &s.workers[i]; v != w && v.phase != idle && v.key == w.key && !reads(v.op.F) {
			return false
		}
	}
	return true
}

func (s *sim) lock(w *worker, x *object) {
	who := any(int64(w.process))
	switch {
	case w.op.F == "acquire" && (x.owner == nil || s.due("double-hold") && w.op.Type == history.OK):
		s.planted = s.planted || x.owner != nil
		x.owner = who
		w.holds = w.key + 1
	case w.op.F == "release" && x.owner == who:
		x.owner = nil
		w.holds = 0
	case w.op.Type == history.OK:
		w.op.Type = history.Fail
	}
}

func (s *sim) set(w *worker, x *object) {
	e, _ := w.op.Value.(int64)
	if x.elems == nil {
		x.elems = map[int64]bool{}
	}
	switch w.op.F {
	case "add":
		if s.o.Model == "counter" {
			x.count += e
			x.highest += e
			return
		}
		if s.due("lost") && w.op.Type == history.OK {
			s.planted = true
			x.lost = e
			return
		}
		x.elems[e] = true
		delete(x.elems, e-64) // so that the object stays small; nobody asks so far back
	case "remove":
		delete(x.elems, e)
	default:
		w.op.Value = x.elems[e]
		if s.due("phantom") && e > x.next {
			w.op.Value, s.planted = true, true
		}
	}
}

func (s *sim) queue(w *worker, x *object) {
	if w.op.F == "enqueue" {
		v, _ := w.op.Value.(int64)
		if s.due("lost") && w.op.Type == history.OK {
			s.planted = true
			return
		}
		x.list = append(x.list, v)
		return
	}
	w.op.Value = nil
	if len(x.list) == 0 {
		return
	}
	at := 0
	switch {
	case s.due("reordered") && len(x.list) > 3*s.o.Processes:
		at, s.planted = len(x.list)-1, true
	case s.due("duplicated"):
		w.op.Value, s.planted = x.list[0], true
		return
	case s.due("phantom"):
		w.op.Value, s.planted = int64(1)<<40, true
		return
	}
	if w.op.Value = x.list[at]; at == 0 {
		x.list = x.list[1:]
		return
	}
	x.list = slices.Delete(x.list, at, at+1)
}
