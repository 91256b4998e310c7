package zookeeper

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-zookeeper/zk"

	"github.com/faultline-dev/faultline/history"
)

// The table in the package's documentation.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want history.Type
		lost bool
	}{
		{nil, history.OK, false},
		{zk.ErrNoServer, history.Fail, true},
		{zk.ErrNoNode, history.Fail, false},
		{zk.ErrNodeExists, history.Fail, false},
		{zk.ErrBadVersion, history.Fail, false},
		{zk.ErrNotEmpty, history.Fail, false},
		{fmt.Errorf("wrapped: %w", zk.ErrNoAuth), history.Fail, false},
		{zk.ErrConnectionClosed, history.Info, true},
		{zk.ErrSessionExpired, history.Info, true},
		{zk.ErrSessionMoved, history.Info, true},
		{zk.ErrClosing, history.Info, true},
		{zk.ErrAPIError, history.Info, false},
		{errors.New("?"), history.Info, false},
	} {
		got := classify(c.err)
		if history.TypeOf(got) != c.want || history.IsSessionLost(got) != c.lost {
			t.Errorf("%v: %v, session lost %v; want %v, %v", c.err, history.TypeOf(got), history.IsSessionLost(got), c.want, c.lost)
		}
	}
}
