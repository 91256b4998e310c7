package etcd

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-dev/faultline/history"
)

// classify marks an operation's error as definite where it proves that nothing
// happened, and as the end of the session where the connection is lost. sent says
// that at least a part of the request may have left.
func classify(err error, sent bool) error {
	var own rpctypes.EtcdError
	known := errors.As(rpctypes.Error(err), &own) // what etcd's server said
	code := status.Code(errorWithStatus(err))
	if known {
		code = own.Code()
	}
	wrapped := fmt.Errorf("etcd: %w", err)
	if !sent || !known && code == codes.Unavailable {
		wrapped = history.SessionLost(wrapped)
	}
	if !sent || known && refused(own) || !known && code == codes.Unimplemented {
		wrapped = history.Definite(wrapped)
	}
	return wrapped
}

// refused says whether the server refused a request before anything came of it. That
// it has no space is no such refusal: the write that exceeds the quota is carried out
// and then told that it exceeds it.
func refused(e rpctypes.EtcdError) bool {
	for _, r := range []error{rpctypes.ErrNoLeader, rpctypes.ErrTooManyRequests} {
		var own rpctypes.EtcdError
		if errors.As(r, &own) && own.Error() == e.Error() {
			return true
		}
	}
	return e.Code() == codes.InvalidArgument
}

// errorWithStatus unwraps to the error that carries a gRPC status.
func errorWithStatus(err error) error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if _, ok := e.(interface{ GRPCStatus() *status.Status }); ok {
			return e
		}
	}
	return err
}
