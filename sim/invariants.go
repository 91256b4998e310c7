package sim

import (
	"context"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/stores/replica"
)

// Invariants asserts what must hold of all nodes at every step.
type Invariants interface {
	// Started is told of a new process before its first step.
	Started(name string, r replica.Replica)
	// Stepped looks at a node after each of its steps, and returns what is broken.
	Stepped(name string, r replica.Replica) *Violation
}

// Violation is a broken invariant.
type Violation struct {
	Name    string
	Nodes   []string
	Time    time.Duration // of the world
	Explain string
}

// violationsMax bounds those that are kept: the first tells.
const violationsMax = 16

func (w *World) violated(v Violation) {
	v.Time = w.now
	if len(w.broken) < violationsMax {
		w.broken = append(w.broken, v)
	}
	if n := w.index[v.Nodes[0]]; n < len(w.nodes) {
		w.nodes[n].logf("%s is broken: %s", v.Name, v.Explain)
	}
}

// Checker reports the broken invariants as anomalies of the run, each name once.
func (w *World) Checker() checker.Checker {
	return checker.Func("invariants", func(_ context.Context, h *history.History) checker.Result {
		res := checker.Result{Verdict: checker.Valid, Engine: "simulator", Ops: h.Len()}
		seen := map[string]bool{}
		for _, v := range w.broken {
			if seen[v.Name] {
				continue
			}
			seen[v.Name] = true
			res.Verdict = checker.Invalid
			res.Anomalies = append(res.Anomalies, checker.Anomaly{Name: v.Name, Explain: v.Explain})
		}
		return res
	})
}
