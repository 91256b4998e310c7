package all_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/nemesis/all"
	"github.com/faultline-dev/faultline/nemesis/nemesistest"
)

// TestEveryFolder: a fault that is not in the list cannot be asked for.
func TestEveryFolder(t *testing.T) {
	source, err := os.ReadFile("all.go")
	if err != nil {
		t.Fatal(err)
	}
	folders, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !f.IsDir() || slices.Contains([]string{"all", "nemesistest", "planfile", "testdata"}, f.Name()) {
			continue
		}
		if !strings.Contains(string(source), "/nemesis/"+f.Name()+`"`) {
			t.Errorf("nemesis/%s is not in nemesis/all: add it", f.Name())
		}
	}
	seen := map[string]bool{}
	for _, f := range all.All() {
		if seen[f.Name] {
			t.Errorf("two faults are called %s", f.Name)
		}
		seen[f.Name] = true
	}
}

func nodes(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("n%d", i+1))
	}
	return out
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		text  string
		nodes int
		want  string // of the error; "" for none
	}{
		{"", 3, ""},
		{"none", 1, ""},
		{"partition,kill,pause", 3, ""},
		{"partition:leader, kill:majority", 3, ""},
		{"partition:n1+n2|n3", 3, ""},
		{"partition:n1", 3, ""},
		{"kill:n1+n3", 3, ""},
		{"partition:one|halves", 3, "is no node"},
		{"rolling,restart:all,delay,loss:one,duplicate,reorder,corrupt,rate,pause:clients,partition:clients", 3, ""},
		{"partition:majorities-ring,partition:bridge,partition:one-way,partition:random", 3, ""},
		{"partition:clients", 1, ""},
		{"kil", 3, `unknown fault "kil"; there are: clock, corrupt, delay, disk, duplicate, kill, loss, member, partition, pause, rate, reorder, restart, rolling, none`},
		{"member", 1, "not possible with 1 nodes"},
		{"member:remove,member:replace", 3, ""},
		{"disk:melted", 3, "it takes lose-unsynced, torn"},
		{"partition,none", 3, "stands alone"},
		{"partition,,kill", 3, "unknown fault"},
		{"partition:", 3, "nothing follows the colon"},
		{"kill,kill", 3, "asked for twice"},
		{"partition:majority", 2, "use at least 3 with --nodes"},
		{"kill:majority", 2, "use at least 3 with --nodes"},
		{"pause:minority", 2, "no minority"},
		{"kill:followers", 1, "no followers"},
		{"partition", 1, "not possible with 1 nodes"},
		{"delay", 1, "not possible with 1 nodes"},
		{"partition:bridge", 2, "at least 3 nodes"},
		{"kill:n4", 3, `"n4" is no node (n1, n2, n3)`},
		{"kill:n1|n2", 3, "takes no groups"},
		{"kill:n1+n1", 3, "n1 comes twice"},
		{"partition:n1+n2+n3", 3, "all nodes"},
		{"rolling:one", 3, "it takes nothing"},
		{"partition:minority", 3, "it takes one, halves, majority"},
	} {
		_, err := nemesis.Parse(all.All(), tc.text, nodes(tc.nodes), nil)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%q with %d nodes: %v", tc.text, tc.nodes, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%q with %d nodes: %v; want %q", tc.text, tc.nodes, err, tc.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for given, want := range map[string]string{
		"partition.interval=3s": "", "partition.for=2s": "", "partition.way=in": "", "kill.keep=majority": "",
		"partition.interval=3":                 "a duration like",
		"partition.way=up":                     "expected one of any, in, out",
		"partition.nope=1":                     `unknown option "nope"`,
		"pause.for=2s":                         "pause is not among the faults",
		"nope.for=2s":                          `unknown fault "nope"`,
		"partition.interval=1ms":               "at least 10ms",
		"partition.keep=majority":              "partition:majorities-ring: option keep=majority: majorities-ring of 3 nodes leaves no majority",
		"partition.break=quorum":               "partition:bridge: option break=quorum: bridge of 3 nodes leaves a majority",
		"kill.keep=majority kill.break=quorum": "give one",
	} {
		m := map[string]string{}
		for o := range strings.FieldsSeq(given) {
			k, v, _ := strings.Cut(o, "=")
			m[k] = v
		}
		_, err := nemesis.Parse(all.All(), "partition,kill,partition:majorities-ring,partition:bridge", nodes(3), m)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %q", given, err, want)
		}
	}
}

