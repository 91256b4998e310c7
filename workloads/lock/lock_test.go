package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/workloads"
	"github.com/faultline-dev/faultline/workloads/lock"
	"github.com/faultline-dev/faultline/workloads/workloadtest"
)

// tired is a system whose locks have a queue in which nobody waits for long.
type tired struct{ *workloadtest.Memory }

func (t tired) AcquireWait(ctx context.Context, key, owner string, ttl time.Duration) (history.Reply, error) {
	return t.Acquire(ctx, key, owner, ttl)
}

// Waiting is what a queue does, or trying again where there is none.
func TestWaiting(t *testing.T) {
	for name, open := range map[string]func(*workloadtest.Clock) any{
		"no queue": workloadtest.Open(workloadtest.Break{Promise: "exclusion"}),
		"queue": func(c *workloadtest.Clock) any {
			m, _ := workloadtest.Open(workloadtest.Break{Promise: "exclusion"})(c).(*workloadtest.Memory)
			return tired{m}
		},
	} {
		t.Run(name, func(t *testing.T) {
			workloadtest.Run(t, workloadtest.Kit{
				Workload: lock.Workload(), Options: map[string]string{"ttl": "200ms", "acquire": "wait", "contention": "5"}, Open: open,
			})
		})
	}
}

// Who waits tries again until the lock is free, and no longer than it may.
func TestTryingAgain(t *testing.T) {
	slept := 0
	ctx := workloads.WithSleep(t.Context(), func(context.Context, time.Duration) error {
		if slept++; slept > 10 {
			return context.DeadlineExceeded
		}
		return nil
	})
	m, _ := workloadtest.Open(workloadtest.Break{Promise: "exclusion"})(&workloadtest.Clock{}).(*workloadtest.Memory)
	opts, err := options.Resolve(lock.Workload().Options, map[string]string{"acquire": "wait"})
	if err != nil {
		t.Fatal(err)
	}
	i, err := lock.Workload().New(workloads.Params{Options: opts, Keys: 1, Concurrency: 2, Opened: m})
	if err != nil {
		t.Fatal(err)
	}
	acquire := func(owner string) error {
		_, err := i.Perform(ctx, m, history.Op{F: "acquire", Key: "k", Value: map[string]any{"owner": owner, "ttl_ns": int64(time.Hour)}})
		return err
	}
	if err := acquire("a"); err != nil || slept > 0 {
		t.Errorf("a free lock: %v, after %d waits", err, slept)
	}
	if err := acquire("b"); history.TypeOf(err) != history.Fail || slept != 11 {
		t.Errorf("a lock that is held: %v, after %d waits", err, slept)
	}
	slept = 0
	if _, err := m.Release(ctx, "k", "a", 0); err != nil {
		t.Fatal(err)
	}
	if err := acquire("b"); err != nil || slept > 0 {
		t.Errorf("a lock that was given back: %v, after %d waits", err, slept)
	}
}

// Each promise has rules of its own.
func TestConformance(t *testing.T) {
	type broken = map[string]func(*workloadtest.Clock) any
	open := workloadtest.Open
	for promise, rules := range map[string]broken{
		"exclusion": {"double-hold": open(workloadtest.Break{Promise: "exclusion", GrantHeld: true, NoFence: true})},
		"exclusion-within-lease": {
			"double-hold":      open(workloadtest.Break{Promise: "exclusion-within-lease", GrantHeld: true, NoFence: true}),
			"fence-regression": open(workloadtest.Break{Promise: "exclusion-within-lease", SameToken: true}),
		},
		"fenced-data": {
			"fence-regression":       open(workloadtest.Break{Promise: "fenced-data", GrantHeld: true, NoFence: true}),
			"lost-update-under-lock": open(workloadtest.Break{Promise: "fenced-data", LoseSome: true}),
		},
	} {
		t.Run(promise, func(t *testing.T) {
			workloadtest.Run(t, workloadtest.Kit{
				Workload: lock.Workload(), Options: map[string]string{"ttl": "200ms"},
				Open: open(workloadtest.Break{Promise: promise}), Broken: rules,
			})
		})
	}
}
