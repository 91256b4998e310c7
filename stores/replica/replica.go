// Package replica is what a bundled store's node looks like from outside, as a
// pure state machine: stores/raft and stores/paxos implement it, and a real
// server (stores/node) or a simulator drives it.
//
// # Driving a Replica
//
//  1. Call Tick, Receive, Request or Persisted. None blocks, and none does I/O.
//  2. Call Output; write its Saves in order, send its Frames, deliver its
//     Replies. Frames may go before the Saves are durable: what depends on a Save
//     comes out only after its Persisted.
//  3. When everything up to a Save is durable, call Persisted with its Seq.
//
// After a crash, make a new Replica from the records that the disk gives back.
package replica

import (
	"time"

	"github.com/faultline-dev/faultline/stores/kv"
)

// Reads says how a read is answered.
type Reads uint8

// The ways to read.
const (
	Linearizable Reads = iota // as if at one moment between request and reply
	Lease                     // the same, while clocks keep the drift bound
	Local                     // from what this node has applied: may be stale
)

// Admin is a request to the cluster itself: to hand the leadership over, or else to
// change the membership.
type Admin struct {
	Transfer    string   // hand the leadership to this node
	Remove, Add []string // nodes to leave the membership, and to join it
}

// Request is a client's request to a node.
type Request struct {
	ID       uint64 // the driver's, unique on this node since its start
	Command  kv.Command
	Reads    Reads         // for reads
	Deadline time.Duration // on the node's clock: a reply comes by the next Tick
	Admin    *Admin        // instead of Command
}

// Reply answers the request with the same ID, exactly once.
type Reply struct {
	ID     uint64
	Result kv.Result
	Err    string // "" is success; else Result is empty
	// Definite says that the command had no effect and never will. Without it an
	// error leaves open whether the command takes effect, even later.
	Definite bool
}

// Frame goes to another node. It may be lost, late, repeated or overtaken; a
// damaged one is dropped by its receiver's checksum.
type Frame struct {
	To      string
	Payload []byte
}

// Save is to be written to the node's log.
type Save struct {
	Seq     uint64
	Records [][]byte // appended in order; with Rewrite, they replace all before
	Rewrite bool
	// Repaired says that once this is durable, the node has again what its disk had
	// lost: the log may forget the damage.
	Repaired bool
}

// Output is what a Replica wants done.
type Output struct {
	Frames  []Frame
	Saves   []Save
	Replies []Reply
	// Err, once set, says that the node can't go on without breaking its promises
	// (what was committed can't be read): stop it.
	Err error
}

// Status is a look at a node.
type Status struct {
	Node    string        `json:"node"`
	Role    string        `json:"role"`
	Term    uint64        `json:"term"`
	Leader  string        `json:"leader"`
	Commit  uint64        `json:"commit"`
	Applied uint64        `json:"applied"`
	Ready   bool          `json:"ready"`  // it expects to be able to serve
	Now     time.Duration `json:"now"`    // the node's clock, ns
	Voters  []string      `json:"voters"` // the members, as far as the node knows them to be committed
}

// Replica is one node. It isn't safe for use by several goroutines at once.
type Replica interface {
	// Tick tells that a tick has passed; now is the node's clock in ns since any
	// fixed point that all nodes share, and must not run backwards.
	Tick(now time.Duration)
	// SetClock tells the clock between ticks.
	SetClock(now time.Duration)
	// Receive takes a frame's payload from another node.
	Receive(payload []byte)
	// Request takes a client's request.
	Request(q Request)
	// Persisted tells that all saves up to and with seq are durable.
	Persisted(seq uint64)
	// Output takes what has gathered.
	Output() Output
	// Status describes the node.
	Status() Status
}
