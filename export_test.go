package faultline

import (
	"context"
	"math/rand/v2"
)

// Feed runs the test's phases without judging, and counts its operations.
func Feed(ctx context.Context, t Test) (int, error) {
	if err := t.defaults(); err != nil {
		return 0, err
	}
	r := &run{Test: t, rng: rand.New(rand.NewPCG(t.Seed, 1))}
	r.Workload.Final = nil
	err := r.perform(ctx)
	ok, fail, info := r.source.counts()
	return ok + fail + info, err
}
