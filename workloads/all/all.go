// Package all lists the workloads.
package all

import (
	"github.com/faultline-dev/faultline/workloads"
	"github.com/faultline-dev/faultline/workloads/cache"
	"github.com/faultline-dev/faultline/workloads/cacheaside"
	"github.com/faultline-dev/faultline/workloads/counter"
	"github.com/faultline-dev/faultline/workloads/lock"
	"github.com/faultline-dev/faultline/workloads/queue"
	"github.com/faultline-dev/faultline/workloads/register"
	"github.com/faultline-dev/faultline/workloads/set"
)

// All are the workloads, one line each.
func All() []workloads.Workload {
	return []workloads.Workload{
		register.Workload(),
		lock.Workload(),
		cache.Workload(),
		cacheaside.Workload(),
		set.Workload(),
		counter.Workload(),
		queue.Workload(),
	}
}