func plan(t *testing.T, text string, n int, seed uint64, d time.Duration, given map[string]string) nemesis.Plan {
	t.Helper()
	specs, err := nemesis.Parse(all.All(), text, nodes(n), given)
	if err != nil {
		t.Fatal(err)
	}
	p, err := nemesis.NewPlan(nemesis.Request{Faults: all.All(), Specs: specs, Nodes: n, Leader: true, Seed: seed, Time: d})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPlans: each fault starts at least once, lasts, and lies within the quiet
// ends; the same seed gives the same plan, another one another.
func TestPlans(t *testing.T) {
	texts := []string{"partition", "partition,kill", "partition,kill,pause", "kill:one,kill:leader,pause,partition:one-way,delay,loss,rolling", "pause:clients"}
	for _, d := range []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, time.Minute, time.Hour} {
		for _, text := range texts {
			for seed := range uint64(20) {
				p := plan(t, text, 5, seed, d, nil)
				if q := plan(t, text, 5, seed, d, nil); !reflect.DeepEqual(p, q) {
					t.Fatalf("%s, seed %d: two plans", text, seed)
				}
				asked := map[string]int{}
				for _, s := range p.Steps {
					asked[s.Fault]++
					if s.At < min(time.Second, d/10) || s.At+s.For > d-min(2*time.Second, d/10) || s.For < min(500*time.Millisecond, d/20) {
						t.Errorf("%s in %v, seed %d: %s from %v for %v", text, d, seed, s.ID, s.At, s.For)
					}
				}
				for part := range strings.SplitSeq(text, ",") {
					name, _, _ := strings.Cut(part, ":")
					if asked[name] == 0 {
						t.Errorf("%s in %v, seed %d: no %s", text, d, seed, name)
					}
				}
			}
			if a, b := plan(t, text, 5, 1, d, nil), plan(t, text, 5, 2, d, nil); reflect.DeepEqual(a.Steps, b.Steps) {
				t.Errorf("%s: seeds 1 and 2 give the same plan", text)
			}
		}
	}
	p := plan(t, "partition,kill", 3, 1, 30*time.Second, map[string]string{"partition.interval": "3s", "partition.for": "2s"})
	n := 0
	for _, s := range p.Steps {
		if s.Fault == "partition" {
			n++
			if s.For != 2*time.Second {
				t.Errorf("partition.for=2s gives %v", s.For)
			}
		}
	}
	if n < 8 {
		t.Errorf("partition.interval=3s gives %d partitions in 30 s", n)
	}
}

func TestPlanRoundTrip(t *testing.T) {
	p := plan(t, "partition,kill,pause,delay", 3, 1<<63+5, 20*time.Second, nil)
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var q nemesis.Plan
	if err := json.Unmarshal(b, &q); err != nil {
		t.Fatal(err)
	}
	for i := range p.Steps {
		if len(p.Steps[i].Opts) == 0 {
			p.Steps[i].Opts = nil
		}
	}
	if !reflect.DeepEqual(p, q) {
		t.Errorf("got  %+v\nwant %+v", q, p)
	}
	if err := json.Unmarshal([]byte(`{"format":1,"seeed":1}`), &q); err == nil {
		t.Error("an unknown field was accepted")
	}
}

