package clock

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a program that is asked for the time.
const childEnv = "FAULTLINE_TEST_CLOCK"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	start := time.Now()
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		b, _ := json.Marshal(shown{Wall: time.Now().UnixNano(), Ran: time.Since(start)})
		fmt.Println(string(b))
	}
}

type shown struct {
	Wall int64         // by the real-time clock
	Ran  time.Duration // by the monotonic one
}

func TestStub(t *testing.T) {
	b := stub()
	if b == nil {
		t.Fatal("the stub's text is not hexadecimal")
	}
	source, err := os.ReadFile("stub_amd64.S.txt")
	if err != nil {
		t.Fatal(err)
	}
	as, err := exec.LookPath("as")
	if err != nil {
		t.Skip("needs an assembler")
	}
	object, flat := t.TempDir()+"/stub.o", t.TempDir()+"/stub.bin"
	cmd := exec.CommandContext(t.Context(), as, "--64", "-o", object)
	cmd.Stdin = strings.NewReader(string(source))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("as: %v: %s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "objcopy", "-O", "binary", "-j", ".text", object, flat).CombinedOutput(); err != nil {
		t.Skipf("objcopy: %v: %s", err, out)
	}
	want, err := os.ReadFile(flat)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b[atCode:]), string(want[atCode:]); got != want {
		t.Errorf("stub.go and stub_amd64.S.txt differ:\n%x\n%x", got, want)
	}
}

// victim is a program whose clock is set.
type victim struct {
	t   *testing.T
	in  func()
	out *bufio.Scanner
	pid int
}

func newVictim(t *testing.T, name string, args ...string) *victim {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	v := &victim{t: t, out: bufio.NewScanner(out), pid: cmd.Process.Pid}
	v.in = func() { _, _ = fmt.Fprintln(in) }
	return v
}

// ask is the program's own idea of time: how far ahead of ours its wall clock is.
func (v *victim) ask() time.Duration {
	v.t.Helper()
	return time.Duration(v.show().Wall - nanos(unix.CLOCK_REALTIME))
}

func (v *victim) show() shown {
	v.t.Helper()
	v.in()
	if !v.out.Scan() {
		v.t.Fatalf("the program ended: %v", v.out.Err())
	}
	var s shown
	if err := json.Unmarshal(v.out.Bytes(), &s); err != nil {
		v.t.Fatal(err)
	}
	return s
}

func near(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	t.Logf("%s: %v ahead", what, got)
	if (got - want).Abs() > 100*time.Millisecond {
		t.Errorf("%s: %v ahead, want %v", what, got, want)
	}
}

func TestSkew(t *testing.T) {
	v := newVictim(t, os.Args[0])
	near(t, "before", v.ask(), 0)
	p, err := find(v.pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []time.Duration{time.Hour, -24 * time.Hour, 1500 * time.Millisecond, 0} {
		start := time.Now()
		if err := p.set(Skew{Offset: int64(off), Rate: 1, Since: realtime()}); err != nil {
			t.Skipf("not allowed to trace: %v", err)
		}
		t.Logf("set in %v", time.Since(start))
		near(t, off.String(), v.ask(), off)
		ahead, err := p.ahead()
		if err != nil || (time.Duration(ahead)-off).Abs() > time.Microsecond {
			t.Errorf("read %v, %v", ahead, err)
		}
	}
	for _, rate := range []float64{3, 1, 0.25, 1} {
		if err := p.set(Skew{Rate: rate, Since: realtime()}); err != nil {
			t.Fatal(err)
		}
		start, from := time.Now(), v.show()
		time.Sleep(400 * time.Millisecond)
		to, passed := v.show(), time.Since(start)
		wall, ran := float64(to.Wall-from.Wall)/float64(passed), float64(to.Ran-from.Ran)/float64(passed)
		t.Logf("rate %v: real time ran %.3f times as fast, monotonic %.3f", rate, wall, ran)
		if math.Abs(wall/rate-1) > 0.1 || math.Abs(ran/rate-1) > 0.1 {
			t.Errorf("rate %v: real time ran %.3f times as fast, monotonic %.3f", rate, wall, ran)
		}
	}
}

func TestHandFollowsPrograms(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs a shell")
	}
	// The shell's vDSO goes when it executes the program.
	v := newVictim(t, "sh", "-c", "read x; exec "+os.Args[0])
	h := &hand{known: map[int]*held{}, skew: &Skew{Offset: int64(time.Hour), Rate: 1, Since: realtime()}}
	if _, err := h.one(v.pid); err != nil {
		t.Skipf("not allowed to trace: %v", err)
	}
	v.in()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if p, err := h.one(v.pid); err == nil && p != nil && v.ask() > 30*time.Minute {
			return
		}
		time.Sleep(watchEvery)
	}
	t.Error("the program's clock is right")
}

func TestLineNeverGoesBack(t *testing.T) {
	f := Face{Real: right(), Mono: right()}
	last, now := int64(0), int64(1e9)
	for i, rate := range []float64{1, 3, 1, 0.2, 1, 50, 0.5, 1} {
		f = Skew{Rate: rate, Since: 1}.face(f, now, true)
		for range 100 {
			if got := f.Mono.read(now); got < last {
				t.Fatalf("step %d: from %d back to %d", i, last, got)
			} else {
				last = got
			}
			now += 1e7
		}
	}
}
