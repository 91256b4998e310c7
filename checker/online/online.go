// Package online judges objects while a run goes on, event by event, in memory
// that follows the operations that are open and what the object holds.
//
// It looks for what the checkers of sets, counters, queues and locks look for, as
// far as that can be told before the run is over: what it finds is a violation,
// and what it does not find those may. Registers have an exact judge of this kind,
// linear.Stream.
package online

import (
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// op is an operation from its invocation on.
type op struct {
	inv, done history.Op
	seq       int // its place among all calls and returns of its key
	over      bool
	note      any // what the object knew when it was invoked
}

// object is what is judged: one key.
type object interface {
	// call takes an invocation, and ret a completion; ret returns the name of what
	// is wrong, if anything. Between them lie the returns that were before the
	// invocation, and those alone: of equal stamps, calls come first.
	call(k *key, o *op)
	ret(k *key, o *op) string
	// size is how many records the object keeps.
	size() int
}

// key is an object and the operations that are open on it.
type key struct {
	object
	seq  int // calls and returns so far
	open []*op
}

// oldest is the place of the first call whose operation is still open: whatever
// was over before it concerns nobody any more.
func (k *key) oldest() int {
	for len(k.open) > 0 && k.open[0].over {
		k.open = k.open[1:]
	}
	if len(k.open) == 0 {
		k.open = nil
		return k.seq + 1
	}
	return k.open[0].seq
}

// Judge takes the events of a history in their order. It is not safe for
// concurrent use.
type Judge struct {
	fresh func() object
	keys  map[string]*key
	open  map[history.Process]*op
	// calls and returns are of one time; they are taken in when it is over.
	at             time.Duration
	calls, returns []*op
}

func newJudge(fresh func() object) *Judge {
	return &Judge{fresh: fresh, keys: map[string]*key{}, open: map[history.Process]*op{}}
}

// Add takes the next event. Its error is the first violation that shows; an event
// is judged once a later one has come, as equal stamps are concurrent.
func (j *Judge) Add(e history.Op) error {
	if e.Process == history.Nemesis {
		return nil
	}
	var err error
	if e.Time > j.at {
		err = j.Flush()
		j.at = e.Time
	}
	if e.Type == history.Invoke {
		o := &op{inv: e}
		j.open[e.Process] = o
		j.calls = append(j.calls, o)
	} else if o := j.open[e.Process]; o != nil {
		o.done = e
		delete(j.open, e.Process)
		j.returns = append(j.returns, o)
	}
	return err
}

// Flush judges the events of the last time.
func (j *Judge) Flush() error {
	defer func() { j.calls, j.returns = j.calls[:0], j.returns[:0] }()
	for _, o := range j.calls {
		k := j.keys[o.inv.Key]
		if k == nil {
			k = &key{object: j.fresh()}
			j.keys[o.inv.Key] = k
		}
		k.seq++
		o.seq = k.seq
		k.open = append(k.open, o)
		k.call(k, o)
	}
	for _, o := range j.returns {
		k := j.keys[o.inv.Key]
		k.seq++
		wrong := k.ret(k, o)
		o.over = true
		if wrong != "" {
			return fmt.Errorf("%s on %s: %s by process %d, from %v to %v", wrong, o.inv.Key, o.inv.F, o.inv.Process, o.inv.Time, o.done.Time)
		}
	}
	return nil
}

// Size is how many records are kept: open operations, and what objects hold.
func (j *Judge) Size() int {
	n := len(j.open)
	for _, k := range j.keys {
		k.oldest()
		n += len(k.open) + k.size()
	}
	return n
}