// world is one execution in virtual time.
type world struct {
	plan    nemesis.Plan
	cluster *nemesistest.Cluster
	events  []history.Op
	err     error
}

func execute(t *testing.T, n int, seed uint64, p nemesis.Plan, cancel time.Duration, fail ...int) world {
	t.Helper()
	var w world
	served := 0
	_, err := nemesistest.Virtual(func(rt cluster.Runtime) {
		w.cluster = nemesistest.NewCluster(rt, n, seed)
		w.cluster.FailAt(fail...)
		ctx := context.Background()
		if cancel > 0 {
			c, stop := rt.WithTimeout(ctx, cancel)
			defer stop()
			ctx = c
		}
		w.plan, w.err = nemesis.Run(ctx, rt, p, nemesis.Env{
			Faults: all.All(), Cluster: w.cluster, Members: w.cluster, Workers: nemesistest.NewWorkers(),
			Served: func() int {
				if s, err := w.cluster.State(ctx, "n1"); err == nil && s == cluster.Running {
					served++
				}
				return served
			},
			Record: func(op history.Op) {
				op.Time = rt.Now()
				w.events = append(w.events, op)
			},
			Leader: func(context.Context) (string, error) {
				if rt.Now()%(3*time.Second) < time.Second {
					return "", fmt.Errorf("an election is going on")
				}
				return "n1", nil
			},
		})
	})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	return w
}

// randomPlan has overlapping steps of all faults at random times.
func randomPlan(n int, seed uint64) nemesis.Plan {
	rng := rand.New(rand.NewPCG(seed, 3))
	p := nemesis.Plan{Format: 1, Seed: seed}
	faults := all.All()
	for len(p.Steps) < 1+rng.IntN(12) {
		f := faults[rng.IntN(len(faults))]
		arg := f.Name
		if len(f.Args) > 0 {
			arg += ":" + f.Args[rng.IntN(len(f.Args))].Name
		}
		specs, err := nemesis.Parse(faults, arg, nodes(n), nil)
		if err != nil {
			continue
		}
		delete(specs[0].Options, "for")
		delete(specs[0].Options, "interval")
		if f.Name == "restart" && rng.IntN(2) == 0 {
			specs[0].Options["every"] = "300ms"
		}
		p.Steps = append(p.Steps, nemesis.Step{
			ID: fmt.Sprintf("s%d", len(p.Steps)), Fault: f.Name, Arg: specs[0].Arg, Opts: specs[0].Options,
			At:  time.Duration(rng.IntN(5000)) * time.Millisecond,
			For: time.Duration(1+rng.IntN(3000)) * time.Millisecond, Seed: rng.Uint64(),
		})
	}
	return p
}

// TestRandomPlansHeal: whatever overlaps, everything is whole at the end, and each
// step's fault was gone although others went on.
func TestRandomPlansHeal(t *testing.T) {
	for seed := range uint64(400) {
		n := 1 + int(seed%7)
		p := randomPlan(n, seed)
		if err := p.Check(all.All(), nodes(n)); err != nil {
			t.Fatal(err)
		}
		w := execute(t, n, seed, p, 0)
		if b := w.cluster.Broken(); b != "" || w.err != nil {
			t.Fatalf("seed %d: left behind: %q; %v", seed, b, w.err)
		}
		for _, s := range w.plan.Steps {
			if s.Done == nil || !s.Done.Healed || s.Done.End < s.Done.Start {
				t.Errorf("seed %d: %s: %+v", seed, s.ID, s.Done)
			}
		}
	}
}

// TestRandomPlansEndAnywhere: cancelled at any time, with calls failing, nothing
// is left behind.
func TestRandomPlansEndAnywhere(t *testing.T) {
	for seed := range uint64(300) {
		n := 1 + int(seed%7)
		rng := rand.New(rand.NewPCG(seed, 4))
		fail := []int{1 + rng.IntN(20), 1 + rng.IntN(20), 1 + rng.IntN(20)}
		w := execute(t, n, seed, randomPlan(n, seed), time.Duration(1+rng.IntN(6000))*time.Millisecond, fail...)
		if b := w.cluster.Broken(); b != "" {
			t.Fatalf("seed %d: left behind: %q; %v", seed, b, w.err)
		}
	}
}

