// Package nemesistest is the conformance kit for faults: it starts them on a
// cluster in memory, in virtual time, and looks whether each bites, heals, and
// leaves nothing behind whatever fails.
package nemesistest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// Run checks a fault.
func Run(t *testing.T, f nemesis.Fault) {
	t.Helper()
	t.Run("described", func(t *testing.T) { described(t, f) })
	t.Run("bites and heals", func(t *testing.T) { forEach(t, f, bites) })
	t.Run("survives failures", func(t *testing.T) { forEach(t, f, survives) })
	t.Run("survives the end", func(t *testing.T) { forEach(t, f, cancelled) })
	t.Run("overlaps itself", func(t *testing.T) { forEach(t, f, overlaps) })
}

func described(t *testing.T, f nemesis.Fault) {
	t.Helper()
	if f.Name == "" || f.Doc == "" || f.Color == "" || f.Start == nil {
		t.Errorf("a fault needs a name, a doc, a colour and a start: %+v", f)
	}
	for _, a := range f.Args {
		if a.Name == "" || a.Doc == "" {
			t.Errorf("an argument needs a name and a doc: %+v", a)
		}
	}
	for _, o := range f.Options {
		if o.Name == "" || o.Doc == "" || o.Kind == "" {
			t.Errorf("an option needs a name, a doc and a kind: %+v", o)
		}
		if _, err := options.Resolve(f.Options, map[string]string{o.Name: o.Default}); err != nil {
			t.Errorf("the default of an option is not allowed: %v", err)
		}
	}
	for n := 1; n <= 9; n++ {
		if f.Deck == nil {
			break
		}
		for _, card := range f.Deck(n, true) {
			if _, err := nemesis.Parse([]nemesis.Fault{f}, f.Name+":"+card, names(n), nil); err != nil {
				t.Errorf("the deck for %d nodes has what is not allowed: %v", n, err)
			}
		}
	}
}

func names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("n%d", i+1))
	}
	return out
}

// scene is one fault with one argument on a cluster of some size.
type scene struct {
	fault nemesis.Fault
	spec  nemesis.Spec
	nodes int
	seed  uint64
}

func (s scene) String() string { return fmt.Sprintf("%s on %d", s.spec, s.nodes) }

// forEach runs check for every argument that the fault takes.
func forEach(t *testing.T, f nemesis.Fault, check func(*testing.T, scene)) {
	t.Helper()
	ran := false
	for _, n := range []int{1, 2, 3, 4, 5, 7} {
		for _, arg := range arguments(f, n) {
			specs, err := nemesis.Parse([]nemesis.Fault{f}, arg, names(n), nil)
			if err != nil {
				continue // refused for that number of nodes
			}
			ran = true
			check(t, scene{fault: f, spec: specs[0], nodes: n, seed: uint64(n)})
		}
	}
	if !ran {
		t.Error("the fault refuses every argument for 1 to 7 nodes")
	}
}

func arguments(f nemesis.Fault, n int) []string {
	args := []string{f.Name}
	for _, a := range f.Args {
		args = append(args, f.Name+":"+a.Name)
	}
	if f.Names && n > 1 {
		args = append(args, f.Name+":n1")
	}
	if f.Groups && n > 1 {
		args = append(args, f.Name+":n1|"+strings.Join(names(n)[1:], "+"))
	}
	return args
}

// play is one run of a plan in virtual time.
type play struct {
	cluster *Cluster
	workers *Workers
	plan    nemesis.Plan
	events  []history.Op
	err     error
}

// run executes steps of the scene; prepare may change the cluster before, and
// cancel ends the run at that time unless it is 0.
func (s scene) run(t *testing.T, steps []nemesis.Step, cancel time.Duration, prepare func(*Cluster)) play {
	t.Helper()
	var p play
	_, err := Virtual(func(rt cluster.Runtime) {
		p.cluster, p.workers = NewCluster(rt, s.nodes, s.seed), NewWorkers()
		if prepare != nil {
			prepare(p.cluster)
		}
		env := nemesis.Env{
			Faults: []nemesis.Fault{s.fault}, Cluster: p.cluster, Members: p.cluster, Workers: p.workers,
			Record: func(op history.Op) { p.events = append(p.events, op) },
			Leader: func(context.Context) (string, error) { return "n1", nil },
		}
		ctx := context.Background()
		if cancel > 0 {
			c, stop := rt.WithTimeout(ctx, cancel)
			defer stop()
			ctx = c
		}
		p.plan, p.err = nemesis.Run(ctx, rt, nemesis.Plan{Steps: steps}, env)
	})
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return p
}

