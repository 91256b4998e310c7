package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
)

// ErrCrashed is what every call returns from a crash until Restart.
var ErrCrashed = errors.New("disk: crashed")

// Mem is a folder in memory that can crash like a real disk: what wasn't synced is
// then kept, lost or torn, as its random source decides. It is deterministic.
// It isn't safe for use by several goroutines at once.
type Mem struct {
	files   map[string]*memFile // as the running system sees them
	durable map[string]*memFile // the names that a crash keeps
	calls   int
	crashAt int // the call that crashes; 0 is none
	crashed bool
}

// memFile is a file's bytes; those from synced on may be lost.
type memFile struct {
	data   []byte
	synced int
}

// NewMem returns an empty folder.
func NewMem() *Mem {
	return &Mem{files: map[string]*memFile{}, durable: map[string]*memFile{}}
}

// CrashAt lets the nth call from now that changes something (1 is the next) crash
// in its middle; 0 lets none.
func (m *Mem) CrashAt(n int) { m.calls, m.crashAt = 0, n }

// Calls counts the calls since CrashAt that change something.
func (m *Mem) Calls() int { return m.calls }

// Crash loses what isn't synced: of each file's unsynced bytes a random part stays,
// some of it damaged; of unsynced names and removals each stays or not. All
// calls fail until Restart.
func (m *Mem) Crash(rng *rand.Rand) {
	m.crashed = true
	names := slices.Sorted(maps.Keys(m.files))
	for _, n := range slices.Sorted(maps.Keys(m.durable)) {
		if m.files[n] == nil && rng.IntN(2) == 0 {
			delete(m.durable, n) // the removal got through
		}
	}
	for _, n := range names {
		if m.durable[n] != m.files[n] && rng.IntN(2) == 0 {
			m.durable[n] = m.files[n]
		}
	}
	torn := map[*memFile]bool{}
	for _, n := range slices.Sorted(maps.Keys(m.durable)) {
		if f := m.durable[n]; !torn[f] {
			torn[f] = true
			f.tear(rng)
		}
	}
	m.files = maps.Clone(m.durable)
}

func (f *memFile) tear(rng *rand.Rand) {
	keep := f.synced
	if n := len(f.data) - f.synced; n > 0 {
		keep += rng.IntN(n + 1)
	}
	f.data = slices.Clone(f.data[:keep])
	if keep > f.synced && rng.IntN(3) == 0 {
		f.data[f.synced+rng.IntN(keep-f.synced)] ^= byte(1 + rng.IntN(255))
	}
	f.synced = len(f.data)
}

// Restart lets calls work again after a Crash.
func (m *Mem) Restart() { m.crashed, m.crashAt = false, 0 }

// Flip changes one bit of a file, synced or not.
func (m *Mem) Flip(name string, bit int64) error {
	f := m.files[name]
	if f == nil || bit/8 >= int64(len(f.data)) {
		return fmt.Errorf("disk: flip %s: %w", name, fs.ErrNotExist)
	}
	f.data[bit/8] ^= 1 << (bit % 8)
	return nil
}

// step counts a changing call, and tells whether it is to happen in full.
func (m *Mem) step() error {
	if m.crashed {
		return ErrCrashed
	}
	m.calls++
	if m.calls == m.crashAt {
		m.crashed = true
		return ErrCrashed
	}
	return nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	m.files[name] = &memFile{}
	return &memHandle{m, m.files[name]}, nil
}

// Append implements FS.
func (m *Mem) Append(name string) (File, error) {
	if m.crashed {
		return nil, ErrCrashed
	}
	f := m.files[name]
	if f == nil {
		return nil, fmt.Errorf("disk: append %s: %w", name, fs.ErrNotExist)
	}
	return &memHandle{m, f}, nil
}

// ReadFile implements FS.
func (m *Mem) ReadFile(name string) ([]byte, error) {
	if m.crashed {
		return nil, ErrCrashed
	}
	f := m.files[name]
	if f == nil {
		return nil, fmt.Errorf("disk: read %s: %w", name, fs.ErrNotExist)
	}
	return slices.Clone(f.data), nil
}

// Truncate implements FS.
func (m *Mem) Truncate(name string, size int64) error {
	if err := m.step(); err != nil {
		return err
	}
	f := m.files[name]
	if f == nil || size > int64(len(f.data)) {
		return fmt.Errorf("disk: truncate %s: %w", name, fs.ErrNotExist)
	}
	f.data = f.data[:size:size]
	f.synced = int(size)
	return nil
}

// Rename implements FS.
func (m *Mem) Rename(from, to string) error {
	if err := m.step(); err != nil {
		return err
	}
	f := m.files[from]
	if f == nil {
		return fmt.Errorf("disk: rename %s: %w", from, fs.ErrNotExist)
	}
	m.files[to] = f
	delete(m.files, from)
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	if err := m.step(); err != nil {
		return err
	}
	if m.files[name] == nil {
		return fmt.Errorf("disk: remove %s: %w", name, fs.ErrNotExist)
	}
	delete(m.files, name)
	return nil
}

// List implements FS.
func (m *Mem) List() ([]string, error) {
	if m.crashed {
		return nil, ErrCrashed
	}
	return slices.Sorted(maps.Keys(m.files)), nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir() error {
	if err := m.step(); err != nil {
		return err
	}
	m.durable = maps.Clone(m.files)
	return nil
}

type memHandle struct {
	m *Mem
	f *memFile
}

// Write adds all of b, or before a crash a part of it.
func (h *memHandle) Write(b []byte) (int, error) {
	if h.m.crashed {
		return 0, ErrCrashed
	}
	if err := h.m.step(); err != nil {
		h.f.data = append(h.f.data, b[:len(b)/2]...)
		return len(b) / 2, err
	}
	h.f.data = append(h.f.data, b...)
	return len(b), nil
}

// Sync makes the bytes written so far durable.
func (h *memHandle) Sync() error {
	if err := h.m.step(); err != nil {
		return err
	}
	h.f.synced = len(h.f.data)
	return nil
}

func (h *memHandle) Close() error { return nil }

// PowerCut is a Crash and a Restart at once that loses all that wasn't synced, or
// with torn keeps and damages parts of it as Crash does. It returns how many bytes
// were lost, and how many unsynced ones stayed.
func (m *Mem) PowerCut(rng *rand.Rand, torn bool) (lost, kept int) {
	before := m.unsynced()
	if torn {
		total := m.bytes()
		m.Crash(rng)
		lost = max(0, total-m.bytes())
		kept = max(0, before-lost)
	} else {
		lost = before
		m.files = maps.Clone(m.durable)
		for _, f := range m.files {
			f.data = slices.Clone(f.data[:f.synced]) // each by itself: the order doesn't matter
		}
	}
	m.Restart()
	return lost, kept
}

// unsynced counts the bytes that a power cut may lose.
func (m *Mem) unsynced() int {
	n := 0
	for name, f := range m.files {
		if m.durable[name] == f {
			n += len(f.data) - f.synced
		} else {
			n += len(f.data)
		}
	}
	return n
}

func (m *Mem) bytes() int {
	n := 0
	for _, f := range m.files {
		n += len(f.data)
	}
	return n
}
