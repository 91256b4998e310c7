// Package cluster says what a test needs of the machines it breaks: nodes that
// can be brought up and taken down, and optional powers over them, each asked
// for by a type assertion. A world (local processes, containers, the simulator)
// is an implementation of Cluster; nothing above it knows which one it is.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Clients is the name that stands for the harness' own side of a link, so that
// the clients of a node can be cut off from it.
const Clients = "clients"

// Node is one member of the system under test. Its fields stay the same for the
// whole life of the cluster, also when the node's process is killed and started.
type Node struct {
	Name string // n1, n2, ...
	// Host is the name or address by which the other nodes know it.
	Host string
	// Ports are the addresses that the harness dials, host:port, by the names
	// that the system gave its ports.
	Ports map[string]string
}

// Cluster is a set of nodes. Its methods are safe for concurrent use.
type Cluster interface {
	// Nodes are the members, the same slice at every call; valid after Up.
	Nodes() []Node
	// Up makes the nodes and starts them; it does not wait until they serve. When
	// it fails or ctx ends nothing stays behind.
	Up(ctx context.Context) error
	// Down heals, stops and removes everything. It may be called at any time, and
	// more than once.
	Down(ctx context.Context) error
}

// Killer ends a node's processes at once, as kill -9 does, and starts them again
// with the data they had. Killing the dead and starting the living does nothing.
type Killer interface {
	Kill(ctx context.Context, node string) error
	Start(ctx context.Context, node string) error
}

// Pauser freezes a node's processes, as SIGSTOP does. Both are idempotent.
type Pauser interface {
	Pause(ctx context.Context, node string) error
	Resume(ctx context.Context, node string) error
}

// State is what a node's processes are doing.
type State string

// The states of processes.
const (
	Running State = "running"
	Paused  State = "paused"
	Dead    State = "dead"
)

// Observer looks at a node's processes: it reads the state from the operating
// system or the engine, not from what was asked of the cluster before.
type Observer interface {
	State(ctx context.Context, node string) (State, error)
}

// Link is one direction between two nodes, or between Clients and a node.
type Link struct {
	From, To string
}

// String is "n1>n2".
func (l Link) String() string { return l.From + ">" + l.To }

// Network cuts links. Cuts have names, so that overlapping ones heal each by
// itself: a link is open when no cut or shape holds it.
type Network interface {
	// Cut drops everything that passes the links from now on, silently. A second
	// Cut under the same id replaces the first.
	Cut(ctx context.Context, id string, links []Link) error
	// Mend takes back the cut or shape of that id; an unknown id does nothing.
	Mend(ctx context.Context, id string) error
	// Heal takes back all of them.
	Heal(ctx context.Context) error
	// Reach measures which of the links something passes now, by sending over
	// each and counting at the receiver. A node that is dead or paused does not
	// matter: the links are measured, not the processes.
	Reach(ctx context.Context, links []Link) (map[Link]bool, error)
}

// Shape is what happens to what passes a link. The zero value does nothing.
type Shape struct {
	Delay     time.Duration // added to each frame or packet
	Jitter    time.Duration // standard deviation of the delay
	Loss      float64       // probability, 0 to 1
	Duplicate float64       // probability
	Reorder   float64       // probability of overtaking
	Corrupt   float64       // probability of a flipped bit
	Rate      int64         // bits a second, 0 for no limit
}

// Shaper degrades links without cutting them; Network.Mend takes a shape back.
type Shaper interface {
	// Shapes says why the parts of s cannot be done here, or nil.
	Shapes(s Shape) error
	Shape(ctx context.Context, id string, links []Link, s Shape) error
}

// Probes is what Meter sends over each link: Count numbered frames or packets of
// Size bytes, one every Every.
type Probes struct {
	Count int
	Size  int
	Every time.Duration
}

