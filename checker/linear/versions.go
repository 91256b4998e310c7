package linear

import (
	"fmt"
	"sort"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// versionRegressions looks for operations whose versions, the system's own claim
// of an order, contradict real time: an operation that shows a lower version
// than one that had returned before it was invoked, or equal versions that show
// different values. One a key. O(n log n).
func versionRegressions(h *history.History, parts []part, limit int) []checker.Anomaly {
	var found []checker.Anomaly
	if !h.HasVersions() {
		return nil
	}
	for _, pt := range parts {
		if len(found) == limit {
			break
		}
		if a := regression(h, pt.v); a != nil {
			a.Key = pt.name
			found = append(found, *a)
		}
	}
	return found
}

func regression(h *history.History, v view) *checker.Anomaly {
	a, b := backwards(h, v), twofold(h, v)
	if a == nil || b != nil && b.Time < a.Time {
		return b
	}
	return a
}

// twofold looks for two operations that show different values under one version.
// O(n).
func twofold(h *history.History, v view) *checker.Anomaly {
	first := map[int64]int{}
	for k := range v.len() {
		j := v.at(k)
		x := shows(h, j)
		if h.Version(j) <= 0 || x == history.None || x.IsPair() { // pairs are not interned
			continue
		}
		i, ok := first[h.Version(j)]
		if !ok {
			first[h.Version(j)] = j
			continue
		}
		if shows(h, i) != x {
			return &checker.Anomaly{
				Name: "version-regression", Ops: pair(h.Index(i), h.Index(j)), Time: max(h.Done(i), h.Done(j)),
				Explain: fmt.Sprintf("process %d %s with version %d, told at %s; but process %d %s with the same version, told at %s.",
					h.Process(j), model.Describe(h, j), h.Version(j), ms(h.Done(j)), h.Process(i), model.Describe(h, i), ms(h.Done(i))),
			}
		}
	}
	return nil
}

// shows is the value that a register holds under operation i's version, None
// where the operation does not say.
func shows(h *history.History, i int) history.Value {
	if h.Type(i) != history.OK {
		return history.None
	}
	switch h.F(i) {
	case "read":
		return h.Out(i)
	case "write":
		return h.In(i)
	case "cas":
		return gives(h, i)
	}
	return history.None
}

// backwards looks for an operation that shows a lower version than one that had
// returned before it was invoked. O(n log n).
func backwards(h *history.History, v view) *checker.Anomaly {
	var ops []int
	for k := range v.len() {
		if i := v.at(k); h.Version(i) > 0 && h.Type(i) == history.OK {
			ops = append(ops, i)
		}
	}
	if len(ops) < 2 {
		return nil
	}
	byReturn := append([]int(nil), ops...)
	sort.Slice(byReturn, func(a, b int) bool { return h.Done(byReturn[a]) < h.Done(byReturn[b]) })
	highest, next := -1, 0
	for _, i := range ops {
		for next < len(byReturn) && h.Done(byReturn[next]) < h.Invoke(i) {
			if j := byReturn[next]; highest < 0 || h.Version(j) > h.Version(highest) {
				highest = j
			}
			next++
		}
		if highest >= 0 && h.Version(i) < h.Version(highest) {
			return &checker.Anomaly{
				Name: "version-regression", Ops: pair(h.Index(highest), h.Index(i)), Time: h.Done(i),
				Explain: fmt.Sprintf("process %d %s with version %d, asked at %s; but before that, at %s, process %d had been shown version %d.",
					h.Process(i), model.Describe(h, i), h.Version(i), ms(h.Invoke(i)), ms(h.Done(highest)), h.Process(highest), h.Version(highest)),
				Forces: [][2]int{{h.Index(highest), h.Index(i)}},
			}
		}
	}
	return nil
}

func pair(a, b int) []int { return []int{min(a, b), max(a, b)} }