func (s scene) step(id string, at, lasts time.Duration) nemesis.Step {
	arg := s.spec.Arg
	if arg == "" && s.fault.Deck != nil {
		arg = s.fault.Deck(s.nodes, true)[0]
	}
	return nemesis.Step{ID: id, Fault: s.fault.Name, Arg: arg, At: at, For: lasts, Opts: s.spec.Options, Seed: s.seed}
}

// whole looks whether everything is as it was, and every start has its stop.
func (p play) whole(t *testing.T, what string) {
	t.Helper()
	if b := p.cluster.Broken(); b != "" {
		t.Errorf("%s: left behind: %s", what, b)
	}
	if p.workers.Held() {
		t.Errorf("%s: workers are still stalled", what)
	}
	open := map[string]string{}
	for _, op := range p.events {
		v, _ := op.Value.(map[string]any)
		id, _ := v["id"].(string)
		phase, _ := v["phase"].(string)
		switch {
		case op.Process != history.Nemesis || op.F == "" || id == "":
			t.Errorf("%s: a malformed event %+v", what, op)
		case phase == "start" && op.Type == history.OK:
			open[id] = phase
		case phase == "gone":
			delete(open, id)
		}
	}
	if len(open) > 0 {
		t.Errorf("%s: started and never seen gone: %v", what, open)
	}
}

func bites(t *testing.T, s scene) {
	t.Helper()
	p := s.run(t, []nemesis.Step{s.step("a", time.Second, 2*time.Second)}, 0, nil)
	p.whole(t, s.String())
	r := p.plan.Steps[0].Done
	switch {
	case p.err != nil || r == nil:
		t.Errorf("%s: %v", s, p.err)
	case !r.Bit || !r.Healed || len(r.Targets) == 0 || r.Evidence == nil:
		t.Errorf("%s: not proven: %+v", s, r)
	case r.Start < time.Second || r.End < r.Start+time.Second:
		t.Errorf("%s: lasted from %v to %v", s, r.Start, r.End)
	}
}

// survives lets each call fail in turn: once, and from then on for a while.
func survives(t *testing.T, s scene) {
	t.Helper()
	steps := []nemesis.Step{s.step("a", time.Second, 2*time.Second)}
	calls := s.run(t, steps, 0, nil).cluster.Calls()
	for k := 1; k <= calls; k++ {
		p := s.run(t, steps, 0, func(c *Cluster) { c.FailAt(k) })
		p.whole(t, fmt.Sprintf("%s, call %d failing", s, k))
		p = s.run(t, steps, 0, func(c *Cluster) { c.FailAt(k, k+1) })
		p.whole(t, fmt.Sprintf("%s, calls %d and %d failing", s, k, k+1))
	}
}

// cancelled ends the run at many moments.
func cancelled(t *testing.T, s scene) {
	t.Helper()
	steps := []nemesis.Step{s.step("a", 10*time.Millisecond, 200*time.Millisecond)}
	for at := time.Millisecond; at < 300*time.Millisecond; at += 7 * time.Millisecond {
		p := s.run(t, steps, at, nil)
		p.whole(t, fmt.Sprintf("%s, ended after %v", s, at))
		if p.err != nil && !errors.Is(p.err, context.DeadlineExceeded) {
			t.Errorf("%s, ended after %v: %v", s, at, p.err)
		}
	}
}

// overlaps starts the fault twice, the second within the first or across its end.
func overlaps(t *testing.T, s scene) {
	t.Helper()
	for _, second := range []nemesis.Step{
		s.step("b", 1500*time.Millisecond, 500*time.Millisecond),
		s.step("b", 1500*time.Millisecond, 3*time.Second),
		s.step("b", time.Second, 2*time.Second),
	} {
		second.Seed++
		p := s.run(t, []nemesis.Step{s.step("a", time.Second, 2*time.Second), second}, 0, nil)
		p.whole(t, s.String()+" twice")
		if p.err != nil || slices.ContainsFunc(p.plan.Reports(), func(r nemesis.Report) bool { return !r.Bit || !r.Healed }) {
			t.Errorf("%s twice: %v %+v", s, p.err, p.plan.Reports())
		}
	}
}
