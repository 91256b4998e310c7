package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// The files of a run's folder.
const (
	TestFile    = "test.json"
	PlanFile    = "plan.json"
	HistoryFile = "history.jsonl"
	ResultsFile = "results.json"
	IndexFile   = "index.html"
	JUnitFile   = "junit.xml"
	SummaryFile = "summary.md"
	NodesDir    = "nodes"
	// SuiteFile is what came of a suite, in a folder beside its runs.
	SuiteFile = "suite.json"
	// Latest is the link beside the runs that points to the newest of them.
	Latest = "latest"
)

// maxClashes bounds how many runs may start in one second with one seed.
const maxClashes = 1000

// Folder is a run's folder, or a history file that lies in none.
type Folder struct {
	// Path is the folder, "" for a lone history file.
	Path    string
	history string // the history file
}

// Create makes the folder of a new run and points latest to it.
func Create(runsDir, system, workload string, now time.Time, seed uint64) (*Folder, error) {
	if err := os.MkdirAll(runsDir, 0o755); err != nil { //nolint:gosec // runs are for everyone to read
		return nil, fmt.Errorf("reports: cannot make the runs folder %s: %w; give another with --runs DIR", runsDir, cause(err))
	}
	stem := strings.Join([]string{
		fileName(system), fileName(workload), now.UTC().Format("20060102T150405Z"), strconv.FormatUint(seed, 10),
	}, "-")
	for n := 1; n <= maxClashes; n++ {
		name := stem
		if n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		path := filepath.Join(runsDir, name)
		err := os.Mkdir(path, 0o755) //nolint:gosec // as above
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reports: cannot write into the runs folder %s: %w; give another with --runs DIR", runsDir, cause(err))
		}
		return &Folder{Path: path, history: filepath.Join(path, HistoryFile)}, point(runsDir, name)
	}
	return nil, fmt.Errorf("reports: %s already has %d runs named %s; give another --seed", runsDir, maxClashes, stem)
}

// cause is what the operating system said, without the path that the caller
// names itself.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}

// fileName is s fit for a file's name.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.' && len(s) > 1, r == '_':
			return r
		}
		return '_'
	}, s)
}

// point replaces the link latest in one step, so that a reader always finds one.
func point(runsDir, name string) error {
	link := filepath.Join(runsDir, Latest)
	if fi, err := os.Lstat(link); err == nil && fi.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("reports: %s is not a link to a run; move it away", link)
	}
	tmp := filepath.Join(runsDir, "."+Latest+"-"+name)
	if err := os.Symlink(name, tmp); err != nil {
		return fmt.Errorf("reports: cannot link %s: %w; give a folder on another file system with --runs DIR", link, cause(err))
	}
	if err := os.Rename(tmp, link); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("reports: cannot link %s: %w", link, cause(err))
	}
	return nil
}

// LatestIn is the name of the run that latest points to, "" for none.
func LatestIn(runs string) string {
	name, err := os.Readlink(filepath.Join(runs, Latest))
	if err != nil {
		return ""
	}
	return name
}

// Discard removes the folder; latest points to the run of that name again.
func (f *Folder) Discard(latest string) error {
	runs := filepath.Dir(f.Path)
	err := os.RemoveAll(f.Path)
	switch {
	case err != nil:
	case latest == "":
		err = os.Remove(filepath.Join(runs, Latest))
	default:
		err = point(runs, latest)
	}
	if err != nil {
		return fmt.Errorf("reports: discard %s: %w", f.Path, err)
	}
	return nil
}

// Open finds a run: its folder, a link to it such as runs/latest, a file inside
// it, or a history file anywhere.
func Open(path string) (*Folder, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("reports: %s: %w; expected a run's folder, runs/latest or a history file", path, cause(err))
	}
	fi, err := os.Stat(target)
	if err != nil {
		return nil, fmt.Errorf("reports: %s: %w", path, cause(err))
	}
	if fi.IsDir() {
		if !isRun(target) {
			return nil, fmt.Errorf("reports: %s is not a run's folder: it has neither %s nor %s", path, HistoryFile, TestFile)
		}
		return &Folder{Path: target, history: filepath.Join(target, HistoryFile)}, nil
	}
	f := &Folder{history: target}
	if dir := filepath.Dir(target); isRun(dir) && exists(filepath.Join(dir, TestFile)) {
		f.Path = dir
		if b := filepath.Base(target); b == TestFile || b == PlanFile || b == ResultsFile || b == IndexFile {
			f.history = filepath.Join(dir, HistoryFile)
		}
	}
	return f, nil
}

