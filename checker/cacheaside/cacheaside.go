// Package cacheaside judges the histories of stores behind a cache: write v, each v
// once a key; read, which goes through the cache; and load, which asks the store
// itself.
//
// Writes and loads say how the store stood: value c certainly came before value x
// where c had certainly taken effect before some write or load of x was invoked. A
// value has taken effect for certain once its write has returned, or a read or a
// load has shown it. A read is stale if it returns c although some x that came after
// c had certainly taken effect before the read was invoked. By the theorem of zones
// (Gibbons and Korach, "Testing shared memories", 1997) that is so exactly where
// what the store did, with this one read added, has no order. Reads are evidence of
// effects, not of order: a stale one would make all others look wrong.
//
// A read that is stale after every write of its key was over has gone on too long:
// nothing will ever mend it, the cache has diverged from the store.
package cacheaside

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
	Read  = "read"
	Write = "write"
	Load  = "load"
)

// Anomalies.
const (
	PhantomRead = "phantom-read"
	AbortedRead = "aborted-read"
	FutureRead  = "future-read"
	StaleRead   = "stale-read"
	Diverged    = "diverged"
)

// Options of a check.
type Options struct {
	MaxAnomalies int // how many of each name are told; 16 unless set
}

// New is the checker "cache-aside". O(n log n).
func New(o Options) checker.Checker {
	if o.MaxAnomalies == 0 {
		o.MaxAnomalies = 16
	}
	return checker.Func("cache-aside", func(_ context.Context, h *history.History) checker.Result {
		start := time.Now()
		r := judge(h, o)
		r.Duration = time.Since(start)
		return r
	})
}

type judgement struct {
	h      *history.History
	o      Options
	told   map[string]int
	result checker.Result
}

// never is before every time stamp.
const never = time.Duration(-1 << 62)

// moment is a time stamp and the operation that it belongs to, -1 for none.
type moment struct {
	at time.Duration
	op int
}

// block is a value and what is known of it.
type block struct {
	value history.Value
	write int // its write
	// shown is when it had certainly taken effect at the latest, current the last
	// moment at which it certainly had not been overwritten yet.
	shown, current moment
}

// object is a key.
type object struct {
	name   string
	blocks []*block // those that may have taken effect
	of     map[history.Value]*block
	failed map[history.Value]int // the writes of values that were not written
	looks  []int                 // reads and loads that were answered
	over   time.Duration         // when the last write was done with, whatever its fate
}

func judge(h *history.History, o Options) checker.Result {
	j := &judgement{h: h, o: o, told: map[string]int{}}
	j.result = checker.Result{Verdict: checker.Valid, Engine: "zones", Ops: h.Len(), Figures: map[string]float64{}}
	if h.Len() == 0 {
		j.result.Verdict, j.result.Reason = checker.Unknown, "the history has no operations"
		return j.result
	}
	keys, err := j.read()
	if err != nil {
		j.result.Verdict, j.result.Reason = checker.Unknown, err.Error()
		return j.result
	}
	f := j.result.Figures
	for _, name := range []string{"reads", "stale_reads", "stale_ms_max", "keys_diverged"} {
		f[name] = 0
	}
	for _, k := range keys {
		j.shown(k)
		j.stale(k)
	}
	if f["reads"] > 0 {
		f["stale_reads_percent"] = 100 * f["stale_reads"] / f["reads"]
	}
	slices.SortStableFunc(j.result.Anomalies, func(a, b checker.Anomaly) int { return cmp.Compare(a.Time, b.Time) })
	return j.result
}

// read sorts the operations by key and value.
func (j *judgement) read() ([]*object, error) {
	h := j.h
	keys := make([]*object, len(h.Keys()))
	for i, name := range h.Keys() {
		keys[i] = &object{name: name, of: map[history.Value]*block{}, failed: map[history.Value]int{}}
	}
	for i := range h.Len() {
		k := keys[h.KeyID(i)]
		switch f := h.F(i); {
		case f == Write:
			v := h.In(i)
			if _, twice := k.failed[v]; twice || k.of[v] != nil || v == history.Nil {
				return nil, fmt.Errorf("event %d: each write of a key needs a value of its own", h.Index(i))
			}
			k.over = max(k.over, h.Done(i))
			if h.Type(i) == history.Fail {
				k.failed[v] = i
				continue
			}
			b := &block{value: v, write: i, shown: moment{h.Return(i), i}, current: moment{h.Invoke(i), i}}
			k.of[v] = b
			k.blocks = append(k.blocks, b)
		case f != Read && f != Load:
			return nil, fmt.Errorf("a store behind a cache knows no operation %q", f)
		case h.Type(i) == history.OK:
			k.looks = append(k.looks, i)
		}
	}
	return keys, nil
}

