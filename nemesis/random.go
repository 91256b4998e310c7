package nemesis

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/options"
)

// randomStream tells random plans from others of the same seed.
const randomStream = 0x72616e646f6d

// RandomPlan draws starts of the faults that were asked for, each with a word, a
// time and a length by chance, so that they overlap as it comes: on average one for
// each second, at least one. The first and last tenth are quiet. The same request
// gives the same plan.
func RandomPlan(r Request) (Plan, error) {
	p := Plan{Format: 1, Seed: r.Seed, Time: r.Time}
	if len(r.Specs) == 0 {
		return p, nil
	}
	if r.Time <= 0 {
		return p, fmt.Errorf("nemesis: faults need time, but the run has %v; use --time", r.Time)
	}
	rng := rand.New(rand.NewPCG(r.Seed, randomStream))
	starts := min(StepsMax, 1+rng.IntN(1+2*int(r.Time/time.Second)))
	for i := range starts {
		s := r.Specs[rng.IntN(len(r.Specs))]
		f, err := Find(r.Faults, s.Fault)
		if err != nil {
			return p, err
		}
		step := Step{Fault: s.Fault, Arg: s.Arg, Opts: maps.Clone(s.Options), Seed: rng.Uint64() >> 11, ID: fmt.Sprintf("%s-%d", s.Fault, i+1)}
		delete(step.Opts, "interval")
		delete(step.Opts, "for")
		if words := f.possible(r.Nodes, s.Options); step.Arg == "" && len(words) > 0 {
			step.Arg = words[rng.IntN(len(words))]
		}
		first, last := r.Time/10, r.Time-r.Time/10
		lasts := r.Time/20 + time.Duration(rng.Int64N(int64(r.Time/2)))
		lasts = min(max(lasts, f.Least), last-first)
		step.At = round(first + time.Duration(rng.Int64N(int64(last-first-lasts)+1)))
		step.For = round(lasts)
		p.Steps = append(p.Steps, step)
	}
	slices.SortStableFunc(p.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return p, nil
}

// possible are the words that the fault takes with that many nodes and these options.
func (f Fault) possible(nodes int, o options.Values) []string {
	var words []string
	for _, a := range f.Args {
		if (f.Check == nil || f.Check(a.Name, nodes) == nil) && f.refuses(a.Name, nodes, o) == nil {
			words = append(words, a.Name)
		}
	}
	return words
}
