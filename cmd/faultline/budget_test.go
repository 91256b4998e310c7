package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/reports"
)

// TestIntegrationBudget: on histories that no engine can decide, checking ends
// within a second of its time limit, needs little more than its memory limit, and
// says that it does not know.
func TestIntegrationBudget(t *testing.T) {
	bin, dir := binary(t), t.TempDir()
	for i := range times(3, 50) {
		name := "explodes-" + strconv.Itoa(i) + ".jsonl"
		gen := faultline(t, bin, dir, "gen", "--model", "queue", "--processes", "40", "--ops", "20000", "--info", "0.2", "--seed", strconv.Itoa(i+1)).want(t, 0)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(gen.out), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, engine := range []string{"auto", "porcupine"} {
			o := faultline(t, bin, dir, "check", "--engine", engine, "--timeout", "5s", "--memory", "512MiB", name).want(t, 2)
			line, _, _ := strings.Cut(o.out, "\n")
			fields := strings.Split(line, "\t")
			if len(fields) < 6 || fields[1] != "unknown" {
				t.Fatalf("expected an unknown verdict, found\n%s", o.out)
			}
			if ms, err := strconv.ParseFloat(fields[5], 64); err != nil || ms > 6000 {
				t.Errorf("%s by %s took %s ms", name, engine, fields[5])
			}
			if peak := o.peak; peak > 700<<20 { // the history takes less than 60 MB
				t.Errorf("%s by %s needed %d MB", name, engine, peak>>20)
			}
			t.Logf("%s by %s: %s ms, %d MB", name, engine, fields[5], o.peak>>20)
		}
	}
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
