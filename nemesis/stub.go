// Package nemesis will break the cluster; this file stands in for it until it lands, and goes then.
package nemesis

import (
	"context"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/history"
)

type Step struct{}
type Plan struct{ Steps []Step }
type Fault interface{}
type Env struct {
	Faults  []Fault
	Cluster cluster.Cluster
	Leader  func(context.Context) (string, error)
	Record  func(history.Op)
	Workers Staller
}

func Run(ctx context.Context, rt cluster.Runtime, p Plan, env Env) (any, error) { return p, nil }

type Staller interface {
	Stall(id string)
	Release(id string)
	Stalled(id string) (now, sum int)
}