// TestDeterministic: in virtual time the same plan gives the same events.
func TestDeterministic(t *testing.T) {
	for seed := range uint64(30) {
		a, b := execute(t, 5, seed, randomPlan(5, seed), 0), execute(t, 5, seed, randomPlan(5, seed), 0)
		if !reflect.DeepEqual(a.events, b.events) || !reflect.DeepEqual(a.plan, b.plan) {
			t.Fatalf("seed %d: two executions of one plan differ", seed)
		}
	}
}

// TestQuorum: keep=majority never takes the quorum together with other faults,
// break=quorum always does.
func TestQuorum(t *testing.T) {
	for seed := range uint64(100) {
		step := func(id string, at, lasts time.Duration, arg string, o map[string]string) nemesis.Step {
			return nemesis.Step{ID: id, Fault: "kill", Arg: arg, At: at, For: lasts, Opts: o, Seed: seed}
		}
		keep := map[string]string{"keep": "majority"}
		w := execute(t, 5, seed, nemesis.Plan{Steps: []nemesis.Step{
			step("a", 0, 2*time.Second, "one", nil),
			step("b", time.Second, 2*time.Second, "all", keep),
			step("c", 1400*time.Millisecond, 400*time.Millisecond, "one", keep),
			step("d", 1500*time.Millisecond, time.Second, "one", keep),
		}}, 0)
		r := w.plan.Reports()
		if w.err != nil || len(r[1].Targets) != 1 || r[1].Targets[0] == r[0].Targets[0] {
			t.Errorf("seed %d: %v kept no majority of 5 besides %v; %v", seed, r[1].Targets, r[0].Targets, w.err)
		}
		if len(r[2].Targets) != 0 || !strings.Contains(r[2].Error, "without losing the majority") {
			t.Errorf("seed %d: a third of five was taken: %+v", seed, r[2])
		}
		if len(r[3].Targets) != 1 || r[3].Start < r[0].End {
			t.Errorf("seed %d: what may start when %v is healed did not wait for it: %+v", seed, r[0].Targets, r[3])
		}
		w = execute(t, 5, seed, nemesis.Plan{Steps: []nemesis.Step{step("a", 0, 2*time.Second, "one", map[string]string{"break": "quorum"})}}, 0)
		if r := w.plan.Reports(); len(r[0].Targets) != 3 {
			t.Errorf("seed %d: break=quorum took %v of 5", seed, r[0].Targets)
		}
	}
}

