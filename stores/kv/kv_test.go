package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// step is a command at a time, and what it must return.
type step struct {
	at   int64
	cmd  Command
	want Result
}

func run(t *testing.T, steps []step) *Machine {
	t.Helper()
	m := NewMachine(BugNone)
	for i, s := range steps {
		s.cmd.Now = s.at
		if s.cmd.Key == "" {
			s.cmd.Key = "k"
		}
		if got := m.Apply(uint64(i+1), &s.cmd); !reflect.DeepEqual(got, s.want) {
			t.Errorf("step %d, %s: got %+v, want %+v", i+1, s.cmd.Op, got, s.want)
		}
	}
	return m
}

func v(s string) []byte { return []byte(s) }

func TestRegister(t *testing.T) {
	run(t, []step{
		{0, Command{Op: OpRead}, Result{OK: true}},
		{0, Command{Op: OpCAS, Expect: nil, Value: v("1")}, Result{OK: true, Value: v("1"), Version: 2}},
		{0, Command{Op: OpCAS, Expect: v("2"), Value: v("3")}, Result{Value: v("1"), Version: 2}},
		{0, Command{Op: OpWrite, Value: v("4")}, Result{OK: true, Version: 4}},
		{0, Command{Op: OpRead}, Result{OK: true, Value: v("4"), Version: 4}},
		{0, Command{Op: OpDelete}, Result{OK: true, Version: 6}},
		{0, Command{Op: OpRead}, Result{OK: true}},
		{0, Command{Op: OpAdd, Delta: 2}, Result{OK: true, Value: v("2"), Version: 8}},
		{0, Command{Op: OpAdd, Delta: -5}, Result{OK: true, Value: v("-3"), Version: 9}},
		{0, Command{Op: OpAdd, Delta: -1 << 63}, Result{Err: "add: the sum overflows"}},
		{0, Command{Op: OpWrite, Value: v(`"x"`)}, Result{OK: true, Version: 11}},
		{0, Command{Op: OpAdd, Delta: 1}, Result{Err: "add: the value is no integer"}},
	})
}

func TestExpiry(t *testing.T) {
	m := run(t, []step{
		{100, Command{Op: OpWrite, Value: v("1"), TTL: 50}, Result{OK: true, Version: 1}},
		{149, Command{Op: OpRead}, Result{OK: true, Value: v("1"), Version: 1}},
		{150, Command{Op: OpRead}, Result{OK: true}},
		{120, Command{Op: OpRead}, Result{OK: true}}, // the clock never runs backwards
		{120, Command{Op: OpCAS, Expect: nil, Value: v("2")}, Result{OK: true, Value: v("2"), Version: 5}},
		{160, Command{Op: OpWrite, Value: v("3"), TTL: 10}, Result{OK: true, Version: 6}},
		{165, Command{Op: OpWrite, Value: v("4")}, Result{OK: true, Version: 7}}, // and no TTL
		{999, Command{Op: OpRead}, Result{OK: true, Value: v("4"), Version: 7}},
	})
	if m.Clock() != 999 {
		t.Errorf("the clock is %d", m.Clock())
	}
}

func TestLock(t *testing.T) {
	run(t, []step{
		{0, Command{Op: OpAcquire, Owner: "a", TTL: 100}, Result{OK: true, Owner: "a", Token: 1, Left: 100}},
		{10, Command{Op: OpAcquire, Owner: "b", TTL: 100}, Result{Owner: "a", Token: 1, Left: 90}},
		{20, Command{Op: OpRelease, Owner: "b"}, Result{Owner: "a", Token: 1}},
		{50, Command{Op: OpAcquire, Owner: "a", TTL: 100}, Result{OK: true, Owner: "a", Token: 1, Left: 100}}, // renewed
		{149, Command{Op: OpAcquire, Owner: "b", TTL: 100}, Result{Owner: "a", Token: 1, Left: 1}},
		{150, Command{Op: OpUpdate, Value: v("1"), Token: 1}, Result{OK: true, Version: 6, Token: 1}}, // nobody came after
		{150, Command{Op: OpAcquire, Owner: "b", TTL: 100}, Result{OK: true, Owner: "b", Token: 2, Left: 100}},
		{160, Command{Op: OpUpdate, Value: v("2"), Token: 1}, Result{Value: v("1"), Version: 6, Token: 2}},
		{160, Command{Op: OpUpdate, Value: v("3"), Token: 2}, Result{OK: true, Version: 9, Token: 2}},
		{170, Command{Op: OpRelease, Owner: "b"}, Result{OK: true, Token: 2}},
		{170, Command{Op: OpDelete}, Result{OK: true, Version: 11}},
		{170, Command{Op: OpAcquire, Owner: "a", TTL: 100}, Result{OK: true, Owner: "a", Token: 3, Left: 100}}, // tokens outlive a delete
		{170, Command{Op: OpAcquire, Owner: "", TTL: 100}, Result{Err: "acquire: needs an owner and a lease longer than 0"}},
	})
}

