package cacheaside_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/cacheaside"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/history"
)

func TestHistories(t *testing.T) {
	checkertest.Run(t, "testdata", func(command string) checker.Checker {
		if command != "check" {
			return nil
		}
		return cacheaside.New(cacheaside.Options{})
	})
}

// step is an operation for the slow twin.
type step struct {
	f        string
	value    int64
	typ      history.Type
	inv, ret time.Duration
}

// ordered says whether the steps have an order: each goes when nobody who is left
// was over before it began, and who reads finds what was written last. Writes of
// unknown fate need not take part. That is all there is to the slow twin.
func ordered(left []step, value int64) bool {
	over := history.Forever
	needed := false
	for _, s := range left {
		if s.ret < history.Forever {
			over, needed = min(over, s.ret), true
		}
	}
	if !needed {
		return true
	}
	for i, s := range left {
		if s.inv > over || s.f != cacheaside.Write && s.value != value {
			continue
		}
		rest := slices.Delete(slices.Clone(left), i, i+1)
		if ordered(rest, s.value) {
			return true
		}
	}
	return false
}

// twin judges what the store did with one read added to it, where the store alone
// has an order; each write ends at the latest when somebody saw its value.
func twin(all []step, read step) (stale, sane bool) {
	var store []step
	for _, s := range all {
		switch {
		case s.typ == history.Fail || s.f == cacheaside.Read:
			continue
		case s.typ == history.Info:
			s.ret = history.Forever
		}
		if s.f == cacheaside.Write {
			for _, q := range all {
				if q.f != cacheaside.Write && q.value == s.value {
					s.ret = min(s.ret, q.ret)
				}
			}
		}
		store = append(store, s)
	}
	return !ordered(append(slices.Clone(store), read), 0), ordered(store, 0)
}

// random is a history of one key, most of them nearly right. Times repeat.
func random(rng *rand.Rand) []step {
	var all []step
	writes := int64(0)
	for range 2 + rng.IntN(6) {
		inv := time.Duration(rng.IntN(10))
		s := step{typ: history.OK, inv: inv, ret: inv + 1 + time.Duration(rng.IntN(5))}
		switch n := rng.IntN(8); {
		case n < 3:
			writes++
			s.f, s.value = cacheaside.Write, writes
			if rng.IntN(4) == 0 {
				s.typ = history.Info
			}
		case n < 5:
			s.f = cacheaside.Load
		default:
			s.f = cacheaside.Read
		}
		all = append(all, s)
	}
	for i := range all {
		if all[i].f != cacheaside.Write {
			all[i].value = rng.Int64N(writes + 1)
		}
	}
	return all
}

// events are the steps as a history, each by a process of its own.
func events(t *testing.T, all []step) *history.History {
	t.Helper()
	var ops []history.Op
	for p, s := range all {
		inv := history.Op{Process: history.Process(p), Type: history.Invoke, F: s.f, Key: "k", Time: s.inv}
		done := inv
		done.Type, done.Time = s.typ, s.ret
		if s.f == cacheaside.Write {
			inv.Value = s.value
		}
		if s.value != 0 {
			done.Value = s.value
		}
		ops = append(ops, inv, done)
	}
	slices.SortStableFunc(ops, func(a, b history.Op) int { return cmp.Compare(a.Time, b.Time) })
	h, err := history.Of(ops...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Read by read the checker and its slow twin agree.
func TestAgreesWithSlowTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	stale, fresh, rounds := 0, 0, 200_000
	if testing.Short() {
		rounds = 20_000
	}
	for range rounds {
		all := random(rng)
		var reads []int
		for i, s := range all {
			if s.f == cacheaside.Read {
				reads = append(reads, i)
			}
		}
		if len(reads) == 0 {
			continue
		}
		r := cacheaside.New(cacheaside.Options{MaxAnomalies: 1000}).Check(t.Context(), events(t, all))
		if slices.ContainsFunc(r.Anomalies, func(a checker.Anomaly) bool { return a.Name == cacheaside.FutureRead }) {
			continue // of which the zones say nothing
		}
		want := 0
		for _, i := range reads {
			bad, sane := twin(all, all[i])
			if !sane {
				want = -1
				break
			}
			if bad {
				want++
			}
		}
		if want < 0 {
			continue
		}
		if got := int(r.Figures["stale_reads"]); got != want {
			t.Fatalf("%d stale reads, the twin has %d, in\n%s%+v", got, want, checkertest.Format(nil, r), all)
		}
		if want > 0 {
			stale++
		} else {
			fresh++
		}
	}
	if stale < rounds/20 || fresh < rounds/20 {
		t.Errorf("only %d histories with stale reads and %d without", stale, fresh)
	}
}
