package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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