func TestSessions(t *testing.T) {
	add := func(session, seq uint64) Command {
		return Command{Op: OpAdd, Delta: 1, Session: session, Seq: seq}
	}
	run(t, []step{
		{0, Command{Op: OpOpenSession}, Result{OK: true, Token: 1}},
		{0, add(1, 1), Result{OK: true, Value: v("1"), Version: 2}},
		{0, add(1, 1), Result{OK: true, Value: v("1"), Version: 2}},
		{0, add(1, 2), Result{OK: true, Value: v("2"), Version: 4}},
		{0, add(1, 1), Result{Err: ErrSession}},
		{0, add(9, 1), Result{Err: ErrSession}},
	})
	m := NewMachine(BugNone)
	for i := range uint64(MaxSessions + 1) {
		m.Apply(i+1, &Command{Op: OpOpenSession})
	}
	if c := add(1, 1); m.Apply(5000, &c).Err != ErrSession {
		t.Error("the session used longest ago isn't forgotten")
	}
	if c := add(2, 1); m.Apply(5001, &c).Err != "" {
		t.Error("a later session is forgotten")
	}
}

// TestSnapshot cuts a random run of commands in two at every place: what follows a
// restored snapshot returns the same as without.
func TestSnapshot(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var cmds []Command
	for i := range 300 {
		cmds = append(cmds, Command{
			Op: Op(rng.IntN(int(opEnd))), Key: fmt.Sprint(rng.IntN(3)), Value: v(fmt.Sprint(rng.IntN(3))),
			Expect: v(fmt.Sprint(rng.IntN(3))), Delta: 1, TTL: int64(rng.IntN(20)), Owner: fmt.Sprint(rng.IntN(2)),
			Token: int64(rng.IntN(4)), Session: uint64(rng.IntN(4)), Seq: uint64(i / 10), Now: int64(i),
		})
	}
	for cut := range cmds {
		a, b := NewMachine(BugNone), NewMachine(BugNone)
		for i := range cmds {
			if i == cut {
				if err := b.Restore(a.Snapshot()); err != nil {
					t.Fatal(err)
				}
			}
			x := a.Apply(uint64(i+1), &cmds[i])
			if i >= cut {
				if y := b.Apply(uint64(i+1), &cmds[i]); !reflect.DeepEqual(x, y) {
					t.Fatalf("cut at %d, command %d: %+v, restored %+v", cut, i, x, y)
				}
			}
		}
		if !bytes.Equal(a.Snapshot(), b.Snapshot()) {
			t.Fatalf("cut at %d: the states differ at the end", cut)
		}
	}
}

// Each bug of the state machine changes what a client sees.
func TestBugs(t *testing.T) {
	for _, x := range []struct {
		bug  Bug
		cmds []Command
		good Result // of the last command, without the bug
	}{
		{BugLockEarly, []Command{{Op: OpAcquire, Owner: "a", TTL: 100}, {Op: OpAcquire, Owner: "b", TTL: 100, Now: 60}}, Result{Owner: "a", Token: 1, Left: 40}},
		{BugFenceStuck, []Command{{Op: OpAcquire, Owner: "a", TTL: 10}, {Op: OpAcquire, Owner: "b", TTL: 10, Now: 10}}, Result{OK: true, Owner: "b", Token: 2, Left: 10}},
		{BugUnlockAny, []Command{{Op: OpAcquire, Owner: "a", TTL: 10}, {Op: OpRelease, Owner: "b"}}, Result{Owner: "a", Token: 1}},
		{BugLostDelete, []Command{{Op: OpWrite, Value: v("1"), TTL: 10}, {Op: OpDelete}, {Op: OpRead}}, Result{OK: true}},
		{BugTTLRestart, []Command{{Op: OpWrite, Value: v("1"), TTL: 10}, {Op: OpNone}, {Op: OpRead, Now: 20}}, Result{OK: true}},
		{BugFenceUnchecked, []Command{{Op: OpAcquire, Owner: "a", TTL: 10}, {Op: OpAcquire, Owner: "b", TTL: 10, Now: 10}, {Op: OpUpdate, Value: v("1"), Token: 1}}, Result{Token: 2}},
		{BugCASBlind, []Command{{Op: OpCAS, Expect: v("1"), Value: v("2")}}, Result{}},
	} {
		for _, bug := range []Bug{BugNone, x.bug} {
			m := NewMachine(bug)
			var got Result
			for i := range x.cmds {
				x.cmds[i].Key = "k"
				got = m.Apply(uint64(i+1), &x.cmds[i])
			}
			if same := reflect.DeepEqual(got, x.good); same != (bug == BugNone) {
				t.Errorf("bug %d switched to %d: got %+v, right is %+v", x.bug, bug, got, x.good)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	c := Command{Op: OpCAS, Key: "k", Value: v("1"), Session: 3, Now: 9}
	f.Add(c.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			return
		}
		if again, err := DecodeCommand(c.Append(nil)); err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%+v comes back as %+v, %v", c, again, err)
		}
		_ = NewMachine(BugNone).Restore(b)
	})
}
