package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// TargetArgs are the words by which faults on processes choose nodes.
func TargetArgs() []Arg {
	return []Arg{
		{"one", "one node at random"},
		{"minority", "as many as leave a majority, at random"},
		{"majority", "the least majority, at random"},
		{"leader", "the node that leads (Redis: the primary)"},
		{"followers", "all that do not lead"},
		{"all", "every node"},
		{"random", "at least one, each by chance"},
	}
}

// TargetDeck is what faults on processes do in turn: at most a minority at a time,
// so that the system has to go on.
func TargetDeck(nodes int, leader bool) []string {
	var deck []string
	if leader {
		deck = append(deck, "leader")
	}
	deck = append(deck, "one")
	if Minority(nodes) > 1 {
		deck = append(deck, "minority")
	}
	return deck
}

// CheckTarget refuses words that mean nothing with that many nodes.
func CheckTarget(arg string, nodes int) error {
	switch {
	case arg == "minority" && Minority(nodes) == 0:
		return fmt.Errorf("%d nodes have no minority; use at least 3 with --nodes, or one or all", nodes)
	case arg == "majority" && nodes < 3:
		return fmt.Errorf("with %d nodes the majority is all of them; use at least 3 with --nodes, or all", nodes)
	case arg == "followers" && nodes < 2:
		return errors.New("a single node has no followers; use at least 2 with --nodes")
	}
	return nil
}

// QuorumOptions keep a choice of nodes within a quorum, or beyond it.
func QuorumOptions() []options.Option {
	return []options.Option{
		{Name: "keep", Doc: "majority: never take so many nodes that no majority of the members is left, counting those that other faults hold", Kind: options.String, Values: []string{"", "majority"}},
		{Name: "break", Doc: "quorum: take as many more nodes as it needs to leave no majority", Kind: options.String, Values: []string{"", "quorum"}},
	}
}

// Majority is the least number of nodes that is more than half of n.
func Majority(n int) int { return n/2 + 1 }

// Minority is the greatest number of nodes whose loss leaves a majority of n.
func Minority(n int) int { return (n - 1) / 2 }

// Choice is which nodes a fault takes, and why.
type Choice struct {
	Nodes  []string
	Leader string // as far as it was asked for and known
	Note   string
}

// Choose picks the nodes for a step: those it names, or those its argument
// describes, from its own seed and what the cluster is like now. Nodes that are
// whole are preferred to those that another fault holds already.
func (e *Env) Choose(ctx context.Context, step Step) (Choice, error) {
	if len(step.Targets) > 0 {
		return Choice{Nodes: step.Targets}, nil
	}
	nodes, rng := e.Nodes(), step.Rand()
	var c Choice
	if step.Arg == "leader" || step.Arg == "followers" {
		c.Leader, c.Note = e.LeaderNow(ctx, rng)
	}
	c.Nodes = e.pick(step.Arg, nodes, c.Leader, rng)
	if step.Opts["keep"] != "" || step.Opts["break"] != "" {
		members, err := e.members(ctx)
		if err != nil {
			return c, err
		}
		c.Nodes = e.weigh(step, c.Nodes, members, rng)
	}
	if len(c.Nodes) == 0 {
		return c, Skip(step, "no node can be taken without losing the majority")
	}
	slices.SortFunc(c.Nodes, func(a, b string) int { return slices.Index(nodes, a) - slices.Index(nodes, b) })
	return c, nil
}

// pick is the nodes that a word means, or that it names.
func (e *Env) pick(arg string, nodes []string, leader string, rng *rand.Rand) []string {
	n := len(nodes)
	mixed := e.wholeFirst(Shuffled(nodes, rng))
	switch arg {
	case "", "one":
		return mixed[:1]
	case "minority":
		return mixed[:max(1, Minority(n))]
	case "majority":
		return mixed[:Majority(n)]
	case "all":
		return mixed
	case "random":
		return mixed[:1+rng.IntN(n)]
	case "leader":
		return []string{leader}
	case "followers":
		return slices.DeleteFunc(mixed, func(s string) bool { return s == leader })
	default:
		return slices.Concat(Groups(arg)...)
	}
}

// Shuffled is a copy of names in an order that rng decides.
func Shuffled(names []string, rng *rand.Rand) []string {
	mixed := slices.Clone(names)
	rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	return mixed
}

func (e *Env) wholeFirst(nodes []string) []string {
	slices.SortStableFunc(nodes, func(a, b string) int { return e.broken(a) - e.broken(b) })
	return nodes
}

func (e *Env) broken(node string) int {
	if e.Wanted(node) == cluster.Running {
		return 0
	}
	return 1
}

// leaderMax bounds asking for a leader; there may be none for a while.
const leaderMax = 3 * time.Second

