package generator_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gen "github.com/faultline-dev/faultline/generator"
	"github.com/faultline-dev/faultline/history"
)

func op(f string) history.Op { return history.Op{F: f} }

func always(f string) gen.Generator { return gen.Func(func(gen.Context) history.Op { return op(f) }) }

// invocations renders the simulated invocations as "f" or "f@time" words.
func invocations(ops []history.Op, withTime bool) string {
	var words []string
	for _, o := range ops {
		if o.Type != history.Invoke {
			continue
		}
		w := o.Key + o.F
		if withTime {
			w += fmt.Sprintf("@%d", o.Time)
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func TestCombinators(t *testing.T) {
	abc := gen.Ops(op("a"), op("b"), op("c"))
	for name, c := range map[string]struct {
		g    gen.Generator
		want string
	}{
		"none":                {gen.None(), ""},
		"ops":                 {abc, "a@0 b@0 c@10"},
		"limit":               {gen.Limit(2, abc), "a@0 b@0"},
		"time limit":          {gen.TimeLimit(25, always("x")), "x@0 x@0 x@10 x@10 x@20 x@20"},
		"delay":               {gen.Delay(7, abc), "a@0 b@7 c@14"},
		"concat":              {gen.Concat(gen.Ops(op("a")), gen.Ops(op("b")), always("x")), "a@0 b@0 x@10 x@10 x@20 x@20 x@30 x@30 x@40 x@40"},
		"phases wait":         {gen.Phases(abc, gen.Ops(op("z"), op("z"))), "a@0 b@0 c@10 z@20 z@20"},
		"each worker":         {gen.EachWorker(gen.Ops(op("a"), op("b"))), "a@0 a@0 b@10 b@10"},
		"reserve":             {gen.Reserve(1, gen.Limit(2, always("r")), gen.Limit(1, always("s"))), "r@0 s@0 r@10"},
		"until ok":            {gen.UntilOK(always("x")), "x@0 x@0"},
		"until ok is its own": {gen.EachWorker(gen.Concat(gen.UntilOK(always("x")), gen.UntilOK(always("y")))), "x@0 x@0 y@10 y@10"},
		"flip flop":           {gen.FlipFlop(always("a"), gen.Ops(op("b"))), "a@0 b@0 a@10"},
		"cycle":               {gen.Limit(5, gen.Cycle(gen.Ops(op("a"), op("b")))), "a@0 b@0 a@10 b@10 a@20"},
		"cycle of none":       {gen.Cycle(gen.None()), ""},
		"any is soonest":      {gen.Limit(3, gen.Any(gen.Delay(100, always("slow")), gen.Delay(30, gen.Ops(op("q"), op("q"))))), "slow@0 q@0 q@30"},
		"any of the over":     {gen.Any(gen.None(), gen.Ops(op("b"))), "b@0"},
		"keys rotate": {gen.Limit(4, gen.Keys(1, func(k int) gen.Generator {
			return gen.Limit(2, always(fmt.Sprint("v", k)))
		})), "k0v0@0 k0v0@0 k1v1@10 k1v1@10"},
		"mix of one":      {gen.Mix(gen.None(), gen.Ops(op("a"), op("b"))), "a@0 b@0"},
		"weight zero":     {gen.Limit(3, gen.Weighted([]int{0, 1}, always("a"), always("b"))), "b@0 b@0 b@10"},
		"process limit":   {gen.ProcessLimit(1, always("p")), "p@0 p@10 p@20 p@30 p@40 p@50 p@60 p@70 p@80 p@90"},
		"limit in phases": {gen.Phases(gen.TimeLimit(15, always("x")), gen.EachWorker(gen.Ops(op("f")))), "x@0 x@0 x@10 x@10 f@20 f@20"},
	} {
		t.Run(name, func(t *testing.T) {
			got := gen.Simulate(c.g, 2, 1, 20, gen.Perfect)
			if s := invocations(got, true); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
			if again := gen.Simulate(c.g, 2, 1, 20, gen.Perfect); !reflect.DeepEqual(got, again) {
				t.Error("asking the generator changed it: a second simulation differs")
			}
		})
	}
}

func TestMixTakesItsShares(t *testing.T) {
	ops := gen.Simulate(gen.Weighted([]int{3, 1}, always("a"), always("b")), 4, 7, 8000, gen.Perfect)
	a := strings.Count(invocations(ops, false), "a")
	if total := 4000; a < total*70/100 || a > total*80/100 {
		t.Errorf("got %d of %d, want about three quarters", a, total)
	}
}

func TestStaggerKeepsItsMean(t *testing.T) {
	ops := gen.Simulate(gen.Stagger(1000, always("x")), 50, 3, 4000, gen.Perfect)
	last := ops[len(ops)-1]
	if n := time.Duration(len(ops) / 2); last.Time < n*900 || last.Time > n*1100 {
		t.Errorf("%d operations took %d, want about %d", n, last.Time, n*1000)
	}
}

// Under imperfect completions no process goes on after an info, and phases wait
// for operations of unknown fate too.
func TestImperfect(t *testing.T) {
	g := gen.Phases(gen.Limit(100, always("x")), gen.Limit(100, always("y")))
	ops := gen.Simulate(g, 5, 11, 1000, gen.Imperfect)
	ended := map[history.Process]bool{}
	var open int
	var last string
	for _, o := range ops {
		if ended[o.Process] {
			t.Fatalf("process %d goes on after an info", o.Process)
		}
		switch o.Type {
		case history.Invoke:
			if last == "x" && o.F == "y" && open != 0 {
				t.Fatal("the second phase began before the first was complete")
			}
			last = o.F
			open++
		case history.Info:
			ended[o.Process] = true
			open--
		case history.OK, history.Fail:
			open--
		}
	}
	if len(ops) != 400 {
		t.Errorf("got %d events, want 400", len(ops))
	}
}

func TestWaitingWithoutATimeIsWokenByAnUpdate(t *testing.T) {
	ops := gen.Simulate(gen.Phases(gen.Ops(op("a")), gen.Ops(op("b"))), 3, 1, 100, gen.Perfect)
	if got := invocations(ops, false); got != "a b" {
		t.Errorf("got %q, want \"a b\"", got)
	}
}

func BenchmarkNext(b *testing.B) {
	g := gen.TimeLimit(time.Hour, gen.Rate(0, gen.Keys(10, func(int) gen.Generator {
		return gen.Limit(200, gen.Mix(always("read"), always("write"), always("cas")))
	})))
	c := gen.Context{Workers: 10, Rand: rand.New(rand.NewPCG(1, 2))}
	b.ReportAllocs()
	for b.Loop() {
		var s gen.Step
		s, g = g.Next(c)
		g = g.Update(c, s.Op)
	}
}

func TestKeysAreUsedAtOnce(t *testing.T) {
	g := gen.Keys(3, func(int) gen.Generator { return gen.Limit(10, always("x")) })
	var keys []string
	for _, o := range gen.Simulate(g, 2, 5, 120, gen.Perfect) {
		if !slices.Contains(keys, o.Key) {
			keys = append(keys, o.Key)
		}
	}
	if len(keys) < 5 {
		t.Errorf("60 operations of 10 a key used the keys %v only", keys)
	}
}
