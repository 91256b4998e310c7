package serve

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/reports"
)

// maxResults bounds a results.json that is read, in bytes.
const maxResults = 64 << 20

// entry is a run as the list shows it.
type entry struct {
	Name    string
	Results reports.Results
	Err     error // why the results cannot be read
	Index   bool  // it has a page of its own

	mod  time.Time
	size int64
}

// Verdict is the verdict, or "broken" where there are no results to read.
func (e *entry) Verdict() string {
	switch {
	case e.Err != nil:
		return "broken"
	case e.Results.Error != "":
		return "not tested"
	}
	return e.Results.Verdict.String()
}

// index keeps what it read of the runs while their results do not change.
type index struct {
	root *os.Root
	mu   sync.Mutex
	seen map[string]*entry
}

func newIndex(root *os.Root) *index { return &index{root: root, seen: map[string]*entry{}} }

// all are the runs in the folder, in no order.
func (x *index) all() ([]*entry, error) {
	d, err := x.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var runs []*entry
	for _, name := range names {
		if name == reports.Latest || strings.HasPrefix(name, ".") {
			continue
		}
		e, err := x.get(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			e = &entry{Name: name, Err: err}
		}
		runs = append(runs, e)
	}
	return runs, nil
}

// get is the run of that name. A folder without results and history is none.
func (x *index) get(name string) (*entry, error) {
	fi, err := x.root.Stat(path.Join(name, reports.ResultsFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = x.root.Stat(path.Join(name, reports.HistoryFile)); err != nil {
			return nil, fs.ErrNotExist
		}
		return &entry{Name: name, Err: errors.New("no results yet: the run goes on, or was cut short")}, nil
	}
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.seen[name]; e != nil && e.mod.Equal(fi.ModTime()) && e.size == fi.Size() {
		return e, nil
	}
	e := &entry{Name: name, mod: fi.ModTime(), size: fi.Size()}
	e.Results, e.Err = x.read(name, fi)
	_, err = x.root.Stat(path.Join(name, reports.IndexFile))
	e.Index = err == nil
	x.seen[name] = e
	return e, nil
}

func (x *index) read(name string, fi fs.FileInfo) (reports.Results, error) {
	if fi.Size() > maxResults {
		return reports.Results{}, fmt.Errorf("%s has %d bytes; at most %d are read", reports.ResultsFile, fi.Size(), maxResults)
	}
	f, err := x.root.Open(path.Join(name, reports.ResultsFile))
	if err != nil {
		return reports.Results{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxResults))
	if err != nil {
		return reports.Results{}, err
	}
	r, err := reports.DecodeResults(b)
	if err != nil {
		return reports.Results{}, fmt.Errorf("%s: %w", reports.ResultsFile, err)
	}
	for i := range r.Checks {
		r.Checks[i].Detail = nil // not shown, and possibly large
	}
	return r, nil
}

// query is what a list shows, and in which order.
type query struct {
	Text, Verdict, Sort string
	Down                bool
	Page                int
}

func (q query) match(e *entry) bool {
	if q.Verdict != "" && e.Verdict() != q.Verdict {
		return false
	}
	r := e.Results
	words := []string{e.Name, r.System, r.Version, r.Bug, r.Workload, strings.Join(r.Nemesis, " "), r.On, e.Verdict()}
	for _, a := range r.Anomalies[:min(len(r.Anomalies), 100)] {
		words = append(words, a.Name)
	}
	text := strings.ToLower(strings.Join(words, " "))
	for word := range strings.FieldsSeq(strings.ToLower(q.Text)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func (q query) order(a, b *entry) int {
	x, y := a.Results, b.Results
	var by int
	switch q.Sort {
	case "verdict":
		by = cmp.Compare(a.Verdict(), b.Verdict())
	case "system":
		by = cmp.Or(cmp.Compare(x.System, y.System), cmp.Compare(x.Version, y.Version))
	case "workload":
		by = cmp.Compare(x.Workload, y.Workload)
	case "anomalies":
		by = cmp.Compare(len(x.Anomalies), len(y.Anomalies))
	case "operations":
		by = cmp.Compare(x.Ops.Total, y.Ops.Total)
	case "succeeded":
		by = cmp.Compare(x.Ops.Share(), y.Ops.Share())
	default:
		by = x.Started.Compare(y.Started)
	}
	if q.Down {
		by = -by
	}
	return cmp.Or(by, cmp.Compare(b.Name, a.Name))
}

func (q query) of(runs []*entry) []*entry {
	runs = slices.DeleteFunc(slices.Clone(runs), func(e *entry) bool { return !q.match(e) })
	slices.SortFunc(runs, q.order)
	return runs
}
