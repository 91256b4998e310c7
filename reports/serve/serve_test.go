package serve

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports"
)

const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`

// made writes a run whose every text is hostile, and returns its name.
func made(t *testing.T, dir string, seed uint64, v checker.Verdict) string {
	t.Helper()
	f, err := reports.Create(dir, "raft", "register", time.Date(2026, 11, 23, 3, 36, 10, 0, time.UTC), seed)
	if err != nil {
		t.Fatal(err)
	}
	file, err := f.CreateHistory()
	if err != nil {
		t.Fatal(err)
	}
	w := history.NewWriter(file)
	for _, op := range []history.Op{
		{Process: 0, Type: history.Invoke, F: evil, Key: evil, Value: evil, Node: evil},
		{Time: 5, Process: 0, Type: history.Info, F: evil, Key: evil, Value: evil, Node: evil, Error: evil},
	} {
		if err = w.Write(op); err != nil {
			t.Fatal(err)
		}
	}
	if err = errors.Join(w.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	r := reports.Results{
		Verdict: v, System: "raft" + evil, Version: evil, Workload: evil, Nemesis: []string{evil}, On: evil, Seed: seed, Reproduce: evil,
		Started: time.Date(2026, 11, 23, 3, 36, 10, 0, time.UTC), Duration: time.Second, Reason: evil,
		Faults: []reports.Fault{{Fault: evil, Targets: []string{evil}, Evidence: map[string]any{evil: evil}}},
		Power:  reports.Power{Missing: []string{evil}},
	}
	if v == checker.Invalid {
		r.Anomalies = []reports.Anomaly{{Anomaly: checker.Anomaly{Name: evil, Key: evil, Explain: evil, Ops: []int{0}}}}
	}
	test := reports.Test{System: evil, Nodes: []string{evil}, Argv: []string{evil}, Options: map[string]string{evil: evil}, Started: r.Started}
	log, err := f.NodeLog("n1", "raft.log")
	if err != nil {
		t.Fatal(err)
	}
	_, err = log.Write([]byte("2026-11-23T03:36:10Z " + evil + "\n"))
	if err = errors.Join(err, log.Close(), f.WriteTest(test), f.WriteResults(r), reports.Render(f)); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func start(t *testing.T, dir string, o Options) *httptest.Server {
	t.Helper()
	s, err := New(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		srv.Close()
		_ = s.Close()
	})
	return srv
}

func get(t *testing.T, address string, change func(*http.Request)) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, b.String()
}

func TestHostileRunsAreEscaped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := made(t, dir, 1, checker.Invalid), made(t, dir, 2, checker.Valid)
	srv := start(t, dir, Options{})
	for _, path := range []string{
		"/", "/?q=" + url.QueryEscape(evil), "/?q=raft&sort=" + url.QueryEscape(evil), "/trends", "/runs/" + a + "/", "/runs/" + b + "/",
		"/runs/" + a + "/index.html", "/compare?run=" + a + "&run=" + b, "/runs/" + url.PathEscape(evil) + "/", "/compare?run=" + url.QueryEscape(evil),
	} {
		code, h, body := get(t, srv.URL+path, nil)
		if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") {
			t.Errorf("%s: a value became markup", path)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: headers %v", path, h)
		}
		if strings.HasSuffix(path, "index.html") && !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s is not in a sandbox", path)
		}
		if code >= 500 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestNoPathLeavesTheFolder(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "runs")
	name := made(t, dir, 1, checker.Valid)
	if err := os.WriteFile(filepath.Join(top, "secret.log"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range [][2]string{{"../../../../secret.log", filepath.Join(dir, name, "nodes", "n1", "out.log")}, {"../../secret.log", filepath.Join(dir, name, "plan.json")}, {"..", filepath.Join(dir, "up")}} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	srv := start(t, dir, Options{})
	for _, path := range []string{
		"/runs/../secret.log", "/runs/..%2fsecret.log", "/runs/%2e%2e/secret.log", "/runs/" + name + "/../../secret.log", "/runs/" + name + "/..%2f..%2fsecret.log",
		"/runs/" + name + "/nodes/n1/out.log", "/runs/" + name + "/plan.json", "/runs/up/" + name + "/test.json", "/runs/" + name + "/nodes/..%2f..%2fsecret.log",
		"/runs/" + name + "/world/n1/data", "/runs/up/secret.log", "/runs/" + name + "/nodes/%00/x.log",
	} {
		code, _, body := get(t, srv.URL+path, nil)
		if code == http.StatusOK || strings.Contains(body, "secret\n") || body == "secret" {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	code, _, body := get(t, srv.URL+"/runs/"+name+"/nodes/n1/raft.log", nil)
	if code != http.StatusOK || !strings.Contains(body, "2026") {
		t.Errorf("a node's log: %d %q", code, body)
	}
}

func TestForeignersAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := made(t, dir, 1, checker.Valid)
	called := 0
	srv := start(t, dir, Options{Recheck: func(context.Context, *reports.Folder, string, string) (reports.Results, error) {
		called++
		return reports.Results{Verdict: checker.Invalid, Reason: evil}, nil
	}})
	if code, _, _ := get(t, srv.URL+"/", func(r *http.Request) { r.Host = "evil.example" }); code != http.StatusForbidden {
		t.Errorf("a foreign host got %d", code)
	}
	post := func(path, origin string) (int, string) {
		code, _, body := get(t, srv.URL+path, func(r *http.Request) {
			r.Method = http.MethodPost
			r.Header.Set("Origin", origin)
		})
		return code, body
	}
	if code, _ := post("/runs/"+name+"/check", "http://evil.example"); code != http.StatusForbidden || called != 0 {
		t.Errorf("a foreign origin got %d", code)
	}
	if code, body := post("/runs/"+name+"/check", srv.URL); code != http.StatusOK || called != 1 || !strings.Contains(body, "Checked again") {
		t.Errorf("a check got %d %s", code, body)
	}
	if code, _ := post("/runs/"+name+"/report", srv.URL); code != http.StatusForbidden {
		t.Errorf("a change without --write got %d", code)
	}
}

func TestBrokenAndHugeRunsDegrade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken, huge := made(t, dir, 1, checker.Valid), made(t, dir, 2, checker.Valid)
	if err := os.WriteFile(filepath.Join(dir, broken, reports.ResultsFile), []byte(`{"format":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, huge, reports.HistoryFile), 2<<30); err != nil {
		t.Fatal(err)
	}
	srv := start(t, dir, Options{})
	if code, _, body := get(t, srv.URL+"/?verdict=broken", nil); code != http.StatusOK || !strings.Contains(body, "results.json") {
		t.Errorf("list: %d %s", code, body)
	}
	if code, _, body := get(t, srv.URL+"/runs/"+broken+"/", nil); code != http.StatusOK || !strings.Contains(body, "results.json") {
		t.Errorf("broken run: %d %s", code, body)
	}
	if code, _, body := get(t, srv.URL+"/compare?run="+broken+"&run="+huge, nil); code != http.StatusUnprocessableEntity || !strings.Contains(body, "results.json") {
		t.Errorf("compared: %d %s", code, body)
	}
	code, _, body := get(t, srv.URL+"/runs/"+huge+"/history.jsonl", func(r *http.Request) { r.Header.Set("Range", "bytes=0-9") })
	if code != http.StatusPartialContent || len(body) != 10 {
		t.Errorf("huge history: %d, %d bytes", code, len(body))
	}
}

