package etcd

import (
	"context"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-dev/faultline/history"
)

// The table in the package's documentation.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		sent bool
		want history.Type
		lost bool
	}{
		{"not sent", status.Error(codes.Unavailable, "connection refused"), false, history.Fail, true},
		{"not sent in time", context.DeadlineExceeded, false, history.Fail, true},
		{"connection lost after sending", status.Error(codes.Unavailable, "error reading from server: EOF"), true, history.Info, true},
		{"deadline", context.DeadlineExceeded, true, history.Info, false},
		{"deadline of the server", status.Error(codes.DeadlineExceeded, "deadline"), true, history.Info, false},
		{"canceled", context.Canceled, true, history.Info, false},
		{"no leader", rpctypes.ErrNoLeader, true, history.Fail, false},
		{"no leader, as a status", rpctypes.ErrGRPCNoLeader, true, history.Fail, false},
		{"too many requests", rpctypes.ErrGRPCRequestTooManyRequests, true, history.Fail, false},
		{"no space", rpctypes.ErrGRPCNoSpace, true, history.Info, false},
		{"empty key", rpctypes.ErrGRPCEmptyKey, true, history.Fail, false},
		{"too large", rpctypes.ErrGRPCRequestTooLarge, true, history.Fail, false},
		{"timed out", rpctypes.ErrGRPCTimeout, true, history.Info, false},
		{"timed out, leader failed", rpctypes.ErrGRPCTimeoutDueToLeaderFail, true, history.Info, false},
		{"leader changed", rpctypes.ErrGRPCLeaderChanged, true, history.Info, false},
		{"stopped", rpctypes.ErrGRPCStopped, true, history.Info, false},
		{"unhealthy", rpctypes.ErrGRPCUnhealthy, true, history.Info, false},
		{"corrupt", rpctypes.ErrGRPCCorrupt, true, history.Info, false},
		{"unimplemented", status.Error(codes.Unimplemented, "unknown method"), true, history.Fail, false},
		{"anything else", errors.New("?"), true, history.Info, false},
	} {
		got := classify(c.err, c.sent)
		if history.TypeOf(got) != c.want || history.IsSessionLost(got) != c.lost {
			t.Errorf("%s: %v, session lost %v; want %v, %v", c.name, history.TypeOf(got), history.IsSessionLost(got), c.want, c.lost)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%s: the error is not wrapped", c.name)
		}
	}
}
