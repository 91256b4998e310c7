// Package paxos is the bundled Paxos store: a rewritable register per key after
// Rystsov, "CASPaxos: Replicated State Machines without logs" (2018), which builds
// on Lamport, "Paxos Made Simple" (2001). There is no leader and no log: every
// node proposes changes for its own clients, and every node is an acceptor.
//
// A change of a key's state takes two rounds. The proposer first asks the
// acceptors to promise a ballot; a majority's promises bring the state accepted
// with the greatest ballot. It applies the client's command to that state, and
// asks the acceptors to accept the outcome under its ballot; when a majority has,
// the change is chosen. A proposer whose change was chosen has its next ballot
// promised along with it, so that as long as nobody else comes in between, one
// round is enough.
//
// Acceptors answer only when what they promise or accept is on disk. A ballot is
// never used twice: it has its proposer's name in it, and the proposer reserves
// numbers on disk before it uses them.
//
// A state that was deleted stays as an empty one with its ballots, so that no late
// message can bring an older one back. It also keeps the last few commands done,
// by which a proposer finds out whether a change that it lost sight of was chosen.
//
// The Replica is a pure state machine, as replica.Replica describes.
package paxos
