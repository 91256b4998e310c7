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
	switch groups := nemesis.Groups(step.Arg); {
	case step.Arg == "majorities-ring":
		return draw(ctx, env, step, ring)
	case step.Arg == "bridge":
		return draw(ctx, env, step, bridge)
	case step.Arg == "random":
		return random(ctx, env, step)
	case len(groups) > 1:
		c := cut{choice: nemesis.Choice{Nodes: slices.Concat(groups...)}, sides: step.Arg, links: between(groups)}
		return draw(ctx, env, step, func([]string) cut { return c })
	default:
		return aside(ctx, env, step)
	}
}

// drawMax is how many orders of the nodes are tried for a form to fit.
const drawMax = 100

// draw makes a form of the nodes in an order by chance: the first that leaves a
// majority or none, as the step's options ask.
func draw(ctx context.Context, env *nemesis.Env, step nemesis.Step, form func(nodes []string) cut) (c cut, err error) {
	rng := step.Rand()
	c.links, err = env.Links(ctx, step, func(fits func([]cluster.Link) bool) []cluster.Link {
		for range drawMax {
			if c = form(nemesis.Shuffled(env.Nodes(), rng)); fits(c.links) {
				return c.links
			}
		}
		return nil
	})
	return c, err
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
	if step.Opts["break"] == "" || step.Arg == cluster.Clients || len(off) < 2 {
		return c, nil
	}
	// So many may be a majority of their own.
	_, err = env.Links(ctx, step, func(fits func([]cluster.Link) bool) []cluster.Link {
		if !fits(c.links) {
			c.sides, c.links = c.sides+", each alone", append(c.links, between(alone(off))...)
		}
		return c.links
	})
	return c, err
}

// alone are groups of one.
func alone(nodes []string) [][]string {
	var groups [][]string
	for _, n := range nodes {
		groups = append(groups, []string{n})
	}
	return groups
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

// random cuts each direction by an even chance, at least one; then fewer or more, until
// a majority is left or none, as the step's options ask.
func random(ctx context.Context, env *nemesis.Env, step nemesis.Step) (c cut, err error) {
	var all []cluster.Link
	for _, a := range env.Nodes() {
		for _, b := range env.Nodes() {
			if a != b {
				all = append(all, cluster.Link{From: a, To: b})
			}
		}
	}
	c.choice.Nodes = env.Nodes()
	if len(all) == 0 {
		return c, nil
	}
	rng := step.Rand()
	chosen := map[cluster.Link]bool{}
	for _, l := range all {
		chosen[l] = rng.IntN(2) == 0
	}
	mixed := slices.Clone(all)
	rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	slices.SortStableFunc(mixed, func(a, b cluster.Link) int { return rank(chosen[a]) - rank(chosen[b]) })
	n := 0
	for n < len(mixed) && chosen[mixed[n]] {
		n++
	}
	c.links, err = env.Links(ctx, step, func(fits func([]cluster.Link) bool) []cluster.Link {
		for m := max(1, n); m > 0; m-- {
			if fits(mixed[:m]) {
				return mixed[:m]
			}
		}
		for m := n + 1; m <= len(mixed); m++ {
			if fits(mixed[:m]) {
				return mixed[:m]
			}
		}
		return nil
	})
	return c, err
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}
