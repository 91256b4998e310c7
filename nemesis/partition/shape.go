package partition

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
)

// cut is which links a start cuts, and why.
type cut struct {
	choice nemesis.Choice
	sides  string // for people: "n1|n2+n3"
	links  []cluster.Link
}

// shape decides the links of a step.
func shape(ctx context.Context, env *nemesis.Env, step nemesis.Step) (cut, error) {
	nodes, rng := env.Nodes(), step.Rand()
	switch step.Arg {
	case "majorities-ring":
		return ring(nemesis.Shuffled(nodes, rng)), nil
	case "bridge":
		return bridge(nemesis.Shuffled(nodes, rng)), nil
	case "random":
		return random(nodes, rng), nil
	case "", "one", "halves", "majority", "leader", "one-way", cluster.Clients:
		return aside(ctx, env, step)
	}
	groups := nemesis.Groups(step.Arg)
	if len(groups) == 1 {
		return aside(ctx, env, step)
	}
	return cut{
		choice: nemesis.Choice{Nodes: slices.Concat(groups...)},
		sides:  step.Arg,
		links:  between(groups),
	}, nil
}

// between are the links, both ways, from every group to every other.
func between(groups [][]string) []cluster.Link {
	var links []cluster.Link
	for i, g := range groups {
		for j, h := range groups {
			for _, a := range g {
				for _, b := range h {
					if i != j {
						links = append(links, cluster.Link{From: a, To: b})
					}
				}
			}
		}
	}
	return links
}

// aside puts some chosen nodes on a side of their own.
func aside(ctx context.Context, env *nemesis.Env, step nemesis.Step) (cut, error) {
	nodes, ask := env.Nodes(), step
	switch step.Arg {
	case "majority":
		ask.Arg = "minority" // who is cut off
	case "halves":
		if len(ask.Targets) == 0 {
			mixed := nemesis.Shuffled(nodes, step.Rand())
			ask.Arg = strings.Join(mixed[:len(mixed)/2], "+")
		}
	case "one-way", cluster.Clients, "":
		ask.Arg = "one"
	}
	choice, err := env.Choose(ctx, ask)
	if err != nil {
		return cut{}, err
	}
	off := choice.Nodes
	rest := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return slices.Contains(off, n) })
	c := cut{choice: choice, sides: strings.Join(off, "+") + "|" + strings.Join(rest, "+")}
	switch step.Arg {
	case cluster.Clients:
		c.sides = cluster.Clients + "|" + strings.Join(off, "+")
		c.links = between([][]string{{cluster.Clients}, off})
	case "one-way":
		c.sides, c.links = oneWay(off, rest, step)
	default:
		c.links = between([][]string{off, rest})
	}
	return c, nil
}

// oneWay cuts what comes to off, or what it sends.
func oneWay(off, rest []string, step nemesis.Step) (string, []cluster.Link) {
	in := step.Opts["way"] == "in"
	if w := step.Opts["way"]; w != "in" && w != "out" {
		in = rand.New(rand.NewPCG(step.Seed, 1)).IntN(2) == 0
	}
	var links []cluster.Link
	for _, a := range off {
		for _, b := range rest {
			l := cluster.Link{From: a, To: b}
			if in {
				l = cluster.Link{From: b, To: a}
			}
			links = append(links, l)
		}
	}
	if in {
		return strings.Join(rest, "+") + " to " + strings.Join(off, "+"), links
	}
	return strings.Join(off, "+") + " to " + strings.Join(rest, "+"), links
}

// ring lets each node hear the majority around itself in a ring, as Jepsen's
// majorities-ring does. With odd majorities what one hears hears it, too; else the
// cuts are one-way.
func ring(nodes []string) cut {
	n, m := len(nodes), nemesis.Majority(len(nodes))
	c := cut{choice: nemesis.Choice{Nodes: slices.Sorted(slices.Values(nodes))}, sides: "ring " + strings.Join(nodes, " ")}
	for i, to := range nodes {
		heard := map[string]bool{}
		for k := range m {
			heard[nodes[(i-m/2+k+n)%n]] = true
		}
		for _, from := range nodes {
			if !heard[from] {
				c.links = append(c.links, cluster.Link{From: from, To: to})
			}
		}
	}
	return c
}

// bridge lets only one node hear both sides of the rest.
func bridge(nodes []string) cut {
	half := (len(nodes) - 1) / 2
	mid, a, b := nodes[0], nodes[1:1+half], nodes[1+half:]
	return cut{
		choice: nemesis.Choice{Nodes: []string{mid}},
		sides:  strings.Join(a, "+") + "|" + strings.Join(b, "+") + " but for " + mid,
		links:  between([][]string{a, b}),
	}
}

// random cuts each direction by an even chance, at least one.
func random(nodes []string, rng *rand.Rand) cut {
	var all, some []cluster.Link
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				all = append(all, cluster.Link{From: a, To: b})
			}
		}
	}
	for _, l := range all {
		if rng.IntN(2) == 0 {
			some = append(some, l)
		}
	}
	if len(some) == 0 && len(all) > 0 {
		some = append(some, all[rng.IntN(len(all))])
	}
	return cut{choice: nemesis.Choice{Nodes: nodes}, links: some}
}
