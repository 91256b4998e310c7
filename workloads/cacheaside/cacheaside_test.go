package cacheaside_test

import (
	"testing"

	"github.com/faultline-dev/faultline/workloads/cacheaside"
	"github.com/faultline-dev/faultline/workloads/workloadtest"
)

// One after the other every strategy keeps the cache right, unless the cache forgets
// what it is told.
func TestConformance(t *testing.T) {
	for strategy, broken := range map[string]workloadtest.Break{
		"write-through": {LoseSome: true},
		"invalidate":    {KeepDeleted: true},
		"lease":         {KeepDeleted: true},
	} {
		t.Run(strategy, func(t *testing.T) {
			workloadtest.Run(t, workloadtest.Kit{
				Workload: cacheaside.Workload(), Options: map[string]string{"strategy": strategy},
				Open: workloadtest.Open(workloadtest.Break{}),
				Broken: map[string]func(*workloadtest.Clock) any{
					"stale-read": workloadtest.Open(broken),
					"diverged":   workloadtest.Open(broken),
				},
			})
		})
	}
}
