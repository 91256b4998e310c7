package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/reports"
)

// TestIntegrationBudget: on histories that an engine cannot decide, checking ends
// within a second of its time limit, all processes together need little more than
// its memory limit, and the verdict is unknown, with how far it got.
func TestIntegrationBudget(t *testing.T) {
	bin, dir := binary(t), t.TempDir()
	slowest, largest := 0.0, int64(0)
	for i, left := 0, times(3, 50); left > 0; i++ {
		engine := []string{"auto", "porcupine", "search"}[i%3]
		model := "queue"
		if engine == "porcupine" {
			model = []string{"kv", "cas-register", "queue"}[i/3%3]
		}
		file := filepath.Join(dir, "explodes.jsonl")
		gen := faultline(t, bin, dir, "gen", "--model", model, "--processes", "40", "--ops", "20000", "--info", "0.2", "--values", "3", "--seed", strconv.Itoa(i+1)).want(t, 0)
		if err := os.WriteFile(file, []byte(gen.out), 0o600); err != nil {
			t.Fatal(err)
		}
		history := max(loaded(t, bin, file, model), 20<<20)
		out, peak := together(t, bin, "check", "--model", model, "--engine", engine, "--timeout", "5s", "--memory", "512MiB", file)
		line, why, _ := strings.Cut(out, "\n")
		fields := strings.Split(line, "\t")
		if len(fields) > 1 && fields[1] == "valid" && i < 300 {
			continue // as it is: the engine got through
		}
		left--
		if len(fields) < 6 || fields[1] != "unknown" || !strings.Contains(why, "limit") || !strings.Contains(why, "no violation among the first") {
			t.Fatalf("%s by %s, seed %d: expected an unknown verdict and how far it got, found\n%s", model, engine, i+1, out)
		}
		ms, err := strconv.ParseFloat(fields[5], 64)
		if err != nil || ms > 6000 {
			t.Errorf("%s by %s, seed %d, took %s ms", model, engine, i+1, fields[5])
		}
		if peak-history > 640<<20 {
			t.Errorf("%s by %s, seed %d, needed %d MB, %d of them for the history", model, engine, i+1, peak>>20, history>>20)
		}
		slowest, largest = max(slowest, ms), max(largest, peak-history)
		t.Logf("%-12s by %-9s: %4.0f ms, %d MB with the history's %d; %s", model, engine, ms, peak>>20, history>>20, strings.TrimSpace(why))
	}
	t.Logf("at most %.0f ms, and %d MB beyond the history", slowest, largest>>20)
}

// loaded is the memory of a process that has loaded the history and stops at once.
func loaded(t *testing.T, bin, file, model string) int64 {
	t.Helper()
	_, peak := together(t, bin, "check", "--model", model, "--engine", "search", "--timeout", "1ns", file)
	return peak
}

// together runs faultline and measures the resident memory of its process and its
// children together, every few milliseconds: the most.
func together(t *testing.T, bin string, args ...string) (out string, peak int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the output says what came of it
		close(done)
	}()
	for {
		select {
		case <-done:
			return buf.String(), peak
		case <-time.After(5 * time.Millisecond):
			peak = max(peak, resident(cmd.Process.Pid))
		}
	}
}

// resident is the resident memory of a process and its descendants, in bytes.
func resident(pid int) int64 {
	sum := int64(0)
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)); err == nil {
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64) // the kernel wrote a number
			sum = pages * int64(os.Getpagesize())
		}
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		b, _ := os.ReadFile(f) // a thread that has ended has no children
		for child := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += resident(n)
			}
		}
	}
	return sum
}

// TestIntegrationReport: the reports of a million operations are written within ten
// seconds and 1.5 GB, and the page has at most 20 MB. Where the machine does much
// else, the time that counts is that of the processor.
func TestIntegrationReport(t *testing.T) {
	bin, dir := binary(t), t.TempDir()
	gen := faultline(t, bin, dir, "gen", "--ops", "1000000", "--processes", "50", "--keys", "100", "--info", "0.01", "--anomaly", "stale-read").want(t, 0)
	if err := os.WriteFile(filepath.Join(dir, reports.HistoryFile), []byte(gen.out), 0o600); err != nil {
		t.Fatal(err)
	}
	checked := faultline(t, bin, dir, "check", "--json", reports.HistoryFile).want(t, 1)
	if err := os.WriteFile(filepath.Join(dir, reports.ResultsFile), []byte(checked.out), 0o600); err != nil {
		t.Fatal(err)
	}
	o := faultline(t, bin, dir, "report", "--quiet", ".").want(t, 0)
	fi, err := os.Stat(filepath.Join(dir, reports.IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v (%v of the processor), %d MB of memory, a page of %.1f MB", o.wall.Round(time.Millisecond), o.cpu.Round(time.Millisecond), o.peak>>20, float64(fi.Size())/1e6)
	if min(o.wall, o.cpu) > 10*time.Second || o.peak > 1500<<20 || fi.Size() > 20e6 {
		t.Error("at most 10 s, 1500 MB and 20 MB are allowed")
	}
}
