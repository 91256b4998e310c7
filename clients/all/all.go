// Package all lists the systems.
package all

import (
	"slices"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/etcd"
	"github.com/faultline-dev/faultline/clients/layered"
	"github.com/faultline-dev/faultline/clients/paxos"
	"github.com/faultline-dev/faultline/clients/raft"
	"github.com/faultline-dev/faultline/clients/redis"
	"github.com/faultline-dev/faultline/clients/zookeeper"
	"github.com/faultline-dev/faultline/options"
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
		cached(etcd.System(), "heartbeat", "election"),
		cached(raft.System(nil)),
	}
}

// cached is Redis as a cache before a store, of whose options some are open.
func cached(store clients.System, open ...string) clients.System {
	return layered.Layers{
		Cache: redis.System(), CacheOptions: redis.CacheOptions(), Single: redis.Single,
		Store: store, StoreOptions: slices.DeleteFunc(slices.Clone(store.Options), func(o options.Option) bool { return !slices.Contains(open, o.Name) }),
	}.System()
}
