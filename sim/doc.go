// Package sim is the third world: the bundled stores in one goroutine, in virtual
// time, on simulated networks, disks and clocks. The runner, the clients, the
// faults and the checkers are those of the other worlds; they see a cluster.Cluster
// with all its powers and a cluster.Runtime.
//
// # Determinism
//
// Whatever happens is an event with a virtual time and a number; the least of them
// comes next. All chance comes from one seed. Tasks are coroutines: exactly one
// runs at a time, and it goes on until it waits. So one seed gives one run, to the
// last byte. Three rules keep it so:
//
//   - nothing here ranges over a map where the order can be seen,
//   - nothing reads the machine's clock,
//   - contexts are the world's own (WithTimeout); the standard library's
//     WithCancel may wrap them, since they tell it of their end without a goroutine.
//
// # What is simulated
//
// The nodes' code is that of the real servers from the replica down to the log on
// disk (stores/raft, stores/kv, stores/wal), and the requests of clients are the
// same bytes (stores/protocol). Sockets, processes, disks and clocks are models;
// Config says how they behave, and the failure model in the documentation says
// which of it a correct store must bear.
package sim
