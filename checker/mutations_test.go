package checker_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/cache"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/counter"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/lock"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/queue"
	"github.com/faultline-dev/faultline/checker/set"
	"github.com/faultline-dev/faultline/history"
)

// judgeOf is a checker and what it is held to: rate is the least share that it
// catches of the mutations that brute force finds impossible.
type judgeOf struct {
	name, model string
	checker     checker.Checker
	cache       bool // writes are sets, and reads are gets
	rate        float64
}

func mutationJudges() []judgeOf {
	var js []judgeOf
	for _, spec := range model.All() {
		js = append(js, judgeOf{name: "linear", model: spec.Name, checker: linear.New(linear.Options{Model: spec}), rate: 1})
	}
	return append(js,
		judgeOf{name: "set-full", model: "set", checker: set.New(set.Options{}), rate: 0.8},
		judgeOf{name: "counter-bounds", model: "counter", checker: counter.New(counter.Options{}), rate: 0.8},
		judgeOf{name: "queue-total", model: "queue", checker: queue.New(queue.Options{}), rate: 0.8},
		judgeOf{name: "lock", model: "owner-mutex", checker: lock.New(lock.Options{}), rate: 0.9},
		judgeOf{name: "cache", model: "register", checker: cache.New(cache.Options{Budget: checker.Budget{Time: time.Second}}), cache: true, rate: 0.9})
}

// TestMutations mutates right histories in five ways. Brute force says which of
// the mutants are impossible: the exact judges must catch all of these, the others
// the share that they are held to; and what is caught must be impossible.
func TestMutations(t *testing.T) {
	t.Parallel()
	n := 400
	if !testing.Short() {
		n = 5000
	}
	for _, j := range mutationJudges() {
		t.Run(j.name+" of "+j.model, func(t *testing.T) {
			t.Parallel()
			spec, err := model.Named(j.model)
			if err != nil {
				t.Fatal(err)
			}
			all, caught := 0, 0
			for _, m := range mutations() {
				mutants, possible, bad, hit := 0, 0, 0, 0
				for seed := range uint64(n) { //nolint:gosec // small
					r := rand.New(rand.NewPCG(seed, 17))
					c := checkertest.Config{Model: j.model, Ops: 6 + r.IntN(4), Processes: 1 + r.IntN(3), Info: 0.1 * float64(r.IntN(2))}
					if j.name == "lock" {
						c.Info = 0 // its sessions end with an unknown fate; here owners go on
					}
					rows := m.mutate(r, checkertest.Random(r, c))
					if j.name == "lock" {
						rows = holds(rows)
					}
					if len(rows) == 0 || j.name == "lock" && !sequential(rows) {
						continue
					}
					mutants++
					h := checkertest.History(rows)
					want, err := checkertest.Brute(h, spec)
					if err != nil {
						t.Fatal(err)
					}
					if j.cache {
						h = checkertest.History(cached(rows))
					}
					got := j.checker.Check(context.Background(), h)
					switch {
					case want == checker.Valid && got.Verdict == checker.Invalid:
						t.Fatalf("%s, seed %d: a false alarm: %v", m.name, seed, got.Anomalies)
					case want == checker.Valid:
						possible++
					case got.Verdict == checker.Invalid:
						hit++
						fallthrough
					default:
						bad++
					}
				}
				t.Logf("%-10s %5d mutants: %5d impossible, %5d of them caught; %5d missed, as they are possible", m.name, mutants, bad, hit, possible)
				all, caught = all+bad, caught+hit
			}
			if all == 0 || float64(caught) < j.rate*float64(all) {
				t.Errorf("caught %d of %d, less than %v", caught, all, j.rate)
			}
			t.Logf("caught %.1f %% of what is impossible", 100*float64(caught)/float64(max(1, all)))
		})
	}
}

// holds are the rows of holds that were released, and nothing else: what the lock
// checker judges. If these are impossible, so is the whole.
func holds(rows []checkertest.Row) []checkertest.Row {
	slices.SortStableFunc(rows, func(a, b checkertest.Row) int { return cmp.Compare(a.Invoke, b.Invoke) })
	held := map[any]checkertest.Row{}
	var kept []checkertest.Row
	for _, w := range rows {
		m, _ := w.In.(map[string]any)
		a, holds := held[m["owner"]]
		switch {
		case w.Type != history.OK:
		case w.F == "acquire":
			held[m["owner"]] = w
		case holds:
			kept = append(kept, a, w)
			delete(held, m["owner"])
		}
	}
	return kept
}

