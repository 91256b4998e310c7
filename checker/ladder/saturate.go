package ladder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// graph is an order type's edges, as the predecessors of each node. Nodes below n
// are operations; those of writes-follow-reads also have one for what a process
// knew after each of its reads.
type graph struct {
	first []int32 // predecessors of node v are preds[first[v]:first[v+1]]
	preds []int32
	extra map[int32][]int32 // those of one process' view
}

func build(nodes int, edges [][2]int32) *graph {
	g := &graph{first: make([]int32, nodes+1), preds: make([]int32, len(edges))}
	for _, e := range edges {
		g.first[e[1]+1]++
	}
	for v := range nodes {
		g.first[v+1] += g.first[v]
	}
	at := slices.Clone(g.first)
	for _, e := range edges {
		g.preds[at[e[1]]] = e[0]
		at[e[1]]++
	}
	return g
}

func (g *graph) nodes() int { return len(g.first) - 1 }

func (g *graph) each(v int32, visit func(u int32)) {
	for _, u := range g.preds[g.first[v]:g.first[v+1]] {
		visit(u)
	}
	for _, u := range g.extra[v] {
		visit(u)
	}
}

// cycle finds one among what the given nodes rest on.
func (g *graph) cycle(roots []int32) []int32 {
	const grey, black = 1, 2
	color := make([]uint8, g.nodes())
	type frame struct {
		v    int32
		next int
	}
	pred := func(v int32, i int) (int32, bool) {
		n := int(g.first[v+1] - g.first[v])
		if i < n {
			return g.preds[int(g.first[v])+i], true
		}
		if x := g.extra[v]; i-n < len(x) {
			return x[i-n], true
		}
		return 0, false
	}
	for _, r := range roots {
		if color[r] != 0 {
			continue
		}
		stack := []frame{{r, 0}}
		color[r] = grey
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			u, ok := pred(f.v, f.next)
			f.next++
			switch {
			case !ok:
				color[f.v] = black
				stack = stack[:len(stack)-1]
			case color[u] == grey:
				var c []int32
				for _, s := range slices.Backward(stack) {
					c = append(c, s.v)
					if s.v == u {
						return c
					}
				}
			case color[u] == 0:
				color[u] = grey
				stack = append(stack, frame{u, 0})
			}
		}
	}
	return nil
}

// base are the edges of a rung that every process' view contains.
func (t *table) base(rung string) *graph {
	n := int32(len(t.kind)) //nolint:gosec // bounded by events
	var edges [][2]int32
	nodes := int(n)
	if rung == WritesFollowReads {
		nodes = 2 * int(n)
	}
	for _, ops := range t.sessions {
		last := int32(-1)
		for _, i := range ops {
			switch rung {
			case Causal, Sequential:
				if last >= 0 {
					edges = append(edges, [2]int32{last, i})
				}
				if t.reads(i) && t.from[i] >= 0 {
					edges = append(edges, [2]int32{t.from[i], i})
				}
				last = i
			case PRAM, MonotonicWrites:
				if t.writes(i) {
					if last >= 0 {
						edges = append(edges, [2]int32{last, i})
					}
					last = i
				}
			case WritesFollowReads: // node n+i is what the process knew after its read i
				if t.reads(i) {
					if last >= 0 {
						edges = append(edges, [2]int32{last, n + i})
					}
					if t.from[i] >= 0 {
						edges = append(edges, [2]int32{t.from[i], n + i})
					}
					last = n + i
				}
				if t.writes(i) && last >= 0 {
					edges = append(edges, [2]int32{last, i})
				}
			}
		}
	}
	return build(nodes, edges)
}

// saturate decides causal, pram, monotonic-writes and writes-follow-reads, whose
// orders all contain each process' reads in their order.
//
// For one process: start from the rung's edges, and reads-from for its reads.
// While some write w1 of a key reaches a read of w2 of that key, add w1 → w2:
// every legal order has it. The rung holds for the process iff in the end there
// is no cycle and no write reaches a read of its key's initial value
// (Bouajjani et al., §5; their proof uses only that the process' reads are
// totally ordered and that the edges are transitive). As reads are totally
// ordered, a write reaches read r iff the first read that it reaches does not
// come after r, so one number a write is enough, found by walking back from each
// read in turn; each write needs an edge only to the first read of its key that
// it must precede, as that read's source has edges to the later ones. Edges can
// let writes reach earlier reads: repeat until there are no new ones. O(n) a
// process and round; processes that fit into a likely order need none.
func (t *table) saturate(ctx context.Context, rung string) Rung {
	g := t.base(rung)
	all := make([]int32, g.nodes())
	for v := range all {
		all[v] = int32(v) //nolint:gosec // bounded by events
	}
	if c := g.cycle(all); c != nil {
		return t.cyclic(rung, c, -1)
	}
	enter := make([]int32, g.nodes())
	for s, ops := range t.sessions {
		if ctx.Err() != nil {
			return Rung{Reason: fmt.Sprintf("the time limit was reached; no violation in the views of the first %d of %d processes", s, len(t.sessions))}
		}
		if t.fitsCausal(ops) {
			continue
		}
		v := view{t: t, g: g, enter: enter, rung: rung}
		if r := v.judge(ctx, ops); r.Verdict != checker.Valid {
			return r
		}
	}
	g.extra = nil
	return Rung{Verdict: checker.Valid}
}

