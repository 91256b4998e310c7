// Package clients says what a system under test is: how its nodes are started in
// each world, and how a client opens a session with one of them. Each folder
// below it is one system; clients/all lists them.
package clients

import (
	"context"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// Client is one session with a system, opened at one node. Workloads ask it for
// the methods they need (register.Store, ...). Its methods are safe for
// concurrent use, make one attempt, keep to ctx' deadline, and return errors that
// are history.Definite only where nothing happened and nothing will.
type Client interface {
	// Close ends the session. It may be called twice.
	Close() error
}

// Target is where a client is to be opened.
type Target struct {
	Node    cluster.Node
	Cluster cluster.Cluster
	Options options.Values
	// Timeout is the deadline that a single operation will be given.
	Timeout time.Duration
}

// Bug is a switch that breaks one rule of a bundled store.
type Bug struct {
	Name     string   `json:"name"`
	Doc      string   `json:"doc"`
	System   string   `json:"system"`
	Workload string   `json:"workload"`
	Expects  []string `json:"expects"` // anomaly names, any of which is the bug's mark
	Rule     string   `json:"rule"`    // the rule it breaks, and where that is written
	// Nemesis and Options are what shows it best.
	Nemesis string            `json:"nemesis,omitempty"`
	Options map[string]string `json:"options,omitempty"`
}

// System is a system under test. It is a value; a nil function means that the
// system does not have that side.
type System struct {
	Name    string
	Doc     string
	Options []options.Option
	Bugs    []Bug
	// Ports are what a node serves on; the first is the clients'.
	Ports []cluster.Port
	// Versions are examples of versions that are known to work, the default first;
	// empty for a system that has none to choose from.
	Versions []string

	// Process says how a node runs as a process of this machine.
	Process func(cluster.Launch) (cluster.Command, error)
	// Framed says that the peer ports carry length-prefixed one-way frames, so that
	// the local world can lose, duplicate and reorder them.
	Framed bool
	// Pod says how a node runs in containers.
	Pod func(cluster.Launch) (cluster.Pod, error)
	// Composed says that a node runs programs of several systems, so that no one image
	// can take their place.
	Composed bool
	// Nodes bounds how many nodes the options allow: least and most.
	Nodes func(options.Values) (least, most int)
	// Check refuses combinations of options; nil for none.
	Check func(options.Values) error
	// Init is called once after all nodes were started, to join them; nil for none.
	Init func(context.Context, cluster.Cluster, options.Values) error

	// Ready returns nil when the node serves; it is called again until it does.
	Ready func(context.Context, Target) error
	// Methods is a client that is connected to nothing: good for asking which
	// methods the system's clients have.
	Methods func() any
	// Open opens a session and completes the protocol's handshake. Its failure is
	// definite by nature: no operation was sent.
	Open func(context.Context, Target) (Client, error)
	// Members changes the system's members while it runs; nil for a system that
	// cannot. It is asked before Up as well, when rt is nil: the error says what the
	// world or the options lack, and nothing else may be done then.
	Members func(c cluster.Cluster, rt cluster.Runtime, o options.Values) (cluster.Members, error)
	// Decisions are what the system decides by clocks that a fault can make wrong,
	// where they can show under that workload with these options. A nil function says
	// that nobody knows: then every clock counts.
	Decisions func(workload string, o options.Values) []cluster.Decision
	// Leader names the node that leads now, as the nodes themselves say. Some may not
	// answer: it asks all AtOnce, each for a bounded time.
	Leader func(context.Context, cluster.Cluster, cluster.Runtime, options.Values) (string, error)
}

// AtOnce asks all nodes of a cluster at the same time; i is a node's place among them.
// It returns when all have been asked.
func AtOnce(rt cluster.Runtime, c cluster.Cluster, ask func(i int, n cluster.Node)) {
	var waits []func()
	for i, n := range c.Nodes() {
		waits = append(waits, rt.Go(func() { ask(i, n) }))
	}
	for _, wait := range waits {
		wait()
	}
}
