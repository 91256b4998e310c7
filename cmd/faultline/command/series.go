package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/workloads/register"
)

// A series runs a range of seeds against real nodes, one after the other, each
// with a folder of its own. With reuse=true the containers are kept from one run
// to the next, and made anew only after one that failed.

// series is one of them.
type series struct {
	env  *Env
	a    asked
	kept *keptNodes // nil unless nodes are kept

	start  time.Time
	runs   int
	failed []seriesRun
	whole  int // runs that healed and left whole nodes
	made   int // clusters
	slow   time.Duration
}

// seriesRun is a run that is worth a second look.
type seriesRun struct {
	Seed      uint64          `json:"seed"`
	Verdict   checker.Verdict `json:"verdict"`
	Anomalies []string        `json:"anomalies,omitempty"`
	Problem   string          `json:"problem,omitempty"`
	Run       string          `json:"run"`
	broken    bool
}

// runSeries runs the seeds of a range until one finds an anomaly or fails, or with
// --keep-going all of them.
func runSeries(ctx context.Context, env *Env, a asked) error {
	first, last, err := parseSeeds(a.seeds)
	if err != nil {
		return err
	}
	s := &series{env: env, a: a, start: time.Now()}
	s.a.seeds = ""
	defer func() { _ = s.drop(context.WithoutCancel(ctx)) }()
	for seed := first; seed <= last && ctx.Err() == nil; seed++ {
		over, err := s.one(ctx, seed)
		if err != nil {
			return err
		}
		if over {
			break
		}
	}
	if err := s.drop(context.WithoutCancel(ctx)); err != nil {
		return &exit.Error{Code: exit.Broken, Err: err}
	}
	return s.report()
}

// one runs a seed; over says that the series ends with it. Its error is one of what
// was asked for.
func (s *series) one(ctx context.Context, seed uint64) (over bool, err error) {
	s.a.seed = formatSeed(seed)
	p, err := prepare(s.env, s.a)
	if err != nil {
		return true, err
	}
	if p.reuse {
		if err := s.keep(ctx, p); err != nil {
			return true, err
		}
	}
	res, folder, err := p.run(ctx, nil)
	if folder == nil {
		return true, err
	}
	r := seriesRun{Seed: seed, Verdict: res.Verdict, Run: filepath.ToSlash(folder.Path)}
	for name := range res.AnomalyCounts() {
		r.Anomalies = append(r.Anomalies, name)
	}
	slices.Sort(r.Anomalies)
	r.Problem = problemOf(res, err)
	r.broken = r.Problem != ""
	s.take(r, res)
	if r.broken || res.Verdict == checker.Invalid {
		if err := s.drop(context.WithoutCancel(ctx)); err != nil {
			return true, exit.Brokenf("%w", err)
		}
		return !s.a.keepGoing, nil
	}
	return false, nil
}

// problemOf says why a run did not leave whole nodes behind: that it found too
// little is none.
func problemOf(res reports.Results, err error) string {
	if err != nil {
		return err.Error()
	}
	var left []string
	for _, f := range res.Faults {
		if !f.Healed {
			left = append(left, f.ID+" was not proven healed")
		}
	}
	if res.Error != "" {
		left = append(left, res.Error)
	}
	return strings.Join(left, "; ")
}

