package reports

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
)

func TestCreateKeepsRunsApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Date(2026, 11, 23, 3, 36, 10, 0, time.UTC)
	a, err := Create(dir, "raft", "register", now, 7)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Create(dir, "raft", "register", now, 7)
	if err != nil {
		t.Fatal(err)
	}
	if a.Name() != "raft-register-20261123T033610Z-7" || b.Name() != a.Name()+"-2" {
		t.Errorf("names: %s, %s", a.Name(), b.Name())
	}
	to, err := os.Readlink(filepath.Join(dir, Latest))
	if err != nil || to != b.Name() {
		t.Errorf("latest: %s, %v; want %s", to, err, b.Name())
	}
}

func TestCreateSaysWhatToDo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Create(filepath.Join(file, "runs"), "raft", "register", time.Now(), 1)
	if err == nil || !strings.Contains(err.Error(), "--runs") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if _, err := Open(filepath.Join(file, "none")); err == nil {
		t.Error("opened what is not there")
	}
}

func TestResultsRoundTrip(t *testing.T) {
	t.Parallel()
	var r Results
	if err := r.Add(checker.Result{Checker: "linear", Verdict: checker.Valid}); err != nil {
		t.Fatal(err)
	}
	if err := r.Add(checker.Result{Checker: "lock", Verdict: checker.Invalid, Anomalies: []checker.Anomaly{{Name: "double-hold"}}}); err != nil {
		t.Fatal(err)
	}
	if r.Verdict != checker.Invalid {
		t.Errorf("verdict %s", r.Verdict)
	}
	var b bytes.Buffer
	if err := r.Encode(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "null") {
		t.Errorf("null in\n%s", &b)
	}
	got, err := DecodeResults(b.Bytes())
	if err != nil || len(got.Anomalies) != 1 || got.Anomalies[0].Checker != "lock" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{`{"format":2}`, `{"format":1,"surprise":1}`, `{"format":1}{}`, `{`} {
		if _, err := DecodeResults([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
