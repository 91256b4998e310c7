package paxos

import (
	"errors"
	"testing"

	"github.com/faultline-dev/faultline/stores/internal/chaos"
	"github.com/faultline-dev/faultline/stores/replica"
)

// world is the options of a chaotic world of Paxos nodes, which the seed draws.
func world(seed uint64, bug string) chaos.Options {
	info, unknown := LookupBug(bug)
	compact := []int{40, 100000}[seed%2]
	return chaos.Options{
		Seed: seed, Nodes: []int{1, 3, 3, 5}[seed%4], Steps: 3000, Sessions: seed%6 == 5,
		Boot: func(name string, names []string, seed uint64, records [][]byte, damage error) (replica.Replica, error) {
			r, err := NewReplica(Config{ID: name, Nodes: names, Seed: seed, CompactAfter: compact, Bug: info}, records, damage)
			return r, errors.Join(err, unknown)
		},
	}
}

func TestStore(t *testing.T) {
	var bugs []string
	for _, b := range Catalogue() {
		bugs = append(bugs, b.Name)
	}
	chaos.Worlds(world).Run(t, bugs)
}
