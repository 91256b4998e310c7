// Package all lists the workloads.
package all

import (
	"github.com/faultline-dev/faultline/workloads"
	"github.com/faultline-dev/faultline/workloads/cache"
	"github.com/faultline-dev/faultline/workloads/lock"
	"github.com/faultline-dev/faultline/workloads/register"
)

// All are the workloads, one line each.
func All() []workloads.Workload {
	return []workloads.Workload{
		register.Workload(),
		lock.Workload(),
		cache.Workload(),
	}
}
