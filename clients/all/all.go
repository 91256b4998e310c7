// Package all lists the systems.
package all

import (
	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/etcd"
	"github.com/faultline-dev/faultline/clients/paxos"
	"github.com/faultline-dev/faultline/clients/raft"
	"github.com/faultline-dev/faultline/clients/redis"
	"github.com/faultline-dev/faultline/clients/zookeeper"
)

// All are the systems, one line each. Bugs are the switches of the bundled
// stores, by system: the stores themselves share no code with their judge, so
// whoever knows both hands them over.
func All(bugs []clients.Bug) []clients.System {
	of := func(system string) []clients.Bug {
		var own []clients.Bug
		for _, b := range bugs {
			if b.System == system {
				own = append(own, b)
			}
		}
		return own
	}
	return []clients.System{
		raft.System(of("raft")),
		paxos.System(of("paxos")),
		etcd.System(),
		zookeeper.System(),
		redis.System(),
	}
}
