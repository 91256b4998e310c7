package raft_test

import (
	"testing"

	"github.com/faultline-dev/faultline/clients/clienttest"
	"github.com/faultline-dev/faultline/clients/raft"
)

func kit() clienttest.Kit {
	return clienttest.Kit{System: raft.System(nil), Stateless: true}
}

func TestOpen(t *testing.T) { clienttest.Open(t, kit()) }

func TestIntegrationConformance(t *testing.T) { clienttest.Run(t, kit()) }
