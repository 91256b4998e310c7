package paxos_test

import (
	"testing"

	"github.com/faultline-dev/faultline/clients/clienttest"
	"github.com/faultline-dev/faultline/clients/paxos"
)

func kit() clienttest.Kit {
	return clienttest.Kit{System: paxos.System(nil), Stateless: true}
}

func TestOpen(t *testing.T) { clienttest.Open(t, kit()) }

func TestIntegrationConformance(t *testing.T) { clienttest.Run(t, kit()) }
