// Package faultlinetest runs faultline from `go test`, against a store that the
// test itself has started:
//
//	func TestMyStore(t *testing.T) {
//		faultlinetest.Check(t, faultlinetest.Test{
//			System:   mystore.System(),                  // a clients.System with Open and Methods
//			Nodes:    []cluster.Node{{Name: "n1", Ports: map[string]string{"client": addr}}},
//			Workload: register.Workload(),
//			Time:     2 * time.Second,
//		})
//	}
package faultlinetest

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/power"
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/workloads"
)

// Test is what to run. System and Workload must be set, and Nodes or Cluster.
type Test struct {
	System   clients.System
	Workload workloads.Workload
	// Nodes are those of a cluster that is running already; it is not broken.
	Nodes []cluster.Node
	// Cluster replaces Nodes by one that faultline brings up, breaks by Plan, and
	// takes down.
	Cluster cluster.Cluster
	Plan    nemesis.Plan
	Faults  []nemesis.Fault

	// Options are those of system and workload together.
	Options     map[string]string
	Time        time.Duration // 2 s unless set
	Concurrency int           // 5 unless set
	Keys        int           // 5 unless set
	Seed        uint64
	Power       power.Options
}

// Check runs the test and reports every anomaly as an error of t, with the folder
// of the run, which stays where it is when the test fails. A run that tested
// nothing fails too.
func Check(tb testing.TB, test Test) reports.Results {
	tb.Helper()
	res := Run(tb, test)
	for _, a := range res.Anomalies {
		tb.Errorf("%s on %s: %s", a.Name, a.Key, a.Explain)
	}
	if res.Verdict == checker.Unknown {
		tb.Errorf("nothing can be said: %s %s", res.Reason, strings.Join(res.Power.Missing, "; "))
	}
	return res
}

// Run is Check without a judgement: for tests that expect an anomaly.
func Run(tb testing.TB, test Test) reports.Results {
	tb.Helper()
	test.defaults()
	dir, err := os.MkdirTemp("", "faultline-*") //nolint:usetesting // it stays when the test fails
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the run is kept in %s", dir)
			return
		}
		_ = os.RemoveAll(dir) // a passed test leaves nothing; if something stays it is in a temporary folder
	})
	run, err := test.build(dir)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := faultline.Run(tb.Context(), run)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

func (test *Test) defaults() {
	if test.Time == 0 {
		test.Time = 2 * time.Second
	}
	if test.Concurrency == 0 {
		test.Concurrency = 5
	}
	if test.Keys == 0 {
		test.Keys = 5
	}
	if test.Cluster == nil {
		test.Cluster = running{nodes: test.Nodes}
	}
}

func (test *Test) build(dir string) (faultline.Test, error) {
	var none faultline.Test
	specs := slices.Concat(test.System.Options, test.Workload.Options)
	opts, err := options.Resolve(specs, test.Options)
	if err != nil {
		return none, err
	}
	var names []string
	for _, n := range test.Cluster.Nodes() {
		names = append(names, n.Name)
	}
	var methods any
	if test.System.Methods != nil {
		methods = test.System.Methods()
	}
	instance, err := test.Workload.New(workloads.Params{
		Options: opts, Keys: test.Keys, Concurrency: test.Concurrency, Nodes: names, Opened: methods,
	})
	if err != nil {
		return none, err
	}
	started := time.Now()
	folder, err := reports.Create(dir, test.System.Name, test.Workload.Name, started, test.Seed)
	if err != nil {
		return none, err
	}
	return faultline.Test{
		System: test.System, Cluster: test.Cluster, Workload: instance, Options: opts,
		Plan: test.Plan, Faults: test.Faults, Time: test.Time, Concurrency: test.Concurrency, Seed: test.Seed,
		Power: test.Power, Folder: folder,
		Record: reports.Test{
			System: test.System.Name, Workload: test.Workload.Name, Nemesis: []string{"none"}, On: "go test",
			Seed: test.Seed, Nodes: names, Concurrency: test.Concurrency, Keys: test.Keys, Time: test.Time,
			Options: test.Options, Model: instance.Model, Started: started.UTC(),
		},
	}, nil
}

// running is a cluster that somebody else looks after.
type running struct{ nodes []cluster.Node }

// Nodes implements cluster.Cluster.
func (r running) Nodes() []cluster.Node { return r.nodes }

// Up implements cluster.Cluster; the nodes are up.
func (running) Up(context.Context) error { return nil }

// Down implements cluster.Cluster; the nodes stay up.
func (running) Down(context.Context) error { return nil }