// Quality is what became of the probes sent over a link.
type Quality struct {
	Sent       int           `json:"sent"`
	Received   int           `json:"received"` // different ones, corrupted ones included
	Duplicated int           `json:"duplicated,omitempty"`
	Reordered  int           `json:"reordered,omitempty"` // overtaken by a later one
	Corrupted  int           `json:"corrupted,omitempty"`
	Delay      time.Duration `json:"delay_ns"`     // median of the received
	DelayP95   time.Duration `json:"delay_p95_ns"` // 95th percentile
	Rate       int64         `json:"rate_bps,omitempty"`
}

// Meter measures what links do to what passes them, through the very path that
// the system's own traffic takes.
type Meter interface {
	Measure(ctx context.Context, links []Link, p Probes) (map[Link]Quality, error)
}

// Skew is how a node's clock is wrong.
type Skew struct {
	Offset time.Duration // ahead of the true time, at the moment when it is set
	Rate   float64       // how fast it runs from then on; 0 means 1, as time does
}

// Clock is one of the clocks that a node's processes read.
type Clock string

// The clocks.
const (
	RealTime  Clock = "realtime"  // the time of day
	Monotonic Clock = "monotonic" // of which only differences mean anything
)

// Decision is something that a system decides by a clock.
type Decision struct {
	Clock Clock
	What  string // elections, the expiry of keys, ...
}

// Clocks sets nodes' clocks. A skew outlives the node's processes.
type Clocks interface {
	// Moves are the clocks that a skew makes wrong.
	Moves(s Skew) []Clock
	// Skew replaces what was set before.
	Skew(ctx context.Context, node string, s Skew) error
	// Reset makes the clock as it was before the first Skew.
	Reset(ctx context.Context, node string) error
	// Offsets asks the nodes for their time, and says by how much each is ahead of
	// the harness'. Dead and paused nodes are left out.
	Offsets(ctx context.Context, nodes []string) (map[string]time.Duration, error)
}

// ClockRefuser is a world with the power Clocks that may lack it on some machines.
type ClockRefuser interface {
	// ClockFaults says why clocks cannot be set, or nil.
	ClockFaults() error
}

// DiskFault is a way in which a disk fails.
type DiskFault string

// The faults of disks.
const (
	// LoseUnsynced loses what was not synced when the node's processes are killed.
	LoseUnsynced DiskFault = "lose-unsynced"
	// TornWrites loses then a part only of the last of it.
	TornWrites DiskFault = "torn"
	// FailIO makes writes and syncs fail.
	FailIO DiskFault = "eio"
	// Full makes writes fail for lack of space.
	Full DiskFault = "enospc"
	// FlipBits flips bits of what is written.
	FlipBits DiskFault = "bitflip"
	// SlowSync makes syncs take longer.
	SlowSync DiskFault = "slow"
)

// Disk is how a node's disk fails: each operation with probability P (0 means 1),
// a slow one by Delay.
type Disk struct {
	Fault DiskFault
	P     float64
	Delay time.Duration
}

// Damage counts what faults did to a node's disk since Up.
type Damage struct {
	Lost    int `json:"lost,omitempty"` // records, blocks or bytes that were written and not synced
	Torn    int `json:"torn,omitempty"`
	Flipped int `json:"flipped,omitempty"`
	Failed  int `json:"failed,omitempty"` // operations
	Slowed  int `json:"slowed,omitempty"` // operations
}

// Disks makes nodes' disks fail. Faults have ids and end each by itself.
type Disks interface {
	// DiskFaults says why a fault is impossible, or nil.
	DiskFaults(f DiskFault) error
	Break(ctx context.Context, id, node string, d Disk) error
	// Repair ends the fault of that id; an unknown one does nothing. What it did to
	// the data stays.
	Repair(ctx context.Context, id, node string) error
	Damage(ctx context.Context, node string) (Damage, error)
}

