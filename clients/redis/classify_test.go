package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/faultline-dev/faultline/history"
)

// reply is an error that the server sent.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// The table in the package's documentation.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		sent bool
		want history.Type
		lost bool
	}{
		{io.EOF, false, history.Fail, true},
		{io.EOF, true, history.Info, true},
		{context.DeadlineExceeded, false, history.Fail, true},
		{context.DeadlineExceeded, true, history.Info, true},
		{reply("READONLY You can't write against a read only replica."), true, history.Fail, true},
		{reply("LOADING Redis is loading the dataset in memory"), true, history.Fail, true},
		{reply("MOVED 1 n2:6379"), true, history.Fail, true},
		{fmt.Errorf("%w: 0 of 1", errUnacknowledged), true, history.Info, false},
		{errors.Join(errUnacknowledged, reply("ERR")), true, history.Info, false},
		{errUnequal, true, history.Fail, false},
		{history.Definite(errors.New("no number")), false, history.Fail, false},
	} {
		got := classify(c.err, c.sent)
		if history.TypeOf(got) != c.want || history.IsSessionLost(got) != c.lost {
			t.Errorf("%v, sent %v: %v, session lost %v; want %v, %v", c.err, c.sent, history.TypeOf(got), history.IsSessionLost(got), c.want, c.lost)
		}
	}
}

// Values of CLUSTER KEYSLOT.
func TestSlotOf(t *testing.T) {
	for key, want := range map[string]int{"": 0, "123456789": 12739, "foo": 12182, "{foo}bar": 12182, "{}foo": slotOf("{}foo")} {
		if got := slotOf(key); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
}
