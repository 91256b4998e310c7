package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/faultline-dev/faultline/cluster"
)

// process is a node's process over all its starts. Its methods may be called
// concurrently; what changes the process happens one after the other.
type process struct {
	name    string
	dir     string // of the logs
	command cluster.Command
	ports   []int // to listen on
	spawn   *spawner

	turn sync.Mutex // held while the process is being changed
	down bool       // no more starts; under turn
	mu   sync.Mutex
	now  *running // nil before the first start
}

// running is one start of a process.
type running struct {
	pid   int
	birth string        // the kernel's start time of pid, against reuse of the number
	gone  chan struct{} // closed when the process has been waited for
	err   error         // how it ended; valid after gone
}

func (p *process) current() *running {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// alive is the current start, or nil when it has ended.
func (p *process) alive() *running {
	r := p.current()
	if r == nil {
		return nil
	}
	select {
	case <-r.gone:
		return nil
	default:
		return r
	}
}

// start runs the process unless it runs, and waits until it listens on its ports
// or a while has passed. A process that ends meanwhile is an error with the last
// lines of its log.
func (p *process) start(ctx context.Context) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	if p.down {
		return fmt.Errorf("cluster/local: starting %s: the cluster is down", p.name)
	}
	if r := p.alive(); r != nil {
		if r.state() != cluster.Dead {
			return nil
		}
		<-r.gone // about to be waited for
	}
	cmd, log, err := p.prepare()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	r := &running{gone: make(chan struct{})}
	if err := p.spawn.start(cmd); err != nil {
		return fmt.Errorf("cluster/local: starting %s: %w", p.name, err)
	}
	r.pid = cmd.Process.Pid
	_, r.birth, _ = stat(r.pid)
	p.mu.Lock()
	p.now = r
	p.mu.Unlock()
	p.spawn.waiters.Go(func() {
		awaitEnd(r.pid)
		// What the process started itself goes with it; until it is waited for
		// nobody else can have its number.
		_ = syscall.Kill(-r.pid, syscall.SIGKILL)
		r.err = cmd.Wait()
		close(r.gone)
	})
	return p.settle(ctx, r)
}

// prepare makes the command and opens the log that it appends to.
func (p *process) prepare() (*exec.Cmd, *os.File, error) {
	path := p.command.Path
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, fmt.Errorf("cluster/local: where faultline's own executable is: %w", err)
		}
		path = self
	}
	log, err := os.OpenFile(filepath.Join(p.dir, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("cluster/local: the log of %s: %w", p.name, err)
	}
	cmd := exec.Command(path, p.command.Args...) //nolint:noctx // lives as long as the cluster wants
	cmd.Env = append(os.Environ(), p.command.Env...)
	cmd.Dir = p.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd, log, nil
}

// settle waits until the process listens on all its ports; one that takes longer
// than settleMax is left to whoever waits for it to serve.
func (p *process) settle(ctx context.Context, r *running) error {
	deadline := time.Now().Add(settleMax)
	for pause := 2 * time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, 50*time.Millisecond) {
		open, err := listening(p.ports)
		if err != nil {
			return err
		}
		all := true
		for _, ok := range open {
			all = all && ok
		}
		select {
		case <-r.gone:
			return fmt.Errorf("cluster/local: %s ended at once (%s)%s", p.name, ending(r.err), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("cluster/local: starting %s: %w", p.name, ctx.Err())
		case <-time.After(pause):
		}
		if all {
			return nil
		}
	}
	return nil
}

func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// tail is the end of the log, as the rest of an error message.
func (p *process) tail() string {
	const lines, most = 10, 4096
	f, err := os.Open(filepath.Join(p.dir, logName))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	b, _ := io.ReadAll(io.LimitReader(f, most))
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	if len(b) == 0 {
		return "; it printed nothing"
	}
	return "; its last words:\n  " + strings.Join(all, "\n  ")
}

// awaitEnd returns when the child has ended, without taking its status.
func awaitEnd(pid int) {
	const byPID = 1 // P_PID
	var info [128]byte
	for {
		_, _, e := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid),
			uintptr(unsafe.Pointer(&info)), syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if e != syscall.EINTR {
			return
		}
	}
}

// end kills the process for good.
func (p *process) end(ctx context.Context) error {
	p.turn.Lock()
	p.down = true
	p.turn.Unlock()
	return p.kill(ctx)
}

// kill ends the process and its group, and waits for that.
func (p *process) kill(ctx context.Context) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	r := p.alive()
	if r == nil {
		return nil
	}
	if err := signal(r, syscall.SIGKILL); err != nil {
		return fmt.Errorf("cluster/local: killing %s: %w", p.name, err)
	}
	t := time.NewTimer(signalMax)
	defer t.Stop()
	select {
	case <-r.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cluster/local: killing %s: %w", p.name, ctx.Err())
	case <-t.C:
		return fmt.Errorf("cluster/local: %s (pid %d) did not end within %v of SIGKILL", p.name, r.pid, signalMax)
	}
}

// stop freezes the process or lets it go on, and waits until it shows. A dead
// process is left alone.
func (p *process) stop(ctx context.Context, sig syscall.Signal, want cluster.State) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	r := p.alive()
	if r == nil {
		return nil
	}
	if err := signal(r, sig); err != nil {
		return fmt.Errorf("cluster/local: %v to %s: %w", sig, p.name, err)
	}
	deadline := time.Now().Add(signalMax)
	for time.Now().Before(deadline) {
		if s := r.state(); s == want || s == cluster.Dead {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster/local: %v to %s: %w", sig, p.name, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	return fmt.Errorf("cluster/local: %s (pid %d) is %s, not %s, %v after %v", p.name, r.pid, r.state(), want, signalMax, sig)
}

// signal goes to the process and all that it started.
func signal(r *running, sig syscall.Signal) error {
	if err := syscall.Kill(-r.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// state is what the kernel says of the process.
func (p *process) state() cluster.State {
	r := p.alive()
	if r == nil {
		return cluster.Dead
	}
	return r.state()
}

func (r *running) state() cluster.State {
	state, birth, err := stat(r.pid)
	switch {
	case err != nil, birth != r.birth, state == "Z", state == "X":
		return cluster.Dead
	case state == "T", state == "t":
		return cluster.Paused
	default:
		return cluster.Running
	}
}

// stat reads the state and the start time of a process.
func stat(pid int) (state, birth string, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", "", err
	}
	// The name in parentheses may hold anything; fields are counted behind it.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return "", "", fmt.Errorf("cluster/local: /proc/%d/stat is too short", pid)
	}
	return string(f[0]), string(f[19]), nil
}

// spawner starts processes from one thread that lives as long as it does: the
// kernel ends a child that asked for it when the thread that started it ends, and
// the runtime ends threads at will.
type spawner struct {
	requests chan request
	done     chan struct{}
	waiters  sync.WaitGroup
	once     sync.Once
}

type request struct {
	cmd   *exec.Cmd
	reply chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan request), done: make(chan struct{})}
	s.waiters.Go(s.run)
	return s
}

func (s *spawner) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case r := <-s.requests:
			r.reply <- r.cmd.Start()
		case <-s.done:
			return
		}
	}
}

func (s *spawner) start(cmd *exec.Cmd) error {
	r := request{cmd, make(chan error, 1)}
	select {
	case s.requests <- r:
		return <-r.reply
	case <-s.done:
		return errors.New("the cluster is down")
	}
}

// close ends the spawner once all its processes are dead.
func (s *spawner) close() {
	s.once.Do(func() { close(s.done) })
	s.waiters.Wait()
}
