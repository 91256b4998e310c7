package set_test

import (
	"testing"

	"github.com/faultline-dev/faultline/workloads/set"
	"github.com/faultline-dev/faultline/workloads/workloadtest"
)

func TestConformance(t *testing.T) {
	workloadtest.Run(t, workloadtest.Kit{
		Workload: set.Workload(),
		Open:     workloadtest.Open(workloadtest.Break{}),
		Broken: map[string]func(*workloadtest.Clock) any{
			"lost":        workloadtest.Open(workloadtest.Break{LoseSome: true}),
			"resurrected": workloadtest.Open(workloadtest.Break{KeepDeleted: true}),
		},
	})
}
