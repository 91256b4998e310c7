// Package nemesis breaks the cluster while a test runs: faults are started, proven
// to have bitten, taken back and proven to be gone, at the times of a plan that is
// data and follows from a seed.
//
// Each folder below it is one kind of fault, or a family of them; nemesis/all
// lists them. A fault works through the powers of cluster.Cluster and never
// touches a clock, a goroutine or a random source of its own: it takes the runtime
// and the seed that it is given, so that a simulator can run it in virtual time.
package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/options"
)

// Fault is a kind of breakage. It is a value without state: what one start of it
// does lives in its Active.
type Fault struct {
	Name string
	Doc  string
	// Args are the words that may follow the name and a colon.
	Args []Arg
	// Names says that node names joined by + may follow instead, Groups that groups
	// of them joined by | may.
	Names, Groups bool
	// Deck are the words that steps without one take in turn, for a cluster of that
	// many nodes whose leader is known or not; nil for a fault without words.
	Deck    func(nodes int, leader bool) []string
	Options []options.Option
	// Color is the fault's colour in plots, as CSS has it.
	Color string
	// Least is the least time that a start makes sense for; 0 for any.
	Least time.Duration
	// Members says that the system must be able to change its members.
	Members bool

	// Check refuses an argument that this number of nodes does not allow; nil for
	// none.
	Check func(arg string, nodes int) error
	// Refuse refuses options that mean nothing with an argument and this number of
	// nodes; nil for none.
	Refuse func(arg string, nodes int, o options.Values) error
	// Needs says why the cluster cannot do the fault, or nil.
	Needs func(c cluster.Cluster, arg string, o options.Values) error
	// Start injects the fault of a step, whose ID owns all that it does. After an
	// error the executor releases what the ID holds.
	Start func(ctx context.Context, env *Env, step Step) (Active, error)
}

// Arg is a word that a fault takes after its name.
type Arg struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

// Active is a fault that has been started. Its methods are called by one task at
// a time, each with a deadline.
type Active interface {
	// Targets are the nodes it acts on, in a fixed order.
	Targets() []string
	// Probe measures whether the fault bites now. The evidence is what was measured.
	Probe(ctx context.Context) (bit bool, evidence any, err error)
	// Heal takes the fault back; calling it again does nothing.
	Heal(ctx context.Context) error
	// Gone measures whether nothing of the fault is left.
	Gone(ctx context.Context) (healed bool, evidence any, err error)
}

// Driver is an Active that does something during its whole time, as a rolling
// restart does. Drive returns at until, by the runtime's clock, or when ctx ends.
type Driver interface {
	Drive(ctx context.Context, until time.Duration) error
}

// Aimed is an Active that knows whether what it breaks can matter to the run. A
// fault that bites what nothing reads tests nothing.
type Aimed interface {
	Relevant() bool
}

// Staller makes the harness' own workers wait, to act as clients that stop for
// longer than their lease lasts.
type Staller interface {
	// Stall makes every worker that reaches its next point of waiting wait there.
	Stall(id string)
	// Release lets go those whom only that id held; an unknown id does nothing.
	Release(id string)
	// Stalled counts the workers that wait because of id now, and those that have.
	Stalled(id string) (now, sum int)
}

// Env is what faults work with. Copies share their state.
type Env struct {
	// Faults are those that steps may ask for.
	Faults  []Fault
	Cluster cluster.Cluster
	// Record writes an event down, stamping it; calls come one at a time.
	Record func(history.Op)
	// Leader names the node that leads now; nil where the system cannot say.
	Leader func(ctx context.Context) (string, error)
	// Members changes who the members are, and tells; nil where the system cannot, and
	// all nodes are members.
	Members cluster.Members
	// Decisions are what the system decides by clocks; nil where nobody knows, empty
	// where it decides nothing by one.
	Decisions []cluster.Decision
	// Workers are the harness' own; nil where they cannot be stalled.
	Workers Staller
	// Served counts the operations that have succeeded so far; nil where nobody counts.
	Served func() int
	// Timeout bounds each step of injecting, probing and healing, 15 s unless set.
	Timeout time.Duration

	// Began is the runtime's time from which a plan's times count, 0 for that of Run's
	// call.
	Began time.Duration

	// Runtime is set by Run.
	Runtime cluster.Runtime

	held *holds
}

// Prepare returns an Env with its defaults and its state, for those who start
// faults without Run.
func (e *Env) Prepare(rt cluster.Runtime) *Env {
	p := *e
	return p.prepared(rt)
}

func (e *Env) prepared(rt cluster.Runtime) *Env {
	if e.Timeout <= 0 {
		e.Timeout = 15 * time.Second
	}
	if e.Record == nil {
		e.Record = func(history.Op) {}
	}
	e.Runtime = rt
	e.held = newHolds()
	return e
}

// Nodes are the names of all nodes, in order.
func (e *Env) Nodes() []string {
	var names []string
	for _, n := range e.Cluster.Nodes() {
		names = append(names, n.Name)
	}
	return names
}

// Find is the fault of that name.
func Find(faults []Fault, name string) (Fault, error) {
	i := slices.IndexFunc(faults, func(f Fault) bool { return f.Name == name })
	if i >= 0 {
		return faults[i], nil
	}
	var names []string
	for _, f := range faults {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return Fault{}, fmt.Errorf("nemesis: unknown fault %q; there are: %s, none", name, strings.Join(names, ", "))
}

// Available says why a cluster cannot do a fault with that argument, or nil.
func Available(f Fault, c cluster.Cluster, arg string, o options.Values) error {
	if f.Needs == nil {
		return nil
	}
	if err := f.Needs(c, arg, o); err != nil {
		return fmt.Errorf("nemesis: %s is not possible here: %w", Spec{Fault: f.Name, Arg: arg}, err)
	}
	return nil
}

// errSkipped marks a start that was not attempted since it would break a rule of
// the plan, such as keep=majority.
var errSkipped = errors.New("skipped")

// Skip is the error of a start that the rules of the plan forbid now. It is no
// failure.
func Skip(step Step, why string) error {
	return fmt.Errorf("nemesis: %s: %w: %s", step.ID, errSkipped, why)
}

// deadline bounds a call by the environment's timeout.
func (e *Env) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return e.Runtime.WithTimeout(ctx, e.Timeout)
}

// Offer says whether a cluster can do a fault with one of its arguments.
type Offer struct {
	Fault string `json:"fault"`
	Arg   string `json:"arg,omitempty"`
	Doc   string `json:"doc"`
	// Why not, in words; empty for a fault that is possible.
	Why string `json:"why,omitempty"`
}

// Offers are all faults with all their words, for a table of what a world can do.
// The cluster need not be up.
func Offers(faults []Fault, c cluster.Cluster) []Offer {
	var offers []Offer
	for _, f := range faults {
		args := f.Args
		if len(args) == 0 {
			args = []Arg{{Doc: f.Doc}}
		}
		for _, a := range args {
			o := Offer{Fault: f.Name, Arg: a.Name, Doc: a.Doc}
			if f.Needs != nil {
				if err := f.Needs(c, a.Name, nil); err != nil {
					o.Why = err.Error()
				}
			}
			offers = append(offers, o)
		}
	}
	return offers
}