// Members changes who the members of a system are while it runs, by the system's
// own protocol. Other powers belong to the world alone; this one belongs to a
// system in a world, and clients.System.Members makes it.
//
// Each method makes one attempt and keeps to ctx' deadline. After an error a change
// may have been made, may still be made later, or may be made in part, so all can be
// asked for again: a node that is where it should be is left alone.
type Members interface {
	// Members are the names of the nodes that vote now, sorted, as the system itself
	// says: changes that it may still take back do not count. It only looks.
	Members(ctx context.Context) ([]string, error)
	// Remove takes nodes out of the membership, and returns when that is committed.
	// Their processes may go on or end, as the system has it.
	Remove(ctx context.Context, nodes []string) error
	// Add makes nodes of the cluster members again, with the data that they had or
	// without, as the system wants it, and returns when that is committed. It starts
	// those that ended because they were removed, and no others.
	Add(ctx context.Context, nodes []string) error
}

// Rebuilder makes a node anew: with other arguments and without its data, but with
// its name, address and ports. What faults hold of it (dead, paused, its clock, its
// disk) they hold of the new one. The logs of the old one are kept.
type Rebuilder interface {
	// Wanted is the state that faults leave the node in.
	Wanted(node string) State
	Rebuild(ctx context.Context, node string, change func(*Pod)) error
}

// Logs are the nodes' logs, kept also after a node's death.
type Logs interface {
	// Logs opens the log files of a node by their names; the caller closes them.
	Logs(ctx context.Context, node string) (map[string]io.ReadCloser, error)
}

// ErrNotSent says that a Caller's request certainly was not delivered.
var ErrNotSent = errors.New("not sent")

// Caller carries a request to a node's client port and its answer back, for
// clients of the bundled stores in a world without sockets. An error wraps
// ErrNotSent where the request certainly was not delivered; otherwise its fate is
// unknown. Status is HTTP's.
type Caller interface {
	Call(ctx context.Context, node, path string, body []byte) (status int, answer []byte, err error)
}

// Port is a port that a node serves on.
type Port struct {
	Name   string // client, peer, ...
	Number int    // inside a container
	// Peer says that nodes talk to each other over it; the harness dials the
	// others.
	Peer bool
}

// Launch is what a system is told of a node that is about to start.
type Launch struct {
	Node  string   // its name
	Nodes []string // all names, in order
	Dir   string   // where it keeps its data; exists, and stays across restarts
	// Listen is the address to listen on, by port name.
	Listen map[string]string
	// Dial is the address under which a node's port is reached: its name, then the
	// port's. The node itself may be among them.
	Dial map[string]map[string]string
	// Options are the run's options, resolved.
	Options map[string]string
	Version string
	Bug     string
	Seed    uint64
}

// Command is how a node runs as a process of this machine.
type Command struct {
	// Path is the executable, "" for faultline itself.
	Path string
	Args []string
	Env  []string // added to the harness' own
}

// Container is one container of a Pod.
type Container struct {
	Name string // unique within the pod: db, sentinel, ...
	// Image is one of faultline's recipes by name, or any other; "" for faultline's
	// own.
	Image string
	// Entrypoint and Args override the image's where they are set.
	Entrypoint, Args []string
	Env              map[string]string
	// Data is the folder in the container that keeps its content across kill and
	// start; "" for none.
	Data string
}

// Pod is how a node runs in containers: all share one network namespace, whose
// address, name and published ports outlive them.
type Pod struct {
	Containers []Container
}

// Runtime is where time passes and work runs: the machine's own, or a simulated
// one. Runner, generators, nemesis and workloads take all of it from here.
type Runtime interface {
	// Now is the time since the start of the run, on one monotonic clock.
	Now() time.Duration
	// Sleep returns early with ctx' error when ctx is done.
	Sleep(ctx context.Context, d time.Duration) error
	// WithTimeout is context.WithTimeout by this clock.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
	// Go starts f beside the caller; wait returns when f has.
	Go(f func()) (wait func())
}

// Missing is the error for a power that a world lacks, which goes by its package.
func Missing(c Cluster, power string) error {
	world, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprintf("%T", c), "*"), ".")
	return fmt.Errorf("the %s world cannot %s", world, power)
}
