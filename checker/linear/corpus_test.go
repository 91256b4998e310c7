package linear_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

// corpus is where Porcupine's module keeps Jepsen's etcd logs and its own.
func corpus(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/anishathalye/porcupine").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skip("Porcupine's module is not on this machine")
	}
	return dir
}

func load(t *testing.T, path string) *history.History {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, _, err := history.Decode(f, path, "auto")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestCorpus: the published verdicts on 102 logs of Jepsen's etcd test and 6 of
// a key-value store, by every engine that applies.
func TestCorpus(t *testing.T) {
	dir := corpus(t)
	src, err := os.ReadFile(filepath.Join(dir, "porcupine_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, m := range regexp.MustCompile(`checkJepsen\(t, (\d+), (true|false)\)`).FindAllStringSubmatch(string(src), -1) {
		n, _ := strconv.Atoi(m[1])
		want[fmt.Sprintf("test_data/jepsen/etcd_%03d.log", n)] = m[2] == "true"
	}
	if len(want) != 102 {
		t.Fatalf("%d logs, expected 102", len(want))
	}
	for _, c := range []string{"c01", "c10", "c50"} {
		want["test_data/kv/"+c+"-ok.txt"], want["test_data/kv/"+c+"-bad.txt"] = true, false
	}
	decided := map[string]int{}
	for name, ok := range want {
		h := load(t, filepath.Join(dir, name))
		spec := model.ExcludingRegister()
		if strings.Contains(name, "kv") {
			spec = model.KV()
		}
		for _, engine := range []string{linear.Auto, linear.Search, linear.Fast, linear.Porcupine} {
			if engine == linear.Porcupine && strings.Contains(name, "c50-bad") {
				continue // takes minutes
			}
			r := linear.Check(context.Background(), h, linear.Options{Model: spec, Engine: engine, Timeout: time.Minute})
			if engine == linear.Fast && r.Verdict == checker.Unknown {
				continue // it can only refute them
			}
			decided[engine]++
			if r.Verdict != verdict(ok) {
				t.Errorf("%s by %s: %v (%s), published %v", name, engine, r.Verdict, r.Reason, verdict(ok))
			}
		}
	}
	t.Logf("%d logs; decided by %v", len(want), decided)
}

func verdict(ok bool) checker.Verdict {
	if ok {
		return checker.Valid
	}
	return checker.Invalid
}
