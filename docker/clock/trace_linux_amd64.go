package clock

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// errFrozen is the error for a process whose threads do not stop, since it is
// paused.
var errFrozen = errors.New("it is frozen")

const (
	// stopTimeout bounds how long the threads of a process may take to stop.
	stopTimeout = 300 * time.Millisecond
	stopPause   = 100 * time.Microsecond
	// stopEvent is the event of a thread that was interrupted.
	stopEvent = 128 // PTRACE_EVENT_STOP
)

// traced is a process all of whose threads are stopped.
type traced struct {
	pid     int
	signals map[int]int // by thread, the signal that waits for it
}

// stopped calls f while all threads of the process stand still. They notice no
// more than an interrupted system call that starts again.
func stopped(pid int, f func(t *traced) error) error {
	done := make(chan error)
	go func() {
		// The thread ends with this goroutine, and with it all its tracing, also of
		// threads that never stopped.
		runtime.LockOSThread()
		t := &traced{pid: pid, signals: map[int]int{}}
		err := t.stopAll()
		if err == nil {
			err = f(t)
		}
		for tid, sig := range t.signals {
			_, _, _ = unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(tid), 0, uintptr(sig), 0, 0)
		}
		done <- err
	}()
	return <-done
}

// stopAll stops threads until there is none that is not.
func (t *traced) stopAll() error {
	end := time.Now().Add(stopTimeout)
	for more := true; more; {
		more = false
		threads, err := numbers(fmt.Sprintf("/proc/%d/task", t.pid))
		if err != nil {
			return err
		}
		for _, tid := range threads {
			if _, ok := t.signals[tid]; ok {
				continue
			}
			more = true
			if err := t.stop(tid, end); err != nil {
				return fmt.Errorf("stop thread %d: %w", tid, err)
			}
		}
	}
	if len(t.signals) == 0 {
		return unix.ESRCH
	}
	return nil
}

func (t *traced) stop(tid int, end time.Time) error {
	err := unix.PtraceSeize(tid)
	if err == nil {
		err = unix.PtraceInterrupt(tid)
	}
	if err != nil {
		if errors.Is(err, unix.ESRCH) && time.Now().Before(end) {
			return nil // it ended meanwhile
		}
		return err
	}
	var s unix.WaitStatus
	for {
		got, err := unix.Wait4(tid, &s, unix.WNOHANG|unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case got == tid && !s.Stopped():
			return nil // it ended meanwhile
		case got == tid:
			t.signals[tid] = 0
			if int(s)>>16 != stopEvent {
				t.signals[tid] = int(s.StopSignal())
			}
			return nil
		case time.Now().After(end):
			return errFrozen
		}
		time.Sleep(stopPause)
	}
}

// write changes the memory of the process, also where it may not itself.
func (t *traced) write(at uint64, b []byte) error {
	for tid := range t.signals {
		n, err := unix.PtracePokeData(tid, uintptr(at), b)
		if err == nil && n != len(b) {
			err = fmt.Errorf("%d of %d bytes written", n, len(b))
		}
		return err
	}
	return unix.ESRCH
}

// readMemory reads the memory of a process.
func readMemory(pid int, at uint64, b []byte) error {
	n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}},
		[]unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	if err == nil && n != len(b) {
		err = fmt.Errorf("%d of %d bytes read", n, len(b))
	}
	return err
}

// numbers are the names in a folder that are numbers.
func numbers(dir string) ([]int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	var out []int
	for _, n := range names {
		if i, err := strconv.Atoi(n); err == nil {
			out = append(out, i)
		}
	}
	return out, err
}
