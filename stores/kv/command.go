// Package kv is the state machine that the bundled stores replicate: registers
// with versions and compare-and-set, keys that expire, locks with owner, lease
// and fencing token, counters, and client sessions for exactly-once.
//
// It is pure and deterministic: a Machine's state depends on nothing but the
// commands applied to it, in order. Time is a field of the command, set by the
// node that orders it, and the clock of the state is the largest one seen: so
// every replica expires a key or a lease at the same place in the order.
package kv

import (
	"fmt"

	"github.com/faultline-dev/faultline/stores/internal/bin"
)

// Op is what a command does.
type Op uint8

// The operations. Their numbers are part of the log's format.
const (
	OpNone        Op = iota // changes nothing (a leader's first entry)
	OpRead                  // value and version of a key
	OpWrite                 // set a value, with a time to live if TTL > 0
	OpCAS                   // set Value if the value is Expect; else observe
	OpDelete                // remove the value
	OpAdd                   // add Delta to an integer, absent counting as 0
	OpAcquire               // take or renew the key's lock for TTL
	OpRelease               // give the key's lock back
	OpUpdate                // set Value if Token is the newest of the key's lock
	OpOpenSession           // begin a session; the result's Token is its id
	opEnd
)

// String is the operation's name in the client protocol.
func (o Op) String() string {
	names := [...]string{"none", "read", "write", "cas", "delete", "add", "acquire", "release", "update", "open-session"}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// ReadOnly tells whether the operation never changes a value or a lock.
func (o Op) ReadOnly() bool { return o == OpNone || o == OpRead }

// Command is one operation as it is ordered and applied. A nil Value or Expect
// means absent, so a CAS from nil creates a key and a write of nil deletes it.
type Command struct {
	Op     Op
	Key    string
	Value  []byte // new value: write, cas, update
	Expect []byte // cas: the value it must find
	Delta  int64  // add
	TTL    int64  // ns; write: 0 is for ever; acquire: the lease's length
	Owner  string // acquire, release
	Token  int64  // update: the fencing token; 0 asks for no check

	// Session and Seq make the command exactly-once: of several copies with the
	// same pair only the first takes effect and the others get its result.
	// Session 0 means at most as often as it is ordered.
	Session uint64
	Seq     uint64

	Now int64 // ns; the ordering node's clock, set by it
}

// Result is what a command returned, at its place in the order.
type Result struct {
	Value   []byte // read, cas (observed), add (new sum); nil is absent
	Version int64  // version of the value in question; 0 if there is none
	OK      bool   // cas: swapped; acquire: granted; release, update: done
	Owner   string // acquire, release: the owner after the command
	Token   int64  // acquire: fencing token; open-session: the session
	Left    int64  // ns; acquire: what is left of the holder's lease
	Err     string // refused: nothing happened, and nothing will
}

// Append appends the command's encoding to b.
func (c *Command) Append(b []byte) []byte {
	b = append(b, byte(c.Op))
	b = bin.AppendString(b, c.Key)
	b = bin.AppendBytes(b, c.Value)
	b = bin.AppendBytes(b, c.Expect)
	b = bin.AppendInt(b, c.Delta)
	b = bin.AppendInt(b, c.TTL)
	b = bin.AppendString(b, c.Owner)
	b = bin.AppendInt(b, c.Token)
	b = bin.AppendUint(b, c.Session)
	b = bin.AppendUint(b, c.Seq)
	return bin.AppendInt(b, c.Now)
}

// ReadCommand reads what Append wrote.
func ReadCommand(r *bin.Reader) Command {
	return Command{
		Op: Op(r.Byte()), Key: r.String(), Value: r.Bytes(), Expect: r.Bytes(),
		Delta: r.Int(), TTL: r.Int(), Owner: r.String(), Token: r.Int(),
		Session: r.Uint(), Seq: r.Uint(), Now: r.Int(),
	}
}

// DecodeCommand reads one command that fills b.
func DecodeCommand(b []byte) (Command, error) {
	r := bin.NewReader(b)
	c := ReadCommand(r)
	if r.Err() != nil || r.Len() != 0 || c.Op >= opEnd {
		return Command{}, fmt.Errorf("kv: decode command: %w", bin.ErrCorrupt)
	}
	return c, nil
}

// Append appends the result's encoding to b.
func (x *Result) Append(b []byte) []byte {
	b = bin.AppendBytes(b, x.Value)
	b = bin.AppendInt(b, x.Version)
	b = bin.AppendBool(b, x.OK)
	b = bin.AppendString(b, x.Owner)
	b = bin.AppendInt(b, x.Token)
	b = bin.AppendInt(b, x.Left)
	return bin.AppendString(b, x.Err)
}

// ReadResult reads what Append wrote.
func ReadResult(r *bin.Reader) Result {
	return Result{
		Value: r.Bytes(), Version: r.Int(), OK: r.Bool(), Owner: r.String(),
		Token: r.Int(), Left: r.Int(), Err: r.String(),
	}
}
