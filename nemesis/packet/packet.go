// Package packet degrades the links between nodes without cutting them: delay,
// loss, duplication, reordering, corruption and a limit of the rate.
package packet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// effect is one way to degrade a link.
type effect struct {
	name, doc, color string
	options          []options.Option
	// shape is what is asked of the cluster.
	shape func(options.Values) cluster.Shape
	// probes are what is sent to measure it.
	probes func(cluster.Shape) cluster.Probes
	// shows says whether a link's quality shows the effect.
	shows func(cluster.Shape, cluster.Quality) bool
}

// Faults are all of them.
func Faults() []nemesis.Fault {
	var faults []nemesis.Fault
	for _, e := range effects() {
		faults = append(faults, nemesis.Fault{
			Name: e.name, Doc: e.doc, Color: e.color, Options: e.options,
			Args: []nemesis.Arg{
				{Name: "all", Doc: "every link between nodes"},
				{Name: "one", Doc: "the links from and to one node, at random"},
				{Name: "leader", Doc: "the links from and to the node that leads"},
				{Name: "random", Doc: "each direction of each link by chance"},
			},
			Names: true, Groups: true,
			Deck:  deck,
			Check: check, Needs: e.needs, Start: e.start,
		})
	}
	return faults
}

func deck(nodes int, leader bool) []string {
	if nodes < 2 {
		return nil
	}
	d := []string{"all", "one", "random"}
	if leader {
		d = append(d, "leader")
	}
	return d
}

func check(_ string, nodes int) error {
	if nodes < 2 {
		return errors.New("a single node has no links; use at least 2 with --nodes")
	}
	return nil
}

func chance(value string) options.Option {
	return options.Option{Name: "p", Doc: "probability", Kind: options.Float, Default: value, Min: "0.001", Max: "1"}
}

func effects() []effect {
	return []effect{
		{
			name: "delay", doc: "everything on a link arrives late", color: "#72b7b2",
			options: []options.Option{
				{Name: "by", Doc: "mean delay", Kind: options.Duration, Default: "100ms", Min: "1ms", Max: "1m"},
				{Name: "jitter", Doc: "standard deviation of the delay", Kind: options.Duration, Default: "20ms", Min: "0s", Max: "1m"},
			},
			shape: func(v options.Values) cluster.Shape {
				return cluster.Shape{Delay: v.Duration("by"), Jitter: v.Duration("jitter")}
			},
			probes: func(cluster.Shape) cluster.Probes {
				return cluster.Probes{Count: 20, Size: 64, Every: 10 * time.Millisecond}
			},
			shows: func(s cluster.Shape, q cluster.Quality) bool { return q.Received > 0 && q.Delay >= s.Delay/2 },
		},
		{
			name: "loss", doc: "some of what is sent over a link is lost", color: "#54a24b",
			options: []options.Option{chance("0.2")},
			shape:   func(v options.Values) cluster.Shape { return cluster.Shape{Loss: v.Float("p")} },
			probes:  func(s cluster.Shape) cluster.Probes { return enough(s.Loss) },
			shows:   func(_ cluster.Shape, q cluster.Quality) bool { return q.Received < q.Sent },
		},
		{
			name: "duplicate", doc: "some of what is sent over a link arrives twice", color: "#88d27a",
			options: []options.Option{chance("0.2")},
			shape:   func(v options.Values) cluster.Shape { return cluster.Shape{Duplicate: v.Float("p")} },
			probes:  func(s cluster.Shape) cluster.Probes { return enough(s.Duplicate) },
			shows:   func(_ cluster.Shape, q cluster.Quality) bool { return q.Duplicated > 0 },
		},
		{
			name: "reorder", doc: "some of what is sent over a link is overtaken by what comes after", color: "#439894",
			options: []options.Option{chance("0.2")},
			shape:   func(v options.Values) cluster.Shape { return cluster.Shape{Reorder: v.Float("p")} },
			probes: func(s cluster.Shape) cluster.Probes {
				p := enough(s.Reorder)
				p.Every = 500 * time.Microsecond
				return p
			},
			shows: func(_ cluster.Shape, q cluster.Quality) bool { return q.Reordered > 0 },
		},
		{
			name: "corrupt", doc: "a bit of some of what is sent over a link is flipped; shows as loss where the transport has checksums", color: "#d67195",
			options: []options.Option{chance("0.05")},
			shape:   func(v options.Values) cluster.Shape { return cluster.Shape{Corrupt: v.Float("p")} },
			probes:  func(s cluster.Shape) cluster.Probes { return enough(s.Corrupt) },
			shows: func(_ cluster.Shape, q cluster.Quality) bool {
				return q.Corrupted > 0 || q.Received < q.Sent
			},
		},
		{
			name: "rate", doc: "a link carries so many bits a second only", color: "#eeca3b",
			options: []options.Option{{
				Name: "bps", Doc: "bits a second", Kind: options.Int, Default: "1000000", Min: "1000",
			}},
			shape: func(v options.Values) cluster.Shape { return cluster.Shape{Rate: int64(v.Int("bps"))} },
			probes: func(s cluster.Shape) cluster.Probes {
				// About a third of a second's worth.
				return cluster.Probes{Count: 20, Size: int(max(16, min(64<<10, s.Rate/8/60)))}
			},
			shows: func(s cluster.Shape, q cluster.Quality) bool { return q.Received > 1 && q.Rate < s.Rate*3/2 },
		},
	}
}

