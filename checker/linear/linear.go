// Package linear decides whether histories are linearizable (Herlihy & Wing
// 1990): whether every operation can be given one instant between its invocation
// and its return at which it took effect, so that the object's sequential
// specification explains all results.
//
// It plans: linearizability is local, so every key is judged on its own; each
// history is first shrunk by rules that lose nothing; then the cheapest engine
// decides that is exact for it: fast ones for registers, mutexes, sets and
// queues whose values are told apart, an exact search for all else. Where that
// takes long Porcupine is asked as well, and it can be asked for by name.
package linear

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// Engines, as they are named in options and results.
const (
	Auto      = "auto"
	Fast      = "fast"
	Search    = "search"
	Porcupine = "porcupine"
)

// Options of a check. The zero value guesses the model and has no limits.
type Options struct {
	// Model is the specification; its zero value guesses by the operations.
	Model model.Spec
	// Engine is Auto (or ""), Fast, Search or Porcupine.
	Engine string
	// Timeout and Memory (in bytes, beyond the history itself) hold for all keys
	// together; 0 is no limit.
	Timeout time.Duration
	Memory  int64
	// Workers is how many keys are judged at a time, at most GOMAXPROCS, which is
	// the default.
	Workers int
	// Porcupine, if set, runs Porcupine on the given operations of h instead of
	// this process: in a child process that can be stopped at its memory limit. Then
	// it is asked as well where a search takes long.
	Porcupine func(ctx context.Context, job Job) (checker.Verdict, int64, error)
	// MaxAnomalies is how many keys get a witness; 16 by default.
	MaxAnomalies int
}

// Job is what a Porcupine outside this process is to judge.
type Job struct {
	Model   string
	History *history.History
	Ops     []int32 // operation numbers; nil for all
	Cut     int     // the index of the last event that has happened
	Memory  int64   // bytes; 0 for no limit
}

// Detail says how a verdict came about.
type Detail struct {
	// Engines counts the keys that each engine decided.
	Engines map[string]int `json:"engines"`
	// Keys are those that each engine decided, the first maxNamed of them, where
	// several engines took part.
	Keys map[string][]string `json:"keys,omitempty"`
	// Why counts the reasons for which a faster engine did not apply.
	Why map[string]int `json:"why,omitempty"`
	// Exhausted is how many nodes the search had to leave again: 0 means that it
	// never went back.
	Exhausted int64 `json:"exhausted,omitempty"`
	// Memory is "counted" by our engines or "measured" of a child process.
	Memory string `json:"memory"`
	// VersionRegressions are where the system's own versions contradict real
	// time: reported beside the verdict.
	VersionRegressions []checker.Anomaly `json:"version_regressions,omitempty"`
}

// New is a checker of linearizability, named "linear".
func New(o Options) checker.Checker {
	return checker.Func("linear", func(ctx context.Context, h *history.History) checker.Result { return Check(ctx, h, o) })
}

// Check judges h. It returns within a second of its limits.
func Check(ctx context.Context, h *history.History, o Options) checker.Result {
	start := time.Now()
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	r := checker.Result{Checker: "linear"}
	p := &plan{h: h, o: o, b: newBudget(ctx, o.Memory), beside: make(chan struct{}, 1), detail: &Detail{Engines: map[string]int{}, Why: map[string]int{}, Memory: "counted"}}
	if err := p.prepare(); err != nil {
		r.Reason = err.Error()
		r.Duration = time.Since(start)
		return r
	}
	p.run() //nolint:contextcheck // a witness is verified within bounds of its own, also when time is up
	p.result(&r)
	r.Duration = time.Since(start)
	return r
}

// part is the operations that are judged together: those of one key, or of one
// element of a set.
type part struct {
	v    view
	name string
	from int // where its operations begin in the plan's columns
}

// decision is the judgement of one part.
type decision struct {
	verdict checker.Verdict
	engine  string
	why     []string
	reason  string
	passed  int
	anomaly *checker.Anomaly
}

type plan struct {
	h        *history.History
	o        Options
	b        *budget
	parts    []part
	elements bool // the parts are elements of sets
	got      []decision
	found    atomic.Int32
	measured atomic.Bool // some memory was measured of a child process
	detail   *Detail

	// columns are those of all parts of a register, made when first asked for.
	columns    columns
	columnsErr error
	once       sync.Once
	exhausted  atomic.Int64
	beside     chan struct{} // holds one who runs Porcupine beside a search

	problems []*problem // by part, where all were decoded at once
}

