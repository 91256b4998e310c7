package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/power"
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cluster/local"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/sim"
	"github.com/faultline-dev/faultline/workloads"
)

// The worlds.
const (
	onSim    = "sim"
	onLocal  = "local"
	onDocker = "docker"
)

// planned is a run that has been checked for everything that can be known before
// it starts. It can be run more than once.
type planned struct {
	env      *Env
	record   reports.Test
	system   clients.System
	workload workloads.Workload
	sysOpts  options.Values
	workOpts options.Values
	specs    []nemesis.Spec
	plan     nemesis.Plan
	runs     string
	online   bool // judged while it goes on
	budget   checker.Budget
	progress io.Writer
	// clockBound is how far apart the workload lets the nodes' clocks be.
	clockBound time.Duration
	// script are the operations, where they are fixed; fixed says that the plan is,
	// which flags cannot ask for.
	script []scripted
	fixed  bool
	// reuse asks for nodes that are kept from run to run of a series, kept are those.
	reuse bool
	kept  *keptNodes
	// explained are the anomalies that a sweep takes no offence at.
	explained []string
	// traced, if set, is told the hash of a simulated run's trace.
	traced func(hash uint64)
}

// prepare turns what was asked into a run, or into an error that says what to do.
// It writes nothing.
func prepare(env *Env, a asked) (*planned, error) {
	p := &planned{env: env, runs: a.runs, progress: progressTo(env, a)}
	if a.on == onSim {
		var err error
		if a, err = drawShape(a); err != nil {
			return nil, err
		}
	}
	if err := p.choose(&a); err != nil {
		return nil, err
	}
	if a.on == onSim {
		p.dropDrawn(&a)
	}
	if err := p.goOutside(&a); err != nil {
		return nil, err
	}
	if err := p.size(a); err != nil {
		return nil, err
	}
	if err := p.resolveOptions(a); err != nil {
		return nil, err
	}
	if err := p.planFaults(a); err != nil {
		return nil, err
	}
	// The workload says now what it lacks, not when the cluster is up.
	_, err := p.instance()
	p.online = a.online
	return p, err
}

// choose finds system, workload, bug and world by their names.
func (p *planned) choose(a *asked) error {
	var err error
	if a.bug != "" {
		if err := p.chooseBug(a); err != nil {
			return err
		}
	}
	if p.system, err = find("system", a.system, p.env.Systems, func(s clients.System) string { return s.Name }); err != nil {
		return err
	}
	if p.workload, err = find("workload", a.workload, p.env.Workloads, func(w workloads.Workload) string { return w.Name }); err != nil {
		return err
	}
	if a.on == "" {
		a.on = onDocker
		if p.system.Process != nil {
			a.on = onLocal
		}
	}
	switch {
	case a.on != onSim && a.on != onLocal && a.on != onDocker:
		return exit.Usagef("--on %s: expected sim, local or docker", a.on)
	case a.on == onLocal && p.system.Process == nil:
		return exit.Usagef("%s does not run as local processes; use --on docker", p.system.Name)
	case a.on == onDocker && p.system.Pod == nil:
		return exit.Usagef("%s does not run in containers", p.system.Name)
	case a.on == onSim && !p.simulated():
		return exit.Usagef("%s does not run in the simulator; use --on local or docker", p.system.Name)
	case a.image != "" && a.on != onDocker:
		return exit.Usagef("--image needs --on docker")
	case a.image != "" && p.system.Process != nil:
		return exit.Usagef("--image: %s is part of faultline and runs from faultline's own image", p.system.Name)
	case a.image != "" && p.system.Composed:
		return exit.Usagef("--image: %s runs programs of several images; leave it out", p.system.Name)
	case a.version != "" && len(p.system.Versions) == 0:
		return exit.Usagef("%s has no versions to choose from", p.system.Name)
	}
	if a.version == "" && len(p.system.Versions) > 0 {
		a.version = p.system.Versions[0]
	}
	p.record.System, p.record.Workload, p.record.On = p.system.Name, p.workload.Name, a.on
	p.record.Version, p.record.Image, p.record.Bug = a.version, a.image, a.bug
	return nil
}

