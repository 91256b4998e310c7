package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/faultline-dev/faultline/cluster"
)

// lab is a mounted file system, used from outside.
type lab struct {
	t *testing.T
	*supervisor
}

func newLab(t *testing.T, faults ...cluster.Disk) *lab {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Getuid() != 0 {
		t.Skip("needs /dev/fuse, and to be root")
	}
	s := &supervisor{Config: Config{Folder: t.TempDir(), Mount: t.TempDir()}}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := s.mount(); err != nil {
		t.Skip(err)
	}
	s.j.faults = faults
	t.Cleanup(func() {
		if err := unix.Unmount(s.Mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &lab{t: t, supervisor: s}
}

// power cuts the power, and says what is in the files then.
func (l *lab) power(torn bool) map[string]string {
	l.t.Helper()
	l.j.freeze()
	l.j.lose(torn)
	out := map[string]string{}
	root := filepath.Join(l.Folder, filesDir)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		out[name] = string(b)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) path(name string) string { return filepath.Join(l.Mount, name) }

// put writes a file, and syncs it or not.
func (l *lab) put(name, text string, sync bool) {
	l.t.Helper()
	f, err := os.Create(l.path(name))
	l.must(err)
	_, err = f.WriteString(text)
	l.must(err)
	if sync {
		l.must(f.Sync())
	}
	l.must(f.Close())
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if g, ok := got[name]; !ok || g != text {
			t.Errorf("%s: %q (is there: %v), want %q", name, g, ok, text)
		}
	}
	for name, text := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is there, with %q", name, text)
		}
	}
}

func TestPowerLosesWhatWasNotSynced(t *testing.T) {
	l := newLab(t)
	l.put("synced", "one", true)
	f, err := os.OpenFile(l.path("synced"), os.O_RDWR|os.O_APPEND, 0)
	l.must(err)
	_, err = f.WriteString(" two")
	l.must(err)
	_, err = f.WriteAt([]byte("ONE"), 0)
	if err == nil {
		t.Error("written at a place in a file that is appended to")
	}
	l.must(f.Close())
	f, err = os.OpenFile(l.path("synced"), os.O_RDWR, 0)
	l.must(err)
	_, err = f.WriteAt([]byte("ONE"), 0)
	l.must(err)
	if b, err := os.ReadFile(l.path("synced")); err != nil || string(b) != "ONE two" {
		t.Errorf("before the cut %q, %v", b, err)
	}
	l.must(f.Truncate(2))
	l.must(f.Close())
	l.put("lost", "three", false)
	same(t, l.power(false), map[string]string{"synced": "one"})
	if d := l.damage(); d.Lost == 0 || d.Torn != 0 {
		t.Errorf("%+v", d)
	}
}

func TestSynchronousWritesStay(t *testing.T) {
	l := newLab(t)
	f, err := os.OpenFile(l.path("f"), os.O_RDWR|os.O_CREATE|unix.O_DSYNC, 0o644)
	l.must(err)
	_, err = f.WriteString("kept")
	l.must(err)
	l.must(f.Close())
	same(t, l.power(false), map[string]string{"f": "kept"})
}

func TestFoldersComeBack(t *testing.T) {
	l := newLab(t)
	l.put("a", "a", true)
	l.put("b", "b", true)
	l.put("c", "c", true)
	l.must(os.Rename(l.path("a"), l.path("b")))
	l.must(os.Remove(l.path("c")))
	l.must(os.Mkdir(l.path("dir"), 0o755))
	l.put("dir/d", "", false)
	if _, err := os.Stat(l.path("c")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("c: %v", err)
	}
	same(t, l.power(false), map[string]string{"a": "a", "b": "b", "c": "c"})
}

func TestFoldersAreDurableBySync(t *testing.T) {
	l := newLab(t)
	l.put("a", "a", true)
	l.put("b", "b", true)
	l.must(os.Rename(l.path("a"), l.path("b")))
	d, err := os.Open(l.Mount)
	l.must(err)
	l.must(d.Sync())
	l.must(d.Close())
	l.must(os.Rename(l.path("b"), l.path("c")))
	same(t, l.power(false), map[string]string{"b": "a"})
	if left, err := os.ReadDir(filepath.Join(l.Folder, trashDir)); err != nil || len(left) != 0 {
		t.Errorf("in the trash: %v, %v", left, err)
	}
}

func TestTornWritesEndAtSectors(t *testing.T) {
	l := newLab(t)
	l.put("f", strings.Repeat("a", 1000), true)
	f, err := os.OpenFile(l.path("f"), os.O_RDWR, 0)
	l.must(err)
	_, err = f.WriteAt(bytes.Repeat([]byte("b"), 3000), 100)
	l.must(err)
	l.must(f.Close())
	got := l.power(true)["f"]
	bs := strings.Count(got, "b")
	if d := l.damage(); d.Torn != 1 || bs == 0 || bs == 3000 || (100+bs)%sector != 0 {
		t.Errorf("%d bytes of the write are left; %+v", bs, d)
	}
	if bs+100 < 1000 && len(got) != 1000 {
		t.Errorf("the file has %d bytes", len(got))
	}
}

func TestOnlyWhatASyncBeganAfterIsDurable(t *testing.T) {
	l := newLab(t, cluster.Disk{Fault: cluster.SlowSync, Delay: 300 * time.Millisecond})
	f, err := os.Create(l.path("f"))
	l.must(err)
	defer f.Close()
	_, err = f.WriteString("one")
	l.must(err)
	synced := make(chan error)
	go func() { synced <- f.Sync() }()
	time.Sleep(100 * time.Millisecond)
	_, err = f.WriteString(" two")
	l.must(err)
	l.must(<-synced)
	go func() { synced <- f.Sync() }()
	time.Sleep(50 * time.Millisecond)
	same(t, l.power(false), map[string]string{"f": "one"})
	if err := <-synced; err == nil {
		t.Error("a sync succeeded after the power was cut")
	}
}

func TestFailures(t *testing.T) {
	for fault, want := range map[cluster.DiskFault]error{cluster.FailIO: syscall.EIO, cluster.Full: syscall.ENOSPC} {
		l := newLab(t)
		l.put("f", "one", true)
		f, err := os.OpenFile(l.path("f"), os.O_RDWR, 0)
		l.must(err)
		l.j.mu.Lock()
		l.j.faults = []cluster.Disk{{Fault: fault}}
		l.j.mu.Unlock()
		if _, err := f.WriteString("x"); !errors.Is(err, want) {
			t.Errorf("%s: a write: %v", fault, err)
		}
		if _, err := os.Create(l.path("g")); !errors.Is(err, want) {
			t.Errorf("%s: a new file: %v", fault, err)
		}
		if err := f.Sync(); (err != nil) != (fault == cluster.FailIO) {
			t.Errorf("%s: a sync: %v", fault, err)
		}
		_ = f.Close()
		if b, err := os.ReadFile(l.path("f")); err != nil || string(b) != "one" {
			t.Errorf("%s: read %q, %v", fault, b, err)
		}
		if l.damage().Failed < 2 {
			t.Errorf("%s: %+v", fault, l.damage())
		}
	}
}

func TestBitFlips(t *testing.T) {
	l := newLab(t, cluster.Disk{Fault: cluster.FlipBits})
	l.put("f", strings.Repeat("\x00", 100), true)
	ones := 0
	for _, c := range []byte(l.power(false)["f"]) {
		for ; c != 0; c &= c - 1 {
			ones++
		}
	}
	if ones != 1 || l.damage().Flipped != 1 {
		t.Errorf("%d bits differ; %+v", ones, l.damage())
	}
}
