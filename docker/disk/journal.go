//go:build linux

package disk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

const (
	// writtenBack is the age at which a kernel has written a page by itself.
	writtenBack = 30 * time.Second
	sector      = 512
)

// journal knows what is not durable yet, and how to undo it.
type journal struct {
	mu     sync.Mutex
	files  map[uint64]*inode
	dirs   []dirChange // in order
	first  int         // the number of dirs[0]
	faults []cluster.Disk
	damage cluster.Damage
	rng    *rand.Rand
	// frozen is closed when the power is cut: nothing succeeds from then on.
	frozen chan struct{}
	off    bool
	trash  string
	kept   int // names in trash so far
}

// inode is a file with what was written and is not durable.
type inode struct {
	number uint64
	fd     int // to read and write it whatever its name is
	open   int // handles
	undo   []undo
	first  int // the number of undo[0]
}

// undo is how a write, or a change of the size, is undone.
type undo struct {
	at   time.Time
	off  int64
	n    int    // bytes that were written
	old  []byte // what was there
	size int64  // of the file, before
}

// dirChange is how a change of a folder is undone.
type dirChange struct {
	at     time.Time
	back   func()
	forget string // in trash, once the change is durable
}

func newJournal(trash string, damage cluster.Damage) *journal {
	return &journal{
		files: map[uint64]*inode{}, trash: trash, damage: damage, frozen: make(chan struct{}),
		rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), //nolint:gosec // not a secret
	}
}

// hit says whether an operation meets a fault; with the journal locked.
func (j *journal) hit(f cluster.DiskFault) (cluster.Disk, bool) {
	for _, d := range j.faults {
		if d.Fault == f && (d.P == 0 || j.rng.Float64() < d.P) {
			return d, true
		}
	}
	return cluster.Disk{}, false
}

// may says whether something may be changed now, and why not; room says that it
// takes space.
func (j *journal) may(room bool) syscall.Errno {
	if j.off {
		return syscall.EIO
	}
	if _, ok := j.hit(cluster.FailIO); ok {
		j.damage.Failed++
		return syscall.EIO
	}
	if _, ok := j.hit(cluster.Full); ok && room {
		j.damage.Failed++
		return syscall.ENOSPC
	}
	return 0
}

// enter begins to keep account of the file that fd is open on.
func (j *journal) enter(fd int) (*inode, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	in := j.files[st.Ino]
	if in == nil {
		rw, err := syscall.Open(fmt.Sprintf("/proc/self/fd/%d", fd), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		in = &inode{number: st.Ino, fd: rw}
		j.files[st.Ino] = in
	}
	in.open++
	return in, nil
}

// leave ends a handle.
func (j *journal) leave(in *inode) {
	j.mu.Lock()
	defer j.mu.Unlock()
	in.open--
	j.drop(in)
}

// drop forgets a file of which all is durable.
func (j *journal) drop(in *inode) {
	if in.open == 0 && len(in.undo) == 0 && j.files[in.number] == in {
		_ = syscall.Close(in.fd)
		delete(j.files, in.number)
	}
}

// note remembers what n bytes from off on were; with the journal locked.
func (in *inode) note(off int64, n int64) error {
	var st syscall.Stat_t
	if err := syscall.Fstat(in.fd, &st); err != nil {
		return err
	}
	u := undo{at: time.Now(), off: off, n: int(n), size: st.Size}
	if have := min(off+n, st.Size) - off; have > 0 {
		u.old = make([]byte, have)
		got, err := syscall.Pread(in.fd, u.old, off)
		if err != nil {
			return err
		}
		u.old = u.old[:got]
	}
	in.undo = append(in.undo, u)
	return nil
}

func (j *journal) write(in *inode, data []byte, off int64) (int, syscall.Errno) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if errno := j.may(true); errno != 0 {
		return 0, errno
	}
	if err := in.note(off, int64(len(data))); err != nil {
		return 0, errnoOf(err)
	}
	if _, ok := j.hit(cluster.FlipBits); ok && len(data) > 0 {
		data = slices.Clone(data)
		data[j.rng.IntN(len(data))] ^= 1 << j.rng.IntN(8)
		j.damage.Flipped++
	}
	n, err := syscall.Pwrite(in.fd, data, off)
	return n, errnoOf(err)
}

func (j *journal) truncate(in *inode, size int64) syscall.Errno {
	j.mu.Lock()
	defer j.mu.Unlock()
	if errno := j.may(false); errno != 0 {
		return errno
	}
	var st syscall.Stat_t
	err := syscall.Fstat(in.fd, &st)
	if err == nil {
		err = in.note(size, max(0, st.Size-size))
	}
	if err == nil {
		err = syscall.Ftruncate(in.fd, size)
	}
	return errnoOf(err)
}