// enough probes to see something of probability p, but for one time in a million.
func enough(p float64) cluster.Probes {
	return cluster.Probes{Count: int(min(10_000, max(50, 14/p))), Size: 64}
}

func (e effect) needs(c cluster.Cluster, _ string, o options.Values) error {
	s, ok := c.(cluster.Shaper)
	if !ok {
		return cluster.Missing(c, "degrade links")
	}
	if _, ok := c.(cluster.Meter); !ok {
		return cluster.Missing(c, "measure the quality of links")
	}
	return s.Shapes(e.shape(e.filled(o)))
}

// filled has the defaults where options are missing.
func (e effect) filled(o options.Values) options.Values {
	v := options.Values{}
	for _, opt := range e.options {
		v[opt.Name] = opt.Default
		if o[opt.Name] != "" {
			v[opt.Name] = o[opt.Name]
		}
	}
	return v
}

// degraded is a start of one of the faults.
type degraded struct {
	effect
	env    *nemesis.Env
	id     string
	choice nemesis.Choice
	links  []cluster.Link
	shaped cluster.Shape
}

func (e effect) start(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	d := &degraded{effect: e, env: env, id: step.ID, shaped: e.shape(e.filled(step.Opts))}
	if err := d.choose(ctx, step); err != nil {
		return nil, err
	}
	if len(d.links) == 0 {
		return nil, fmt.Errorf("%s: %s has no link", e.name, step.Spec())
	}
	return d, env.Shape(ctx, step.ID, d.links, d.shaped)
}

// choose decides the links.
func (d *degraded) choose(ctx context.Context, step nemesis.Step) error {
	nodes := d.env.Nodes()
	all := linksOf(nodes)
	groups := nemesis.Groups(step.Arg)
	switch {
	case step.Arg == "" || step.Arg == "all":
		d.choice.Nodes, d.links = nodes, all
	case step.Arg == "random":
		rng := step.Rand()
		for _, l := range all {
			if rng.IntN(2) == 0 {
				d.links = append(d.links, l)
			}
		}
		if len(d.links) == 0 {
			d.links = all[:1]
		}
		d.choice.Nodes = nodes
	case len(groups) > 1:
		group := map[string]int{}
		for i, g := range groups {
			for _, n := range g {
				group[n] = i + 1
			}
		}
		d.choice.Nodes = slices.Concat(groups...)
		d.links = keep(all, func(l cluster.Link) bool {
			return group[l.From] > 0 && group[l.To] > 0 && group[l.From] != group[l.To]
		})
	default:
		c, err := d.env.Choose(ctx, step)
		if err != nil {
			return err
		}
		d.choice = c
		d.links = keep(all, func(l cluster.Link) bool {
			return slices.Contains(c.Nodes, l.From) || slices.Contains(c.Nodes, l.To)
		})
	}
	return nil
}

