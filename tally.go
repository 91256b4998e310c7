package faultline

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/history"
)

const (
	tallyRecent = 64 // latencies kept for the median
	tallyErrors = 16 // kinds of error that are told apart
)

// tally counts what came of operations, for those who watch a run.
type tally struct {
	ok, fail, info int
	errors         map[string]int
	recent         [tallyRecent]time.Duration // of successes, the last ones
	n              int
}

// add takes an operation in that took so long.
func (t *tally) add(done history.Op, took time.Duration) {
	switch done.Type {
	case history.OK:
		t.ok++
		t.recent[t.n%tallyRecent] = took
		t.n++
		return
	case history.Fail:
		t.fail++
	case history.Info, history.Invoke:
		t.info++
	}
	if done.Error == "" || done.Observed != nil { // a comparison that failed is an answer
		return
	}
	kind := kindOf(done.Error)
	if _, known := t.errors[kind]; !known && len(t.errors) >= tallyErrors {
		kind = "others"
	}
	if t.errors == nil {
		t.errors = map[string]int{}
	}
	t.errors[kind]++
}

// kindOf is what an error has in common with others: its root, which stands last,
// without the occasions before it, and without names and numbers.
func kindOf(text string) string {
	root := text[strings.LastIndex(text, ": ")+1:]
	words := strings.Fields(root)
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789") {
			words[i] = "…"
		}
	}
	kind := strings.Join(words, " ")
	if strings.HasPrefix(text, "no session:") {
		return "no session: " + kind
	}
	return kind
}

// median is that of the last successes, 0 without one.
func (t *tally) median() time.Duration {
	n := min(t.n, tallyRecent)
	if n == 0 {
		return 0
	}
	last := slices.Clone(t.recent[:n])
	slices.Sort(last)
	return last[n/2]
}

// fill writes the tally into a snapshot.
func (t *tally) fill(s *Snapshot) {
	s.OK, s.Fail, s.Info, s.Latency, s.Errors = t.ok, t.fail, t.info, t.median(), maps.Clone(t.errors)
}
