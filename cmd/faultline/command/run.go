package command

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
)

// asked are the flags of `faultline run`, as they were given.
type asked struct {
	system, workload, nemesis, on string
	time, interval                time.Duration
	nodes, keys                   int
	concurrency                   string
	rate                          float64
	seed                          string
	seeds                         string
	bug, version, image           string
	opts                          []string
	plan, runs                    string
	checkTimeout                  time.Duration
	checkMemory                   string
	online, keepGoing             bool
	json, quiet, annotations      bool
	argv                          []string
	// given are the flags that stood on the command line.
	given func(name string) bool
}

func newRunCmd(env *Env) *cobra.Command {
	a := &asked{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run one test: drive operations, break the system, record, judge, report",
		Long: `Run brings a cluster up, drives a workload against it while the nemesis breaks
it, heals it, takes it down, judges the recorded history and writes a report.

Without flags it tests the bundled Raft store on local processes for 10 seconds
under partitions and kills; that needs neither Docker nor root.`,
		Example: `  faultline run
  faultline run --bug stale-read
  faultline run --system etcd --on docker --nemesis partition,kill,pause --time 30s
  faultline run --system etcd --on docker --nemesis partition --opt reads=serializable
  faultline run --nemesis partition:leader,kill:majority --opt partition.for=1s --seed 7`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.given, a.argv = cmd.Flags().Changed, env.args
			return runCommand(cmd.Context(), env, *a)
		},
	}
	a.add(cmd.Flags())
	return cmd
}

// add adds the flags of a run.
func (a *asked) add(f *pflag.FlagSet) {
	f.StringVar(&a.system, "system", "raft", "what to test; see 'faultline list systems'")
	f.StringVar(&a.workload, "workload", "register", "what to do with it; see 'faultline list workloads'")
	f.StringVar(&a.nemesis, "nemesis", "partition,kill", "faults, by commas; see 'faultline list nemeses'")
	f.StringVar(&a.on, "on", "", "the world: sim, local or docker (default: local for bundled systems, else docker)")
	f.DurationVar(&a.time, "time", 10*time.Second, "how long operations and faults go on")
	f.IntVar(&a.nodes, "nodes", 3, "nodes in the cluster, 1 to 9")
	f.StringVar(&a.concurrency, "concurrency", "10", "workers; 2n means twice as many as nodes")
	f.IntVar(&a.keys, "keys", 10, "keys in use at once")
	f.Float64Var(&a.rate, "rate", 0, "operations a second of all workers together; 0 for as many as possible")
	f.StringVar(&a.seed, "seed", "", "what all chance is drawn from (default: a fresh one, printed first)")
	f.StringVar(&a.seeds, "seeds", "", "run every seed of a range A..B; simulated runs on all cores, others one after the other")
	f.StringVar(&a.bug, "bug", "", "plant a bug in a bundled store; see 'faultline list bugs'")
	f.StringVar(&a.version, "version", "", "the system's version, where it has versions")
	f.StringVar(&a.image, "image", "", "run this container image instead of one built here")
	f.StringArrayVar(&a.opts, "opt", nil, "an option of the system, the workload or a fault, as key=value; repeatable")
	f.DurationVar(&a.interval, "interval", 0, "mean time between the starts of a fault (default: by the length of the run)")
	f.StringVar(&a.plan, "plan", "", "run the faults of this plan file instead of drawing them")
	f.StringVar(&a.runs, "runs", "runs", "folder that keeps the runs")
	f.DurationVar(&a.checkTimeout, "check-timeout", time.Minute, "time that each check may take")
	f.StringVar(&a.checkMemory, "check-memory", "2GiB", "memory that a check may use beyond the history")
	f.BoolVar(&a.online, "online", false, "judge while the test runs, and end it at the first violation")
	f.BoolVar(&a.keepGoing, "keep-going", false, "with --seeds: go on after a failure, and collect all")
	f.BoolVar(&a.json, "json", false, "print the results as JSON on standard output, and nothing else there")
	f.BoolVar(&a.annotations, "annotations", false, "print the findings as annotations for a CI service as well")
	f.BoolVar(&a.quiet, "quiet", false, "no progress, only the end")
}

func runCommand(ctx context.Context, env *Env, a asked) error {
	if a.seeds != "" {
		if a.on == onSim {
			return runSeeds(ctx, env, a)
		}
		return runSeries(ctx, env, a)
	}
	p, err := prepare(env, a)
	if err != nil {
		return err
	}
	return runPlanned(ctx, env, a, p)
}

// printEnd prints the results as JSON, or what a person wants to read.
func printEnd(env *Env, a asked, folder *reports.Folder, res reports.Results) error {
	if a.annotations {
		if err := reports.WriteAnnotations(env.Stderr, res); err != nil {
			return err
		}
	}
	if a.json {
		return res.Encode(env.Stdout)
	}
	h, err := folder.History()
	if err != nil {
		h = nil // the text does without the witness' drawing
	}
	return reports.Text(env.Stdout, res, h, reports.TextOptions{Folder: folder.Path, Color: env.color(), Width: env.width()})
}

// parseSeed reads a seed, decimal or 0x…; an empty one draws a fresh one. Seeds
// have 53 bits, which every JSON reader keeps.
func parseSeed(s string) (uint64, error) {
	const limit = 1 << 53
	if s == "" {
		return rand.Uint64N(limit), nil
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || n >= limit {
		return 0, exit.Usagef("--seed %s: expected a whole number below 2^53", s)
	}
	return n, nil
}

func formatSeed(seed uint64) string { return strconv.FormatUint(seed, 10) }

// parseOpts reads key=value options.
func parseOpts(opts []string) (map[string]string, error) {
	m := map[string]string{}
	for _, o := range opts {
		k, v, ok := strings.Cut(o, "=")
		if !ok || k == "" {
			return nil, exit.Usagef("--opt %s: expected key=value", o)
		}
		if old, twice := m[k]; twice && old != v {
			return nil, exit.Usagef("--opt %s is given twice, as %s and %s", k, old, v)
		}
		m[k] = v
	}
	return m, nil
}

// parseConcurrency reads a number of workers, or a multiple of the nodes: 2n.
func parseConcurrency(s string, nodes int) (int, error) {
	text, perNode := strings.CutSuffix(s, "n")
	n, err := strconv.Atoi(text)
	if perNode && text == "" {
		n, err = 1, nil
	}
	if perNode {
		n *= nodes
	}
	const most = 10_000
	if err != nil || n < 1 || n > most {
		return 0, exit.Usagef("--concurrency %s: expected 1 to %d, or a multiple of the nodes like 2n", s, most)
	}
	return n, nil
}

// parseBytes reads a size like 512MiB.
func parseBytes(flag, s string) (int64, error) {
	units := []struct {
		suffix string
		n      float64
	}{
		{"GiB", 1 << 30},
		{"MiB", 1 << 20},
		{"KiB", 1 << 10},
		{"GB", 1e9},
		{"MB", 1e6},
		{"KB", 1e3},
		{"B", 1},
		{"", 1},
	}
	for _, u := range units {
		text, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || f <= 0 || f*u.n >= 1<<62 {
			break
		}
		return int64(f * u.n), nil
	}
	return 0, exit.Usagef("%s %s: expected a size like 512MiB or 2GiB", flag, s)
}
