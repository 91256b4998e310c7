package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/internal/exit"
)

// Porcupine has no memory limit of its own, so it runs in a child process of the
// same binary, which is killed at the limit. The child reads the operations as a
// history on its stdin and writes one word, the verdict.

const porcupineCmd = "check-with-porcupine"

func newPorcupineCmd(env *Env) *cobra.Command {
	var name string
	var memory int64
	c := &cobra.Command{
		Use:    porcupineCmd,
		Short:  "Judge the history on stdin with Porcupine (used by check --engine porcupine)",
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			spec, err := model.Named(name)
			if err != nil {
				return exit.Usagef("--model: %w", err)
			}
			if memory > 0 {
				debug.SetMemoryLimit(memory - memory/8)
			}
			h, err := history.Read(env.Stdin, "stdin")
			if err != nil {
				return exit.Usagef("%w", err)
			}
			v, err := linear.RunPorcupine(h, nil, spec, 0)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, v)
			return err
		},
	}
	c.Flags().StringVar(&name, "model", "register", "the model")
	c.Flags().Int64Var(&memory, "memory", 0, "bytes to stay below, if garbage is all that is in the way")
	return c
}

// limitHeap tells the garbage collector how far the heap may grow beyond what is
// loaded before it must work harder.
func limitHeap(memory int64) {
	if memory > 0 {
		debug.SetGCPercent(50)
	}
}

// holdHeap keeps garbage, too, within memory beyond what the process has now, which
// is when the history has been loaded.
func holdHeap(memory int64) {
	if memory > 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		debug.SetMemoryLimit(int64(m.Sys-m.HeapReleased) + memory) //nolint:gosec // of a process
	}
}

// children runs Porcupine in child processes, and leaves them the memory that they
// may need for as long as they do.
type children struct{ mu sync.Mutex }

func (c *children) run(ctx context.Context, job linear.Job) (checker.Verdict, int64, error) {
	c.lend(job.Memory)
	defer c.lend(-job.Memory)
	return porcupineChild(ctx, job)
}

func (c *children) lend(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 { // else nobody asked for one
		debug.SetMemoryLimit(limit - bytes)
	}
}

var errChildMemory = errors.New("its memory limit was reached")

// porcupineChild runs Porcupine in a child process.
func porcupineChild(ctx context.Context, job linear.Job) (checker.Verdict, int64, error) {
	self, err := os.Executable()
	if err != nil {
		return checker.Unknown, 0, err
	}
	ctx, stopBefore := before(ctx)
	defer stopBefore()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, self, porcupineCmd, "--model", job.Model, "--memory", strconv.FormatInt(job.Memory, 10))
	cmd.WaitDelay = time.Second
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		return checker.Unknown, 0, err
	}
	if err := cmd.Start(); err != nil {
		return checker.Unknown, 0, err
	}
	peak := make(chan int64, 1)
	stop := make(chan struct{})
	go func() { peak <- watch(cmd.Process.Pid, job.Memory, stop, func() { cancel(errChildMemory) }) }()
	werr := writeJob(in, job)
	cerr := in.Close()
	err = cmd.Wait()
	close(stop)
	used := <-peak
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.DeadlineExceeded) {
			cause = errors.New("the time limit was reached")
		}
		return checker.Unknown, used, cause
	}
	if err := errors.Join(err, werr, cerr); err != nil {
		return checker.Unknown, used, fmt.Errorf("%w %s", err, strings.TrimSpace(errs.String()))
	}
	var v checker.Verdict
	quoted, _ := json.Marshal(strings.TrimSpace(out.String())) // a string always marshals
	return v, used, errors.Join(json.Unmarshal(quoted, &v))
}

// before is ctx with a deadline that leaves time to end a large process, which a
// busy machine needs.
func before(ctx context.Context) (context.Context, context.CancelFunc) {
	t, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, t.Add(-min(time.Until(t)/10, 300*time.Millisecond)))
}

// watch measures the resident memory of a process until stop, and calls over
// when it exceeds limit.
func watch(pid int, limit int64, stop <-chan struct{}, over func()) (peak int64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if fields := strings.Fields(string(b)); err == nil && len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64) // the kernel wrote a number
			if peak = max(peak, pages*int64(os.Getpagesize())); limit > 0 && peak > limit {
				over()
			}
		}
		select {
		case <-stop:
			return peak
		case <-tick.C:
		}
	}
}

// writeJob writes the operations of a job as a history.
func writeJob(w interface{ Write([]byte) (int, error) }, job linear.Job) error {
	out := history.NewWriter(w)
	var keep map[int]bool
	if job.Ops != nil {
		keep = make(map[int]bool, 2*len(job.Ops))
		for _, i := range job.Ops {
			keep[job.History.Index(int(i))] = true
			keep[job.History.Ret(int(i))] = true
		}
	}
	for op := range job.History.Ops() {
		if op.Process == history.Nemesis || op.Index > job.Cut || keep != nil && !keep[op.Index] {
			continue
		}
		if err := out.Write(op); err != nil {
			return err
		}
	}
	return out.Close()
}