// shown notes what each answer proves of its value, and finds answers with values
// that cannot have been there.
func (j *judgement) shown(k *object) {
	h := j.h
	kept := k.looks[:0]
	for _, i := range k.looks {
		v := h.Out(i)
		b := k.of[v]
		switch w, failed := k.failed[v]; {
		case failed:
			j.add(k, AbortedRead, i, fmt.Sprintf("the %s returned %v by %s, whose write had failed for certain.", h.F(i), h.Go(v), checker.At(h.Return(i))), i, w)
			continue
		case v != history.Nil && b == nil:
			j.add(k, PhantomRead, i, fmt.Sprintf("the %s returned %v by %s, which nobody wrote.", h.F(i), h.Go(v), checker.At(h.Return(i))), i)
			continue
		case b != nil && h.Return(i) < h.Invoke(b.write):
			j.add(k, FutureRead, i, fmt.Sprintf("the %s returned %v by %s, before its write was invoked, at %s.", h.F(i), h.Go(v), checker.At(h.Return(i)), checker.At(h.Invoke(b.write))), i, b.write)
			continue
		}
		kept = append(kept, i)
		if b == nil {
			continue
		}
		if h.Return(i) < b.shown.at {
			b.shown = moment{h.Return(i), i}
		}
		if h.F(i) == Load && h.Invoke(i) > b.current.at {
			b.current = moment{h.Invoke(i), i}
		}
	}
	k.looks = kept
}

// stale finds the answers that were overwritten before they were asked for: for each
// the value that was current last among those that had taken effect by then.
func (j *judgement) stale(k *object) {
	h, f := j.h, j.result.Figures
	slices.SortStableFunc(k.blocks, func(a, b *block) int { return cmp.Compare(a.shown.at, b.shown.at) })
	newest := newestOf(k.blocks)
	told, diverged := map[history.Value]bool{}, map[history.Value]bool{}
	for _, i := range k.looks {
		if h.F(i) == Read {
			f["reads"]++
		}
		n, _ := slices.BinarySearchFunc(k.blocks, h.Invoke(i), func(b *block, t time.Duration) int {
			if b.shown.at < t {
				return -1
			}
			return 1
		})
		c, x := k.of[h.Out(i)], newest[n].but(k.of[h.Out(i)])
		shown := moment{never, -1}
		if c != nil {
			shown = c.shown
		}
		if x == nil || shown.at >= x.current.at {
			continue
		}
		f["stale_reads"]++
		f["stale_ms_max"] = max(f["stale_ms_max"], float64(h.Invoke(i)-x.shown.at)/float64(time.Millisecond))
		name, again := StaleRead, told // one is enough of each value, and of each key that diverged
		if h.F(i) == Read && h.Invoke(i) > k.over {
			name, again = Diverged, diverged
		}
		if v := h.Out(i); !again[v] {
			again[v] = true
			j.add(k, name, i, j.explain(i, shown, x, name), i, shown.op, x.shown.op, x.current.op, x.write)
		}
	}
	f["keys_diverged"] += float64(min(len(diverged), 1))
}

// two are the two values that were current last.
type two struct{ first, second *block }

// but is the last that is not b, or nil.
func (t two) but(b *block) *block {
	if t.first == b {
		return t.second
	}
	return t.first
}

// newestOf are, for each n, the two of the first n blocks that were current last.
func newestOf(blocks []*block) []two {
	out := make([]two, len(blocks)+1)
	for i, b := range blocks {
		t := out[i]
		switch {
		case t.first == nil || b.current.at > t.first.current.at:
			t = two{b, t.first}
		case t.second == nil || b.current.at > t.second.current.at:
			t.second = b
		}
		out[i+1] = t
	}
	return out
}

// explain says why the answer i is stale: x had replaced what it returned.
func (j *judgement) explain(i int, shown moment, x *block, name string) string {
	h := j.h
	before := "nothing was there in the beginning"
	if shown.op >= 0 {
		before = fmt.Sprintf("%v was in the store by %s", h.Go(h.Out(i)), checker.At(shown.at))
	}
	text := fmt.Sprintf("%s, before %v was written or found there, from %s on; %v was there by %s; yet the %s from %s to %s still returned %v.",
		before, h.Go(x.value), checker.At(x.current.at), h.Go(x.value), checker.At(x.shown.at), h.F(i), checker.At(h.Invoke(i)), checker.At(h.Return(i)), text(h.Go(h.Out(i))))
	if name == Diverged {
		text += " All writes were over by then: the cache stays so for ever."
	}
	return text
}

func text(v any) string {
	if v == nil {
		return "nothing"
	}
	return fmt.Sprint(v)
}

// add counts an anomaly, and tells it if there is room. ops may be negative, for
// none, and repeat.
func (j *judgement) add(k *object, name string, look int, explain string, ops ...int) {
	j.result.Verdict = checker.Invalid
	j.told[name]++
	if j.told[name] > j.o.MaxAnomalies {
		return
	}
	a := checker.Anomaly{Name: name, Key: k.name, Time: j.h.Return(look), Explain: explain}
	for _, i := range ops {
		if i >= 0 {
			a.Ops = append(a.Ops, j.h.Index(i))
		}
	}
	slices.Sort(a.Ops)
	a.Ops = slices.Compact(a.Ops)
	j.result.Anomalies = append(j.result.Anomalies, a)
}