func (p *plan) prepare() error {
	switch p.o.Engine {
	case "":
		p.o.Engine = Auto
	case Auto, Fast, Search, Porcupine:
	default:
		return fmt.Errorf("unknown engine %q; there are auto, fast, search, porcupine", p.o.Engine)
	}
	if p.o.MaxAnomalies == 0 {
		p.o.MaxAnomalies = 16
	}
	if p.o.Model.New == nil {
		spec, err := model.Guess(p.h)
		if err != nil {
			return err
		}
		p.o.Model = spec
	}
	for _, f := range p.h.Fs() {
		if !slices.Contains(p.o.Model.Ops, f) && (p.o.Model.Name != "register" || f != "cas") {
			return fmt.Errorf("the %s model knows no operation %q", p.o.Model.Name, f)
		}
	}
	return p.split()
}

// split makes a part of every key, by counting sort. O(n).
func (p *plan) split() error {
	h := p.h
	whole := view{h: h, cut: h.Events()}
	if p.o.Model.Name == "set" && !slices.Contains(h.Fs(), "read") {
		return p.splitElements(whole)
	}
	if len(h.Keys()) <= 1 {
		if len(h.Keys()) == 1 {
			p.parts = []part{{v: whole, name: h.Keys()[0]}}
		}
		return nil
	}
	if err := p.b.grow(int64(h.Len())*4 + int64(len(h.Keys()))*64); err != nil {
		return errors.New(p.b.describe(err, p.o))
	}
	at := make([]int32, len(h.Keys())+1)
	for i := range h.Len() {
		at[h.KeyID(i)+1]++
	}
	for k := range h.Keys() {
		at[k+1] += at[k]
	}
	ops, from := make([]int32, h.Len()), slices.Clone(at)
	for i := range h.Len() {
		k := h.KeyID(i)
		ops[from[k]] = int32(i) //nolint:gosec // an op number
		from[k]++
	}
	for k, name := range h.Keys() {
		v := whole
		v.ops = ops[at[k]:at[k+1]:at[k+1]]
		p.parts = append(p.parts, part{v, name, int(at[k])})
	}
	return nil
}

// columnsOf are the columns of a part of a register.
func (p *plan) columnsOf(pt part) (columns, error) {
	p.once.Do(func() {
		var starts []int32
		if len(p.parts) > 1 {
			starts = make([]int32, len(p.parts))
			for k, pt := range p.parts {
				starts[k] = int32(pt.from) //nolint:gosec // an op number
			}
		}
		p.columns, p.columnsErr = newColumns(p.h, starts, p.o.Model.Name == "excluding-register", p.b)
	})
	if p.columnsErr != nil {
		return columns{}, p.columnsErr
	}
	return p.columns.part(pt.from, pt.from+pt.v.len()), nil
}

// workers is how many parts are judged at a time.
func (p *plan) workers() int {
	n := p.o.Workers
	if m := runtime.GOMAXPROCS(0); n <= 0 || n > m {
		n = m
	}
	return max(1, min(n, len(p.parts)))
}

// run judges the parts in a bounded pool of workers.
func (p *plan) run() {
	p.got = make([]decision, len(p.parts))
	p.decodeAll()
	n := p.workers()
	if n <= 1 {
		for i := range p.parts {
			p.got[i] = p.judge(p.parts[i])
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(p.parts)); i = next.Add(1) - 1 {
				p.got[i] = p.judge(p.parts[i])
			}
		})
	}
	wg.Wait()
}

func (p *plan) judge(pt part) decision {
	if err := p.b.spent(); err != nil {
		return p.unknown(pt, "", 0, err)
	}
	switch p.o.Engine {
	case Porcupine:
		return p.byPorcupine(pt)
	case Search:
		return p.bySearch(pt, nil)
	}
	d, err := p.byFast(pt)
	var no inapplicable
	switch {
	case err == nil:
		return d
	case !errors.As(err, &no):
		return p.unknown(pt, Fast, 0, err)
	case p.byClaim(pt):
		return decision{verdict: checker.Valid, engine: Fast}
	case p.o.Engine == Fast:
		return decision{engine: Fast, reason: "the fast engine does not apply: " + no.why}
	}
	return p.bySearch(pt, []string{no.why})
}

func (p *plan) unknown(pt part, engine string, passed int, err error) decision {
	why := p.b.describe(err, p.o)
	if errors.Is(err, errTime) || errors.Is(err, errMemory) {
		why = fmt.Sprintf("no violation among the first %s operations of %s; %s", thousands(passed), keyName(pt.name), why)
	}
	return decision{engine: engine, reason: why, passed: passed}
}

