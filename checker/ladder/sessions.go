package ladder

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

func sortInts(a []int) { sort.Ints(a) }

// monotonicReads: p's reads in their order and nothing else. An edge between
// writes arises only within a key, from the source of an earlier read to that of
// a later one, so a cycle is a value that comes back after another. O(n).
func (t *table) monotonicReads() Rung {
	for _, ops := range t.sessions {
		last := map[int]int32{}  // by key, the read before
		now := map[int]int32{}   // by key, the source that it left: its own, or a compare-and-set itself
		past := map[int32]bool{} // sources before that
		for _, i := range ops {
			if !t.reads(i) {
				continue
			}
			k := t.h.KeyID(int(i))
			if src, ok := now[k]; ok && src != t.from[i] {
				if t.from[i] == initial || past[t.from[i]] {
					return t.anomaly(MonotonicReads, fmt.Sprintf("%s, after %s, which is newer: the session went back.", t.say(int(i)), t.say(int(last[k]))),
						int(last[k]), int(i), int(src), int(t.from[i]), int(t.firstRead(ops, i)))
				}
				past[src] = true
			}
			if src, ok := now[k]; t.writes(i) && (past[i] || ok && src == i) {
				return t.anomaly(MonotonicReads, fmt.Sprintf("%s, after %s: it was seen before it happened.", t.say(int(i)), t.say(int(last[k]))), int(last[k]), int(i))
			}
			last[k], now[k] = i, t.from[i]
			if t.writes(i) {
				past[t.from[i]] = true
				now[k] = i
			}
		}
	}
	return Rung{Verdict: checker.Valid}
}

// firstRead is the first of the session's reads with i's source.
func (t *table) firstRead(ops []int32, i int32) int32 {
	for _, j := range ops {
		if t.reads(j) && t.from[j] == t.from[i] && t.h.KeyID(int(j)) == t.h.KeyID(int(i)) {
			return j
		}
	}
	return i
}

// readYourWrites: p's own writes before its later reads, and nothing else. A read
// of w needs every own earlier write of the key before w; a violation is a read of
// the initial value after an own write, or two own writes of which each must be
// the older: w was read when o had been written, and o when w had been. The own
// write read last has had the most own writes before it, so only it, or the last
// other one, has to be compared. O(n).
func (t *table) readYourWrites() Rung {
	type seen struct {
		source, by int32
		own        int // how many own writes of the key came before
	}
	for _, ops := range t.sessions {
		if slices.ContainsFunc(ops, func(i int32) bool { return t.kind[i] == both }) {
			if r := t.ownGraph(ops); r.Verdict != checker.Valid {
				return r
			}
			continue
		}
		count := map[int]int{}      // by key, own writes so far
		first := map[int]int32{}    // by key, the first of them
		place := map[int32]int{}    // by own write, its place
		latest := map[int][2]seen{} // by key, the last two different own writes read
		for _, i := range ops {
			if k := t.h.KeyID(int(i)); t.writes(i) {
				place[i] = count[k]
				count[k]++
			}
		}
		clear(count)
		for _, i := range ops {
			k := t.h.KeyID(int(i))
			if t.reads(i) && count[k] > 0 {
				w := t.from[i]
				if w == initial {
					return t.anomaly(ReadYourWrites, fmt.Sprintf("%s, though %s before.", t.say(int(i)), t.say(int(first[k]))), int(first[k]), int(i))
				}
				if p, mine := place[w]; mine {
					l := latest[k]
					for _, o := range l {
						if o.own > p && o.source != w && place[o.source] < count[k] {
							return t.anomaly(ReadYourWrites, fmt.Sprintf("%s, and %s: the session had written both before each, so each must be the older.",
								t.say(int(o.by)), t.say(int(i))), int(o.source), int(w), int(o.by), int(i))
						}
					}
					if l[0].source != w || l[0].own == 0 {
						l[1] = l[0]
					}
					l[0] = seen{w, i, count[k]}
					latest[k] = l
				}
			}
			if t.writes(i) {
				if count[k] == 0 {
					first[k] = i
				}
				count[k]++
			}
		}
	}
	return Rung{Verdict: checker.Valid}
}

// ownGraph is readYourWrites for a session with compare-and-sets, as a graph of
// the writes, in which node n+o stands for o and the own writes of its key before
// it. An own compare-and-set comes right behind its source, so what must precede
// it must precede the source: a chain of them is one unit, entered at its head.
func (t *table) ownGraph(ops []int32) Rung {
	o := own{t: t, n: int32(len(t.kind)), last: map[int]int32{}, prev: map[int32]int32{}} //nolint:gosec // bounded by events
	for _, i := range ops {
		k := t.h.KeyID(int(i))
		if last, wrote := o.last[k]; wrote && t.reads(i) && !o.need(last, t.from[i]) {
			return t.anomaly(ReadYourWrites, fmt.Sprintf("%s, though %s before.", t.say(int(i)), t.say(int(last))), int(last), int(i), int(t.from[i]))
		}
		if t.kind[i] == both && t.from[i] >= 0 {
			o.edges = append(o.edges, [2]int32{t.from[i], i})
		}
		if t.writes(i) {
			o.write(i, k)
		}
	}
	if c := o.cycle(); c != nil {
		return t.cyclic(ReadYourWrites, c, t.h.Process(int(ops[0])))
	}
	return Rung{Verdict: checker.Valid}
}

