//go:build !linux

package local

import (
	"errors"

	"github.com/faultline-dev/faultline/cluster"
)

// New refuses: nodes that cannot outlive the harness need Linux.
func New(cfg Config) (cluster.Cluster, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return nil, errors.New("cluster/local: needs Linux; use --on sim or --on docker")
}
