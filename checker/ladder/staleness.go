package ladder

import (
	"slices"
	"sort"
	"time"

	"github.com/faultline-dev/faultline/checker/faults"
	"github.com/faultline-dev/faultline/history"
)

// Stale is how far behind reads were, at least.
type Stale struct {
	Reads    int           `json:"reads"`
	Behind   int           `json:"stale_reads"` // reads that were certainly behind
	Versions Quantiles     `json:"versions"`
	Time     TimeQuantiles `json:"time"`
}

// Quantiles of numbers of versions.
type Quantiles struct {
	Median int `json:"median"`
	P99    int `json:"p99"`
	Max    int `json:"max"`
}

// TimeQuantiles are of times.
type TimeQuantiles struct {
	Median time.Duration `json:"median_ns"`
	P99    time.Duration `json:"p99_ns"`
	Max    time.Duration `json:"max_ns"`
}

// Staleness is a lower bound for every read: how many versions and how long it
// was behind, in all, by node and by fault.
type Staleness struct {
	All     Stale            `json:"all"`
	ByNode  map[string]Stale `json:"by_node,omitempty"`
	ByFault map[string]Stale `json:"by_fault,omitempty"`
}

func (s Stale) figures() map[string]float64 {
	return map[string]float64{
		"stale_reads": float64(s.Behind), "stale_versions_max": float64(s.Versions.Max), "stale_versions_p99": float64(s.Versions.P99),
		"stale_ms_p99": float64(s.Time.P99) / 1e6, "stale_ms_max": float64(s.Time.Max) / 1e6,
	}
}

// lag is one read's staleness.
type lag struct {
	op       int32
	versions int32
	time     time.Duration
}

// staleness bounds every read r of w from below. For another value x of the key,
// let e(x) be when x was first certain: the least return of its write and its
// reads. x is newer than w if an operation on w, r aside, returned before the write
// of x was invoked; r missed it if also e(x) < r's invocation. Other reads tell only
// that a value was there, not for how long: a stale one would make all after it look
// stale. Values of unknown fate that nobody saw do not count. O(n log n), by a
// Fenwick tree over the values of a key in the order in which they were asked for.
func (t *table) staleness() Staleness { return t.summary(t.lags()) }

func (t *table) lags() []lag {
	type group struct{ ops []int32 }
	keys := make([]group, len(t.h.Keys()))
	for i, k := range t.kind {
		if k != skipped {
			keys[t.h.KeyID(i)].ops = append(keys[t.h.KeyID(i)].ops, int32(i)) //nolint:gosec // an op number
		}
	}
	st := scratch{f1: make([]time.Duration, len(t.kind)), f2: make([]time.Duration, len(t.kind)), g: make([]time.Duration, len(t.kind))}
	var lags []lag
	for _, k := range keys {
		lags = t.lagsOf(k.ops, &st, lags)
	}
	return lags
}

// scratch holds, by write: the two least returns of operations on its value, and
// its invocation.
type scratch struct{ f1, f2, g []time.Duration }

func (st *scratch) see(w int32, ret time.Duration) {
	if ret < st.f1[w] {
		st.f1[w], st.f2[w] = ret, st.f1[w]
	} else if ret < st.f2[w] {
		st.f2[w] = ret
	}
}