// cycle finds one among the edges, in a graph of just the nodes that they join.
func (o *own) cycle() []int32 {
	var nodes []int32
	small := map[int32]int32{}
	number := func(v int32) int32 {
		n, ok := small[v]
		if !ok {
			n = int32(len(nodes)) //nolint:gosec // bounded by events
			small[v] = n
			nodes = append(nodes, v)
		}
		return n
	}
	for i, e := range o.edges {
		o.edges[i] = [2]int32{number(e[0]), number(e[1])}
	}
	roots := make([]int32, len(nodes))
	for n := range roots {
		roots[n] = int32(n) //nolint:gosec // bounded by events
	}
	c := build(len(nodes), o.edges).cycle(roots)
	for i, n := range c {
		c[i] = nodes[n]
	}
	return c
}

type own struct {
	t     *table
	n     int32
	last  map[int]int32   // by key, the last own write
	prev  map[int32]int32 // by own write, the one of the key before it, or initial
	edges [][2]int32
}

func (o *own) write(i int32, key int) {
	o.edges = append(o.edges, [2]int32{i, o.n + i})
	o.prev[i] = initial
	if last, ok := o.last[key]; ok {
		o.edges = append(o.edges, [2]int32{last, o.n + i}, [2]int32{o.n + last, o.n + i})
		o.prev[i] = last
	}
	o.last[key] = i
}

// need puts the own writes up to last before w, but for w's own chain; false
// where w's chain starts from the initial value, so that nothing can.
func (o *own) need(last, w int32) bool {
	chain := map[int32]bool{}
	head := w
	for {
		chain[head] = true
		if _, mine := o.prev[head]; !mine || head == initial || o.t.kind[head] != both {
			break
		}
		head = o.t.from[head]
	}
	left := 0 // own writes of the chain still ahead
	for c := range chain {
		if _, mine := o.prev[c]; mine {
			left++
		}
	}
	for x := last; x != initial; x = o.prev[x] {
		switch {
		case chain[x]:
			left--
			continue
		case head == initial:
			return false
		case left == 0: // none of the chain is among x and those before it
			o.edges = append(o.edges, [2]int32{o.n + x, head})
			return true
		}
		o.edges = append(o.edges, [2]int32{x, head})
	}
	return true
}

// eventual: after the last heal all nodes agree. Where the history has faults,
// every node's last read of a key, begun after the last of them was healed, must
// show the same value.
func (t *table) eventual() Rung {
	if t.thinAir != nil {
		return Rung{Reason: "what nobody wrote was read: " + t.thinAir.Explain}
	}
	h := t.h
	var heal time.Duration
	for _, f := range h.Faults {
		heal = max(heal, f.Time)
	}
	var mutated time.Duration
	last := map[[2]int]int32{}
	for i, k := range t.kind {
		switch {
		case (k == writer || k == both) && h.Type(i) == history.OK:
			mutated = max(mutated, h.Return(i))
		case k == reader && h.Invoke(i) >= heal:
			last[[2]int{h.KeyID(i), h.NodeID(i)}] = int32(i) //nolint:gosec // an op number
		}
	}
	if len(last) == 0 {
		return Rung{Reason: "there are no reads after the last fault"}
	}
	cells := make([][2]int, 0, len(last))
	for c := range last {
		cells = append(cells, c)
	}
	slices.SortFunc(cells, func(a, b [2]int) int { return a[0]*len(h.Nodes()) + a[1] - b[0]*len(h.Nodes()) - b[1] })
	for n := 1; n < len(cells); n++ {
		a, b := last[cells[n-1]], last[cells[n]]
		if cells[n-1][0] != cells[n][0] || t.from[a] == t.from[b] {
			continue
		}
		if min(h.Invoke(int(a)), h.Invoke(int(b))) <= mutated {
			return Rung{Reason: "there are no final reads after the last write"}
		}
		r := t.anomaly(Eventual, fmt.Sprintf("%s, but %s: after the last heal and the last write the nodes do not agree.", t.say(int(a)), t.say(int(b))), int(a), int(b))
		r.Anomaly.Name = "diverged"
		if t.pending() {
			return Rung{Reason: "final reads differ, but a write of unknown fate may have landed between them"}
		}
		return r
	}
	return Rung{Verdict: checker.Valid}
}

// pending says whether a write of unknown fate is in the history.
func (t *table) pending() bool {
	for i := range t.kind {
		if t.h.Type(i) == history.Info && t.h.F(i) != "read" {
			return true
		}
	}
	return false
}
