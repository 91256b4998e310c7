// Command bench times the judges against Porcupine on the same histories in the
// same process, with sorting as many integers as the yardstick, and prints the
// ratios. `make bench` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/checker/synth"
	"github.com/faultline-dev/faultline/history"
)

type row struct {
	synth.Options
	spec      string
	engine    string
	porcupine bool // ask it too
}

func main() {
	long := flag.Bool("long", false, "also 10,000,000 operations")
	limit := flag.Duration("porcupine", 20*time.Second, "Porcupine's time limit a history")
	only := flag.String("only", "", "only rows that contain this")
	flag.Parse()
	fmt.Fprintf(os.Stdout, "%-64s %10s %8s %8s %10s %12s %10s\n", "history", "verdict", "ns/op", "bytes/op", "x sort", "porcupine", "ratio")
	for _, r := range rows(*long) {
		name := r.name()
		if !strings.Contains(name, *only) {
			continue
		}
		if err := measure(name, r, *limit); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1) //nolint:forbidigo // this is main
		}
	}
}

func (r row) name() string {
	what := r.Anomaly
	if what == "" {
		what = "right"
	}
	return fmt.Sprintf("%s/%s %d ops %d processes %d keys %g%% info %s", r.engine, r.spec, r.Ops, r.Processes, r.Keys, 100*r.Info, what)
}

func rows(long bool) []row {
	var rs []row
	add := func(engine, spec string, ops, processes, keys int, info float64, anomaly string, porcupine bool) {
		gen := spec
		if spec == "excluding-register" {
			gen = "cas-register"
		}
		rs = append(rs, row{synth.Options{
			Model: gen, Ops: ops, Processes: processes, Keys: keys, Info: info, Anomaly: anomaly, At: 0.98, Seed: 1,
		}, spec, engine, porcupine})
	}
	specs := []string{"register", "cas-register", "excluding-register"}
	for _, spec := range specs {
		sizes := []int{100_000, 1_000_000}
		if long {
			sizes = append(sizes, 10_000_000)
		}
		for _, n := range sizes {
			for _, p := range []int{8, 64} {
				add(linear.Auto, spec, n, p, 1, 0, "", false)
				add(linear.Auto, spec, n, p, 1, 0, "stale-read", false)
			}
		}
		for _, info := range []float64{0.001, 0.01, 0.2} {
			add(linear.Auto, spec, 1_000_000, 8, 1, info, "", false)
			add(linear.Auto, spec, 1_000_000, 8, 1, info, "stale-read", false)
		}
		add(linear.Auto, spec, 10_000, 8, 1, 0, "", true)
		add(linear.Auto, spec, 100_000, 4, 1, 0, "", true)
		add(linear.Auto, spec, 1_000_000, 4, 100, 0, "", true)
		add(linear.Auto, spec, 10_000, 8, 1, 0, "stale-read", true)
		add(linear.Auto, spec, 10_000, 16, 1, 0, "", true)
		add(linear.Auto, spec, 1_000, 32, 1, 0, "", true)
	}
	for _, spec := range []string{"cas-register", "kv", "owner-mutex"} {
		add(linear.Search, spec, 1_000, 8, 1, 0, "", true)
		add(linear.Search, spec, 10_000, 8, 1, 0, "", true)
		add(linear.Search, spec, 100_000, 4, 1, 0, "", true)
		add(linear.Search, spec, 1_000_000, 8, 100, 0, "", true)
		add(linear.Search, spec, 10_000, 4, 1, 0.01, "", true)
	}
	return rs
}

func measure(name string, r row, limit time.Duration) error {
	h, err := synth.History(r.Options)
	if err != nil {
		return err
	}
	spec, err := model.Named(r.spec)
	if err != nil {
		return err
	}
	res, took := best(h, linear.Options{Model: spec, Engine: r.engine, Timeout: time.Minute})
	sorted := yardstick(r.Ops)
	them, ratio := "", ""
	if r.porcupine {
		v, theirs := porcupine(h, spec, limit)
		them, ratio = theirs.Round(time.Microsecond).String(), fmt.Sprintf("%.0f", float64(theirs)/float64(took))
		if v == checker.Unknown {
			them, ratio = "> "+them, "> "+ratio
		} else if v != res.Verdict {
			ratio += " DISAGREE " + v.String()
		}
	}
	n := float64(r.Ops)
	fmt.Fprintf(os.Stdout, "%-64s %10v %8.1f %8.1f %10.2f %12s %10s %s\n", name, res.Verdict, float64(took)/n, float64(res.PeakBytes)/n,
		float64(took)/float64(sorted), them, ratio, res.Engine)
	return nil
}

func best(h *history.History, o linear.Options) (checker.Result, time.Duration) {
	var res checker.Result
	least := time.Duration(1 << 62)
	for i := 0; i < 5 && (i == 0 || least < 2*time.Second); i++ {
		runtime.GC()
		res = linear.Check(context.Background(), h, o)
		least = min(least, res.Duration)
	}
	return res, least
}

func yardstick(n int) time.Duration {
	least := time.Duration(1 << 62)
	for range 3 {
		xs := make([]int64, n)
		for i := range xs {
			xs[i] = int64(i)
		}
		rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
		start := time.Now()
		slices.Sort(xs)
		least = min(least, time.Since(start))
	}
	return least
}

func porcupine(h *history.History, spec model.Spec, limit time.Duration) (checker.Verdict, time.Duration) {
	res := linear.Check(context.Background(), h, linear.Options{Model: spec, Engine: linear.Porcupine, Timeout: limit, MaxAnomalies: -1})
	return res.Verdict, res.Duration
}
