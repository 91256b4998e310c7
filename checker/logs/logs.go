// Package logs looks through nodes' logs for lines that no healthy node writes:
// panics, fatal errors, data races, corruption.
package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// Pattern is what to look for and the anomaly that it shows.
type Pattern struct {
	Name   string
	Regexp *regexp.Regexp
	// Except, if set, are lines that match and are no such thing.
	Except *regexp.Regexp
}

// Patterns are those of every system.
func Patterns() []Pattern {
	return []Pattern{
		{Name: "data-race", Regexp: regexp.MustCompile(`WARNING: DATA RACE`)},
		{Name: "panic", Regexp: regexp.MustCompile(`^panic: |\bgoroutine \d+ \[running\]:|"level":"panic"|\bPANIC\b`)},
		{
			Name: "fatal", Regexp: regexp.MustCompile(`^fatal error: |"level":"fatal"|\bFATAL\b|Segmentation fault|\bSIGSEGV\b|\bOutOfMemoryError\b`),
			// So ends an etcd member that is removed while it starts, or joins a membership
			// that has changed meanwhile.
			Except: regexp.MustCompile(`"error":"(server is stopping|error validating peerURLs)`),
		},
		{Name: "corruption", Regexp: regexp.MustCompile(`(?i)data corruption|checksum mismatch|crc mismatch|corrupted? (data|file|log|snapshot|wal)`)},
	}
}

// Log is a node's log. The caller opens it; the checker reads it once.
type Log struct {
	Node, Name string
	Reader     io.Reader
}

// maxLine is how much of a line is looked at.
const maxLine = 64 << 10

// perPattern is how many lines of one pattern and log are reported.
const perPattern = 3

// New is the checker "logs" over the given logs; patterns default to Patterns().
func New(logs []Log, patterns ...Pattern) checker.Checker {
	if len(patterns) == 0 {
		patterns = Patterns()
	}
	return checker.Func("logs", func(ctx context.Context, _ *history.History) checker.Result {
		start := time.Now()
		r := checker.Result{Verdict: checker.Valid}
		for _, l := range logs {
			if err := scan(ctx, l, patterns, &r); err != nil {
				r.Verdict, r.Reason = checker.Merge(r.Verdict, checker.Unknown), fmt.Sprintf("%s of %s: %v", l.Name, l.Node, err)
			}
		}
		r.Duration = time.Since(start)
		return r
	})
}

func scan(ctx context.Context, l Log, patterns []Pattern, r *checker.Result) error {
	in := bufio.NewReaderSize(l.Reader, maxLine)
	found := make([]int, len(patterns))
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		rest := err
		for errors.Is(rest, bufio.ErrBufferFull) { // the rest of a long line is skipped
			line = append([]byte(nil), line...)
			_, rest = in.ReadSlice('\n')
		}
		for i, p := range patterns {
			if p.Regexp.Match(line) && (p.Except == nil || !p.Except.Match(line)) {
				if found[i]++; found[i] <= perPattern {
					r.Verdict = checker.Invalid
					r.Anomalies = append(r.Anomalies, checker.Anomaly{
						Name: p.Name, Ops: []int{},
						Explain: fmt.Sprintf("node %s wrote in line %d of %s: %s", l.Node, n, l.Name, cut(line)),
					})
				}
			}
		}
		if errors.Is(rest, io.EOF) {
			return nil
		}
		if rest != nil {
			return rest
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func cut(line []byte) string {
	const most = 200
	s := string(line)
	for len(s) > 0 && (s[len(s)-1] == '\n' || s[len(s)-1] == '\r') {
		s = s[:len(s)-1]
	}
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