// LeaderNow is the node that leads, or one by chance and a note when nobody knows.
func (e *Env) LeaderNow(ctx context.Context, rng *rand.Rand) (leader, note string) {
	nodes := e.Nodes()
	if e.Leader == nil {
		return nodes[rng.IntN(len(nodes))], "the system does not say who leads; chosen by chance"
	}
	var last error
	for end := e.Runtime.Now() + leaderMax; e.Runtime.Now() < end; {
		c, cancel := e.Runtime.WithTimeout(ctx, leaderMax)
		name, err := e.Leader(c)
		cancel()
		if err == nil && slices.Contains(nodes, name) {
			return name, ""
		}
		if err == nil {
			err = fmt.Errorf("%q is no node", name)
		}
		last = err
		if e.Runtime.Sleep(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	return nodes[rng.IntN(len(nodes))], fmt.Sprintf("no leader was found, chosen by chance: %v", last)
}

// members are the nodes that count for a quorum now.
func (e *Env) members(ctx context.Context) ([]string, error) {
	if e.Members == nil {
		return e.Nodes(), nil
	}
	m, err := e.Voters(ctx)
	if err != nil {
		return nil, fmt.Errorf("nemesis: who the members are: %w", err)
	}
	return m, nil
}

// whole are the voters that no fault has broken, may break, or has cut off from a
// majority of such, when the chosen are broken and the links are cut as well.
func (e *Env) whole(voters, chosen []string, links []cluster.Link) []string {
	cut := e.CutByOthers("")
	for _, l := range links {
		cut[l] = true
	}
	up := slices.DeleteFunc(slices.Clone(voters), func(n string) bool {
		return e.broken(n) > 0 || e.held.held(e.held.claimed, n) || slices.Contains(chosen, n)
	})
	return hearing(up, Majority(len(voters)), cut)
}

// hearing are the nodes that hear at least so many of them, and are heard by them.
func hearing(nodes []string, least int, cut map[cluster.Link]bool) []string {
	return slices.DeleteFunc(slices.Clone(nodes), func(a string) bool {
		n := 0
		for _, b := range nodes {
			if !cut[cluster.Link{From: a, To: b}] && !cut[cluster.Link{From: b, To: a}] {
				n++
			}
		}
		return n < least
	})
}

// Stands says whether a majority of the nodes hear a majority each, and are heard by it,
// when links are cut.
func Stands(nodes []string, links []cluster.Link) bool {
	cut := map[cluster.Link]bool{}
	for _, l := range links {
		cut[l] = true
	}
	return len(hearing(nodes, Majority(len(nodes)), cut)) >= Majority(len(nodes))
}

// stands says whether a majority of the voters is whole.
func (e *Env) stands(voters, chosen []string, links []cluster.Link) bool {
	return len(voters) > 0 && len(e.whole(voters, chosen, links)) >= Majority(len(voters))
}

// weigh takes nodes out of a choice until a majority is left whole, or adds some
// until none of the members is.
func (e *Env) weigh(step Step, chosen, members []string, rng *rand.Rand) []string {
	chosen = slices.Clone(chosen)
	if step.Opts["keep"] == "majority" {
		e.held.choosing.Lock()
		defer e.held.choosing.Unlock()
		for len(chosen) > 0 && !e.keeps(chosen, nil, members) {
			chosen = chosen[:len(chosen)-1]
		}
		e.claim(step.ID, chosen)
		return chosen
	}
	for _, m := range Shuffled(e.whole(members, chosen, nil), rng) {
		if !e.stands(members, chosen, nil) {
			break
		}
		chosen = append(chosen, m)
	}
	return chosen
}

// keeps says whether a majority is left without the chosen and the links: of the
// members, of those that stay when a removal that is under way is done, and of all when
// they are back.
func (e *Env) keeps(chosen []string, links []cluster.Link, members []string) bool {
	staying := slices.DeleteFunc(slices.Clone(members), e.HeldOut)
	for _, voters := range [][]string{members, staying, e.Nodes()} {
		if !e.stands(voters, chosen, links) {
			return false
		}
	}
	return true
}

// Links are the links that a step cuts. Find returns some that fit, none for the lack
// of such: under keep=majority those that leave a majority whole, counting what other
// faults hold, and under break=quorum those that leave none.
func (e *Env) Links(ctx context.Context, step Step, find func(fits func([]cluster.Link) bool) []cluster.Link) ([]cluster.Link, error) {
	keep, breaks := step.Opts["keep"] != "", step.Opts["break"] != ""
	if !keep && !breaks {
		return find(func([]cluster.Link) bool { return true }), nil
	}
	members, err := e.members(ctx)
	if err != nil {
		return nil, err
	}
	e.held.choosing.Lock()
	defer e.held.choosing.Unlock()
	links := find(func(links []cluster.Link) bool {
		if keep {
			return e.keeps(nil, links, members)
		}
		return !e.stands(members, nil, links)
	})
	if len(links) == 0 {
		if breaks {
			return nil, Skip(step, "every such cut leaves a majority whole")
		}
		return nil, Skip(step, "no such cut leaves a majority whole")
	}
	e.held.note(e.held.cuts, step.ID, links) // who chooses next counts them
	return links, nil
}
