package reports

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
)

// errNoFolder is what is said of a lone history file.
var errNoFolder = errors.New("reports: a lone history file has no folder to write reports into")

// Render writes index.html, junit.xml and summary.md from what lies in the
// folder. It writes what it can: an error says what it could not, and changes
// neither verdict nor evidence.
func Render(f *Folder) error {
	if f.Path == "" {
		return errNoFolder
	}
	s, err := f.Source()
	if s.Results.Format == 0 {
		return err // nothing to write reports of
	}
	return errors.Join(err, RenderSource(f, s))
}

// RenderSource is Render of what has been read already.
func RenderSource(f *Folder, s Source) error {
	if f.Path == "" {
		return errNoFolder
	}
	return errors.Join(
		f.writeWith(IndexFile, func(w io.Writer) error { return guard(func() error { return WriteHTML(w, s) }) }),
		f.writeWith(JUnitFile, func(w io.Writer) error { return guard(func() error { return WriteJUnit(w, s.Results) }) }),
		f.writeWith(SummaryFile, func(w io.Writer) error { return guard(func() error { return WriteSummary(w, s.Results) }) }),
	)
}

// guard turns a panic of a report into its error: evidence and verdict stand, and
// the other reports are still written.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reports: %v", p)
		}
	}()
	return f()
}

// Source reads what reports are made of. Results must be there; without test.json
// or a history, or with broken ones, the reports have less to show: then it
// returns the rest beside the error.
func (f *Folder) Source() (Source, error) {
	r, err := f.Results()
	if err != nil {
		return Source{}, err
	}
	s := Source{Results: r, Dir: f.Path}
	t, err := f.Test()
	switch {
	case err == nil:
		s.Test = &t
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if exists(f.history) {
		h, broken := f.History()
		s.History, err = h, errors.Join(err, broken)
	}
	s.Files = f.files()
	return s, err
}

// files are the evidence that lies in the folder, by paths within it.
func (f *Folder) files() []string {
	var files []string
	for _, name := range []string{TestFile, PlanFile, HistoryFile, ResultsFile} {
		if exists(filepath.Join(f.Path, name)) || name == ResultsFile {
			files = append(files, name)
		}
	}
	logs, _ := filepath.Glob(filepath.Join(f.Path, NodesDir, "*", "*.log")) // the pattern is well-formed
	slices.Sort(logs)
	for _, l := range logs[:min(len(logs), 50)] {
		if rel, err := filepath.Rel(f.Path, l); err == nil {
			files = append(files, filepath.ToSlash(rel))
		}
	}
	return files
}
