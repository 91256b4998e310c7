package sim_test

import (
	"context"
	"testing"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/clients/raft"
	"github.com/faultline-dev/faultline/nemesis"
	allfaults "github.com/faultline-dev/faultline/nemesis/all"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/sim"
	"github.com/faultline-dev/faultline/workloads"
	"github.com/faultline-dev/faultline/workloads/register"
)

// shape is what the tests here vary.
type shape struct {
	seed    uint64
	nodes   int
	workers int
	keys    int
	rate    float64
	bug     string
	faults  string
	keep    bool
}

func names(n int) []string {
	return []string{"n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"}[:n]
}

// build makes a test of the Raft store with registers.
func build(tb testing.TB, s shape) (faultline.Test, *sim.World) {
	tb.Helper()
	system, err := sim.Raft(s.bug)
	if err != nil {
		tb.Fatal(err)
	}
	w := sim.New(sim.Config{System: system, Names: names(s.nodes), Seed: s.seed, Keep: s.keep, Drift: 0.01})
	sys := raft.System(nil)
	sysOpts, err := options.Resolve(sys.Options, nil)
	if err != nil {
		tb.Fatal(err)
	}
	load := register.Workload()
	workOpts, err := options.Resolve(load.Options, nil)
	if err != nil {
		tb.Fatal(err)
	}
	instance, err := load.New(workloads.Params{
		Options: workOpts, Keys: s.keys, Concurrency: s.workers, Nodes: names(s.nodes), Opened: sys.Methods(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	specs, err := nemesis.Parse(allfaults.All(), s.faults, names(s.nodes), nil)
	if err != nil {
		tb.Fatal(err)
	}
	plan, err := nemesis.NewPlan(nemesis.Request{
		Faults: allfaults.All(), Specs: specs, Nodes: s.nodes, Leader: true, Seed: s.seed, Time: 10 * time.Second, Interval: 3 * time.Second,
	})
	if err != nil {
		tb.Fatal(err)
	}
	test := faultline.Test{
		System: sys, Cluster: w, Workload: instance, Options: sysOpts, Plan: plan, Faults: allfaults.All(),
		Concurrency: s.workers, Time: 10 * time.Second, Rate: s.rate, Seed: s.seed, Runtime: w,
	}
	test.Checkers = append(test.Checkers, w.Checker())
	return test, w
}

func try(tb testing.TB, s shape) (faultline.Tried, *sim.World) {
	tb.Helper()
	test, w := build(tb, s)
	defer w.Close()
	tried, err := faultline.Try(context.Background(), test)
	if err != nil {
		tb.Fatalf("seed %d: %v", s.seed, err)
	}
	return tried, w
}

func TestRun(t *testing.T) {
	tried, w := try(t, shape{seed: 1, nodes: 5, workers: 10, keys: 10, faults: "partition,kill"})
	t.Logf("%d operations, %d events, %v simulated, hash %x, problem %q, %v", tried.History.Len(), w.Events(), w.Simulated(), w.Hash(), tried.Problem, tried.Verdict())
	for _, a := range tried.Anomalies() {
		t.Errorf("%s: %s", a.Name, a.Explain)
	}
}

// BenchmarkSeed is the default shape: 10 simulated seconds, 5 nodes, 10 processes,
// partition and kill, registers checked.
func BenchmarkSeed(b *testing.B) {
	seed, ops := uint64(0), 0
	var simulated time.Duration
	for b.Loop() {
		seed++
		tried, w := try(b, shape{seed: seed, nodes: 5, workers: 10, keys: 10, faults: "partition,kill"})
		ops += tried.History.Len()
		simulated += w.Simulated()
	}
	b.ReportMetric(float64(seed)/b.Elapsed().Seconds(), "seeds/s")
	b.ReportMetric(float64(ops)/float64(seed), "ops/seed")
	b.ReportMetric(simulated.Seconds()/b.Elapsed().Seconds(), "sim-s/s")
}
