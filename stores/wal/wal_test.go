package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/faultline-dev/faultline/stores/disk"
)

// workload appends, syncs and rewrites; it returns the records that were reported
// durable, and those that may be there as well.
func workload(fsys disk.FS) (durable, maybe []string) {
	l, got, err := Open(fsys)
	if err != nil {
		return nil, nil
	}
	for _, r := range got {
		durable = append(durable, string(r))
	}
	maybe = durable
	for i := range 12 {
		r := fmt.Sprintf("record %d", i)
		next := append(append([]string{}, maybe...), r)
		if i%5 == 4 {
			next = []string{"snapshot", r}
			maybe = next
			if l.Rewrite([][]byte{[]byte("snapshot"), []byte(r)}) != nil {
				return durable, next
			}
			durable = next
			continue
		}
		maybe = next
		if l.Append([][]byte{[]byte(r)}) != nil {
			return durable, next
		}
		if i%2 == 1 {
			if l.Sync() != nil {
				return durable, next
			}
			durable = next
		}
	}
	return durable, maybe
}

// TestCrashAtEveryCall crashes at each call that changes the disk, with several
// ways to tear what wasn't synced: everything reported durable must be there, in
// order, and nothing that was never written.
func TestCrashAtEveryCall(t *testing.T) {
	whole := disk.NewMem()
	whole.CrashAt(0)
	workload(whole)
	calls := whole.Calls()
	for at := 1; at <= calls; at++ {
		for seed := range uint64(30) {
			m := disk.NewMem()
			m.CrashAt(at)
			durable, maybe := workload(m)
			m.Crash(rand.New(rand.NewPCG(seed, 0)))
			m.Restart()
			_, got, err := Open(m)
			if err != nil {
				t.Fatalf("call %d seed %d: %v", at, seed, err)
			}
			if !between(got, durable, maybe) {
				t.Fatalf("call %d seed %d: got %q, durable %q, written %q", at, seed, got, durable, maybe)
			}
			if _, again, err := Open(m); err != nil || len(again) != len(got) {
				t.Fatalf("call %d seed %d: opened again: %q, %v", at, seed, again, err)
			}
		}
	}
}

// between tells whether got is durable, or a prefix of maybe that isn't shorter, or
// what a rewrite under way replaces.
func between(got [][]byte, durable, maybe []string) bool {
	return prefix(got, durable) && len(got) == len(durable) ||
		prefix(got, maybe) && (len(got) >= len(durable) || len(got) == len(maybe)) ||
		len(maybe) > 0 && maybe[0] == "snapshot" && len(got) >= len(durable) && prefix(got[:len(durable)], durable)
}

func prefix(got [][]byte, of []string) bool {
	for i := range got {
		if i >= len(of) || string(got[i]) != of[i] {
			return false
		}
	}
	return true
}

// TestCorruptMiddle flips every bit of the log in turn: Open refuses, or returns
// every record as it was.
func TestCorruptMiddle(t *testing.T) {
	base := disk.NewMem()
	durable, _ := workload(base)
	names, _ := base.List()
	log := names[0]
	data, _ := base.ReadFile(log)
	for bit := range int64(len(data)) * 8 {
		m := disk.NewMem()
		workload(m)
		if err := m.Flip(log, bit); err != nil {
			t.Fatal(err)
		}
		_, got, err := Open(m)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && (!prefix(got, durable) || len(got) < len(durable)) {
			t.Fatalf("bit %d flipped: got %q, want %q or a refusal", bit, got, durable)
		}
	}
}

// TestTornTail adds bytes that were never synced: they are cut, and what follows
// is appended in their place.
func TestTornTail(t *testing.T) {
	m := disk.NewMem()
	l, _, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	if err = errors.Join(l.Append([][]byte{[]byte("a")}), l.Sync()); err != nil {
		t.Fatal(err)
	}
	f, _ := m.Append(logName(1))
	_, _ = f.Write([]byte{0, 0, 0, 9, 1, 2})
	l, got, err := Open(m)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %q, %v", got, err)
	}
	if err = errors.Join(l.Append([][]byte{[]byte("b")}), l.Sync()); err != nil {
		t.Fatal(err)
	}
	if _, got, err = Open(m); err != nil || len(got) != 2 {
		t.Fatalf("got %q, %v", got, err)
	}
}
