//go:build linux

package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/agent"
)

// Config says what to supervise.
type Config struct {
	// Folder keeps the data and more; "" for Folder in a container.
	Folder string
	// Mount is where the program keeps its data.
	Mount string
	// Address is where requests come in (agent.SideName).
	Address string
	// Command is the program.
	Command []string
}

const (
	// attrAge is how long the kernel may believe what it was told of a file: nobody
	// else changes it.
	attrAge = time.Second
	// lastDescriptor bounds what a child might inherit.
	lastDescriptor = 64
	endTimeout     = 5 * time.Second
)

// supervisor is a file system and the program that uses it.
type supervisor struct {
	Config
	j     *journal
	child int
	code  int           // the program's, once ended is closed
	ended chan struct{} // closed when the program has ended

	mu  sync.Mutex // one request at a time
	cut bool       // the power is off
}

// Run mounts the file system, runs the program and returns its exit code.
func Run(ctx context.Context, cfg Config) (code int, err error) {
	if cfg.Folder == "" {
		cfg.Folder = Folder
	}
	s := &supervisor{Config: cfg, ended: make(chan struct{})}
	if err := s.prepare(); err != nil {
		return 0, fmt.Errorf("disk: %w", err)
	}
	if err := s.mount(); err != nil {
		return 0, err
	}
	defer func() { _ = unix.Unmount(cfg.Mount, unix.MNT_DETACH) }()
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := s.start(); err != nil {
		return 0, err
	}
	wg.Go(func() { s.reap() })
	served := make(chan error, 1)
	wg.Go(func() { served <- agent.ServeSide(ctx, cfg.Address, s.answer) })
	return s.wait(signals, served)
}

// wait waits for the program's end.
func (s *supervisor) wait(signals chan os.Signal, served chan error) (int, error) {
	for {
		select {
		case sig := <-signals:
			if n, ok := sig.(syscall.Signal); ok {
				_ = syscall.Kill(s.child, n)
			}
		case err := <-served:
			s.killAll()
			<-s.ended
			return 0, err
		case <-s.ended:
			s.killAll()
			s.mu.Lock() // lets a power cut's answer go out
			defer s.mu.Unlock()
			if s.cut {
				time.Sleep(answerTime)
				return powerLost, nil
			}
			return s.code, s.save()
		}
	}
}

// answerTime is what the answer to a power cut takes to be written.
const answerTime = 20 * time.Millisecond

// prepare makes the folders, and removes what a durable removal left in trash.
func (s *supervisor) prepare() error {
	trash := filepath.Join(s.Folder, trashDir)
	err := errors.Join(os.MkdirAll(s.Folder, 0o755), os.RemoveAll(trash), os.Mkdir(trash, 0o700), os.MkdirAll(s.Mount, 0o755))
	if err != nil {
		return err
	}
	files := filepath.Join(s.Folder, filesDir)
	if err := os.Mkdir(files, 0o755); err == nil {
		err = likeMount(files, s.Mount)
		if err != nil {
			return err
		}
	} else if !os.IsExist(err) {
		return err
	}
	var d cluster.Damage
	if b, err := os.ReadFile(filepath.Join(s.Folder, stateName)); err == nil {
		if err := json.Unmarshal(b, &d); err != nil {
			return fmt.Errorf("%s: %w", stateName, err)
		}
	}
	s.j = newJournal(trash, d)
	return nil
}

// likeMount gives a new folder the owner and rights of the one in whose place it
// will be.
func likeMount(dir, mount string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(mount, &st); err != nil {
		return err
	}
	return errors.Join(os.Chmod(dir, os.FileMode(st.Mode&0o777)), os.Chown(dir, int(st.Uid), int(st.Gid)))
}

func (s *supervisor) mount() error {
	age := attrAge
	_, err := fs.Mount(s.Mount, tree(filepath.Join(s.Folder, filesDir), s.j), &fs.Options{
		AttrTimeout: &age, EntryTimeout: &age,
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true, AllowOther: true, Options: []string{"default_permissions"},
			FsName: "faultline", Name: "faultline", MaxWrite: 1 << 20,
		},
	})
	if err != nil {
		return fmt.Errorf("disk: mount over %s: %w; it takes /dev/fuse and the capability SYS_ADMIN", s.Mount, err)
	}
	// /dev/fuse is opened for children to inherit. One that had it would keep the
	// file system alive after our end, and could wait for it for ever.
	for fd := 3; fd < lastDescriptor; fd++ {
		unix.CloseOnExec(fd)
	}
	return nil
}

// start starts the program, in a process group of its own.
func (s *supervisor) start() error {
	path, err := exec.LookPath(s.Command[0])
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	defer null.Close()
	dir, err := os.Getwd() // anew, since it may be under the mount
	if err != nil {
		dir = "/"
	}
	p, err := os.StartProcess(path, s.Command, &os.ProcAttr{
		Dir: dir, Files: []*os.File{null, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return fmt.Errorf("disk: start the program: %w", err)
	}
	s.child = p.Pid
	return nil
}

// reap waits for the program and, as the first process of a container has to, for
// all others.
func (s *supervisor) reap() {
	which := s.child
	if first() {
		which = -1
	}
	for {
		var st syscall.WaitStatus
		pid, err := syscall.Wait4(which, &st, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			s.code = powerLost // cannot be: it is our child
			close(s.ended)
			return
		case pid == s.child:
			s.code = st.ExitStatus()
			if st.Signaled() {
				s.code = 128 + int(st.Signal())
			}
			close(s.ended)
			return
		}
	}
}

// first says whether this is the first process of a container, with which all
// others end.
func first() bool { return os.Getpid() == 1 }

// killAll kills the program and all that it started.
func (s *supervisor) killAll() {
	if first() {
		_ = syscall.Kill(-1, syscall.SIGKILL)
	}
	_ = syscall.Kill(-s.child, syscall.SIGKILL)
}

func (s *supervisor) answer(_ context.Context, body json.RawMessage) (any, error) {
	var q Request
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("disk: not a request: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch q.Op {
	case OpFaults:
		s.j.mu.Lock()
		s.j.faults = q.Faults
		s.j.mu.Unlock()
	case OpDamage:
	case OpPower:
		s.cut = true
		s.j.freeze()
		s.killAll()
		if err := s.gone(); err != nil {
			return nil, err
		}
		s.j.lose(q.Torn)
	default:
		return nil, fmt.Errorf("disk: unknown operation %q", q.Op)
	}
	return s.damage(), s.save()
}

// gone waits until the program has ended.
func (s *supervisor) gone() error {
	select {
	case <-s.ended:
		return nil
	case <-time.After(endTimeout):
		return errors.New("disk: the program does not end")
	}
}

func (s *supervisor) damage() cluster.Damage {
	s.j.mu.Lock()
	defer s.j.mu.Unlock()
	return s.j.damage
}

// save keeps what was done, for who asks when this process runs no more.
func (s *supervisor) save() error {
	b, err := json.Marshal(s.damage())
	if err != nil {
		return err
	}
	path := filepath.Join(s.Folder, stateName)
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	return os.Rename(path+".new", path)
}