func (s *series) take(r seriesRun, res reports.Results) {
	s.runs++
	if !r.broken {
		s.whole++
	}
	if r.broken || r.Verdict != checker.Valid {
		r.Problem = firstOf(r.Problem, res.Reason)
		s.failed = append(s.failed, r)
	}
	if s.a.quiet || s.a.json {
		return
	}
	served := ""
	if s.kept != nil && s.kept.served > 0 {
		served = fmt.Sprintf(", served again after %v", s.kept.served.Round(10*time.Millisecond))
		s.slow = max(s.slow, s.kept.served)
	}
	fmt.Fprintf(s.env.Stderr, "seed %d: %s, %d faults, %d operations%s %s\n", r.Seed, r.Verdict, len(res.Faults), res.Ops.Total, served, r.Problem)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// keep gives a run the nodes that are kept, or makes them keep those that it makes.
func (s *series) keep(ctx context.Context, p *planned) error {
	if s.kept == nil {
		c, err := p.containers(ctx)
		if err != nil {
			return err
		}
		d, ok := c.(*docker.Cluster)
		if !ok {
			return exit.Brokenf("reuse: %T cannot be kept", c)
		}
		s.kept = &keptNodes{Cluster: d}
		s.made++
	}
	s.kept.next(p)
	p.kept = s.kept
	return nil
}

// drop takes down what is kept.
func (s *series) drop(ctx context.Context) error {
	if s.kept == nil {
		return nil
	}
	err := s.kept.Cluster.Down(ctx)
	s.kept = nil
	return err
}

// report prints the outcome and sets the exit code: a run that did not leave whole
// nodes behind is one that could not be tested.
func (s *series) report() error {
	broken, unknown, invalid := 0, 0, 0
	for _, r := range s.failed {
		switch {
		case r.Verdict == checker.Invalid:
			invalid++
		case r.broken:
			broken++
		default:
			unknown++
		}
	}
	switch {
	case invalid > 0:
		s.env.code = exit.Anomalies
	case broken > 0:
		s.env.code = exit.Broken
	case unknown > 0 || s.runs == 0:
		s.env.code = exit.Unknown
	}
	if s.a.json {
		return s.printJSON()
	}
	for _, r := range s.failed {
		if r.Verdict == checker.Invalid || r.broken {
			fmt.Fprintf(s.env.Stdout, "seed %d: %s %s\n  folder: %s\n", r.Seed, strings.Join(r.Anomalies, ", "), r.Problem, r.Run)
		}
	}
	fmt.Fprintf(s.env.Stdout, "%d runs in %v: %d healed and left every node whole, %d anomalies, %d unknown; %d clusters were made",
		s.runs, time.Since(s.start).Round(time.Second), s.whole, invalid, unknown, s.made)
	if s.slow > 0 {
		fmt.Fprintf(s.env.Stdout, "; reads and writes on every node at most %v after the last heal", s.slow.Round(10*time.Millisecond))
	}
	fmt.Fprintln(s.env.Stdout)
	return nil
}

func (s *series) printJSON() error {
	out := struct {
		Seeds     int           `json:"seeds"`
		Failed    []seriesRun   `json:"failed"`
		Unknown   []uint64      `json:"unknown"`
		Simulated time.Duration `json:"simulated_ns"`
		Duration  time.Duration `json:"duration_ns"`
	}{s.runs, []seriesRun{}, []uint64{}, 0, time.Since(s.start)}
	for _, r := range s.failed {
		if r.Verdict == checker.Invalid || r.broken {
			out.Failed = append(out.Failed, r)
		} else {
			out.Unknown = append(out.Unknown, r.Seed)
		}
	}
	return json.NewEncoder(s.env.Stdout).Encode(out)
}

// keptNodes are containers that outlive a run. Down proves that the run left nothing
// behind and that every node serves, and leaves them.
type keptNodes struct {
	*docker.Cluster
	up     bool
	runs   int
	system clients.System
	opts   map[string]string
	settle time.Time     // when the run's faults were over
	served time.Duration // how long after it every node had served
}

// next prepares for another run, whose keys are others than those of the last.
func (k *keptNodes) next(p *planned) {
	k.runs++
	k.settle, k.served = time.Time{}, 0
	if k.up {
		p.system.Init = nil // they are joined
	}
	k.system, k.opts = p.system, p.sysOpts
	k.Since(time.Now())
}

// keyPrefix tells the keys of one run from those of another on the same nodes.
func (k *keptNodes) keyPrefix() string { return fmt.Sprintf("r%d-", k.runs) }

// Up makes the nodes where they are not there yet.
func (k *keptNodes) Up(ctx context.Context) error {
	if k.up {
		return nil
	}
	err := k.Cluster.Up(ctx)
	k.up = err == nil
	return err
}

// watch notes when the faults were over.
func (k *keptNodes) watch(s faultline.Snapshot) {
	if s.Stage == "settle" && k.settle.IsZero() {
		k.settle = time.Now()
	}
}

// serveLimit is how long after the last heal every node must have served.
const serveLimit = 30 * time.Second

// Down proves that the nodes are whole.
func (k *keptNodes) Down(ctx context.Context) error {
	if !k.up || k.settle.IsZero() {
		return nil // the run came to nothing: the series drops the nodes
	}
	ctx, cancel := context.WithDeadline(ctx, k.settle.Add(serveLimit))
	defer cancel()
	for _, n := range k.Nodes() {
		if err := k.serves(ctx, n); err != nil {
			return fmt.Errorf("%s does not serve %v after the last heal: %w", n.Name, serveLimit, err)
		}
	}
	k.served = time.Since(k.settle)
	return k.nothingLeft(ctx)
}

// serves writes to a node and reads from it, until both succeed.
func (k *keptNodes) serves(ctx context.Context, n cluster.Node) error {
	for {
		err := k.serveOnce(ctx, n)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (k *keptNodes) serveOnce(ctx context.Context, n cluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	to := clients.Target{Node: n, Cluster: k.Cluster, Options: k.opts, Timeout: time.Second}
	c, err := k.system.Open(ctx, to)
	if err != nil {
		return err
	}
	defer c.Close()
	store, ok := c.(register.Store)
	if !ok {
		return k.system.Ready(ctx, to)
	}
	key := k.keyPrefix() + "served"
	if _, err = store.Write(ctx, key, 1); err == nil {
		_, err = store.Read(ctx, key)
	}
	return err
}

// nothingLeft looks whether all processes run and all links are open.
func (k *keptNodes) nothingLeft(ctx context.Context) error {
	var links []cluster.Link
	for _, a := range k.Nodes() {
		s, err := k.State(ctx, a.Name)
		if err == nil && s != cluster.Running {
			err = fmt.Errorf("%s was left %s", a.Name, s)
		}
		if err != nil {
			return err
		}
		links = append(links, cluster.Link{From: a.Name, To: cluster.Clients}, cluster.Link{From: cluster.Clients, To: a.Name})
		for _, b := range k.Nodes() {
			if a.Name != b.Name {
				links = append(links, cluster.Link{From: a.Name, To: b.Name})
			}
		}
	}
	return errors.Join(k.allOpen(ctx, links), k.noRules(ctx))
}

// reachTries is how often closed links are looked at: on a busy machine a datagram
// can be late.
const reachTries = 5

func (k *keptNodes) allOpen(ctx context.Context, links []cluster.Link) error {
	var closed []cluster.Link
	for range reachTries {
		open, err := k.Reach(ctx, links)
		if err != nil {
			return err
		}
		closed = slices.DeleteFunc(slices.Clone(links), func(l cluster.Link) bool { return open[l] })
		if len(closed) == 0 {
			return nil
		}
	}
	return fmt.Errorf("links were left closed: %v", closed)
}

// noRules asks the agents what they still hold.
func (k *keptNodes) noRules(ctx context.Context) error {
	held, err := k.Held(ctx)
	if err == nil && len(held) > 0 {
		err = fmt.Errorf("cuts and shapes were left: %s", strings.Join(held, ", "))
	}
	return err
}