// sequential says whether every owner does one thing at a time.
func sequential(rows []checkertest.Row) bool {
	for i, a := range rows {
		for _, b := range rows[:i] {
			x, _ := a.In.(map[string]any)
			y, _ := b.In.(map[string]any)
			if x["owner"] == y["owner"] && a.Invoke <= b.Return && b.Invoke <= a.Return {
				return false
			}
		}
	}
	return true
}

type mutation struct {
	name   string
	mutate func(r *rand.Rand, rows []checkertest.Row) []checkertest.Row // nil where it cannot
}

func mutations() []mutation {
	return []mutation{
		{"stale", func(r *rand.Rand, rows []checkertest.Row) []checkertest.Row {
			return change(r, rows, func(a, b *checkertest.Row) bool {
				old := a.Out
				a.Out = b.Out
				return b.Return < a.Invoke && !equal(old, a.Out)
			})
		}},
		{"lost", func(r *rand.Rand, rows []checkertest.Row) []checkertest.Row {
			if i := pick(r, rows, effect); i >= 0 { // an effect that nobody was told of
				return slices.Delete(rows, i, i+1)
			}
			return nil
		}},
		{"duplicated", func(r *rand.Rand, rows []checkertest.Row) []checkertest.Row {
			i := pick(r, rows, func(w checkertest.Row) bool { return effect(w) && w.F != "release" })
			if i < 0 {
				return nil
			}
			again := rows[i]
			again.Invoke, again.Return = again.Return+1, again.Return+2
			if m, ok := again.In.(map[string]any); ok && m["owner"] != nil { // another holds it meanwhile
				again.In = map[string]any{"owner": fmt.Sprint("another of ", m["owner"])}
			}
			if again.F == "acquire" {
				done := again
				done.F, done.Invoke, done.Return = "release", again.Return+1, again.Return+2
				rows = append(rows, done)
			}
			return append(rows, again)
		}},
		{"swapped", func(r *rand.Rand, rows []checkertest.Row) []checkertest.Row {
			return change(r, rows, func(a, b *checkertest.Row) bool {
				a.Out, b.Out = b.Out, a.Out
				return !equal(a.Out, b.Out)
			})
		}},
		{"future", func(r *rand.Rand, rows []checkertest.Row) []checkertest.Row {
			i := pick(r, rows, func(w checkertest.Row) bool { return w.Type == history.OK && w.Invoke > 8 })
			if i < 0 {
				return nil
			}
			d := 4 + r.Int64N(rows[i].Invoke-4)
			rows[i].Invoke -= d
			rows[i].Return -= d
			return rows
		}},
	}
}

// effect says whether a row tells of an effect that others can see.
func effect(w checkertest.Row) bool {
	return w.Type == history.OK && (!tells(w) || w.F == "dequeue" && w.Out != nil)
}

// tells says whether a row's result tells something of the object.
func tells(w checkertest.Row) bool {
	return w.Type == history.OK && slices.Contains([]string{"read", "get", "contains", "dequeue"}, w.F)
}

func equal(a, b any) bool {
	l, ok := a.([]any)
	m, also := b.([]any)
	if ok || also {
		return ok && also && slices.Equal(l, m)
	}
	return a == b
}

// pick is the number of a random row that fits, -1 for none.
func pick(r *rand.Rand, rows []checkertest.Row, fits func(checkertest.Row) bool) int {
	for _, i := range r.Perm(len(rows)) {
		if fits(rows[i]) {
			return i
		}
	}
	return -1
}

// change changes two rows of a kind that tell something; of objects that nobody
// reads, a lock that was refused is granted instead.
func change(r *rand.Rand, rows []checkertest.Row, with func(a, b *checkertest.Row) bool) []checkertest.Row {
	if i := pick(r, rows, func(w checkertest.Row) bool { return w.F == "acquire" && w.Type == history.Fail }); i >= 0 {
		rows[i].Type = history.OK
		return rows
	}
	for range 20 {
		i, j := pick(r, rows, tells), pick(r, rows, tells)
		if i < 0 || i == j || rows[i].F != rows[j].F {
			continue
		}
		a, b := rows[i], rows[j]
		if with(&a, &b) {
			rows[i], rows[j] = a, b
			return rows
		}
	}
	return nil
}

// cached are the operations on a register as those of a cache whose entries do
// not expire.
func cached(rows []checkertest.Row) []checkertest.Row {
	rows = slices.Clone(rows)
	for i := range rows {
		switch w := &rows[i]; w.F {
		case "write":
			w.F, w.In = "set", map[string]any{"v": w.In}
		case "read":
			w.F = "get"
		}
	}
	return rows
}
