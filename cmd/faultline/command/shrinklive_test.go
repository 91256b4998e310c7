package command

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/reports"
)

// TestShrinkLive: of a failure that needs one of many faults, a second of it, and
// two processes, that and little more is left, though it shows only in most runs.
func TestShrinkLive(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		env, _ := quiet()
		plan := nemesis.Plan{Format: 1, Time: 20 * time.Second}
		for i := range 8 {
			plan.Steps = append(plan.Steps, nemesis.Step{
				ID: fmt.Sprint("kill-", i+1), Fault: "kill", At: time.Duration(2*i+1) * time.Second, For: 2 * time.Second,
			})
		}
		runs := 0
		s := &liveShrinker{
			env: &env, view: asked{quiet: true}, folder: &reports.Folder{Path: t.TempDir()}, target: "stale-read",
			test:  reports.Test{Time: plan.Time, Nodes: []string{"n1", "n2", "n3"}},
			rates: rates{runs: 10, bound: 0.5}, limit: time.Minute, start: time.Now(),
			best: loose{plan.Time, 10, 10, plan},
		}
		s.run = func(_ context.Context, c loose) (bool, error) {
			runs++
			for _, st := range c.plan.Steps {
				if st.ID == "kill-4" && st.For >= time.Second && st.At+st.For <= c.time {
					return c.workers >= 2 && rng.Float64() < 0.8, nil
				}
			}
			return false, nil
		}
		if !s.alone(t.Context()) && !s.begin(t.Context()) {
			t.Fatalf("seed %d: the failure itself was not shown: %+v", seed, s.trials)
		}
		s.smaller(t.Context())
		b := s.best
		if len(b.plan.Steps) != 1 || b.plan.Steps[0].For > 2*time.Second || b.time > 4*time.Second || b.workers > 5 || b.keys > 2 {
			t.Errorf("seed %d: %s is left", seed, b)
		}
		for _, tr := range s.trials {
			if tr.Kept != (tr.Hits >= 5) || tr.Runs > 10 {
				t.Errorf("seed %d: %+v", seed, tr)
			}
		}
		if runs > 500 {
			t.Errorf("seed %d: %d runs", seed, runs)
		}
	}
}

func TestShrinkLiveRefuses(t *testing.T) {
	for _, args := range [][]string{{"--tries", "0"}, {"--keep", "0"}, {"--keep", "1.5"}} {
		env, out := quiet()
		if code := Main(append([]string{"shrink", "testdata/nothing"}, args...), env); code != 254 {
			t.Errorf("%v: exit %d: %s", args, code, out)
		}
	}
	for r, want := range map[rates]int{{5, 0.5}: 3, {10, 0.5}: 5, {3, 0.01}: 1, {4, 1}: 4} {
		if got := r.need(); got != want {
			t.Errorf("%+v needs %d, not %d", r, got, want)
		}
	}
	if s := (loose{time.Second, 2, 1, nemesis.Plan{}}).String(); !strings.HasPrefix(s, "0 faults") {
		t.Error(s)
	}
}
