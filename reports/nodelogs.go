package reports

import (
	"bufio"
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/reports/plain"
)

const (
	logLines    = 14          // shown of a node around an anomaly
	logAround   = time.Second // how far around it
	maxLogBytes = 256 << 20   // read of a node's log
	maxLogLine  = 64 << 10    // longer lines are cut
	maxLogRunes = 400         // shown of a line
)

// logLine is a line of a node's log with the time it bears, since the run began.
type logLine struct {
	Node string
	At   time.Duration
	Text string
}

// Clock is the line's time for people.
func (l logLine) Clock() string { return clock(l.At) }

type window struct{ from, to time.Duration }

// away is how far a moment lies from the window.
func (w window) away(at time.Duration) time.Duration { return max(w.from-at, at-w.to, 0) }

// readLogs reads the folder's node logs and returns for each window the lines with
// a readable time that lie within logAround of it, by time: of each node the
// logLines that are nearest. A log that cannot be read is left out: it is context,
// not evidence.
func readLogs(dir string, started time.Time, windows []window) [][]logLine {
	around := make([][]logLine, len(windows))
	if dir == "" || started.IsZero() || len(windows) == 0 {
		return around
	}
	formats := logFormats()
	files, _ := filepath.Glob(filepath.Join(dir, NodesDir, "*", "*.log")) // the pattern is well-formed
	for _, f := range files {
		near := make([]nearest, len(windows))
		readLog(f, func(line []byte) {
			t, ok := logTime(formats, string(line[:min(len(line), 512)]))
			if !ok {
				return
			}
			l := logLine{Node: filepath.Base(filepath.Dir(f)), At: t.Sub(started)}
			for i, w := range windows {
				near[i].add(w, l, line)
			}
		})
		for i := range near {
			around[i] = append(around[i], near[i].lines...)
		}
	}
	for _, lines := range around {
		slices.SortStableFunc(lines, func(a, b logLine) int { return cmp.Compare(a.At, b.At) })
	}
	return around
}

// readLog visits the lines of a file; of long ones only the beginning.
func readLog(path string, visit func(line []byte)) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, maxLogLine)
	for read := 0; read < maxLogBytes; {
		b, err := in.ReadSlice('\n')
		read += len(b)
		visit(b)
		for err == bufio.ErrBufferFull { //nolint:errorlint // ReadSlice returns it bare
			b, err = in.ReadSlice('\n')
			read += len(b)
		}
		if err != nil {
			return
		}
	}
}

// nearest are the lines of one log that are nearest to a window.
type nearest struct{ lines []logLine }

func (n *nearest) add(w window, l logLine, text []byte) {
	if w.away(l.At) > logAround {
		return
	}
	nearer := func(a, b logLine) int {
		return cmp.Or(cmp.Compare(w.away(a.At), w.away(b.At)), cmp.Compare((a.At-w.to).Abs(), (b.At-w.to).Abs()))
	}
	if len(n.lines) == logLines {
		farthest := slices.MaxFunc(n.lines, nearer)
		if nearer(l, farthest) >= 0 {
			return
		}
		n.lines = slices.Delete(n.lines, slices.Index(n.lines, farthest), slices.Index(n.lines, farthest)+1)
	}
	l.Text = plain.Clean(plain.Clip(strings.ToValidUTF8(strings.TrimRight(string(text), "\r\n"), "�"), maxLogRunes))
	n.lines = append(n.lines, l)
}

// logFormat is a way to write a time that logs use.
type logFormat struct {
	re      *regexp.Regexp
	layouts []string
}

// logFormats find the time in a log line: RFC 3339 and ISO 8601 as etcd and
// ZooKeeper write it, Go's, and Redis' form. UTC is assumed where no zone stands.
func logFormats() []logFormat {
	return []logFormat{
		{
			regexp.MustCompile(`\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?`),
			[]string{
				"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05",
				"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z0700", "2006-01-02 15:04:05",
			},
		},
		{regexp.MustCompile(`\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2}(?:\.\d{1,9})?`), []string{"2006/01/02 15:04:05"}},
		{regexp.MustCompile(`\d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2}(?:\.\d{1,9})?`), []string{"02 Jan 2006 15:04:05"}},
	}
}

func logTime(formats []logFormat, line string) (time.Time, bool) {
	for _, f := range formats {
		m := f.re.FindString(line)
		if m == "" {
			continue
		}
		m = strings.Replace(m, ",", ".", 1)
		for _, layout := range f.layouts {
			if t, err := time.ParseInLocation(layout, m, time.UTC); err == nil {
				return t, true
			}
		}
	}
	return time.Time{}, false
}
