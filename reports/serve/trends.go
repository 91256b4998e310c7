package serve

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/reports"
)

// trend is the runs of one kind over time.
type trend struct {
	Kind            string
	Runs            []*entry
	Valid, Invalid  int
	Unknown         int
	Anomalies       int
	Search          string
	Succeeded, Rate string // as lines over the runs
}

func (s *Server) trends(w http.ResponseWriter, _ *http.Request) {
	all, err := s.runs.all()
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	by := map[string]*trend{}
	slices.SortFunc(all, func(a, b *entry) int {
		return cmp.Or(a.Results.Started.Compare(b.Results.Started), cmp.Compare(a.Name, b.Name))
	})
	for _, e := range all {
		if e.Err != nil {
			continue
		}
		k := e.Results.Kind()
		t := by[k]
		if t == nil {
			t = &trend{Kind: k, Search: "/?" + url.Values{"q": {e.Results.System + " " + e.Results.Workload}}.Encode()}
			by[k] = t
		}
		t.add(e)
	}
	var trends []*trend
	for _, k := range slices.Sorted(maps.Keys(by)) {
		by[k].lines()
		trends = append(trends, by[k])
	}
	suites, err := s.suites()
	if err != nil {
		s.fail(w, http.StatusInternalServerError, err)
		return
	}
	s.show(w, "trends", map[string]any{"Title": "Trends", "Trends": trends, "Suites": suites})
}

func (t *trend) add(e *entry) {
	switch e.Verdict() {
	case "valid":
		t.Valid++
	case "invalid":
		t.Invalid++
	default:
		t.Unknown++
	}
	t.Anomalies += len(e.Results.Anomalies)
	t.Runs = append(t.Runs, e)
	if len(t.Runs) > trendRuns {
		t.Runs = t.Runs[1:]
	}
}

// lines draws the share of successes and the rate over the runs.
func (t *trend) lines() {
	rate, most := make([]float64, len(t.Runs)), 0.0
	for i, e := range t.Runs {
		if d := e.Results.Duration.Seconds(); d > 0 {
			rate[i] = float64(e.Results.Ops.OK) / d
		}
		most = max(most, rate[i])
	}
	line := func(of func(i int) float64) string {
		var b strings.Builder
		for i := range t.Runs {
			y := 20 * (1 - min(1, max(0, of(i))))
			b.WriteString(strconv.Itoa(i*8+4) + "," + strconv.FormatFloat(y+2, 'f', 1, 64) + " ")
		}
		return b.String()
	}
	t.Succeeded = line(func(i int) float64 { return t.Runs[i].Results.Ops.Share() })
	t.Rate = line(func(i int) float64 {
		if most == 0 {
			return 0
		}
		return rate[i] / most
	})
}

// suite is the executions of one suite over time, oldest first.
type suite struct {
	Name string
	Runs []suiteRun
}

// Last is the latest execution.
func (s suite) Last() suiteRun { return s.Runs[len(s.Runs)-1] }

// suiteRun is one execution of a suite.
type suiteRun struct {
	Folder, Class, Text string

	name string
	at   time.Time
}

// maxSuite bounds a suite.json that is read, in bytes.
const maxSuite = 16 << 20

// suites are what the folder has of suites, by name, of each the latest.
func (s *Server) suites() ([]suite, error) {
	files, err := fs.Glob(s.root.FS(), "*/"+reports.SuiteFile)
	if err != nil {
		return nil, err
	}
	by := map[string][]suiteRun{}
	for _, f := range files {
		r := s.suiteRun(f)
		by[r.name] = append(by[r.name], r)
	}
	var all []suite
	for _, name := range slices.Sorted(maps.Keys(by)) {
		runs := by[name]
		slices.SortFunc(runs, func(a, b suiteRun) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.Folder, b.Folder)) })
		all = append(all, suite{name, runs[max(0, len(runs)-trendRuns):]})
	}
	return all, nil
}

// suiteRun reads a suite.json; one that cannot be read says so itself.
func (s *Server) suiteRun(file string) suiteRun {
	r := suiteRun{Folder: path.Dir(file), name: "cannot be read", Class: "unknown"}
	f, err := s.root.Open(file)
	if err != nil {
		r.Text = r.Folder + ": " + err.Error()
		return r
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil {
		r.at = fi.ModTime()
	}
	var m struct {
		Name, State string
		Cases       []struct{ State string }
	}
	if err := json.NewDecoder(io.LimitReader(f, maxSuite)).Decode(&m); err != nil {
		r.Text = r.Folder + ": " + err.Error()
		return r
	}
	met := 0
	for _, c := range m.Cases {
		if c.State == "expected" {
			met++
		}
	}
	r.name = m.Name
	r.Class = map[string]string{"expected": "valid", "unexpected": "invalid"}[m.State]
	if r.Class == "" {
		r.Class = "unknown"
	}
	r.Text = fmt.Sprintf("%s: %s, %d of %d cases as expected", r.at.UTC().Format("2006-01-02 15:04"), m.State, met, len(m.Cases))
	return r
}
