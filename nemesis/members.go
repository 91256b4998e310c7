package nemesis

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	// changeMax bounds one attempt at changing the membership, and a look at it.
	changeMax = 3 * time.Second
	// changePause is the time between two attempts.
	changePause = 200 * time.Millisecond
)

// Voters are the members that the system has now, sorted, as it says itself.
func (e *Env) Voters(ctx context.Context) ([]string, error) {
	ctx, cancel := e.Runtime.WithTimeout(ctx, min(changeMax, e.Timeout))
	defer cancel()
	return e.Members.Members(ctx)
}

// Removable are those of the nodes that may be out of the membership together: it
// never loses so many that no majority of the rest is whole, counting what other
// faults break and cut off. The last of the nodes stay first. Those that another
// fault holds out already may always be; where no other can, they are the answer. The
// id claims what it gets until it is healed.
func (e *Env) Removable(id string, nodes, members []string) []string {
	e.held.choosing.Lock()
	defer e.held.choosing.Unlock()
	some := e.removable(nodes, members)
	e.claim(id, some)
	return some
}

func (e *Env) removable(nodes, members []string) []string {
	for n := len(nodes); n > 0; n-- {
		without := func(voters []string) []string {
			return slices.DeleteFunc(slices.Clone(voters), func(v string) bool { return slices.Contains(nodes[:n], v) })
		}
		if e.stands(without(members), nil, nil) && e.stands(without(e.Nodes()), nil, nil) {
			return slices.Clone(nodes[:n])
		}
	}
	return slices.DeleteFunc(e.Nodes(), func(n string) bool { return !e.HeldOut(n) })
}

// Remove takes nodes out of the membership until Rejoin under the same id. It is
// one attempt: after an error they may be out, or be taken out later.
func (e *Env) Remove(ctx context.Context, id string, nodes []string) error {
	for _, n := range nodes {
		e.held.set(e.held.removed, n, id, true)
	}
	ctx, cancel := e.Runtime.WithTimeout(ctx, min(changeMax, e.Timeout))
	defer cancel()
	return e.Members.Remove(ctx, nodes)
}

// Rejoin takes back a Remove: the nodes are members again, but for those that other
// faults hold out, and the system has shown it: members is what it said. It tries
// again until ctx ends or the timeout has passed, since the system may lack a
// majority for a while; then the ID goes on holding them.
func (e *Env) Rejoin(ctx context.Context, id string, nodes []string) (members []string, err error) {
	for _, n := range nodes {
		e.held.set(e.held.removed, n, id, false)
	}
	ctx, cancel := e.deadline(ctx)
	defer cancel()
	for {
		// Each time anew: another fault may have taken some meanwhile.
		back := slices.DeleteFunc(slices.Clone(nodes), e.HeldOut)
		if members, err = e.add(ctx, back); err == nil {
			return members, nil
		}
		if e.Runtime.Sleep(ctx, changePause) != nil {
			for _, n := range nodes {
				e.held.set(e.held.removed, n, id, true)
			}
			return nil, fmt.Errorf("nemesis: %v are not members again: %w", back, err)
		}
	}
}

// add makes nodes members, unless they are, and looks.
func (e *Env) add(ctx context.Context, nodes []string) ([]string, error) {
	if len(nodes) > 0 {
		c, cancel := e.Runtime.WithTimeout(ctx, changeMax)
		defer cancel()
		if err := e.Members.Add(c, nodes); err != nil {
			return nil, err
		}
	}
	members, err := e.Voters(ctx)
	for _, n := range nodes {
		if err == nil && !slices.Contains(members, n) && !e.HeldOut(n) {
			err = fmt.Errorf("%s is not among the members %v", n, members)
		}
	}
	return members, err
}

// HeldOut says whether a fault holds the node out of the membership.
func (e *Env) HeldOut(node string) bool { return e.held.held(e.held.removed, node) }