// TestKeepMajority: at no moment do faults that are to keep the majority take it away
// together, however they overlap, while members leave and come back.
func TestKeepMajority(t *testing.T) {
	for seed := range uint64(300) {
		n := 3 + int(seed%5)
		rng := rand.New(rand.NewPCG(seed, 5))
		var p nemesis.Plan
		for i := range 2 + rng.IntN(8) {
			s := nemesis.Step{
				ID: fmt.Sprint("s", i), Seed: rng.Uint64(), At: time.Duration(rng.IntN(3000)) * time.Millisecond,
				For: time.Duration(1+rng.IntN(3000)) * time.Millisecond, Opts: map[string]string{"keep": "majority"},
			}
			switch s.Fault = []string{"kill", "pause", "restart", "partition", "member"}[rng.IntN(5)]; s.Fault {
			case "partition":
				s.Arg = []string{"one", "halves", "majority", "leader", "one-way", "majorities-ring", "bridge", "random", "n1+n3|n2"}[rng.IntN(9)]
				if _, err := s.Check(all.All(), nodes(n)); err != nil {
					s.Arg = "random"
				}
			case "member":
				s.Arg, s.Opts = []string{"remove", "replace"}[rng.IntN(2)], map[string]string{"on": "minority", "every": "300ms"}
			case "restart":
				s.Opts["every"], s.Opts["down"] = "300ms", "100ms"
				fallthrough
			default:
				s.Arg = []string{"one", "minority", "majority", "leader", "followers", "all", "random"}[rng.IntN(7)]
			}
			p.Steps = append(p.Steps, s)
		}
		var lost string
		_, err := nemesistest.Virtual(func(rt cluster.Runtime) {
			c := nemesistest.NewCluster(rt, n, seed)
			over := false
			wait := rt.Go(func() {
				for !over && lost == "" && rt.Sleep(context.Background(), time.Millisecond) == nil {
					if !c.Quorum() {
						lost = fmt.Sprintf("after %v: %s", rt.Now(), c.Broken())
					}
				}
			})
			if _, err := nemesis.Run(context.Background(), rt, p, nemesis.Env{Faults: all.All(), Cluster: c, Members: c}); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			over = true
			wait()
		})
		if err != nil || lost != "" {
			t.Errorf("seed %d, %d nodes: no majority %s; %v", seed, n, lost, err)
		}
	}
}

// TestBreakQuorum: whatever a partition takes, under break=quorum no majority is left,
// also of those that it took; and what cannot be is refused.
func TestBreakQuorum(t *testing.T) {
	refused := map[string]string{}
	for n := 3; n <= 7; n++ {
		for _, arg := range []string{"one", "halves", "majority", "leader", "one-way", "majorities-ring", "bridge", "random", "n1", "n2|n3", "n1|n2|n3"} {
			for seed := range uint64(20) {
				s := nemesis.Step{ID: "a", Fault: "partition", Arg: arg, At: time.Second, For: 5 * time.Second, Seed: seed, Opts: map[string]string{"break": "quorum"}}
				if _, err := s.Check(all.All(), nodes(n)); err != nil {
					refused[fmt.Sprint(arg, n)] = err.Error()
					continue
				}
				stood := true
				_, err := nemesistest.Virtual(func(rt cluster.Runtime) {
					c := nemesistest.NewCluster(rt, n, seed)
					wait := rt.Go(func() {
						_ = rt.Sleep(context.Background(), 4*time.Second)
						stood = c.Quorum()
					})
					_, _ = nemesis.Run(context.Background(), rt, nemesis.Plan{Steps: []nemesis.Step{s}}, nemesis.Env{Faults: all.All(), Cluster: c})
					wait()
				})
				if stood || err != nil {
					t.Errorf("%s of %d nodes, seed %d: a majority stands; %v", arg, n, seed, err)
				}
			}
		}
	}
	for _, want := range []string{"bridge3", "bridge5", "bridge6", "majorities-ring5", "n2|n33", "n1|n2|n35"} {
		if !strings.Contains(refused[want], "option break=quorum: ") {
			t.Errorf("%s was not refused; refused are %v", want, refused)
		}
	}
	for what := range refused {
		if !strings.Contains(what, "|") && !strings.HasPrefix(what, "bridge") && !strings.HasPrefix(what, "majorities-ring") {
			t.Errorf("%s was refused: %s", what, refused[what])
		}
	}
}

// without is a membership that takes nobody in before a time, for the lack of a majority.
type without struct {
	*nemesistest.Cluster

	rt    cluster.Runtime
	until time.Duration
}

func (w without) Add(ctx context.Context, nodes []string) error {
	if w.rt.Now() < w.until {
		return errors.New("there is no majority")
	}
	return w.Cluster.Add(ctx, nodes)
}