// keepSize is the one flag of fallocate that loses nothing.
const keepSize = 1

func (j *journal) allocate(in *inode, off, size int64, mode uint32) syscall.Errno {
	if mode&^keepSize != 0 {
		return syscall.EOPNOTSUPP
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if errno := j.may(true); errno != 0 {
		return errno
	}
	if mode&keepSize == 0 {
		if err := in.note(off, 0); err != nil {
			return errnoOf(err)
		}
	}
	return errnoOf(syscall.Fallocate(in.fd, mode, off, size))
}

// sync makes durable what was written to the file, or nil for a folder, before it
// began, and all changes of folders before it began, once it ends.
func (j *journal) sync(in *inode) syscall.Errno {
	j.mu.Lock()
	var upTo int
	if in != nil {
		upTo = in.first + len(in.undo)
	}
	dirs := j.first + len(j.dirs)
	slow, slowed := j.hit(cluster.SlowSync)
	if slowed {
		j.damage.Slowed++
	}
	j.mu.Unlock()
	if slowed {
		select {
		case <-time.After(slow.Delay):
		case <-j.frozen:
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if errno := j.may(false); errno != 0 {
		return errno
	}
	if in != nil && upTo > in.first {
		in.undo = slices.Delete(in.undo, 0, upTo-in.first)
		in.first = upTo
		j.drop(in)
	}
	j.settle(dirs)
	return 0
}

// settle makes changes of folders durable, up to a number.
func (j *journal) settle(upTo int) {
	if upTo <= j.first {
		return
	}
	for _, d := range j.dirs[:upTo-j.first] {
		if d.forget != "" {
			_ = os.Remove(d.forget)
		}
	}
	j.dirs = slices.Delete(j.dirs, 0, upTo-j.first)
	j.first = upTo
}

// change makes a change of a folder, do, that back undoes. Where it removes the
// file path, that is kept so that it can come back.
func (j *journal) change(path string, room bool, do func() syscall.Errno, back func(kept string)) syscall.Errno {
	j.mu.Lock()
	defer j.mu.Unlock()
	if errno := j.may(room); errno != 0 {
		return errno
	}
	kept := ""
	if path != "" {
		kept = fmt.Sprintf("%s/%d", j.trash, j.kept)
		j.kept++
		if err := syscall.Link(path, kept); err != nil {
			kept = "" // there is none, or it is a folder
		}
	}
	if errno := do(); errno != 0 {
		if kept != "" {
			_ = os.Remove(kept)
		}
		return errno
	}
	j.dirs = append(j.dirs, dirChange{at: time.Now(), back: func() { back(kept) }, forget: kept})
	return 0
}

// freeze makes everything fail from now on.
func (j *journal) freeze() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.off {
		j.off = true
		close(j.frozen)
	}
}

// lose undoes what was not synced. Nobody may use the files any more.
func (j *journal) lose(torn bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	old := time.Now().Add(-writtenBack)
	for _, in := range j.files {
		from := slices.IndexFunc(in.undo, func(u undo) bool { return u.at.After(old) })
		if from < 0 {
			continue
		}
		if torn {
			from = len(in.undo) - 1
			j.tear(in, in.undo[from])
		}
		for _, u := range slices.Backward(in.undo[from:]) {
			if !torn {
				in.revert(u)
				j.damage.Lost++
			}
		}
		in.undo = nil
	}
	if torn {
		return
	}
	from := slices.IndexFunc(j.dirs, func(d dirChange) bool { return d.at.After(old) })
	if from < 0 {
		return
	}
	for _, d := range slices.Backward(j.dirs[from:]) {
		d.back()
		j.damage.Lost++
	}
	j.dirs = nil
}

func (in *inode) revert(u undo) {
	if len(u.old) > 0 {
		_, _ = syscall.Pwrite(in.fd, u.old, u.off)
	}
	_ = syscall.Ftruncate(in.fd, u.size)
}

// tear leaves of the last write what lies before the end of a sector inside of it,
// by chance which; where there is none it is lost.
func (j *journal) tear(in *inode, u undo) {
	end := u.off + int64(u.n)
	lowest := u.off/sector + 1
	highest := (end - 1) / sector
	if u.n == 0 || highest < lowest {
		in.revert(u)
		j.damage.Lost++
		return
	}
	cut := sector * (lowest + j.rng.Int64N(highest-lowest+1))
	kept := make([]byte, cut-u.off)
	n, err := syscall.Pread(in.fd, kept, u.off)
	in.revert(u)
	if err == nil {
		_, _ = syscall.Pwrite(in.fd, kept[:n], u.off)
	}
	j.damage.Torn++
}

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if e, ok := err.(syscall.Errno); ok { //nolint:errorlint // system calls return them bare
		return e
	}
	return syscall.EIO
}
