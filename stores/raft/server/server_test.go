package server_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/faultline-dev/faultline/stores/internal/servertest"
	"github.com/faultline-dev/faultline/stores/raft/server"
)

func TestMain(m *testing.M) {
	if servertest.Child(server.Serve) {
		return
	}
	goleak.VerifyTestMain(m)
}

func TestServer(t *testing.T) { servertest.Run(t, server.Serve) }