// view is one process' total order of all writes and its own reads.
type view struct {
	t       *table
	g       *graph
	rung    string
	reads   []int32
	enter   []int32 // by node, 1 + the number of the first read that it reaches; 0 for none
	visited []int32
}

func (v *view) judge(ctx context.Context, ops []int32) Rung {
	t := v.t
	v.g.extra = map[int32][]int32{}
	last := int32(-1)
	for _, i := range ops {
		r := t.reads(i)
		if r {
			v.reads = append(v.reads, i)
			if t.from[i] >= 0 && v.rung != Causal {
				v.g.extra[i] = append(v.g.extra[i], t.from[i])
			}
		}
		if v.rung == PRAM || r && v.rung != Causal {
			if last >= 0 {
				v.g.extra[i] = append(v.g.extra[i], last)
			}
			last = i
		}
	}
	if len(v.reads) == 0 {
		return Rung{Verdict: checker.Valid}
	}
	for {
		v.walk()
		added, r := v.add()
		if r.Verdict == checker.Invalid {
			v.clear()
			return r
		}
		if !added {
			break
		}
		if ctx.Err() != nil {
			v.clear()
			return Rung{Reason: "the time limit was reached"}
		}
		v.clear()
	}
	v.clear()
	if c := v.g.cycle(v.reads); c != nil {
		return t.cyclic(v.rung, c, t.h.Process(int(v.reads[0])))
	}
	return Rung{Verdict: checker.Valid}
}

func (v *view) clear() {
	for _, u := range v.visited {
		v.enter[u] = 0
	}
	v.visited = v.visited[:0]
}

// walk finds for every node the first read that it reaches.
func (v *view) walk() {
	for n, r := range v.reads {
		if v.enter[r] != 0 {
			continue
		}
		v.enter[r] = int32(n + 1) //nolint:gosec // bounded by events
		from := len(v.visited)
		v.visited = append(v.visited, r)
		for from < len(v.visited) {
			u := v.visited[from]
			from++
			v.g.each(u, func(w int32) {
				if v.enter[w] == 0 {
					v.enter[w] = int32(n + 1) //nolint:gosec // bounded by events
					v.visited = append(v.visited, w)
				}
			})
		}
	}
}

// add adds the edges that the reads force.
func (v *view) add() (bool, Rung) {
	t := v.t
	byKey := map[int][]int32{} // writes in the past, by the read that they first reach
	for _, u := range v.visited {
		if int(u) < len(t.kind) && t.writes(u) {
			k := t.h.KeyID(int(u))
			byKey[k] = append(byKey[k], u)
		}
	}
	next, top := map[int]int{}, map[int]int32{}
	added := false
	edge := func(a, b int32) {
		if a != b && !slices.Contains(v.g.extra[b], a) && !v.known(a, b) {
			v.g.extra[b] = append(v.g.extra[b], a)
			added = true
		}
	}
	for n, r := range v.reads {
		k, w := t.h.KeyID(int(r)), t.from[r]
		list := byKey[k]
		for ; next[k] < len(list) && int(v.enter[list[next[k]]]) <= n+1; next[k]++ {
			u := list[next[k]]
			if u == r { // a compare-and-set comes before its own write
				if w != initial {
					edge(w, u)
				}
				continue
			}
			if w == initial {
				return false, t.anomaly(v.rung, fmt.Sprintf("%s; but what the process had seen before rests on %s.", t.say(int(r)), t.say(int(u))), int(r), int(u))
			}
			edge(u, w)
		}
		o, seen := top[k]
		switch {
		case seen && w == initial:
			return false, t.anomaly(v.rung, fmt.Sprintf("%s; but before, %s.", t.say(int(r)), t.say(int(o))), int(r), int(o))
		case seen:
			edge(o, w)
		}
		if w == initial {
			if t.writes(r) {
				top[k] = r
			}
			continue
		}
		top[k] = w
		if t.writes(r) {
			top[k] = r
		}
	}
	return added, Rung{}
}

func (v *view) known(a, b int32) bool {
	return slices.Contains(v.g.preds[v.g.first[b]:v.g.first[b+1]], a)
}

// cyclic is the anomaly of a cycle, each of whose nodes must come after the next.
func (t *table) cyclic(rung string, c []int32, p history.Process) Rung {
	var ops []int
	var list []string
	n := int32(len(t.kind)) //nolint:gosec // bounded by events
	for _, v := range slices.Backward(c) {
		i := int(v % max(1, n))
		ops = append(ops, i)
		if len(list) < 8 {
			list = append(list, t.say(i))
		}
		if t.reads(int32(i)) && t.from[i] >= 0 { //nolint:gosec // an op number
			ops = append(ops, int(t.from[i]))
		}
	}
	more := ""
	if len(c) > len(list) {
		more = fmt.Sprintf(" (and %d more)", len(c)-len(list))
	}
	whose := ""
	if p != -1 {
		whose = fmt.Sprintf("as process %v saw it, ", p)
	}
	return t.anomaly(rung, whose+fmt.Sprintf("each of these must come before the next, and the last before the first: %s%s.", strings.Join(list, "; "), more), ops...)
}