// TestLateRejoin: a fault that gives a node back late, when another has taken it,
// leaves it to that one.
func TestLateRejoin(t *testing.T) {
	step := func(id string, at, lasts time.Duration) nemesis.Step {
		return nemesis.Step{ID: id, Fault: "member", Arg: "remove", Targets: []string{"n1"}, At: at, For: lasts}
	}
	p := nemesis.Plan{Steps: []nemesis.Step{step("a", 0, time.Second), step("b", 2*time.Second, 6*time.Second)}}
	var during []string
	_, err := nemesistest.Virtual(func(rt cluster.Runtime) {
		c := nemesistest.NewCluster(rt, 5, 1)
		wait := rt.Go(func() {
			_ = rt.Sleep(context.Background(), 6*time.Second)
			during, _ = c.Members(context.Background())
		})
		var err error
		p, err = nemesis.Run(context.Background(), rt, p, nemesis.Env{Faults: all.All(), Cluster: c, Members: without{c, rt, 3 * time.Second}})
		if b := c.Broken(); err != nil || b != "" {
			t.Errorf("%v; left behind: %s", err, b)
		}
		wait()
	})
	if err != nil || slices.Contains(during, "n1") {
		t.Errorf("members while b holds n1 out: %v; %v", during, err)
	}
	for _, r := range p.Reports() {
		if !r.Bit || !r.Healed || r.ID == "a" && r.End > 5*time.Second {
			t.Errorf("%+v", r)
		}
	}
}

// TestHiddenByKill: a node that another fault holds dead is neither frozen nor restarted:
// that bites when it runs again, or not at all.
func TestHiddenByKill(t *testing.T) {
	for _, fault := range []string{"pause", "restart"} {
		for lasts, bites := range map[time.Duration]bool{time.Second: false, 6 * time.Second: true} {
			w := execute(t, 3, 1, nemesis.Plan{Steps: []nemesis.Step{
				{ID: "kill", Fault: "kill", Arg: "all", For: 4 * time.Second},
				{ID: "hidden", Fault: fault, Arg: "all", At: time.Second, For: lasts},
			}}, 0)
			if r := w.plan.Reports(); w.err != nil || r[1].Bit != bites || !r[1].Healed {
				t.Errorf("%s for %v beside a kill of 4 s: %+v; %v", fault, lasts, r[1], w.err)
			}
		}
	}
}

// TestPatience: a fault that another one hides, or that meets no operation, goes on
// until it is tested, into the quiet end; one of which another start was tested ends as
// planned, as does one in a plan that does not say how long its phase is.
func TestPatience(t *testing.T) {
	step := func(fault, arg string, at, lasts time.Duration) nemesis.Step {
		return nemesis.Step{ID: fmt.Sprint(fault, at), Fault: fault, Arg: arg, At: at, For: lasts, Seed: 1}
	}
	second := time.Second
	hidden, whole := step("loss", "all", 2*second, second), step("partition", "n1|n2|n3", second, 8*second)
	for _, tc := range []struct {
		name     string
		phase    time.Duration
		steps    []nemesis.Step
		bit      bool
		from, to time.Duration // when the last step ends
	}{
		{"hidden", 10 * second, []nemesis.Step{whole, hidden}, true, 9 * second, 9500 * time.Millisecond},
		{"hidden, and tested before", 10 * second, []nemesis.Step{step("loss", "all", 0, second/2), whole, hidden}, false, 3 * second, 4 * second},
		{"hidden, in a plan of steps alone", 0, []nemesis.Step{whole, hidden}, false, 3 * second, 4 * second},
		{"not hidden", 10 * second, []nemesis.Step{hidden}, true, 3 * second, 3500 * time.Millisecond},
		{"nothing is served", 10 * second, []nemesis.Step{step("pause", "all", second, 6*second), hidden}, true, 7 * second, 8 * second},
		{"takes nodes itself", 10 * second, []nemesis.Step{step("kill", "all", 2*second, second)}, true, 3 * second, 4 * second},
	} {
		w := execute(t, 3, 1, nemesis.Plan{Time: tc.phase, Steps: tc.steps}, 0)
		r := w.plan.Reports()[len(tc.steps)-1]
		if w.err != nil || r.Bit != tc.bit || r.End < tc.from || r.End > tc.to {
			t.Errorf("%s: %v, %+v", tc.name, w.err, r)
		}
	}
}

