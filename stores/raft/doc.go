// Package raft is the bundled Raft store: a consensus core and, around it, a
// Replica that orders the commands of stores/kv. Both are pure state machines:
// messages, ticks, client requests and disk completions go in; messages, disk
// writes and replies come out. Neither has goroutines, clocks, I/O or randomness
// of its own (a seed is given), so the same code runs as a real process
// (stores/raft/server) and inside a deterministic simulator.
//
// "Raft §n" is a section of Ongaro and Ousterhout, "In Search of an
// Understandable Consensus Algorithm" (2014, extended version); "diss. §n" of
// Ongaro's dissertation, "Consensus: Bridging Theory and Practice" (2014).
//
// # Durability
//
// Nothing that promises something leaves a Core before what it promises is
// durable: votes and acknowledgements are held back until Persisted reports the
// save that holds them, and a node counts its own vote and its own copy of an
// entry only then, too (Raft §5, "Updated on stable storage before responding to
// RPCs"). Entries are sent to followers while the leader's own write is under
// way (diss. §10.2.1).
//
// # Driving a Core
//
//  1. Call one of Tick, Step, Propose, ProposeVoters, ReadIndex, Transfer,
//     Compact, Persisted. None blocks.
//  2. Call Output and, in this order: hand Save to the disk, send Messages,
//     restore Snapshot, apply Committed, serve Reads whose Index is applied.
//  3. When everything up to a Save is durable, call Persisted with its Seq.
//     Saves must become durable in the order of their Seq.
//
// A Core isn't safe for use by several goroutines at once.
package raft
