package reports

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

func TestRenderStaleRead(t *testing.T) {
	t.Parallel()
	f := synthFolder(t, 60, staleRead)
	if err := Render(f); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(f.Path, IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, want := range []string{"stale-read", "✗ contradiction", "write 9018", "faultline run --system raft", "&lt;b&gt;n1&lt;/b&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	_, body, _ := strings.Cut(page, "</head>") // without the style sheet, and without script and columns
	body, _, _ = strings.Cut(body, "<script")
	golden(t, "stale-read.html", []byte(body))
}

// TestRenderDegrades: what is broken beside the results costs what it would have
// shown, and nothing else.
func TestRenderDegrades(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*Folder) error{
		"no history":     func(f *Folder) error { return os.Remove(f.HistoryPath()) },
		"broken history": func(f *Folder) error { return os.WriteFile(f.HistoryPath(), []byte("{\n{\n"), 0o600) },
		"cut history":    func(f *Folder) error { return os.Truncate(f.HistoryPath(), 10_000) },
		"broken test":    func(f *Folder) error { return os.WriteFile(filepath.Join(f.Path, TestFile), []byte("<script>"), 0o600) },
		"no test":        func(f *Folder) error { return os.Remove(filepath.Join(f.Path, TestFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := synthFolder(t, 200, staleRead)
			before, err := os.ReadFile(filepath.Join(f.Path, ResultsFile))
			if err != nil {
				t.Fatal(err)
			}
			if err = damage(f); err != nil {
				t.Fatal(err)
			}
			err = Render(f)
			if broken := strings.HasPrefix(name, "broken"); broken != (err != nil) {
				t.Errorf("got %v", err)
			}
			page, err := os.ReadFile(filepath.Join(f.Path, IndexFile))
			if err != nil || !strings.Contains(string(page), "9017 is older") {
				t.Errorf("the page does not tell the anomaly: %v", err)
			}
			after, err := os.ReadFile(filepath.Join(f.Path, ResultsFile))
			if err != nil || string(after) != string(before) {
				t.Errorf("the results changed: %v", err)
			}
		})
	}
}

// hostile puts script into everything that a system, or a results.json, can say.
func hostile(s *synth, r *Results) {
	const evil = "</script><script>alert(1);window.hostileRan=1</script>\"'`${alert(1)}<img src=x onerror=window.hostileRan=1>\u2028\x00\x1b[31m"
	for i := range s.events {
		e := &s.events[i]
		if e.Process == history.Nemesis {
			continue
		}
		e.Key, e.Node = evil, evil
		if e.Type != history.OK && e.Type != history.Invoke {
			e.Error = evil
		}
		if e.F == "read" && e.Type == history.OK {
			e.Value = map[string]any{evil: []any{evil}}
		}
	}
	s.judges = []checker.Checker{checker.Func(evil, func(context.Context, *history.History) checker.Result {
		return checker.Result{
			Engine: evil, Verdict: checker.Invalid, Reason: evil, Figures: map[string]float64{"stale" + evil: 1},
			Anomalies: []checker.Anomaly{{Name: evil, Key: evil, Explain: evil, Ops: []int{0, 1, 2}}},
		}
	})}
	r.System, r.Version, r.Workload, r.Nemesis, r.On, r.Reproduce = evil, evil, evil, []string{evil}, evil, evil
	r.Ladder = map[string]checker.Verdict{evil: checker.Invalid}
	r.Power = Power{Missing: []string{evil}, Rules: []PowerRule{{evil, evil, false}}}
}

// TestHostileValuesStayText writes script into everything that a system can say.
func TestHostileValuesStayText(t *testing.T) {
	t.Parallel()
	f := synthFolder(t, 100, hostile)
	if err := Render(f); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{IndexFile, JUnitFile, SummaryFile} {
		b, err := os.ReadFile(filepath.Join(f.Path, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == SummaryFile { // a block of code is text, whatever is in it
			text, _, _ := strings.Cut(string(b), "\n```")
			b = []byte(text)
		}
		if strings.Contains(string(b), "<script>alert") || strings.Contains(string(b), "<img src=x") {
			t.Errorf("%s: a value became markup", name)
		}
		if name != IndexFile && strings.ContainsAny(string(b), "\x00\x1b") {
			t.Errorf("%s: a control character passed", name)
		}
	}
}