// chooseBug lets a bug choose what shows it, where nothing else was asked for.
func (p *planned) chooseBug(a *asked) error {
	var bugs []clients.Bug
	for _, s := range p.env.Systems {
		for _, b := range s.Bugs {
			if !a.given("system") || s.Name == a.system {
				bugs = append(bugs, b)
			}
		}
	}
	b, err := find("bug", a.bug, bugs, func(b clients.Bug) string { return b.Name })
	if err != nil {
		return err
	}
	a.system = b.System
	if !a.given("workload") && b.Workload != "" {
		a.workload = b.Workload
	}
	if !a.given("nemesis") && b.Nemesis != "" {
		a.nemesis = b.Nemesis
	}
	for _, k := range slices.Sorted(maps.Keys(b.Options)) {
		if strings.Contains(k, ".") && a.given("nemesis") {
			continue // of faults that may not be among those asked for
		}
		if !slices.ContainsFunc(a.opts, func(o string) bool { return strings.HasPrefix(o, k+"=") }) {
			a.opts = append(a.opts, k+"="+b.Options[k])
		}
	}
	return nil
}

// find looks a thing up by its name, and lists those there are if it is unknown.
func find[T any](kind, name string, all []T, nameOf func(T) string) (T, error) {
	var names []string
	for _, x := range all {
		if nameOf(x) == name {
			return x, nil
		}
		names = append(names, nameOf(x))
	}
	slices.Sort(names)
	var none T
	if len(names) == 0 {
		return none, exit.Usagef("unknown %s %q; there are none here", kind, name)
	}
	return none, exit.Usagef("unknown %s %q; there are: %s", kind, name, strings.Join(slices.Compact(names), ", "))
}

// size checks the numbers.
func (p *planned) size(a asked) (err error) {
	least, most := 1, 9
	r := &p.record
	switch {
	case a.time <= 0:
		return exit.Usagef("--time %v: expected more than zero, like 10s", a.time)
	case a.nodes < least || a.nodes > most:
		return exit.Usagef("--nodes %d: expected %d to %d", a.nodes, least, most)
	case a.keys < 1 || a.keys > 1_000_000:
		return exit.Usagef("--keys %d: expected 1 to 1000000", a.keys)
	case a.rate < 0:
		return exit.Usagef("--rate %v: expected operations a second, or 0 for no limit", a.rate)
	case a.interval < 0:
		return exit.Usagef("--interval %v: expected more than zero, like 5s", a.interval)
	case a.checkTimeout <= 0:
		return exit.Usagef("--check-timeout %v: expected more than zero, like 60s", a.checkTimeout)
	}
	if r.Concurrency, err = parseConcurrency(a.concurrency, a.nodes); err != nil {
		return err
	}
	if r.Seed, err = parseSeed(a.seed); err != nil {
		return err
	}
	if r.Check.Memory, err = parseBytes("--check-memory", a.checkMemory); err != nil {
		return err
	}
	r.Check.Timeout = a.checkTimeout
	p.budget = checker.Budget{Time: a.checkTimeout, Memory: r.Check.Memory}
	r.Nodes = local.Names(a.nodes)
	r.Time, r.Interval, r.Keys, r.Rate = a.time, a.interval, a.keys, a.rate
	r.Argv = a.argv
	return nil
}

// resolveOptions deals the options out to system, workload and faults.
func (p *planned) resolveOptions(a asked) error {
	given, err := parseOpts(a.opts)
	if err != nil {
		return err
	}
	_, others := nemesis.Split(given) // the faults' are resolved with the faults
	specs := slices.Concat(p.system.Options, p.workload.Options, runOptions())
	if _, err := options.Resolve(specs, others); err != nil {
		return exit.Usagef("--opt: %w", err)
	}
	p.record.Options = given
	own := subset(runOptions(), given)
	if p.reuse = own.Bool("reuse"); p.reuse && p.record.On != onDocker {
		return exit.Usagef("--opt reuse=true: only containers are kept; use --on docker with --seeds")
	}
	p.sysOpts, p.workOpts = subset(p.system.Options, given), subset(p.workload.Options, given)
	if p.system.Check != nil {
		if err := p.system.Check(p.sysOpts); err != nil {
			return exit.Usagef("%w", err)
		}
	}
	if p.system.Nodes != nil {
		least, most := p.system.Nodes(p.sysOpts)
		if n := len(p.record.Nodes); n < least || n > most {
			return exit.Usagef("--nodes %d: %s with these options takes %d to %d", n, p.system.Name, least, most)
		}
	}
	return nil
}

