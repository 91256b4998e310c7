package server

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/faultline-dev/faultline/stores/internal/servertest"
)

func TestMain(m *testing.M) {
	if servertest.Child(serve) {
		return
	}
	goleak.VerifyTestMain(m)
}

func serve(ctx context.Context, a servertest.Addrs) error {
	return Serve(ctx, Config{
		Name: a.Name, Listen: a.Listen, PeerListen: a.PeerListen, Peers: a.Peers, Data: a.Data,
	})
}

func TestProtocol(t *testing.T) { servertest.Protocol(t, serve) }

func TestRestart(t *testing.T) { servertest.Restart(t, serve) }

func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("a few seconds")
	}
	servertest.Kill(t)
}

func TestDamagedLog(t *testing.T) { servertest.DamagedLog(t, serve) }

func TestUnknownBug(t *testing.T) {
	if Serve(t.Context(), Config{Name: "n1", Data: t.TempDir(), Bug: "nonsense"}) == nil {
		t.Error("a bug that doesn't exist is taken")
	}
}
