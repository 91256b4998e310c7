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

// nodeLogs are the lines with a readable time of all nodes' logs that lie in one
// of the windows, at most logLines a node and window.
type nodeLogs struct {
	lines   []logLine
	formats []logFormat
}

type window struct{ from, to time.Duration }

// readLogs reads the folder's node logs and keeps what lies in the windows. A log
// that cannot be read is left out: it is context, not evidence.
func readLogs(dir string, started time.Time, windows []window) nodeLogs {
	logs := nodeLogs{formats: logFormats()}
	if dir == "" || started.IsZero() || len(windows) == 0 {
		return logs
	}
	files, _ := filepath.Glob(filepath.Join(dir, NodesDir, "*", "*.log")) // the pattern is well-formed
	for _, f := range files {
		logs.read(f, filepath.Base(filepath.Dir(f)), started, windows)
	}
	slices.SortStableFunc(logs.lines, func(a, b logLine) int { return cmp.Compare(a.At, b.At) })
	return logs
}

func (l *nodeLogs) read(path, node string, started time.Time, windows []window) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, maxLogLine)
	count := make([]int, len(windows))
	for read := 0; read < maxLogBytes; {
		b, err := in.ReadSlice('\n')
		read += len(b)
		if t, ok := logTime(l.formats, string(b[:min(len(b), 512)])); ok {
			l.keep(node, t.Sub(started), b, windows, count)
		}
		for err == bufio.ErrBufferFull { //nolint:errorlint // ReadSlice returns it bare
			b, err = in.ReadSlice('\n')
			read += len(b)
		}
		if err != nil {
			return
		}
	}
}

func (l *nodeLogs) keep(node string, at time.Duration, b []byte, windows []window, count []int) {
	for i, w := range windows {
		if at >= w.from-logAround && at <= w.to+logAround && count[i] < logLines {
			count[i]++
			text := clip(strings.ToValidUTF8(strings.TrimRight(string(b), "\r\n"), "�"), maxLogRunes)
			l.lines = append(l.lines, logLine{node, at, clean(text)})
			return
		}
	}
}

// around are the lines within logAround of a window.
func (l *nodeLogs) around(w window) []logLine {
	var lines []logLine
	for _, x := range l.lines {
		if x.At >= w.from-logAround && x.At <= w.to+logAround {
			lines = append(lines, x)
		}
	}
	return lines
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
