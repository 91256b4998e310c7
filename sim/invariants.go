package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// LivenessBound is how soon after the last fault was taken back every node must
// serve again: detection of a dead leader, an election or two, and catching up.
const LivenessBound = 5 * time.Second

// liveness is when faults were last taken back, and who has served since.
type liveness struct {
	healed time.Duration
	served map[int]time.Duration // by node: the first success since
}

// healed notes that a fault was taken back.
func (w *World) healed() { w.live = liveness{healed: w.now, served: map[int]time.Duration{}} }

// served notes that a node has carried out a client's request.
func (w *World) served(node int) {
	if _, ok := w.live.served[node]; !ok && w.live.served != nil {
		w.live.served[node] = w.now
	}
}

// stuck are the nodes that did not serve in time after the last heal. The runner
// asks every node then, again and again.
func (w *World) stuck() (late []string) {
	if w.now < w.live.healed+LivenessBound {
		return nil
	}
	for _, n := range w.nodes {
		at, ok := w.live.served[n.i]
		if !ok || at > w.live.healed+LivenessBound {
			late = append(late, n.name)
		}
	}
	return late
}

// Checker reports the broken invariants as anomalies of the run, each name once.
func (w *World) Checker() checker.Checker {
	return checker.Func("invariants", func(_ context.Context, h *history.History) checker.Result {
		res := checker.Result{Verdict: checker.Valid, Engine: "simulator", Ops: h.Len()}
		seen := map[string]bool{}
		all := w.broken
		if late := w.stuck(); len(late) > 0 {
			all = append(slices.Clone(all), Violation{Name: "liveness", Explain: fmt.Sprintf(
				"%s did not serve within %v of the last heal", strings.Join(late, ", "), LivenessBound)})
		}
		for _, v := range all {
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
