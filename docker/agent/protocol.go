// Package agent is the process that owns a node's network namespace in the
// container world. It takes requests as JSON lines on its standard input, cuts
// and degrades what comes in by the kernel's packet filter, and measures links by
// numbered datagrams. When its standard input ends it heals everything and exits,
// so a harness that dies leaves no rule behind.
package agent

import (
	"encoding/json"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// Clients stands for every address that is no node's: the harness' own side.
const Clients = "clients"

// Port is where agents receive datagrams, in their own network namespace.
const Port = 65531

// The operations of a Request.
const (
	OpPeers    = "peers"    // Addrs are the nodes' addresses
	OpCut      = "cut"      // drop what comes from In and what goes to Out, under ID
	OpShape    = "shape"    // degrade what comes from In and what goes to Out, under ID
	OpMend     = "mend"     // take back ID
	OpHeal     = "heal"     // take back everything
	OpHeld     = "held"     // the ids of what is held
	OpSend     = "send"     // send Probes marked Token to each of Addrs
	OpCount    = "count"    // what marked Token came from whom
	OpFeatures = "features" // what this kernel can do
	OpForward  = "forward"  // hand Body on to the process beside the agent that serves ID
)

// Request is one line to the agent. Its answer carries the same N.
type Request struct {
	N  int    `json:"n"`
	Op string `json:"op"`
	ID string `json:"id,omitempty"`
	// In and Out are addresses, or Clients.
	In    []string `json:"in,omitempty"`
	Out   []string `json:"out,omitempty"`
	Addrs []string `json:"addrs,omitempty"`
	Token string   `json:"token,omitempty"`
	// Probes are what OpSend sends to each of Addrs.
	Probes cluster.Probes `json:"probes,omitzero"`
	Shape  Shape          `json:"shape,omitzero"`
	// Body is for the process that OpForward names by ID, a SideName.
	Body json.RawMessage `json:"body,omitempty"`
}

// Shape is how a link is degraded.
type Shape struct {
	Delay     time.Duration `json:"delay,omitempty"`
	Jitter    time.Duration `json:"jitter,omitempty"`
	Loss      float64       `json:"loss,omitempty"`
	Duplicate float64       `json:"duplicate,omitempty"`
	Reorder   float64       `json:"reorder,omitempty"`
	Corrupt   float64       `json:"corrupt,omitempty"`
	Rate      int64         `json:"rate,omitempty"` // bits a second
}

// Response is one line from the agent.
type Response struct {
	N     int    `json:"n"`
	Error string `json:"error,omitempty"`
	// Counts are what was received, by the sender's address or Clients.
	Counts map[string]cluster.Quality `json:"counts,omitempty"`
	// Features maps what was probed to "" or the reason why it cannot be done.
	Features map[string]string `json:"features,omitempty"`
	// IDs are what OpHeld found.
	IDs []string `json:"ids,omitempty"`
	// Body is what the other process answered.
	Body json.RawMessage `json:"body,omitempty"`
}

// The features that OpFeatures probes.
const (
	FeatureCut   = "cut"   // nf_tables
	FeatureLoss  = "loss"  // nf_tables with random numbers
	FeatureQueue = "queue" // packets handed to user space: delay, jitter, reorder, rate
	FeatureCopy  = "copy"  // whole packets handed to user space, and sent from there: duplicate, corrupt
	FeatureNetem = "netem" // the kernel's emulator, for all but corrupt in place of the above
)