func (t *table) lagsOf(ops []int32, st *scratch, lags []lag) []lag {
	h := t.h
	var values, reads []int32
	for _, i := range ops {
		if t.writes(i) {
			values = append(values, i)
			st.f1[i], st.f2[i], st.g[i] = h.Return(int(i)), history.Forever, h.Invoke(int(i))
		}
	}
	for _, i := range ops {
		if t.reads(i) {
			if t.kind[i] == reader {
				reads = append(reads, i)
			}
			if w := t.from[i]; w >= 0 {
				st.see(w, h.Return(int(i)))
			}
		}
	}
	byG := slices.Clone(values)
	slices.SortFunc(byG, func(a, b int32) int { return int(min(1, max(-1, st.g[a]-st.g[b]))) })
	rank := make(map[int32]int, len(byG))
	for n, w := range byG {
		rank[w] = n
	}
	slices.SortFunc(values, func(a, b int32) int { return int(min(1, max(-1, st.f1[a]-st.f1[b]))) })
	tree := newFenwick(len(byG))
	next := 0
	for _, r := range reads { // by invocation
		inv := h.Invoke(int(r))
		for next < len(values) && st.f1[values[next]] < inv {
			tree.add(rank[values[next]], values[next], st.f1[values[next]])
			next++
		}
		w := t.from[r]
		since := time.Duration(-1) // the initial value's write
		if w >= 0 {
			since = st.f1[w]
			if since == h.Return(int(r)) {
				since = st.f2[w] // r aside
			}
		}
		from := sort.Search(len(byG), func(n int) bool { return st.g[byG[n]] > since })
		n, least := tree.above(from, w)
		if w >= 0 && st.f1[w] < inv && st.g[w] > since {
			n-- // w itself
		}
		l := lag{op: r, versions: n}
		if n > 0 {
			l.time = inv - least
		}
		lags = append(lags, l)
	}
	return lags
}

// fenwick counts values by the rank of their g, and keeps the two that were
// certain first, over suffixes.
type fenwick struct {
	n     int
	count []int32
	least [][2]firstSeen
}

type firstSeen struct {
	w  int32
	at time.Duration
}

func newFenwick(n int) *fenwick {
	f := &fenwick{n: n, count: make([]int32, n+1), least: make([][2]firstSeen, n+1)}
	for i := range f.least {
		f.least[i] = [2]firstSeen{{-2, history.Forever}, {-2, history.Forever}}
	}
	return f
}

// add puts in a value; values come in the order of at, so the first two to reach
// a cell are its least.
func (f *fenwick) add(rank int, w int32, at time.Duration) {
	for i := f.n - rank; i <= f.n; i += i & -i {
		f.count[i]++
		switch l := &f.least[i]; {
		case l[0].w == -2:
			l[0] = firstSeen{w, at}
		case l[1].w == -2:
			l[1] = firstSeen{w, at}
		}
	}
}

// above counts the values from the given rank on, and says when the first of them
// but one was certain.
func (f *fenwick) above(rank int, except int32) (n int32, least time.Duration) {
	least = history.Forever
	for i := f.n - rank; i > 0; i -= i & -i {
		n += f.count[i]
		for _, l := range f.least[i] {
			if l.w != except && l.w >= 0 {
				least = min(least, l.at)
			}
		}
	}
	return n, least
}

func (t *table) summary(lags []lag) Staleness {
	h := t.h
	s := Staleness{All: quantiles(lags), ByNode: map[string]Stale{}, ByFault: map[string]Stale{}}
	nodes := make([][]lag, len(h.Nodes()))
	for _, l := range lags {
		n := h.NodeID(int(l.op))
		nodes[n] = append(nodes[n], l)
	}
	for n, ls := range nodes {
		if len(ls) > 0 && h.Nodes()[n] != "" {
			s.ByNode[h.Nodes()[n]] = quantiles(ls)
		}
	}
	byFault := map[string][]lag{}
	for _, f := range faults.Spans(h) {
		for _, l := range lags {
			if at := h.Invoke(int(l.op)); at >= f.Start && at < f.End {
				byFault[f.Fault] = append(byFault[f.Fault], l)
			}
		}
	}
	for f, ls := range byFault {
		s.ByFault[f] = quantiles(ls)
	}
	return s
}

func quantiles(lags []lag) Stale {
	s := Stale{Reads: len(lags)}
	if len(lags) == 0 {
		return s
	}
	vs, ts := make([]int, len(lags)), make([]time.Duration, len(lags))
	for i, l := range lags {
		vs[i], ts[i] = int(l.versions), l.time
		if l.versions > 0 {
			s.Behind++
		}
	}
	slices.Sort(vs)
	slices.Sort(ts)
	mid, high, last := (len(vs)-1)/2, (len(vs)-1)*99/100, len(vs)-1
	s.Versions = Quantiles{vs[mid], vs[high], vs[last]}
	s.Time = TimeQuantiles{ts[mid], ts[high], ts[last]}
	return s
}