// runOptions are options of the run itself.
func runOptions() []options.Option {
	return []options.Option{
		{Name: "timeout", Kind: options.Duration, Default: "1s", Min: "1ms", Max: "1m", Doc: "deadline of a single operation"},
		{Name: "plan", Kind: options.String, Default: "turns", Values: []string{"turns", randomPlan}, Doc: "how faults are planned: in turns, each in its rhythm, or by chance, overlapping"},
		{Name: "reuse", Kind: options.Bool, Default: "false", Doc: "of --seeds with --on docker: keep the nodes from one run to the next, until one fails"},
		{Name: "min-ok", Kind: options.Int, Default: "20", Min: "0", Doc: "successes that each kind of operation needs for a run to count"},
		{Name: "min-share", Kind: options.Float, Default: "0.05", Min: "0", Max: "1", Doc: "their share of the attempts"},
		modelOption(),
	}
}

// subset resolves those of the given options that are among specs; all of them
// have been checked before.
func subset(specs []options.Option, given map[string]string) options.Values {
	own := map[string]string{}
	for _, o := range specs {
		if v, ok := given[o.Name]; ok {
			own[o.Name] = v
		}
	}
	v, _ := options.Resolve(specs, own)
	return v
}

// instance makes the workload for one run.
func (p *planned) instance() (*workloads.Instance, error) {
	opened, err := p.methods()
	if err != nil {
		return nil, err
	}
	w, err := p.workload.New(workloads.Params{
		Options: p.workOpts, System: p.sysOpts, Keys: p.record.Keys, Concurrency: p.record.Concurrency,
		Nodes: p.record.Nodes, Opened: opened, Budget: p.budget,
	})
	if err != nil {
		return nil, exit.Usagef("%s: %w", p.system.Name, err)
	}
	p.record.Model, p.clockBound = w.Model, w.ClockBound
	if p.kept != nil {
		inner, prefix := w.Perform, p.kept.keyPrefix()
		w.Perform = func(ctx context.Context, client any, op history.Op) (history.Reply, error) {
			op.Key = prefix + op.Key
			return inner(ctx, client, op)
		}
	}
	if p.script != nil {
		w.Main, w.Final = script{ops: p.script}, nil
	}
	return w, nil
}

// methods is a client of the system that is only good for asking what it can do.
func (p *planned) methods() (any, error) {
	if p.system.Methods == nil {
		return nil, exit.Usagef("the system %s does not say what its clients can do", p.system.Name)
	}
	return p.system.Methods(), nil
}

// title says in a line what is about to run.
func (p *planned) title() string {
	r := p.record
	text := r.System
	if r.Version != "" {
		text += " " + r.Version
	}
	if r.Bug != "" {
		text += " with the bug " + r.Bug
	}
	return fmt.Sprintf("%s, %s, faults %s, %d nodes on %s, %d workers, %v",
		text, r.Workload, cmp.Or(strings.Join(r.Nemesis, "+"), "none"), len(r.Nodes), r.On, r.Concurrency, r.Time)
}

// run runs the test in a folder of its own. The folder is nil if nothing was
// written.
func (p *planned) run(ctx context.Context, progress func(faultline.Snapshot)) (reports.Results, *reports.Folder, error) {
	workload, err := p.instance()
	if err != nil {
		return reports.Results{}, nil, err
	}
	// The world is asked what it can do before anything is written.
	c, err := p.world(ctx, "unused")
	if err != nil {
		return reports.Results{}, nil, err
	}
	if err := p.checkPowers(c); err != nil {
		return reports.Results{}, nil, err
	}
	started := time.Now()
	folder, err := reports.Create(p.runs, p.record.System, p.record.Workload, started, p.record.Seed)
	if err != nil {
		return reports.Results{}, nil, &exit.Error{Code: exit.Usage, Err: err}
	}
	rec := p.record
	rec.Started = started.UTC()
	rec.Faultline.Version, rec.Faultline.Commit = buildVersion()
	rec.Faultline.Go = runtime.Version()
	rec.Host = reports.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	if p.record.On == onLocal {
		if c, err = p.world(ctx, worldDir(folder)); err != nil {
			return reports.Results{}, folder, err
		}
	}
	t := p.test(ctx, c, workload)
	t.Folder, t.Record, t.Progress = folder, rec, progress
	if p.kept != nil {
		t.Progress = p.kept.watch
	}
	if w, ok := c.(*sim.World); ok {
		defer p.over(w)
	}
	if p.script != nil || p.fixed {
		t.Reproduce = "faultline replay " + folder.Path
	}
	if p.script != nil {
		if err := writeScript(folder, p.script); err != nil {
			return reports.Results{}, folder, err
		}
	}
	var began time.Duration
	t.Began = func(start time.Duration) { began = start }
	res, err := faultline.Run(ctx, t)
	if w, ok := c.(*sim.World); ok && err == nil {
		err = keepTrace(folder, res, w, began)
	}
	_ = os.RemoveAll(worldDir(folder)) // what it held lies in the folder by now
	return res, folder, err
}

