package nemesis

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// Plan is when which faults start and end: data that follows from a seed, can be
// written by hand, recorded and played again.
type Plan struct {
	Format int
	Seed   uint64
	Time   time.Duration // of the phase that the plan is for
	Steps  []Step        // in order of their starts
}

// Step is one start of a fault.
type Step struct {
	// ID is unique in the plan; all that the step does is done under it.
	ID    string
	Fault string
	Arg   string
	// At is when it starts, after the start of the phase; For is how long it lasts.
	At, For time.Duration
	// Targets are the nodes to act on; empty leaves the choice to the fault, which
	// makes it when it starts, from Seed.
	Targets []string
	Opts    map[string]string
	Seed    uint64
	// Done is what came of it, in a plan that has been executed.
	Done *Report
}

// Rand is the step's own source of chance.
func (s Step) Rand() *rand.Rand { return rand.New(rand.NewPCG(s.Seed, 0)) }

// Spec is the step as it is written in flags.
func (s Step) Spec() Spec { return Spec{Fault: s.Fault, Arg: s.Arg} }

// Report is what came of a step.
type Report struct {
	ID      string        `json:"id"`
	Fault   string        `json:"fault"`
	Arg     string        `json:"arg,omitempty"`
	Targets []string      `json:"targets"`
	Start   time.Duration `json:"start_ns"` // when it had been injected, by the run's clock
	End     time.Duration `json:"end_ns"`   // when it had been healed
	Bit     bool          `json:"bit"`
	// Relevant is false for a fault that bit what nothing reads; else it is nil.
	Relevant *bool  `json:"relevant,omitempty"`
	Healed   bool   `json:"healed"`
	Evidence any    `json:"evidence"`
	Gone     any    `json:"gone,omitempty"` // evidence after healing
	Error    string `json:"error,omitempty"`
}

// Faults are the faults of the steps as they are written in flags, each once; not
// nil.
func (p Plan) Faults() []string {
	names := []string{}
	for _, s := range p.Steps {
		if name := s.Spec().String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Reports are what came of the steps that were started or tried.
func (p Plan) Reports() []Report {
	var r []Report
	for _, s := range p.Steps {
		if s.Done != nil {
			r = append(r, *s.Done)
		}
	}
	return r
}

// Request is what a plan is made from.
type Request struct {
	Faults []Fault
	Specs  []Spec // of Parse
	Nodes  int
	// Leader says that the system can name its leader.
	Leader bool
	Seed   uint64
	Time   time.Duration
	// Interval is from one start of a fault to the next, 5 s unless set; options of
	// faults override it.
	Interval time.Duration
}

// StepsMax bounds a plan.
const StepsMax = 10_000

// NewPlan makes a plan: quiet at the start and at the end, each fault in its own
// rhythm between, each at least once. The same request gives the same plan.
func NewPlan(r Request) (Plan, error) {
	p := Plan{Format: 1, Seed: r.Seed, Time: r.Time}
	if len(r.Specs) == 0 {
		return p, nil
	}
	if r.Time <= 0 {
		return p, fmt.Errorf("nemesis: faults need time, but the run has %v; use --time", r.Time)
	}
	if r.Interval <= 0 {
		r.Interval = 5 * time.Second
	}
	counts := map[string]int{}
	for i, s := range r.Specs {
		f, err := Find(r.Faults, s.Fault)
		if err != nil {
			return p, err
		}
		steps, err := r.steps(f, s, i)
		if err != nil {
			return p, err
		}
		for _, step := range steps {
			counts[s.Fault]++
			step.ID = s.Fault + "-" + strconv.Itoa(counts[s.Fault])
			p.Steps = append(p.Steps, step)
		}
	}
	slices.SortStableFunc(p.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	if len(p.Steps) > StepsMax {
		return p, fmt.Errorf("nemesis: %d starts of faults in %v; at most %d are possible: use a longer --interval", len(p.Steps), r.Time, StepsMax)
	}
	return p, nil
}

// rhythm is the timing of one fault.
type rhythm struct {
	first, last time.Duration // the earliest start and the latest end
	interval    time.Duration
	lasts       time.Duration
	slack       time.Duration // by how much a start may be late
}

// quietEnd is how long before the end of a phase no fault of its plan acts any more.
func quietEnd(phase time.Duration) time.Duration { return min(2*time.Second, phase/10) }

// rhythm divides the time: of 10 s the first is quiet, and the last. Faults
// without options of their own take turns, so that they overlap only by chance.
func (r Request) rhythm(f Fault, s Spec, i int) rhythm {
	k := rhythm{first: min(time.Second, r.Time/10), last: r.Time - quietEnd(r.Time)}
	window := k.last - k.first
	k.interval = r.Interval
	if own := s.Options.Duration("interval"); own > 0 {
		k.interval = own
	}
	// In a short run the turns of all are brought forward until each fits.
	turn := min(k.interval, window) / time.Duration(len(r.Specs))
	k.lasts = min(k.interval/2, turn*4/5)
	k.lasts = max(k.lasts, min(f.Least, window))
	if own := s.Options.Duration("for"); own > 0 {
		k.lasts = min(own, window)
	}
	k.first = min(k.first+time.Duration(i)*turn, k.last-k.lasts)
	k.slack = min(turn/5, k.last-k.lasts-k.first)
	return k
}

// steps are the starts of one fault.
func (r Request) steps(f Fault, s Spec, i int) ([]Step, error) {
	rng := rand.New(rand.NewPCG(r.Seed, hash(s.String())))
	k := r.rhythm(f, s, i)
	var deck []string
	if s.Arg == "" && f.Deck != nil {
		if deck = f.deck(r.Nodes, r.Leader, s.Options); len(deck) == 0 {
			return nil, fmt.Errorf("nemesis: %s is not possible with %d nodes; use more with --nodes", f.Name, r.Nodes)
		}
		// The first card stays first: it is the one that most often tells.
		rng.Shuffle(len(deck)-1, func(a, b int) { deck[a+1], deck[b+1] = deck[b+1], deck[a+1] })
	}
	var steps []Step
	for at := k.first; len(steps) <= StepsMax; {
		late := at + time.Duration(rng.Int64N(int64(k.slack)+1))
		if late+k.lasts > k.last {
			break
		}
		step := Step{Fault: f.Name, Arg: s.Arg, At: round(late), For: round(k.lasts), Opts: maps.Clone(s.Options), Seed: rng.Uint64() >> 11}
		delete(step.Opts, "interval")
		delete(step.Opts, "for")
		if deck != nil {
			step.Arg = deck[len(steps)%len(deck)]
		}
		steps = append(steps, step)
		at += max(k.interval, k.lasts+k.slack)
	}
	return steps, nil
}

// round keeps plans readable.
func round(d time.Duration) time.Duration {
	if d >= time.Second {
		return d.Truncate(time.Millisecond)
	}
	return d.Truncate(time.Microsecond)
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
