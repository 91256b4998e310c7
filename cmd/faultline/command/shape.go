package command

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/sim"
)

// A simulated run draws from its seed whatever the command line leaves open, so
// that a thousand seeds explore a thousand shapes.

// shapeStream tells the source of shapes from others of the same seed.
const shapeStream = 0x7368617065

// drawShape fills in what was not given. Every choice is drawn in any case, so
// that one that is given does not change the others.
func drawShape(a asked) (asked, error) {
	seed, err := parseSeed(a.seed)
	if err != nil {
		return a, err
	}
	a.seed = formatSeed(seed)
	rng := rand.New(rand.NewPCG(seed, shapeStream))
	nodes := pick(rng, 3, 3, 5, 5, 5, 7)
	concurrency := pick(rng, "5", "8", "10", "10", "15")
	keys := pick(rng, 1, 3, 5, 10)
	interval := pick(rng, time.Second, 2*time.Second, 3*time.Second, 4*time.Second)
	rate := pick(rng, 20.0, 40, 60, 60, 80)
	faults := drawFaults(rng)
	if strings.Contains(faults, "clock:drift") && !a.given("nemesis") && a.bug == "" && !givesOption(a, "clock.rate") && !slices.Contains(a.opts, "model="+modelOutside) {
		a.opts = append(slices.Clone(a.opts), "clock.rate=1.03") // more is outside the failure model
	}
	fill(a, "nodes", &a.nodes, nodes)
	fill(a, "concurrency", &a.concurrency, concurrency)
	fill(a, "keys", &a.keys, keys)
	fill(a, "interval", &a.interval, interval)
	fill(a, "rate", &a.rate, rate)
	fill(a, "nemesis", &a.nemesis, faults)
	return a, nil
}

// drawFaults mixes faults that a correct store must bear.
func drawFaults(rng *rand.Rand) string {
	mix := pick(rng,
		[]string{"partition", "kill"}, []string{"partition", "kill"}, []string{"partition"}, []string{"kill"},
		[]string{"partition", "kill", "pause"}, []string{"pause", "kill"}, []string{"pause", "partition"})
	for _, more := range []string{"delay", "loss", "duplicate", "reorder", "corrupt", "disk:lose-unsynced", "disk:torn", "disk:slow", "disk:eio", "disk:enospc", "clock:drift", memberFault, flipFault} {
		if rng.IntN(10) == 0 {
			mix = append(mix, more)
		}
	}
	if slices.Contains(mix, flipFault) && !slices.Contains(mix, "kill") {
		mix = append(mix, "kill") // a node reads its disk when it starts
	}
	return strings.Join(mix, ",")
}

// Faults that are drawn for all runs, and dropped from those that cannot bear them.
const (
	memberFault = "member"
	flipFault   = "disk:bitflip"
)

// dropDrawn takes out of the drawn faults what the system cannot do, or what is
// outside the failure model with so few nodes.
func (p *planned) dropDrawn(a *asked) {
	if a.given("nemesis") || a.bug != "" {
		return
	}
	faults := slices.DeleteFunc(strings.Split(a.nemesis, ","), func(f string) bool {
		return f == memberFault && p.system.Members == nil || f == flipFault && a.nodes < 3
	})
	a.nemesis = strings.Join(faults, ",")
}

// keepToModel lets bits flip on one node only, all through a simulated run, unless
// disk.on says otherwise: more than one could be a quorum, once members have left,
// and that is outside the failure model.
func (p *planned) keepToModel() {
	if p.record.On != onSim {
		return
	}
	nodes := p.record.Nodes
	for i := range p.plan.Steps {
		if s := &p.plan.Steps[i]; s.Spec().String() == flipFault && s.Opts["on"] == "" {
			s.Targets = []string{nodes[p.record.Seed%uint64(len(nodes))]}
		}
	}
}

func givesOption(a asked, name string) bool {
	return slices.ContainsFunc(a.opts, func(o string) bool { return strings.HasPrefix(o, name+"=") })
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

func fill[T any](a asked, flag string, v *T, drawn T) {
	if !a.given(flag) {
		*v = drawn
	}
}

// simulated tells whether the system can be simulated.
func (p *planned) simulated() bool {
	if p.env.Simulate == nil {
		return false
	}
	_, found, _ := p.env.Simulate(p.system.Name, "")
	return found
}

// aroundTime is more than a simulated run takes around its main phase.
const aroundTime = time.Minute

// simulate makes the simulated cluster of the run. How its network, disks and
// clocks behave where no fault touches them is drawn from the seed too.
func (p *planned) simulate(keep bool) (*sim.World, error) {
	r := p.record
	system, _, err := p.env.Simulate(r.System, r.Bug)
	if err != nil {
		return nil, exit.Usagef("%w", err)
	}
	c := sim.Draw(r.Seed)
	c.System, c.Names, c.Seed, c.Keep = system, r.Nodes, r.Seed, keep
	if p.clockBound > 0 {
		// Clocks that run apart from the start stay within the bound to the end.
		c.Drift = min(c.Drift, float64(p.clockBound)/float64(2*(r.Time+aroundTime)))
	}
	return sim.New(c), nil
}

// over ends a simulated world.
func (p *planned) over(w *sim.World) {
	if p.traced != nil {
		p.traced(w.Hash())
	}
	w.Close()
}