// test is the run as a value, without its folder.
func (p *planned) test(ctx context.Context, c cluster.Cluster, workload *workloads.Instance) faultline.Test {
	rec := p.record
	own := subset(runOptions(), rec.Options)
	t := faultline.Test{
		System: p.system, Cluster: c, Workload: workload, Options: p.sysOpts, Plan: p.plan, Faults: p.env.Faults,
		Concurrency: rec.Concurrency, Time: rec.Time, Rate: rec.Rate, Seed: rec.Seed,
		OpTimeout: own.Duration("timeout"), Power: powerOptions(own),
		CheckTimeout: rec.Check.Timeout, Reproduce: p.reproduce(),
		Warn: func(text string) { fmt.Fprintf(p.env.Stderr, "faultline: %s\n", text) },
	}
	if own.String("plan") == randomPlan {
		t.Power.Faults = p.plan.Faults() // a fault that was not drawn need not show
	}
	if p.online {
		if t.Stream = workload.Online; t.Stream == nil {
			t.Stream = checker.Growing(ctx, workload.Checkers)
		}
	}
	if p.script != nil {
		t.Rate = 0 // the operations have their times
	}
	if w, ok := c.(*sim.World); ok {
		t.Runtime = w
		t.Checkers = append(t.Checkers, w.Checker())
	}
	return t
}

// world makes the cluster that the run needs, local nodes in dir; it starts
// nothing.
func (p *planned) world(ctx context.Context, dir string) (cluster.Cluster, error) {
	r := p.record
	switch r.On {
	case onSim:
		return p.simulate(true)
	case onLocal:
		return local.New(local.Config{
			Names: r.Nodes, Ports: p.system.Ports, Framed: p.system.Framed, Command: p.command,
			Dir: dir, Options: p.sysOpts, Version: r.Version, Bug: r.Bug, Seed: r.Seed,
		})
	case onDocker:
		if p.kept != nil {
			return p.kept, nil
		}
		return p.containers(ctx)
	}
	return nil, exit.Brokenf("--on %s is not possible yet", r.On)
}

// worldDir is where local nodes live while they run.
func worldDir(f *reports.Folder) string { return filepath.Join(f.Path, "world") }

// command is how a node is started; the bundled stores are this binary.
func (p *planned) command(l cluster.Launch) (cluster.Command, error) {
	c, err := p.system.Process(l)
	if err == nil && c.Path == "" {
		c.Path, err = os.Executable()
	}
	return c, err
}

// reproduce is the command that does the same again.
func (p *planned) reproduce() string {
	r := p.record
	words := []string{"faultline", "run", "--system", r.System, "--workload", r.Workload, "--on", r.On}
	if r.Bug != "" {
		words = append(words, "--bug", r.Bug)
	}
	if r.Plan == "" {
		faults := strings.Join(r.Nemesis, ",")
		if faults == "" {
			faults = "none"
		}
		words = append(words, "--nemesis", faults)
	}
	words = append(words, "--time", r.Time.String(), "--nodes", strconv.Itoa(len(r.Nodes)),
		"--concurrency", strconv.Itoa(r.Concurrency), "--keys", strconv.Itoa(r.Keys))
	if r.Rate > 0 {
		words = append(words, "--rate", fmt.Sprint(r.Rate))
	}
	if r.Interval > 0 {
		words = append(words, "--interval", r.Interval.String())
	}
	if r.Version != "" {
		words = append(words, "--version", r.Version)
	}
	if r.Image != "" {
		words = append(words, "--image", r.Image)
	}
	if r.Plan != "" {
		words = append(words, "--plan", r.Plan)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Options)) {
		words = append(words, "--opt", k+"="+r.Options[k])
	}
	return strings.Join(append(words, "--seed", strconv.FormatUint(r.Seed, 10)), " ")
}

// powerOptions are the thresholds as they were asked for; zero asks for nothing.
func powerOptions(own options.Values) power.Options {
	o := power.Options{MinOK: own.Int("min-ok"), MinShare: own.Float("min-share")}
	if o.MinOK == 0 {
		o.MinOK = -1
	}
	if o.MinShare == 0 {
		o.MinShare = -1
	}
	return o
}