func TestEdit(t *testing.T) {
	w := execute(t, 3, 1, plan(t, "partition,kill", 3, 1, 10*time.Second, nil), 0)
	for _, s := range w.plan.Pinned().Steps {
		if len(s.Targets) == 0 || s.Done != nil {
			t.Errorf("not pinned: %+v", s)
		}
	}
	again := execute(t, 3, 1, w.plan.Pinned(), 0)
	for i, r := range again.plan.Reports() {
		if !slices.Equal(r.Targets, w.plan.Reports()[i].Targets) {
			t.Errorf("pinned to %v, hit %v", w.plan.Reports()[i].Targets, r.Targets)
		}
	}
	if p := w.plan.Without("kill-1"); len(p.Steps) != len(w.plan.Steps)-1 || w.plan.Steps[0].Done == nil {
		t.Error("Without")
	}
	if p := w.plan.Shortened("kill-1", time.Millisecond).Until(5 * time.Second); p.Time != 5*time.Second || len(p.Steps) != 2 {
		t.Errorf("%+v", p)
	}
}

// TestRelevance: a clock that no decision reads is wrong in vain, and the history
// says so.
func TestRelevance(t *testing.T) {
	for _, tc := range []struct {
		form      string
		decisions []cluster.Decision
		vain      bool
	}{
		{"jump", nil, false},
		{"jump", []cluster.Decision{}, true},
		{"jump", []cluster.Decision{{Clock: cluster.Monotonic, What: "elections"}}, true},
		{"strobe", []cluster.Decision{{Clock: cluster.Monotonic, What: "elections"}}, true},
		{"drift", []cluster.Decision{{Clock: cluster.Monotonic, What: "elections"}}, false},
		{"jump", []cluster.Decision{{Clock: cluster.RealTime, What: "expiry"}}, false},
	} {
		var plan nemesis.Plan
		var said any
		_, err := nemesistest.Virtual(func(rt cluster.Runtime) {
			plan, _ = nemesis.Run(context.Background(), rt, nemesis.Plan{Steps: []nemesis.Step{{
				ID: "c", Fault: "clock", Arg: tc.form, For: time.Second, Seed: 1,
				Opts: map[string]string{"by": "3s", "rate": "3", "every": "200ms", "on": "one"},
			}}}, nemesis.Env{
				Faults: all.All(), Cluster: nemesistest.NewCluster(rt, 3, 1), Decisions: tc.decisions,
				Record: func(op history.Op) {
					if v, ok := op.Value.(map[string]any); ok && v["phase"] == "probe" {
						said = v["relevant"]
					}
				},
			})
		})
		r := plan.Steps[0].Done
		vain := r.Relevant != nil && !*r.Relevant
		if err != nil || !r.Bit || vain != tc.vain || (said == false) != tc.vain {
			t.Errorf("%s with %v: %v, in the history %v, %+v", tc.form, tc.decisions, err, said, r)
		}
	}
}

// bare has no powers.
type bare struct{ cluster.Cluster }

func TestOffers(t *testing.T) {
	ofSystem := func(f nemesis.Fault) bool { return f.Members } // the world has no part in it
	faults := slices.DeleteFunc(all.All(), ofSystem)
	for _, o := range nemesis.Offers(faults, bare{}) {
		if possible := o.Fault == "pause" && o.Arg == cluster.Clients; (o.Why == "") != possible {
			t.Errorf("a cluster without powers: %+v", o)
		}
	}
	for _, o := range nemesis.Offers(faults, nemesistest.NewCluster(nil, 3, 1)) {
		if o.Why != "" {
			t.Errorf("a cluster with all powers: %+v", o)
		}
	}
}
