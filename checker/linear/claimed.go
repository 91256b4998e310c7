package linear

import (
	"cmp"
	"slices"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// byClaim tries the order that the system's own versions claim: writes by their
// versions, each with the reads that show it behind it. Where that order agrees
// with time and the specification explains all results in it, it is a
// linearization, so the history is valid; it is checked like any other proof.
// Where not, nothing is said: the claim may be what is wrong. O(n log n).
//
// Operations of unknown fate carry no version; one is put in where the next
// result needs what it leaves behind, and left out otherwise.
func (p *plan) byClaim(pt part) bool {
	if !p.h.HasVersions() {
		return false
	}
	bytes := int64(pt.v.len()) * (entryBytes + 16)
	if p.b.grow(bytes) != nil {
		return false
	}
	defer p.b.grow(-bytes) //nolint:errcheck // giving back cannot fail
	pr, err := newProblem(pt.v, p.o.Model)
	if err != nil {
		return false
	}
	k, _ := pr.m.(model.Keyed)
	order := make([]int32, len(pr.must))
	for i := range order {
		order[i] = int32(i) //nolint:gosec // bounded by events
	}
	version := func(i int32) int64 { return p.h.Version(int(pr.must[i].id)) }
	slices.SortStableFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(version(a), version(b)), cmp.Compare(rank(pr.must[a].op), rank(pr.must[b].op)))
	})
	givers := map[history.Value][]int32{} // operations of unknown fate, by what they leave behind
	for i, e := range pr.may {
		if k == nil {
			break
		}
		if v, ok := k.Gives(e.op); ok {
			givers[v] = append(givers[v], int32(i)) //nolint:gosec // bounded by events
		}
	}
	claimed := make([]int32, 0, len(order))
	s := pr.m.Init()
	for _, i := range order {
		e := pr.must[i]
		to, ok := pr.m.Step(s, e.op)
		if !ok && k != nil {
			if v, some, _ := k.Wants(pr.m.Init(), e.op); some && len(givers[v]) > 0 {
				g := givers[v][0]
				givers[v] = givers[v][1:]
				claimed = append(claimed, int32(len(pr.must))+g) //nolint:gosec // bounded by events
				if s, ok = pr.m.Step(s, pr.may[g].op); ok {
					to, ok = pr.m.Step(s, e.op)
				}
			}
		}
		if !ok {
			return false
		}
		claimed = append(claimed, i)
		s = to
	}
	return replay(pr, claimed)
}

// rank puts what changes the state before what only looks at it.
func rank(op model.Op) int {
	if op.Pure {
		return 1
	}
	return 0
}