func isRun(dir string) bool {
	return exists(filepath.Join(dir, HistoryFile)) || exists(filepath.Join(dir, TestFile))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Name is the folder's last element, or the history file's.
func (f *Folder) Name() string {
	if f.Path == "" {
		return filepath.Base(f.history)
	}
	return filepath.Base(f.Path)
}

// HistoryPath is where the history lies.
func (f *Folder) HistoryPath() string { return f.history }

// WriteTest writes test.json.
func (f *Folder) WriteTest(t Test) error {
	b, err := t.Encode()
	if err != nil {
		return fmt.Errorf("reports: %s: %w", TestFile, err)
	}
	return f.write(TestFile, b)
}

// WritePlan writes plan.json: a []byte or json.RawMessage as it is, anything
// else as JSON.
func (f *Folder) WritePlan(plan any) error {
	b, ok := plan.([]byte)
	if !ok {
		var err error
		if b, err = json.MarshalIndent(plan, "", "  "); err != nil {
			return fmt.Errorf("reports: %s: %w", PlanFile, err)
		}
		b = append(b, '\n')
	}
	return f.write(PlanFile, b)
}

// WriteResults writes results.json.
func (f *Folder) WriteResults(r Results) error {
	if r.Run == "" {
		r.Run = f.Name()
	}
	var b bytes.Buffer
	if err := r.Encode(&b); err != nil {
		return err
	}
	return f.write(ResultsFile, b.Bytes())
}

// write replaces a file of the folder in one step: a reader finds the old or the
// new one, never half of it.
func (f *Folder) write(name string, b []byte) error {
	return f.writeWith(name, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

func (f *Folder) writeWith(name string, fill func(io.Writer) error) (err error) {
	if f.Path == "" {
		return fmt.Errorf("reports: %s lies in no run's folder: there is no place for %s", f.history, name)
	}
	tmp, err := os.CreateTemp(f.Path, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("reports: cannot write %s: %w", filepath.Join(f.Path, name), cause(err))
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("reports: cannot write %s: %w", filepath.Join(f.Path, name), cause(err))
		}
	}()
	if err = fill(tmp); err != nil {
		return err
	}
	if err = tmp.Chmod(0o644); err != nil { //nolint:gosec // runs are for everyone to read
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(f.Path, name))
}

// CreateHistory opens history.jsonl for the journal, which closes it.
func (f *Folder) CreateHistory() (*os.File, error) {
	file, err := os.OpenFile(f.history, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644) //nolint:gosec // as above
	if err != nil {
		return nil, fmt.Errorf("reports: cannot write %s: %w", f.history, cause(err))
	}
	return file, nil
}

// NodeLog creates nodes/<node>/<name>; a log that is there already is appended
// to. The caller closes it.
func (f *Folder) NodeLog(node, name string) (io.WriteCloser, error) {
	for _, s := range []string{node, name} {
		if s == "" || s == "." || s == ".." || strings.ContainsAny(s, `/\`+"\x00") {
			return nil, fmt.Errorf("reports: %q cannot name a node's log", node+"/"+name)
		}
	}
	dir := filepath.Join(f.Path, NodesDir, node)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as above
		return nil, fmt.Errorf("reports: cannot make %s: %w", dir, cause(err))
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644) //nolint:gosec // as above
	if err != nil {
		return nil, fmt.Errorf("reports: cannot write %s: %w", filepath.Join(dir, name), cause(err))
	}
	return file, nil
}

// Test reads test.json.
func (f *Folder) Test() (Test, error) {
	b, err := f.read(TestFile)
	if err != nil {
		return Test{}, err
	}
	t, err := DecodeTest(b)
	if err != nil {
		return Test{}, fmt.Errorf("reports: %s: %w", filepath.Join(f.Path, TestFile), err)
	}
	return t, nil
}

// Plan reads plan.json as it is.
func (f *Folder) Plan() ([]byte, error) { return f.read(PlanFile) }

// Results reads results.json.
func (f *Folder) Results() (Results, error) {
	b, err := f.read(ResultsFile)
	if err != nil {
		return Results{}, err
	}
	r, err := DecodeResults(b)
	if err != nil {
		return Results{}, fmt.Errorf("reports: %s: %w", filepath.Join(f.Path, ResultsFile), err)
	}
	return r, nil
}

func (f *Folder) read(name string) ([]byte, error) {
	if f.Path == "" {
		return nil, fmt.Errorf("reports: %s lies in no run's folder: there is no %s", f.history, name)
	}
	b, err := os.ReadFile(filepath.Join(f.Path, name))
	if err != nil {
		return nil, fmt.Errorf("reports: %s: %w", filepath.Join(f.Path, name), cause(err))
	}
	return b, nil
}

// History reads the history.
func (f *Folder) History() (*history.History, error) {
	file, err := os.Open(f.history)
	if err != nil {
		return nil, fmt.Errorf("reports: %s: %w", f.history, cause(err))
	}
	defer file.Close()
	h, err := history.Read(file, f.history)
	if err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	return h, nil
}