func keyName(k string) string {
	if k == "" {
		return "the only key"
	}
	return k
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// byFast asks the near-linear engine of the model.
func (p *plan) byFast(pt part) (decision, error) {
	switch p.o.Model.Name {
	case "register", "cas-register", "excluding-register":
		col, err := p.columnsOf(pt)
		if err != nil {
			return decision{}, err
		}
		z, c, err := checkZones(pt.v, col, p.b)
		if err != nil {
			return decision{}, err
		}
		if c.kind == kindNone {
			return decision{verdict: checker.Valid, engine: Fast}, nil
		}
		d := decision{verdict: checker.Invalid, engine: Fast}
		if int(p.found.Add(1)) <= p.o.MaxAnomalies {
			p.explainZones(pt, z, c, &d)
		}
		return d, nil
	}
	return p.byObject(pt)
}

// problem is the part's, decoded.
func (p *plan) problem(pt part) (*problem, error) {
	if p.problems == nil {
		return newProblem(pt.v, p.o.Model)
	}
	k := p.h.KeyID(pt.v.at(0))
	pr := p.problems[k]
	p.problems[k] = nil
	pr.shrink()
	return pr, nil
}

// decodeAll decodes all parts at once, where each is a key and the search will
// judge it.
func (p *plan) decodeAll() {
	if p.o.Engine != Search && !slices.Contains([]string{"kv", "mutex"}, p.o.Model.Name) || p.o.Engine == Porcupine || p.o.Engine == Fast {
		return
	}
	bytes := int64(p.h.Len()) * entryBytes
	if len(p.parts) < 2 || len(p.parts) != len(p.h.Keys()) || p.o.Memory > 0 && bytes > p.o.Memory/4 || p.b.grow(bytes) != nil {
		return
	}
	if ps, err := problems(p.h, p.parts, p.o.Model, p.workers()); err == nil {
		p.problems = ps
		return
	}
	_ = p.b.grow(-bytes) // the key at fault says so itself
}

// bySearch asks the exact search.
func (p *plan) bySearch(pt part, why []string) decision {
	pr, err := p.problem(pt)
	if err != nil {
		return decision{engine: Search, reason: err.Error(), why: why}
	}
	out, by, err := p.decide(pr)
	p.exhausted.Add(int64(out.exhausted))
	if err != nil {
		d := p.unknown(pt, Search, out.passed, err)
		d.why = why
		return d
	}
	if by == Porcupine {
		why = append(why, "porcupine, asked as well, was sooner than the search")
	}
	if out.valid {
		if by == Search && !replay(pr, out.order) {
			return decision{engine: Search, why: why, reason: "internal error: the linearization found does not replay"}
		}
		return decision{verdict: checker.Valid, engine: by, why: why}
	}
	d := decision{verdict: checker.Invalid, engine: by, why: why}
	if int(p.found.Add(1)) <= p.o.MaxAnomalies {
		p.explainSearch(pt, out.bad, &d)
	}
	return d
}

// maxNamed bounds the keys that Detail names.
const maxNamed = 100

func (p *plan) nameKeys() {
	if len(p.detail.Engines) < 2 {
		return
	}
	p.detail.Keys = map[string][]string{}
	for i, d := range p.got {
		if all := p.detail.Keys[d.engine]; d.engine != "" && len(all) < maxNamed {
			p.detail.Keys[d.engine] = append(all, p.parts[i].name)
		}
	}
}

// result merges the decisions.
func (p *plan) result(r *checker.Result) {
	r.Verdict = checker.Valid
	r.Ops = p.h.Len()
	r.PeakBytes = p.b.peak.Load()
	var reasons []string
	anomalies := 0
	for i, d := range p.got {
		r.Verdict = checker.Merge(r.Verdict, d.verdict)
		if d.engine != "" {
			p.detail.Engines[d.engine]++
		}
		for _, w := range d.why {
			p.detail.Why[w]++
		}
		if d.reason != "" {
			reasons = append(reasons, d.reason)
		}
		if d.verdict == checker.Invalid {
			anomalies++
		}
		if d.anomaly != nil {
			d.anomaly.Key = p.parts[i].name
			r.Anomalies = append(r.Anomalies, *d.anomaly)
		}
	}
	sort.SliceStable(r.Anomalies, func(i, j int) bool { return r.Anomalies[i].Time < r.Anomalies[j].Time })
	if len(p.parts) == 0 {
		r.Verdict, r.Reason = checker.Unknown, "the history has no operations"
	}
	if len(reasons) > 3 {
		reasons = append(reasons[:3], fmt.Sprintf("and %d more keys", len(reasons)-3))
	}
	if r.Reason == "" {
		r.Reason = strings.Join(reasons, "; ")
	}
	if anomalies > 0 {
		r.Figures = map[string]float64{"keys_invalid": float64(anomalies)}
	}
	r.Engine = strings.Join(slices.Sorted(maps.Keys(p.detail.Engines)), "+")
	p.nameKeys()
	if p.measured.Load() {
		p.detail.Memory = "measured"
	}
	p.detail.Exhausted = p.exhausted.Load()
	r.Detail = p.detail
	p.detail.VersionRegressions = versionRegressions(p.h, p.parts, p.o.MaxAnomalies)
}