func linksOf(nodes []string) []cluster.Link {
	var links []cluster.Link
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				links = append(links, cluster.Link{From: a, To: b})
			}
		}
	}
	return links
}

func keep(links []cluster.Link, f func(cluster.Link) bool) []cluster.Link {
	return slices.DeleteFunc(slices.Clone(links), func(l cluster.Link) bool { return !f(l) })
}

// Targets are the nodes whose links are degraded.
func (d *degraded) Targets() []string { return d.choice.Nodes }

// Probe sends over the degraded links that nobody cuts and counts what arrives,
// when and how: the effect must show on each.
func (d *degraded) Probe(ctx context.Context) (bool, any, error) {
	cut := d.env.CutByOthers(d.id)
	links := keep(d.links, func(l cluster.Link) bool { return !cut[l] })
	if len(links) == 0 {
		return false, map[string]any{"masked": "other faults cut all of its links"}, nil
	}
	m, err := d.measure(ctx, links)
	if err != nil {
		return false, nil, err
	}
	cut = d.env.CutByOthers(d.id)
	maps.DeleteFunc(m, func(l cluster.Link, _ cluster.Quality) bool { return cut[l] })
	if len(m) == 0 {
		return false, map[string]any{"masked": "other faults cut all of its links meanwhile"}, nil
	}
	shown := 0
	for _, q := range m {
		if d.shows(d.shaped, q) {
			shown++
		}
	}
	return shown == len(m), d.evidence(m, "shown_on", shown), nil
}

func (d *degraded) measure(ctx context.Context, links []cluster.Link) (map[cluster.Link]cluster.Quality, error) {
	m, ok := d.env.Cluster.(cluster.Meter)
	if !ok {
		return nil, cluster.Missing(d.env.Cluster, "measure the quality of links")
	}
	ctx, cancel := d.env.Runtime.WithTimeout(ctx, d.env.Timeout)
	defer cancel()
	return m.Measure(ctx, links, d.probes(d.shaped))
}

// evidence sums up what was measured over all links.
func (d *degraded) evidence(m map[cluster.Link]cluster.Quality, counted string, n int) map[string]any {
	var sum cluster.Quality
	var delays []time.Duration
	var rates []int64
	for _, q := range m {
		sum.Sent += q.Sent
		sum.Received += q.Received
		sum.Duplicated += q.Duplicated
		sum.Reordered += q.Reordered
		sum.Corrupted += q.Corrupted
		delays = append(delays, q.Delay)
		rates = append(rates, q.Rate)
	}
	slices.Sort(delays)
	slices.Sort(rates)
	e := map[string]any{
		"links": len(m), counted: n, "sent": sum.Sent, "received": sum.Received,
		"delay_ms": float64(delays[len(delays)/2].Microseconds()) / 1000,
	}
	for name, v := range map[string]int{"duplicated": sum.Duplicated, "reordered": sum.Reordered, "corrupted": sum.Corrupted} {
		if v > 0 {
			e[name] = v
		}
	}
	if d.shaped.Rate > 0 {
		e["rate_bps"] = rates[len(rates)/2]
	}
	return d.choice.Evidence(e)
}

// Heal takes the shape back.
func (d *degraded) Heal(ctx context.Context) error { return d.env.Mend(ctx, d.id) }

// Gone measures again, where no other fault holds the link: the effect must show
// on none.
func (d *degraded) Gone(ctx context.Context) (bool, any, error) {
	free := func() map[cluster.Link]bool {
		cut, shaped := d.env.CutByOthers(d.id), d.env.ShapedByOthers(d.id)
		f := map[cluster.Link]bool{}
		for _, l := range d.links {
			f[l] = !cut[l] && !shaped[l]
		}
		return f
	}
	before := free()
	links := keep(d.links, func(l cluster.Link) bool { return before[l] })
	if len(links) == 0 {
		return true, map[string]any{"note": "other faults hold all of its links"}, nil
	}
	m, err := d.measure(ctx, links)
	if err != nil {
		return false, nil, err
	}
	after := free()
	shown := 0
	for l, q := range m {
		if after[l] && (q.Received == 0 || d.shows(d.shaped, q)) {
			shown++
		}
	}
	return shown == 0, d.evidence(m, "shown_on", shown), nil
}
