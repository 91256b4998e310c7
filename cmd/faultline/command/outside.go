package command

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/options"
)

// With --opt model=outside a simulated run draws a fault that the failure model
// leaves out, and a sweep takes the anomalies that it may cause as explained.

const (
	modelInside  = "inside"
	modelOutside = "outside"
	// outsideStream tells the source of such faults from others of the same seed.
	outsideStream = 0x6f757473696465
)

// modelOption is an option of the run.
func modelOption() options.Option {
	return options.Option{
		Name: "model", Kind: options.String, Default: modelInside, Values: []string{modelInside, modelOutside},
		Doc: "of simulated runs: draw faults inside the failure model, or also one outside it and take what it may cause as explained",
	}
}

// outsider is a fault outside the failure model.
type outsider struct {
	faults string
	opts   []string
	// lease are options for systems that have them, without which the fault shows in
	// nothing.
	lease string
	// may are the anomalies that it may cause, by workload. What is not listed it must
	// not cause even so.
	may map[string][]string
	// leased are those that it may cause in any workload whose reads go by a lease.
	leased []string
}

// outsiders are all of them; docs/failure-model.md has the same in words.
func outsiders() []outsider {
	clocks := map[string][]string{
		"lock":  {"double-hold", "lost-update-under-lock"},
		"cache": {"expired-read", "early-eviction"},
	}
	stale := []string{"stale-read", "nonlinearizable", "resurrected"} // the last of caches
	// A leader whose lease seems to last, for as long as it may be cut off.
	slow := []string{"clock.on=leader", "clock.way=back", "clock.for=8s"}
	disks := map[string][]string{}
	for _, w := range []string{"register", "lock", "cache", "set", "counter", "queue"} {
		disks[w] = []string{"liveness"}
	}
	return []outsider{
		{faults: "clock:jump,partition:leader", opts: slow, lease: "reads=lease", may: clocks, leased: stale},
		{faults: "clock:strobe,partition:leader", opts: slow, lease: "reads=lease", may: clocks, leased: stale},
		{faults: "clock:drift,partition:leader", opts: append(slow, "clock.rate=5"), lease: "reads=lease", may: clocks, leased: stale},
		{faults: "disk:bitflip,kill:all", opts: []string{"disk.on=majority"}, may: disks},
	}
}

// goOutside draws such a fault, if that is asked for and nothing else is.
func (p *planned) goOutside(a *asked) error {
	given, err := parseOpts(a.opts)
	if err != nil || given["model"] != modelOutside {
		return err
	}
	if a.on != onSim {
		return exit.Usagef("--opt model=%s needs --on %s", modelOutside, onSim)
	}
	seed, err := parseSeed(a.seed)
	if err != nil {
		return err
	}
	all := outsiders()
	drawn := pick(rand.New(rand.NewPCG(seed, outsideStream)), all...)
	if a.given("nemesis") || a.plan != "" {
		// Asked for: it may be any of them.
		for _, o := range all {
			p.explained = append(p.explained, slices.Concat(o.may[p.workload.Name], o.leased)...)
		}
		return nil
	}
	p.explained = slices.Clone(drawn.may[p.workload.Name])
	a.nemesis = drawn.faults
	a.opts = slices.Clone(a.opts)
	for _, o := range drawn.opts {
		if k, _, _ := strings.Cut(o, "="); !givesOption(*a, k) {
			a.opts = append(a.opts, o)
		}
	}
	lease := func(o options.Option) bool { return o.Name == "reads" && slices.Contains(o.Values, "lease") }
	if drawn.lease != "" && given["reads"] == "" && slices.ContainsFunc(p.system.Options, lease) {
		a.opts = append(a.opts, drawn.lease)
		given["reads"] = "lease"
	}
	if given["reads"] == "lease" {
		p.explained = append(p.explained, drawn.leased...)
	}
	return nil
}
