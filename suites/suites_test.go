package suites

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/reports/junit/junittest"
)

var update = flag.Bool("update", false, "write the golden files again")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, got, 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run go test ./suites -update and look at the difference. Got:\n%s", path, got)
	}
}

func read(t *testing.T, text string) Suite {
	t.Helper()
	s, err := Read(strings.NewReader(text), "s.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const sample = `name: sample
defaults: {system: raft, time: 5s, opts: {reads: local}}
runs:
  - name: sound
    matrix:
      nemesis: [partition, [partition, kill]]
      nodes: [3, 5]
    exclude: [{nemesis: partition, nodes: 5}]
    include: [{nemesis: pause, nodes: 1}]
    opts.reads: linearizable
  - bug: stale-read
    repeat: at least 2 of 3
    expect: {anomalies: [stale-read|nonlinearizable, lost-write]}
`

func TestExpand(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, c := range read(t, sample).Cases {
		b.WriteString(c.Name + ": " + strings.Join(c.Args(7), " ") + ": " + c.Expect.String() + "\n")
	}
	want := `sound nemesis=partition nodes=3: --system=raft --nemesis=partition --time=5s --nodes=3 --opt=reads=linearizable --seed=7: valid
sound nemesis=partition,kill nodes=3: --system=raft --nemesis=partition,kill --time=5s --nodes=3 --opt=reads=linearizable --seed=7: valid
sound nemesis=partition,kill nodes=5: --system=raft --nemesis=partition,kill --time=5s --nodes=5 --opt=reads=linearizable --seed=7: valid
sound nemesis=pause nodes=1: --system=raft --nemesis=pause --time=5s --nodes=1 --opt=reads=linearizable --seed=7: valid
raft stale-read: --system=raft --time=5s --bug=stale-read --opt=reads=local --seed=7: invalid with stale-read or nonlinearizable, lost-write
`
	if b.String() != want {
		t.Errorf("got\n%s", &b)
	}
}

func TestErrorsNameLineAndColumn(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                        "s.yaml:1:1: the suite is empty",
		"name: a\n":                               "s.yaml:1:1: the suite has no runs",
		"runs: [{}]\n":                            "s.yaml:1:1: the suite has no name",
		"name: a\nrums: []\n":                     `s.yaml:2:1: unknown field "rums" in a suite; there are: name`,
		"name: a\nruns:\n  - sistem: x\n":         `s.yaml:3:5: unknown field "sistem" in a run; there are: name`,
		"name: a\nruns: []\n":                     "s.yaml:2:7: the list of runs is empty",
		"name: a\nname: b\nruns: [{}]\n":          `s.yaml:2:1: "name" stands twice`,
		"name: a\nruns: [{repeat: 6 of 5}]\n":     "s.yaml:2:17: repeat \"6 of 5\"",
		"name: a\nruns: [{expect: perhaps}]\n":    `s.yaml:2:17: verdict "perhaps" is not one of`,
		"name: a\nruns: [{system: {}}]\n":         "s.yaml:2:17: expected a value, found a mapping",
		"name: a\nruns: [{}, {}]\n":               `s.yaml:2:12: a run named "default" stands at s.yaml:2:8 already`,
		"name: a\nruns: [{matrix: {nodes: 3}}]\n": "s.yaml:2:25: expected a list of values",
		"name: a\nruns: [{matrix: {nodes: [3]}, exclude: [{nodes: 4}]}]\n": "s.yaml:2:8: exclude number 1 matches no cell",
		"name: a\nruns: [{expect: {verdict: valid, anomalies: x}}]\n":      "s.yaml:2:17: anomalies are expected of the verdict valid",
		"name: a\nruns: [{retries-unknown: 99}]\n":                         "s.yaml:2:26: retries-unknown 99: expected a number from 0 to 10",
		"name: a\nbudget: soon\nruns: [{}]\n":                              `s.yaml:2:9: "soon" is not a time`,
		"name: [\n":                                                        "s.yaml:1:1: did not find expected node content",
		"name: a\nruns: [{}]\n---\nname: b\n":                              "s.yaml:3:1: a suite is one YAML document",
		"name: a\nruns: [{repeat: 9999}, {name: b, repeat: 9}]\n":          "more than 10000 runs",
	} {
		_, err := Read(strings.NewReader(text), "s.yaml")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// TestShippedSuitesAreWellFormed reads them, and holds them and a sample to the
// schema for editors.
func TestShippedSuitesAreWellFormed(t *testing.T) {
	t.Parallel()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err = c.AddResource("suite.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("suite.json")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"sample": sample}
	for _, n := range Names() {
		s, err := Open(n)
		if err != nil || s.Name != n || len(s.Cases) == 0 {
			t.Errorf("%s: %+v, %v", n, s, err)
		}
		b, err := embedded.ReadFile(n + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		texts[n] = string(b)
	}
	for n, text := range texts {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		inst, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(inst); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	if strings.Join(Names(), " ") != "ci controls known-results smoke soak" {
		t.Errorf("names: %v", Names())
	}
}

func TestSmokeIsShort(t *testing.T) {
	t.Parallel()
	s, err := Open("smoke")
	if err != nil {
		t.Fatal(err)
	}
	total := time.Duration(0)
	for _, c := range s.Cases {
		total += c.Time()
	}
	if total > 2*time.Minute {
		t.Errorf("smoke takes about %s, at most 2m are allowed", total)
	}
}

func TestShardsShareTheWork(t *testing.T) {
	t.Parallel()
	s := read(t, sample)
	seen := map[string]int{}
	for i := 1; i <= 3; i++ {
		for _, c := range s.Shard(i, 3).Cases {
			seen[c.Name]++
		}
	}
	if len(seen) != len(s.Cases) {
		t.Errorf("shards have %v", seen)
	}
	for n, k := range seen {
		if k != 1 {
			t.Errorf("%s is in %d shards", n, k)
		}
	}
}

// played is a Runner whose outcomes are told by the bug that a run asks for.
func played(_ context.Context, args []string) (reports.Results, string, error) {
	a := strings.Join(args, " ")
	r := reports.Results{System: "raft", Workload: "register", Verdict: checker.Valid, Ops: reports.Ops{Count: reports.Count{Total: 100, OK: 100}}}
	switch {
	case strings.Contains(a, "bug=none-found"):
	case strings.Contains(a, "bug=unknown"):
		r.Verdict, r.Reason = checker.Unknown, "nothing succeeded"
	case strings.Contains(a, "bug=broken"):
		return reports.Results{}, "", errors.New("no engine")
	case strings.Contains(a, "bug=<script>"), strings.Contains(a, "bug=stale"):
		r.Verdict = checker.Invalid
		r.Anomalies = []reports.Anomaly{{Anomaly: checker.Anomaly{Name: "stale-read", Explain: "<script>"}}}
	}
	return r, "runs/x", nil
}

const outcomes = `name: outcomes
runs:
  - {name: sound, repeat: 59}
  - {name: found, bug: stale, expect: {anomalies: stale-read}}
  - {name: missed, bug: none-found, expect: {anomalies: stale-read}}
  - {name: alarm, bug: <script>}
  - {name: undecided, bug: unknown}
  - {name: broken, bug: broken}
  - {name: busy, bug: busy, retries-unknown: 1}
`

// busy is played, but the first run that asks for the bug busy has nothing to say.
func busy() Runner {
	var once sync.Once
	return func(ctx context.Context, args []string) (r reports.Results, folder string, err error) {
		r, folder, err = played(ctx, args)
		if slices.Contains(args, "--bug=busy") {
			once.Do(func() {
				r.Verdict, r.Reason, folder = checker.Unknown, "too few reads succeeded", "runs/w"
			})
		}
		return r, folder, err
	}
}

func fixed() func() time.Time {
	var mu sync.Mutex
	at := time.Date(2026, 11, 23, 3, 36, 10, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(time.Second)
		return at
	}
}

func TestSummaries(t *testing.T) {
	t.Parallel()
	s := read(t, outcomes)
	got := Execute(t.Context(), s, Options{Run: busy(), Seed: 1, Now: fixed()})
	m := Sum(s, got)
	m.Seed, m.Took = 1, time.Minute
	if m.State() != Unexpected {
		t.Errorf("state %s", m.State())
	}
	var text, markdown, figures, page, junit, notes bytes.Buffer
	if err := errors.Join(m.WriteText(&text), m.WriteMarkdown(&markdown), m.WriteFigures(&figures), m.WriteHTML(&page), WriteJUnit(&junit, m), m.WriteAnnotations(&notes)); err != nil {
		t.Fatal(err)
	}
	if err := junittest.Check(junit.Bytes()); err != nil {
		t.Errorf("JUnit XML: %v", err)
	}
	golden(t, "summary.txt", text.Bytes())
	golden(t, "summary.md", markdown.Bytes())
	golden(t, "figures.md", figures.Bytes())
	golden(t, "junit.xml", junit.Bytes())
	golden(t, "annotations.txt", notes.Bytes())
	_, body, _ := bytes.Cut(page.Bytes(), []byte("</head>")) // the style sheet is no part of it
	golden(t, "summary.html", body)
	if strings.Contains(page.String(), "<script") {
		t.Error("a value became markup")
	}
}

func TestFailFastBudgetAndResume(t *testing.T) {
	t.Parallel()
	s := read(t, "name: a\nruns: [{name: x, bug: stale}, {name: y}, {name: z}]\n")
	states := func(o []Outcome) string {
		var b []string
		for _, x := range o {
			b = append(b, string(x.State))
		}
		return strings.Join(b, ",")
	}
	first := Execute(t.Context(), s, Options{Run: played, Seed: 1, Now: fixed(), FailFast: true})
	if states(first) != "unexpected,not run,not run" {
		t.Errorf("fail fast: %s", states(first))
	}
	calls := 0
	again := Execute(t.Context(), s, Options{Seed: 1, Now: fixed(), Done: first, Run: func(ctx context.Context, args []string) (reports.Results, string, error) {
		calls++
		return played(ctx, args)
	}})
	if states(again) != "unexpected,expected,expected" || calls != 2 {
		t.Errorf("resumed: %s, %d runs", states(again), calls)
	}
	s.Budget = 2 * time.Second
	if got := states(Execute(t.Context(), s, Options{Run: played, Seed: 1, Now: fixed()})); got != "unexpected,not run,not run" {
		t.Errorf("budget: %s", got)
	}
}

// A suite that was changed goes on with what was done of the cases that are still
// the same, judged by what is expected now.
func TestResumeOfAChangedSuite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := read(t, "name: a\nruns: [{name: x, bug: stale}, {name: y}, {name: z}]\n")
	j, err := NewJournal(dir, s, 7, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	Execute(t.Context(), s, Options{Run: played, Seed: 7, Now: fixed(), Update: func(o Outcome) {
		if err := j.Add(o); err != nil {
			t.Error(err)
		}
	}})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	s = read(t, "name: a\nruns: [{name: new}, {name: y, time: 3s}, {name: x, bug: stale, expect: invalid}]\n")
	j, err = Resume(dir, s)
	if err != nil || j == nil {
		t.Fatal(j, err)
	}
	if len(j.Done) != 1 || j.Done[0].Case != 2 || j.Done[0].State != Expected || j.Seed != 7 {
		t.Errorf("got %+v", j.Done)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// TestOnlyUnknownsAreDoneOnceMore: what was found, and what could not be tested, is
// never retried; what was retried is told.
func TestOnlyUnknownsAreDoneOnceMore(t *testing.T) {
	t.Parallel()
	s := read(t, `name: a
defaults: {retries-unknown: 2}
runs:
  - {name: found, bug: stale}
  - {name: broken, bug: broken}
  - {name: never, bug: unknown}
  - {name: not asked to, bug: unknown, retries-unknown: 0}
  - {name: expected, bug: unknown, expect: unknown}
  - {name: busy, bug: busy}
`)
	run := busy()
	calls := map[string]int{}
	seeds := map[string]bool{}
	var lines bytes.Buffer
	view := NewView(&lines, nil, s)
	got := Execute(t.Context(), s, Options{Seed: 1, Now: fixed(), Update: view.Update, Run: func(ctx context.Context, args []string) (reports.Results, string, error) {
		calls[args[0]]++
		seeds[args[len(args)-1]] = true
		return run(ctx, args)
	}})
	var states []string
	for _, o := range got {
		states = append(states, fmt.Sprintf("%s/%d", o.State, len(o.Tries)))
	}
	if want := "unexpected/0 not tested/0 unknown/2 unknown/0 expected/0 expected/1"; strings.Join(states, " ") != want {
		t.Errorf("got %s, want %s", strings.Join(states, " "), want)
	}
	if calls["--bug=stale"] != 1 || calls["--bug=broken"] != 1 || calls["--bug=unknown"] != 5 || calls["--bug=busy"] != 2 {
		t.Errorf("calls: %v", calls)
	}
	if len(seeds) != len(s.Cases) {
		t.Errorf("a retry had another seed: %d seeds", len(seeds))
	}
	if n := strings.Count(lines.String(), "once more after unknown"); n != 3 {
		t.Errorf("%d retries are told in\n%s", n, &lines)
	}
}

func TestParallelRunsAreAllDone(t *testing.T) {
	t.Parallel()
	s := read(t, "name: a\nruns: [{name: x, repeat: 40}]\n")
	var at, most int
	var mu sync.Mutex
	got := Execute(t.Context(), s, Options{Seed: 1, Now: fixed(), Parallel: 4, Run: func(context.Context, []string) (reports.Results, string, error) {
		mu.Lock()
		at++
		most = max(most, at)
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		at--
		mu.Unlock()
		return reports.Results{Verdict: checker.Valid}, "", nil
	}})
	seeds := map[uint64]bool{}
	for _, o := range got {
		seeds[o.Seed] = true
		if o.State != Expected {
			t.Errorf("%+v", o)
		}
	}
	if len(seeds) != 40 || most > 4 {
		t.Errorf("%d seeds, %d at once", len(seeds), most)
	}
}

// TestExampleWorkflowIsWellFormed: each job has steps, and the commands in it are
// of suites that come along.
func TestExampleWorkflowIsWellFormed(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "examples", "ci", "faultline.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var w struct {
		Jobs map[string]struct {
			Steps []struct{ Uses, Run string }
		}
	}
	if err := yaml.Unmarshal(b, &w); err != nil {
		t.Fatal(err)
	}
	found := 0
	for name, job := range w.Jobs {
		for _, s := range job.Steps {
			if (s.Uses == "") == (s.Run == "") {
				t.Errorf("%s: a step neither uses nor runs one thing: %+v", name, s)
			}
			if rest, ok := strings.CutPrefix(s.Run, "faultline suite "); ok {
				found++
				if n, _, _ := strings.Cut(rest, " "); !strings.Contains(strings.Join(Names(), " "), n) {
					t.Errorf("%s runs the suite %s, which does not come along", name, n)
				}
			}
		}
	}
	if found != 2 {
		t.Errorf("%d steps run suites", found)
	}
}

// TestDocumentedSuiteIsRead reads the example in the docs.
func TestDocumentedSuiteIsRead(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "docs", "suites.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	if s := read(t, text); len(s.Cases) != 5 || s.Runs() != 9 {
		t.Errorf("%d cases, %d runs", len(s.Cases), s.Runs())
	}
}
