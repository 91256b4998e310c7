package cache_test

import (
	"testing"

	"github.com/faultline-dev/faultline/workloads/cache"
	"github.com/faultline-dev/faultline/workloads/workloadtest"
)

func TestConformance(t *testing.T) {
	workloadtest.Run(t, workloadtest.Kit{
		Workload: cache.Workload(),
		Open:     workloadtest.Open(workloadtest.Break{}),
		Broken: map[string]func(*workloadtest.Clock) any{
			"expired-read":   workloadtest.Open(workloadtest.Break{KeepExpired: true}),
			"early-eviction": workloadtest.Open(workloadtest.Break{EvictEarly: true}),
			"resurrected":    workloadtest.Open(workloadtest.Break{KeepDeleted: true}),
			"stale-read":     workloadtest.Open(workloadtest.Break{LoseSome: true}),
		},
	})
}