// TestSuitesAreShownOverTime: what a suite came to, by its executions; hostile and
// broken ones too.
func TestSuitesAreShownOverTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for folder, text := range map[string]string{
		"suite-smoke-1": `{"name":"smoke","state":"expected","seed":1,"cases":[{"state":"expected"},{"state":"expected"}]}`,
		"suite-smoke-2": `{"name":"smoke","state":"unexpected","seed":2,"cases":[{"state":"expected"},{"state":"unexpected"}]}`,
		"suite-evil":    `{"name":"<script>alert(1)</script>","state":"<img src=x>","cases":[]}`,
		"suite-broken":  `{"name":`,
	} {
		sub := filepath.Join(dir, folder)
		err := errors.Join(os.Mkdir(sub, 0o750), os.WriteFile(filepath.Join(sub, reports.SuiteFile), []byte(text), 0o600),
			os.WriteFile(filepath.Join(sub, reports.IndexFile), []byte("<title>the suite</title>"), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..", filepath.Join(dir, "up")); err != nil {
		t.Fatal(err)
	}
	old := time.Date(2026, 11, 23, 3, 36, 10, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, "suite-smoke-1", reports.SuiteFile), old, old); err != nil {
		t.Fatal(err)
	}
	srv := start(t, dir, Options{})
	code, _, body := get(t, srv.URL+"/trends", nil)
	first, last := strings.Index(body, "/runs/suite-smoke-1/index.html"), strings.Index(body, "/runs/suite-smoke-2/index.html")
	if code != http.StatusOK || first < 0 || last < first || !strings.Contains(body, "unexpected, 1 of 2 cases as expected") {
		t.Errorf("%d %s", code, body)
	}
	if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img") {
		t.Error("a name became markup")
	}
	if !strings.Contains(body, "suite-broken: unexpected EOF") {
		t.Error("what cannot be read is not named")
	}
	if code, h, body := get(t, srv.URL+"/runs/suite-smoke-2/index.html", nil); code != http.StatusOK || !strings.Contains(body, "the suite") || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("the page of a suite: %d %s", code, body)
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := made(t, dir, 1, checker.Valid)
	srv := start(t, dir, Options{})
	_, _, body := get(t, srv.URL+"/runs/"+name+"/download.zip", nil)
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, strings.TrimPrefix(f.Name, name+"/"))
	}
	if got := strings.Join(names, " "); got != "index.html summary.md results.json test.json history.jsonl junit.xml nodes/n1/raft.log" {
		t.Errorf("got %s", got)
	}
}
