package lock_test

import (
	"testing"

	"github.com/faultline-dev/faultline/workloads/lock"
	"github.com/faultline-dev/faultline/workloads/workloadtest"
)

// Each promise has rules of its own.
func TestConformance(t *testing.T) {
	type broken = map[string]func(*workloadtest.Clock) any
	open := workloadtest.Open
	for promise, rules := range map[string]broken{
		"exclusion": {"double-hold": open(workloadtest.Break{Promise: "exclusion", GrantHeld: true, NoFence: true})},
		"exclusion-within-lease": {
			"double-hold":      open(workloadtest.Break{Promise: "exclusion-within-lease", GrantHeld: true, NoFence: true}),
			"fence-regression": open(workloadtest.Break{Promise: "exclusion-within-lease", SameToken: true}),
		},
		"fenced-data": {
			"fence-regression":       open(workloadtest.Break{Promise: "fenced-data", GrantHeld: true, NoFence: true}),
			"lost-update-under-lock": open(workloadtest.Break{Promise: "fenced-data", LoseSome: true}),
		},
	} {
		t.Run(promise, func(t *testing.T) {
			workloadtest.Run(t, workloadtest.Kit{
				Workload: lock.Workload(), Options: map[string]string{"ttl": "200ms"},
				Open: open(workloadtest.Break{Promise: promise}), Broken: rules,
			})
		})
	}
}
