package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/reports"
)

// binary is faultline as users have it: FAULTLINE_BIN, or built here.
func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped in short mode: real nodes, for seconds")
	}
	if b := os.Getenv("FAULTLINE_BIN"); b != "" {
		return b
	}
	path := filepath.Join(t.TempDir(), "faultline")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// times is n, or the long figure when FAULTLINE_LONG is set.
func times(n, long int) int {
	if os.Getenv("FAULTLINE_LONG") != "" {
		return long
	}
	return n
}

// outcome is what a run of faultline left.
type outcome struct {
	code    int
	pid     int
	out     string
	peak    int64 // bytes that the largest of its processes held, where the system says
	wall    time.Duration
	cpu     time.Duration // of all its processes
	results reports.Results
}

func faultline(t *testing.T, bin, dir string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%v did not end: %v\n%s%s", args, err, stdout.String(), stderr.String())
	}
	o := outcome{code: cmd.ProcessState.ExitCode(), pid: cmd.ProcessState.Pid(), out: stdout.String() + stderr.String()}
	o.wall, o.cpu = time.Since(began), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && runtime.GOOS == "linux" {
		o.peak = u.Maxrss << 10
	}
	if slices.Contains(args, "--json") {
		if err := json.Unmarshal(stdout.Bytes(), &o.results); err != nil {
			t.Fatalf("%v printed no results (exit %d): %v\n%s", args, o.code, err, o.out)
		}
	}
	return o
}

func (o outcome) want(t *testing.T, code int) outcome {
	t.Helper()
	if o.code != code {
		t.Fatalf("exit code %d, want %d\n%s", o.code, code, o.out)
	}
	return o
}

// nodesOf are the processes of bundled nodes whose data lies under dir.
func nodesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && bytes.Contains(line, []byte(dir)) && bytes.Contains(line, []byte("\x00node\x00")) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		left := nodesOf(t, dir)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %s", strings.Join(left, "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestIntegrationDefaultRun(t *testing.T) {
	bin, dir := binary(t), t.TempDir()
	began := time.Now()
	o := faultline(t, bin, dir, "run", "--json").want(t, 0)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v, want at most 30 s", took)
	}
	for _, name := range []string{"partition", "kill"} {
		i := slices.IndexFunc(o.results.Faults, func(f reports.Fault) bool { return f.Fault == name })
		if i < 0 || !o.results.Faults[i].Bit || !o.results.Faults[i].Healed {
			t.Errorf("the fault %s is not proven: %+v", name, o.results.Faults)
		}
	}
	nothingLeft(t, dir)
}

func TestIntegrationBugsOfTheFirstHour(t *testing.T) {
	bin := binary(t)
	for bug, expected := range map[string][]string{
		"stale-read":        {"stale-read"},
		"ack-before-commit": {"stale-read", "lost-write", "nonlinearizable"},
	} {
		seeds, found := times(2, 10), 0
		for seed := 1; seed <= seeds; seed++ {
			o := faultline(t, bin, t.TempDir(), "run", "--bug", bug, "--seed", strconv.Itoa(seed), "--json")
			named := slices.ContainsFunc(o.results.Anomalies, func(a reports.Anomaly) bool {
				return slices.Contains(expected, a.Name) && len(a.Ops) <= 8
			})
			if o.code == 1 && named {
				found++
			} else {
				t.Logf("%s, seed %d: exit %d, anomalies %v", bug, seed, o.code, o.results.AnomalyCounts())
			}
		}
		t.Logf("%s: found with %d of %d seeds", bug, found, seeds)
		if found < seeds*9/10 {
			t.Errorf("%s: found with %d of %d seeds", bug, found, seeds)
		}
	}
}

// Killed at any moment, a run on a correct store leaves a history that is valid
// as far as it goes, and no process.
func TestIntegrationSalvage(t *testing.T) {
	bin, dir := binary(t), t.TempDir()
	n := times(10, 200)
	var events int
	for i := range n {
		runs := filepath.Join(dir, strconv.Itoa(i))
		cmd := exec.CommandContext(t.Context(), bin, "run", "--time", "5s", "--quiet", "--nemesis", "none", "--runs", runs)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(600*time.Millisecond + time.Duration(rand.IntN(1500))*time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		o := faultline(t, bin, dir, "check", filepath.Join(runs, "latest"))
		if strings.Contains(o.out, "history.jsonl") && (strings.Contains(o.out, "no such file") || strings.Contains(o.out, "is empty")) {
			continue // killed before the first operation
		}
		o.want(t, 0)
		fields := strings.Split(o.out, "\t")
		if len(fields) > 4 {
			k, _ := strconv.Atoi(fields[4])
			events += k
		}
	}
	t.Logf("%d runs killed, %d operations salvaged, all valid", n, events)
	if events < n*50 {
		t.Errorf("only %d operations were salvaged from %d runs", events, n)
	}
	nothingLeft(t, dir)
}

func TestIntegrationInterrupt(t *testing.T) {
	bin, dir := binary(t), t.TempDir()
	cmd := exec.CommandContext(t.Context(), bin, "run", "--time", "5m")
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second)
	_ = cmd.Process.Signal(syscall.SIGINT)
	began := time.Now()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(out.String(), "UNKNOWN") || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("exit code %d, want 2 and a report that says why\n%s", code, out.String())
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	for _, name := range []string{"history.jsonl", "results.json", "index.html"} {
		if _, err := os.Stat(filepath.Join(dir, "runs", "latest", name)); err != nil {
			t.Errorf("no %s is left", name)
		}
	}
	nothingLeft(t, dir)
}

