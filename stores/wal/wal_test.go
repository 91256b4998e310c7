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

// damaged is a folder in which a bit of each of these files flipped after it was
// synced, and the records that were durable.
func damaged(t *testing.T, bits map[string]int64) (*disk.Mem, []string) {
	t.Helper()
	m := disk.NewMem()
	durable, _ := workload(m)
	for name, bit := range bits {
		if err := m.Flip(name, bit); err != nil {
			t.Fatal(err)
		}
	}
	return m, durable
}

// TestFlippedBits flips every bit of the log in turn, and every bit of the mark with
// one of the log: either every record is there, or Open says that there is damage,
// returns whole records before it, keeps the damaged log to the last byte, and says
// so again at the next start.
func TestFlippedBits(t *testing.T) {
	base, _ := damaged(t, nil)
	names, _ := base.List()
	log, mark := names[0], names[1]
	var cases []map[string]int64
	for bit := range size(base, log) {
		cases = append(cases, map[string]int64{log: bit}, map[string]int64{log: bit, mark: bit % size(base, mark)})
	}
	for bit := range size(base, mark) {
		cases = append(cases, map[string]int64{mark: bit})
	}
	for _, bits := range cases {
		m, durable := damaged(t, bits)
		before, _ := m.ReadFile(log)
		for range 2 {
			l, got, err := Open(m)
			switch {
			case err != nil || !prefix(got, durable):
				t.Fatalf("%v flipped: %q, %v; written %q", bits, got, err, durable)
			case l.Damage() == nil && len(got) < len(durable):
				t.Fatalf("%v flipped: synced records were cut without a word: %q of %q", bits, got, durable)
			case l.Damage() != nil:
				if kept, _ := m.ReadFile(asideName(3)); !errors.Is(l.Damage(), ErrCorrupt) || string(kept) != string(before) {
					t.Fatalf("%v flipped: %v; of %d bytes %d are kept", bits, l.Damage(), len(before), len(kept))
				}
			}
		}
	}
}

// size is a file's, in bits.
func size(m *disk.Mem, name string) int64 {
	data, _ := m.ReadFile(name)
	return int64(len(data)) * 8
}

// TestCrashWhileRepairing crashes at each call that changes the disk while a damaged
// log is set aside, and while the damage is repaired: until that is durable it is
// known, and afterwards every record is there.
func TestCrashWhileRepairing(t *testing.T) {
	repair := func(m *disk.Mem) (done bool) {
		l, got, err := Open(m)
		if err != nil || l.Damage() == nil {
			return false
		}
		return l.Put(append(got, []byte("fetched")), true, true) == nil && l.Sync() == nil
	}
	whole, _ := damaged(t, map[string]int64{logName(3): 100})
	whole.CrashAt(0)
	if !repair(whole) {
		t.Fatal("a damaged log is not repaired")
	}
	for at := 1; at <= whole.Calls(); at++ {
		for seed := range uint64(20) {
			m, _ := damaged(t, map[string]int64{logName(3): 100})
			m.CrashAt(at)
			done := repair(m)
			m.Crash(rand.New(rand.NewPCG(seed, 0)))
			m.Restart()
			l, got, err := Open(m)
			if err != nil {
				t.Fatalf("call %d seed %d: %v", at, seed, err)
			}
			fetched := len(got) > 0 && string(got[len(got)-1]) == "fetched"
			if l.Damage() == nil && !fetched || done && !fetched {
				t.Fatalf("call %d seed %d: done %v, damage %v, records %q", at, seed, done, l.Damage(), got)
			}
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
