// Package partition cuts links between nodes, and between clients and nodes.
package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// Fault is the fault.
func Fault() nemesis.Fault {
	return nemesis.Fault{
		Name: "partition",
		Doc:  "links between nodes drop everything, silently",
		Args: []nemesis.Arg{
			{Name: "one", Doc: "one node alone, at random"},
			{Name: "halves", Doc: "two halves, at random"},
			{Name: "majority", Doc: "a majority on one side, a minority on the other, at random"},
			{Name: "majorities-ring", Doc: "every node hears a majority, no two the same"},
			{Name: "bridge", Doc: "two sides that only one node hears both of"},
			{Name: "leader", Doc: "the node that leads alone"},
			{Name: "one-way", Doc: "one node that hears nobody, or that nobody hears; option way"},
			{Name: cluster.Clients, Doc: "one node cut off from the clients only"},
			{Name: "random", Doc: "each direction of each link by chance"},
		},
		Names: true, Groups: true,
		Deck: deck,
		Options: append(nemesis.QuorumOptions(), options.Option{
			Name: "way", Doc: "of one-way: in cuts what comes to the node, out what it sends, any is by chance",
			Kind: options.String, Default: "any", Values: []string{"any", "in", "out"},
		}),
		Color:  "#4c78a8",
		Check:  check,
		Refuse: refuse,
		Needs:  needs,
		Start:  start,
	}
}

// deck puts first what most often tells: a leader that does not know it is none.
func deck(nodes int, leader bool) []string {
	if nodes < 2 {
		return nil
	}
	var d []string
	if leader {
		d = append(d, "leader")
	}
	d = append(d, "one", "one-way")
	if nodes >= 3 {
		d = append(d, "majorities-ring", "bridge")
	}
	if nodes >= 4 {
		d = append(d, "majority", "halves")
	}
	return d
}

func check(arg string, nodes int) error {
	least := 2
	switch arg {
	case cluster.Clients:
		least = 1
	case "majority":
		if nodes < 3 {
			return fmt.Errorf("of %d nodes no majority is left when one is cut off; use at least 3 with --nodes, or one", nodes)
		}
	case "majorities-ring", "bridge":
		least = 3
	}
	if g := nemesis.Groups(arg); len(g) == 1 && len(g[0]) == nodes && nodes > 1 {
		return errors.New("these are all nodes; name those of one side, or groups such as n1|n2+n3")
	}
	if nodes < least {
		return fmt.Errorf("needs at least %d nodes, not %d; use --nodes", least, nodes)
	}
	return nil
}

// refuse refuses to keep or break a quorum by a form that does the opposite with any
// choice of its nodes.
func refuse(arg string, nodes int, o options.Values) error {
	var names []string
	for i := range nodes {
		names = append(names, strconv.Itoa(i))
	}
	var c cut
	switch groups := nemesis.Groups(arg); {
	case arg == "majorities-ring":
		c = ring(names)
	case arg == "bridge":
		c = bridge(names)
	case len(groups) > 1:
		named := slices.Concat(groups...)
		c.links = between(groups)
		names = append(named, names[len(named):]...) // the rest hears all
	default:
		return nil
	}
	stands := nemesis.Stands(names, c.links)
	switch {
	case o["keep"] != "" && !stands:
		return fmt.Errorf("option keep=majority: %s of %d nodes leaves no majority that hears each other", arg, nodes)
	case o["break"] != "" && stands:
		return fmt.Errorf("option break=quorum: %s of %d nodes leaves a majority that hears each other", arg, nodes)
	}
	return nil
}

func needs(c cluster.Cluster, _ string, _ options.Values) error {
	if _, ok := c.(cluster.Network); !ok {
		return cluster.Missing(c, "cut links")
	}
	return nil
}

// partition is a start of the fault.
type partition struct {
	env  *nemesis.Env
	id   string
	form string
	cut
}

func start(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	c, err := shape(ctx, env, step)
	if err != nil {
		return nil, err
	}
	if len(c.links) == 0 {
		return nil, fmt.Errorf("partition: %s cuts no link of %s", step.Spec(), strings.Join(env.Nodes(), ", "))
	}
	p := &partition{env: env, id: step.ID, form: step.Arg, cut: c}
	return p, env.Cut(ctx, step.ID, c.links)
}

// Targets are the nodes that were cut off, or all that take part where there is
// no such side.
func (p *partition) Targets() []string { return p.choice.Nodes }

// Probe sends over every link that was cut, and over its way back where that was
// not: nothing may pass the one, and what nobody else cuts must pass the other.
func (p *partition) Probe(ctx context.Context) (bool, any, error) {
	back := p.back()
	others := p.env.CutByOthers(p.id)
	reach, err := p.env.Reach(ctx, append(back, p.links...))
	if err != nil {
		return false, nil, err
	}
	bit := true
	var through, dead []string
	for _, l := range p.links {
		if reach[l] {
			bit = false
			through = append(through, l.String())
		}
	}
	later := p.env.CutByOthers(p.id)
	for _, l := range back {
		if !reach[l] && !others[l] && !later[l] {
			bit = false
			dead = append(dead, l.String())
		}
	}
	e := p.evidence("unreachable", len(p.links)-len(through))
	if len(back) > 0 {
		e["back_open"] = len(back) - len(dead)
	}
	if through != nil {
		e["still_passing"] = through
	}
	if dead != nil {
		e["back_not_passing"] = dead
	}
	return bit, e, nil
}

// back are the other directions of links that were cut in one only.
func (p *partition) back() []cluster.Link {
	cut := map[cluster.Link]bool{}
	for _, l := range p.links {
		cut[l] = true
	}
	var back []cluster.Link
	for _, l := range p.links {
		if r := (cluster.Link{From: l.To, To: l.From}); !cut[r] {
			back = append(back, r)
		}
	}
	return back
}

func (p *partition) evidence(counted string, n int) map[string]any {
	var links []string
	for _, l := range p.links {
		links = append(links, l.String())
	}
	e := map[string]any{"form": p.form, "cut": links, counted: n}
	if p.sides != "" {
		e["sides"] = p.sides
	}
	return p.choice.Evidence(e)
}

// Heal mends what this fault cut.
func (p *partition) Heal(ctx context.Context) error { return p.env.Mend(ctx, p.id) }

// Gone sends over every link that was cut: all pass, but for those that other
// faults cut.
func (p *partition) Gone(ctx context.Context) (bool, any, error) {
	before := p.env.CutByOthers(p.id)
	reach, err := p.env.Reach(ctx, p.links)
	if err != nil {
		return false, nil, err
	}
	after := p.env.CutByOthers(p.id)
	n, held := 0, 0
	for _, l := range p.links {
		switch {
		case reach[l]:
			n++
		case before[l] || after[l]:
			held++
		}
	}
	e := p.evidence("reachable", n)
	if held > 0 {
		e["held_by_other_faults"] = held
	}
	return n+held == len(p.links), e, nil
}