// A failure of real nodes shrinks to at most two faults, with the rate at which it
// shows.
func TestIntegrationShrink(t *testing.T) {
	bin, dir := binary(t), t.TempDir()
	o := faultline(t, bin, dir, "run", "--bug", "ack-before-commit", "--nemesis", "partition,kill,pause", "--time", "6s", "--seed", "1", "--json").want(t, 1)
	if len(o.results.Faults) < 3 {
		t.Errorf("it began with %d faults", len(o.results.Faults))
	}
	o = faultline(t, bin, dir, "shrink", "runs/latest", "--tries", "3", "--limit", "60s").want(t, 1)
	for _, text := range []string{"showed in", "stale-read is left with", "kept while at least 2 of 3"} {
		if !strings.Contains(o.out, text) {
			t.Errorf("the output lacks %q:\n%s", text, o.out)
		}
	}
	folder, err := reports.Open(filepath.Join(dir, "runs", "latest"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := folder.Results()
	if err != nil || len(res.Faults) > 2 || res.AnomalyCounts()["stale-read"] == 0 {
		t.Errorf("%d faults are left, anomalies %v, %v", len(res.Faults), res.AnomalyCounts(), err)
	}
	if _, err := os.Stat(filepath.Join(folder.Path, "shrink.json")); err != nil {
		t.Error(err)
	}
	nothingLeft(t, dir)
}

// needEngine skips without a container engine, or fails if one is required.
func needEngine(t *testing.T) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), "docker", "version").Run(); err == nil {
		return
	}
	if os.Getenv("FAULTLINE_REQUIRE_DOCKER") != "" {
		t.Fatal("FAULTLINE_REQUIRE_DOCKER is set, but no engine answers")
	}
	t.Skip("skipped: no container engine answers here")
}

// labelled is what the faultline process pid has in the engine.
func labelled(t *testing.T, pid int) string {
	t.Helper()
	var all strings.Builder
	for _, kind := range []string{"container ls -aq", "network ls -q", "volume ls -q"} {
		args := append(strings.Fields(kind), "--filter", "label=faultline.pid="+strconv.Itoa(pid))
		out, err := exec.CommandContext(t.Context(), "docker", args...).Output()
		if err != nil {
			t.Fatalf("docker %s: %v", kind, err)
		}
		if len(bytes.TrimSpace(out)) > 0 {
			fmt.Fprintf(&all, "%s: %s\n", kind, out)
		}
	}
	return all.String()
}

func TestIntegrationContainers(t *testing.T) {
	bin := binary(t)
	needEngine(t)
	for name, c := range map[string]struct {
		args    []string
		code    int
		anomaly string
	}{
		"raft":              {[]string{"--system", "raft", "--nemesis", "partition,kill,pause", "--time", "15s"}, 0, ""},
		"raft with a bug":   {[]string{"--system", "raft", "--bug", "stale-read", "--nemesis", "partition:leader", "--opt", "partition.for=4s", "--time", "10s"}, 1, "stale-read"},
		"etcd":              {[]string{"--system", "etcd", "--nemesis", "partition,kill,pause", "--time", "20s"}, 0, ""},
		"etcd serializable": {[]string{"--system", "etcd", "--opt", "reads=serializable", "--nemesis", "partition", "--time", "20s"}, 1, "stale-read"},
		"etcd, five nodes":  {[]string{"--system", "etcd", "--nodes", "5", "--nemesis", "partition:majorities-ring", "--time", "10s"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := faultline(t, bin, t.TempDir(), append([]string{"run", "--on", "docker", "--json"}, c.args...)...).want(t, c.code)
			if c.anomaly != "" && o.results.AnomalyCounts()[c.anomaly] == 0 {
				t.Errorf("anomalies %v, want %s", o.results.AnomalyCounts(), c.anomaly)
			}
			t.Logf("%d ok, %d fail, %d info", o.results.Ops.OK, o.results.Ops.Fail, o.results.Ops.Info)
			if left := labelled(t, o.pid); left != "" {
				t.Errorf("left in the engine:\n%s", left)
			}
		})
	}
}

// Five seconds after kill -9 of the harness nothing is left in the engine.
func TestIntegrationKilledHarness(t *testing.T) {
	bin := binary(t)
	needEngine(t)
	cmd := exec.CommandContext(t.Context(), bin, "run", "--on", "docker", "--time", "5m", "--quiet")
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if strings.Contains(labelled(t, cmd.Process.Pid), "container") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(4 * time.Second)
	if labelled(t, cmd.Process.Pid) == "" {
		t.Fatal("no container was made")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	time.Sleep(5 * time.Second)
	if left := labelled(t, cmd.Process.Pid); left != "" {
		t.Errorf("left in the engine 5 s after kill -9:\n%s", left)
	}
}

// A binary with a system of its own builds outside the repository and finds what
// that system does wrong.
func TestIntegrationOutOfTree(t *testing.T) {
	binary(t)
	bin := filepath.Join(t.TempDir(), "mine")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	cmd.Dir = filepath.Join("..", "..", "examples", "outoftree")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	faultline(t, bin, t.TempDir(), "run", "--system", "mykv", "--nodes", "1", "--nemesis", "kill", "--time", "6s", "--json").want(t, 1)
}
