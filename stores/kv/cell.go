package kv

import (
	"bytes"
	"strconv"

	"github.com/faultline-dev/faultline/stores/internal/bin"
)

// Cell is everything about one key: its value, and its lock. A log-based store
// keeps many in a Machine; a register-based one replicates each on its own. The
// zero Cell is a key never written.
type Cell struct {
	Value   []byte // nil: absent
	Version int64  // of the last change of the value, deletes included
	Expires int64  // ns on the replicated clock; 0: never
	Owner   string // the lock's holder; "": free
	Token   int64  // the newest fencing token ever granted
	Until   int64  // ns on the replicated clock: the lease's end
}

// Timed tells whether what a reader sees depends on the clock.
func (c *Cell) Timed() bool { return c.Expires != 0 && c.Value != nil }

// Idle tells whether the cell can be forgotten: it holds nothing, and no fencing
// token that must not be given again.
func (c *Cell) Idle() bool { return c.Value == nil && c.Owner == "" && c.Token == 0 }

// Apply changes the cell by the command, at time now of the replicated clock;
// version is the new value's, if there is one. Both must be monotone per cell.
func (c *Cell) Apply(now, version int64, cmd *Command, bug Bug) Result {
	c.expire(now)
	switch cmd.Op {
	case OpRead:
		return c.observed(true)
	case OpWrite:
		c.set(now, version, cmd.Value, cmd.TTL)
		return Result{OK: true, Version: version}
	case OpCAS:
		return c.cas(now, version, cmd, bug)
	case OpDelete:
		return c.delete(version, bug)
	case OpAdd:
		return c.add(version, cmd.Delta)
	case OpAcquire:
		return c.acquire(now, cmd, bug)
	case OpRelease:
		return c.release(cmd, bug)
	case OpUpdate:
		return c.update(now, version, cmd, bug)
	case OpNone, OpOpenSession, opEnd: // nothing to a key
	}
	return Result{OK: true}
}

// expire drops what has run out at time now. An expired value gets no version of
// its own: it is absent from then on.
func (c *Cell) expire(now int64) {
	if c.Timed() && now >= c.Expires {
		c.Value, c.Expires = nil, 0
	}
	if c.Owner != "" && now >= c.Until {
		c.Owner = ""
	}
}

func (c *Cell) observed(ok bool) Result {
	x := Result{OK: ok, Value: c.Value}
	if c.Value != nil {
		x.Version = c.Version
	}
	return x
}

func (c *Cell) set(now, version int64, v []byte, ttl int64) {
	c.Value, c.Version, c.Expires = v, version, 0
	if ttl > 0 {
		c.Expires = now + ttl
	}
}

// cas compares and sets in one step; a failure returns what it saw.
func (c *Cell) cas(now, version int64, cmd *Command, bug Bug) Result {
	if !Equal(c.Value, cmd.Expect) && bug != BugCASBlind {
		return c.observed(false)
	}
	c.set(now, version, cmd.Value, cmd.TTL)
	return Result{OK: true, Value: cmd.Value, Version: version}
}

func (c *Cell) delete(version int64, bug Bug) Result {
	found := c.Value != nil
	if bug == BugLostDelete && c.Timed() {
		return Result{OK: found, Version: version}
	}
	c.Value, c.Expires = nil, 0
	if found {
		c.Version = version
	}
	return Result{OK: found, Version: c.Version}
}

// add refuses a value that is no integer, and a sum that overflows.
func (c *Cell) add(version, delta int64) Result {
	var old int64
	if c.Value != nil {
		n, err := strconv.ParseInt(string(c.Value), 10, 64)
		if err != nil {
			return Result{Err: "add: the value is no integer"}
		}
		old = n
	}
	sum := old + delta
	if (sum > old) != (delta > 0) && delta != 0 {
		return Result{Err: "add: the sum overflows"}
	}
	c.Value, c.Version = strconv.AppendInt(nil, sum, 10), version
	return Result{OK: true, Value: c.Value, Version: version}
}

// acquire grants a free lock, and renews one for its holder with the same token.
// Every grant to somebody else has a greater token than all before it.
func (c *Cell) acquire(now int64, cmd *Command, bug Bug) Result {
	if cmd.Owner == "" || cmd.TTL <= 0 {
		return Result{Err: "acquire: needs an owner and a lease longer than 0"}
	}
	if c.Owner != "" && c.Owner != cmd.Owner {
		return Result{Owner: c.Owner, Token: c.Token, Left: c.Until - now}
	}
	if c.Owner == "" && (bug != BugFenceStuck || c.Token == 0) {
		c.Token++
	}
	c.Owner, c.Until = cmd.Owner, now+cmd.TTL
	if bug == BugLockEarly {
		c.Until -= cmd.TTL / 2 // the holder is told all of it
	}
	return Result{OK: true, Owner: c.Owner, Token: c.Token, Left: cmd.TTL}
}

// release frees the lock for its holder only. The token stays, so that the next
// grant is greater.
func (c *Cell) release(cmd *Command, bug Bug) Result {
	if c.Owner != cmd.Owner && bug != BugUnlockAny {
		return Result{Owner: c.Owner, Token: c.Token}
	}
	held := c.Owner != ""
	c.Owner, c.Until = "", 0
	return Result{OK: held, Token: c.Token}
}

// update is a write fenced by the key's lock: a token older than the newest
// granted one is refused, whoever holds the lock by now.
func (c *Cell) update(now, version int64, cmd *Command, bug Bug) Result {
	if cmd.Token != 0 && cmd.Token < c.Token && bug != BugFenceUnchecked {
		x := c.observed(false)
		x.Token = c.Token
		return x
	}
	c.set(now, version, cmd.Value, cmd.TTL)
	return Result{OK: true, Version: version, Token: c.Token}
}

// Equal compares two values; nil, which is absent, equals only nil.
func Equal(a, b []byte) bool {
	return (a == nil) == (b == nil) && bytes.Equal(a, b)
}

// Append appends the cell's encoding to b.
func (c *Cell) Append(b []byte) []byte {
	b = bin.AppendBytes(b, c.Value)
	b = bin.AppendInt(b, c.Version)
	b = bin.AppendInt(b, c.Expires)
	b = bin.AppendString(b, c.Owner)
	b = bin.AppendInt(b, c.Token)
	return bin.AppendInt(b, c.Until)
}

// ReadCell reads what Append wrote.
func ReadCell(r *bin.Reader) Cell {
	return Cell{
		Value: r.Bytes(), Version: r.Int(), Expires: r.Int(),
		Owner: r.String(), Token: r.Int(), Until: r.Int(),
	}
}
