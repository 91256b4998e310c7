package zookeeper_test

import (
	"testing"

	"github.com/faultline-dev/faultline/clients/clienttest"
	"github.com/faultline-dev/faultline/clients/zookeeper"
)

func kit() clienttest.Kit {
	return clienttest.Kit{
		System: zookeeper.System(),
		// The kit's last reads are made at another server than the writes.
		Options: map[string]string{"reads": "sync"},
	}
}

func TestOpen(t *testing.T) { clienttest.Open(t, kit()) }

func TestIntegrationConformance(t *testing.T) { clienttest.Run(t, kit()) }
