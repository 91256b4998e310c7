// Package local is the world of real processes on this machine: every node is a
// process that listens on loopback, every directed link between two nodes goes
// through a relay that can cut, delay, lose, duplicate, reorder and corrupt what
// passes, and the harness reaches the nodes through relays as well. It needs
// neither root nor containers, but Linux.
package local

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// NodesMax bounds the nodes of a cluster.
const NodesMax = 9

// Config says what to run.
type Config struct {
	// Names of the nodes, in order; see Names.
	Names []string
	// Ports are what a node serves on.
	Ports []cluster.Port
	// Framed says that peer ports carry one-way frames: a sender opens one
	// connection, and sends frames of a 4-byte big-endian length and that many
	// bytes, the first of which introduces it; nothing flows back.
	Framed bool
	// Command says how a node is started.
	Command func(cluster.Launch) (cluster.Command, error)
	// Dir holds a folder for each node with its logs and data; it is made.
	Dir string
	// KeepData leaves the nodes' data behind at Down. Logs stay always.
	KeepData bool

	Options map[string]string
	Version string
	Bug     string
	// Seed decides the chances that shaping takes.
	Seed uint64
}

// Names are the usual names of n nodes: n1, n2, ...
func Names(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	return names
}

// logName is the file with all that a node printed, over all its starts.
const logName = "node.log"

const (
	// settleMax bounds the wait for a started process to listen.
	settleMax = 5 * time.Second
	// signalMax bounds the wait for a signal to take effect.
	signalMax = 5 * time.Second
	// downMax bounds Down.
	downMax = 20 * time.Second
)

func (c Config) check() error {
	switch {
	case len(c.Names) == 0 || len(c.Names) > NodesMax:
		return fmt.Errorf("cluster/local: %d nodes; 1 to %d are possible", len(c.Names), NodesMax)
	case c.Command == nil:
		return errors.New("cluster/local: this system does not run as processes of this machine; use --on docker")
	case len(c.Ports) == 0:
		return errors.New("cluster/local: this system names no ports")
	case c.Dir == "":
		return errors.New("cluster/local: no folder for the nodes' logs and data")
	}
	for i, n := range c.Names {
		if n == "" || n == cluster.Clients || slices.Contains(c.Names[:i], n) {
			return fmt.Errorf("cluster/local: node name %q is empty, taken twice or reserved", n)
		}
	}
	return nil
}

// The powers that the world has.
type world interface {
	cluster.Cluster
	cluster.Killer
	cluster.Pauser
	cluster.Observer
	cluster.Network
	cluster.Shaper
	cluster.Meter
	cluster.Logs
}
