package suites

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The files of a suite's folder, which stands beside those of its runs.
const (
	JournalFile = "suite.jsonl"
	PageFile    = "index.html"
)

// maxOutcome bounds a line of the journal, in bytes.
const maxOutcome = 64 << 20

// Journal is the record of a suite's execution: a header, then a line a run that
// has ended. What it holds survives an interruption.
type Journal struct {
	// Dir is the suite's folder.
	Dir  string
	Seed uint64
	Done []Outcome
	s    Suite
	f    *os.File
}

type header struct {
	Format int    `json:"format"`
	Suite  string `json:"suite"`
	Seed   uint64 `json:"seed"`
}

// entryLine is an outcome as the journal keeps it: with what was asked, since a
// suite may have changed when it is resumed.
type entryLine struct {
	Asked string `json:"asked"`
	Outcome
}

const journalFormat = 2

// fingerprint tells whether two cases ask for the same; what they expect of it may
// differ.
func (c Case) fingerprint() string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %v\n", c.Name, c.Flags)
	return fmt.Sprintf("%016x", h.Sum64())
}

// NewJournal makes the folder of a suite's execution.
func NewJournal(runsDir string, s Suite, seed uint64, now time.Time) (*Journal, error) {
	name := "suite-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s.Name) + "-" + now.UTC().Format("20060102T150405Z")
	if err := os.MkdirAll(runsDir, 0o755); err != nil { //nolint:gosec // runs are for everyone to read
		return nil, fmt.Errorf("suites: cannot make the runs folder: %w; give another with --runs DIR", err)
	}
	dir := filepath.Join(runsDir, fmt.Sprintf("%s-%d", name, seed))
	for n := 2; n < 1000; n++ {
		err := os.Mkdir(dir, 0o755) //nolint:gosec // as above
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("suites: cannot write into the runs folder: %w; give another with --runs DIR", err)
		}
		dir = filepath.Join(runsDir, fmt.Sprintf("%s-%d-%d", name, seed, n))
	}
	f, err := os.OpenFile(filepath.Join(dir, JournalFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644) //nolint:gosec // as above
	if err != nil {
		return nil, fmt.Errorf("suites: %w", err)
	}
	j := &Journal{Dir: dir, Seed: seed, s: s, f: f}
	return j, j.line(header{journalFormat, s.Name, seed})
}

// Resume finds the newest execution of the suite of that name in the runs folder;
// nil if there is none. What was done of cases that have changed since, other than
// in what they expect, does not count.
func Resume(runsDir string, s Suite) (*Journal, error) {
	files, err := filepath.Glob(filepath.Join(runsDir, "suite-*", JournalFile))
	if err != nil {
		return nil, fmt.Errorf("suites: %w", err)
	}
	var newest *Journal
	var at time.Time
	for _, path := range files {
		fi, e := os.Stat(path)
		if e != nil || newest != nil && fi.ModTime().Before(at) {
			continue
		}
		j, e := readJournal(path, s)
		if e != nil {
			return nil, e
		}
		if j != nil {
			newest, at = j, fi.ModTime()
		}
	}
	if newest == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	newest.f, err = os.OpenFile(filepath.Join(newest.Dir, JournalFile), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("suites: %w", err)
	}
	return newest, nil
}

// readJournal is nil for another suite. A last line that was cut short is left
// out, and cut off, so that what is appended stands on lines of its own.
func readJournal(path string, s Suite) (*Journal, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("suites: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var j *Journal
	whole := int64(0)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 && j != nil {
				return j, os.Truncate(path, whole)
			}
			return j, nil
		}
		if err != nil || len(line) > maxOutcome {
			return nil, fmt.Errorf("%s:%d: cannot be read: %w", path, n, err)
		}
		whole += int64(len(line))
		if n == 1 {
			var h header
			if err := json.Unmarshal(line, &h); err != nil || h.Format != journalFormat || h.Suite != s.Name {
				return nil, nil //nolint:nilnil // another suite's
			}
			j = &Journal{Dir: filepath.Dir(path), Seed: h.Seed, s: s}
			continue
		}
		var o entryLine
		if err := json.Unmarshal(line, &o); err != nil {
			return nil, fmt.Errorf("%s:%d: not an outcome; remove the folder to start afresh", path, n)
		}
		if o.Case = slices.IndexFunc(s.Cases, func(c Case) bool { return c.fingerprint() == o.Asked }); o.Case >= 0 {
			o.State = judge(s.Cases[o.Case].Expect, o.Results, o.failure())
			j.Done = append(j.Done, o.Outcome)
		}
	}
}

func (j *Journal) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("suites: %w", err)
	}
	if _, err := j.f.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("suites: cannot write %s: %w", j.f.Name(), err)
	}
	return nil
}

// Add records a run that has ended; others it leaves out.
func (j *Journal) Add(o Outcome) error {
	if slices.Contains([]State{Waiting, Running, Skipped}, o.State) {
		return nil
	}
	return j.line(entryLine{j.s.Cases[o.Case].fingerprint(), o})
}

// Close ends the record.
func (j *Journal) Close() error { return j.f.Close() }
