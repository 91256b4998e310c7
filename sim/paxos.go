package sim

import (
	"time"

	"github.com/faultline-dev/faultline/stores/paxos"
	"github.com/faultline-dev/faultline/stores/replica"
)

// paxosTick is that of the real servers by default.
const paxosTick = 10 * time.Millisecond

// Paxos is the bundled Paxos store, with a bug of its catalogue or none ("").
func Paxos(bug string) (System, error) {
	info, err := paxos.LookupBug(bug)
	if err != nil {
		return System{}, err
	}
	return System{
		Name: "paxos", Tick: paxosTick,
		Boot: func(b Boot) (replica.Replica, error) {
			return paxos.NewReplica(paxos.Config{ID: b.Name, Nodes: b.Names, Seed: b.Seed, Bug: info}, b.Records, b.Damage)
		},
	}, nil
}

// ByName is a store that can be simulated, with a bug of its catalogue or none ("");
// false if there is none of that name.
func ByName(name, bug string) (s System, found bool, err error) {
	switch name {
	case "raft":
		s, err = Raft(bug)
	case "paxos":
		s, err = Paxos(bug)
	default:
		return System{}, false, nil
	}
	return s, true, err
}
