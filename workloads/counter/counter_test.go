package counter_test

import (
	"testing"

	"github.com/faultline-dev/faultline/workloads/counter"
	"github.com/faultline-dev/faultline/workloads/workloadtest"
)

func TestConformance(t *testing.T) {
	workloadtest.Run(t, workloadtest.Kit{
		Workload: counter.Workload(),
		Open:     workloadtest.Open(workloadtest.Break{}),
		Broken: map[string]func(*workloadtest.Clock) any{
			"out-of-bounds": workloadtest.Open(workloadtest.Break{LoseSome: true}),
		},
	})
}
