package queue_test

import (
	"testing"

	"github.com/faultline-dev/faultline/workloads/queue"
	"github.com/faultline-dev/faultline/workloads/workloadtest"
)

func TestConformance(t *testing.T) {
	workloadtest.Run(t, workloadtest.Kit{
		Workload: queue.Workload(),
		Open:     workloadtest.Open(workloadtest.Break{}),
		Broken: map[string]func(*workloadtest.Clock) any{
			"lost":       workloadtest.Open(workloadtest.Break{LoseSome: true}),
			"duplicated": workloadtest.Open(workloadtest.Break{TwiceSome: true}),
			"reordered":  workloadtest.Open(workloadtest.Break{Stack: true}),
		},
	})
}
