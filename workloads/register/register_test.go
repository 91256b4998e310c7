package register_test

import (
	"testing"

	"github.com/faultline-dev/faultline/workloads/register"
	"github.com/faultline-dev/faultline/workloads/workloadtest"
)

func TestConformance(t *testing.T) {
	workloadtest.Run(t, workloadtest.Kit{
		Workload: register.Workload(),
		Open:     workloadtest.Open(workloadtest.Break{}),
		Broken: map[string]func(*workloadtest.Clock) any{
			"stale-read": workloadtest.Open(workloadtest.Break{LoseSome: true}),
		},
	})
}
