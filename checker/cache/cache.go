// Package cache judges the histories of caches: keys that are set with a time to
// live, got and deleted. Every set of a key writes a value of its own.
//
// Time is part of what is promised, so each set has a window in which its value
// expires:
//
//	earliest = set.invoke + ttl − tolerance
//	latest   = end(set) + ttl + tolerance
//
// where end(set) is its return or the first return of a get of its value, if that
// is sooner: by then it had taken effect. A system may promise either bound, both
// or none. Without a time to live, a value does not expire.
//
// The rules over these windows come first, since they name what is wrong and have
// small witnesses. What passes them is decided exactly: an expiry is an operation
// of its own, which takes the value away if it is still there, at some moment of
// its window; the rest is linearizability.
package cache

import (
	"context"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// The kinds of operation.
const (
	Set    = "set"
	Get    = "get"
	Delete = "delete"
)

// Anomalies, in the order in which they are looked for.
const (
	PhantomRead   = "phantom-read"
	AbortedRead   = "aborted-read"
	FutureRead    = "future-read"
	ExpiredRead   = "expired-read"
	Resurrected   = "resurrected"
	StaleRead     = "stale-read"
	EarlyEviction = "early-eviction"
)

// Options say what is promised.
type Options struct {
	// Earliest: no value goes before its time to live has passed; Latest: none is
	// got after it.
	Earliest, Latest bool
	// Tolerance is by how much either may be off.
	Tolerance time.Duration
	// MaxAnomalies bounds how many of each name are told; 16 unless set.
	MaxAnomalies int
	// Budget bounds the exact search; zero is no bound.
	Budget checker.Budget
	// WindowsOnly leaves the exact search out.
	WindowsOnly bool
}

// New is the checker "cache".
func New(o Options) checker.Checker {
	return checker.Func("cache", func(ctx context.Context, h *history.History) checker.Result { return judge(ctx, h, o) })
}

// judgement is the state of a check.
type judgement struct {
	*checker.Findings

	h *history.History
	o Options
}

func judge(ctx context.Context, h *history.History, o Options) checker.Result {
	found, ok := checker.Find(h, "windows", o.MaxAnomalies, "hits", "misses", "expired_reads", "early_evictions")
	if !ok {
		return found.Done()
	}
	j := &judgement{found, h, o}
	j.clocks()
	keys, err := j.read()
	if err != nil {
		j.Unknown(err.Error())
		return j.Done()
	}
	for _, k := range keys {
		k.judge()
	}
	if j.Verdict == checker.Valid && !o.WindowsOnly {
		j.exact(ctx, keys)
	}
	return j.Done()
}

// clocks widens the tolerance by what faults did to clocks, as far as it was
// measured; where it was not, nothing is promised of expiry.
func (j *judgement) clocks() {
	for _, f := range j.h.Faults {
		if f.F != "clock" && !strings.HasPrefix(f.F, "clock:") {
			continue
		}
		v, _ := f.Value.(map[string]any)
		e, _ := v["evidence"].(map[string]any)
		off, ok := largestOffset(e)
		if v["phase"] == "probe" && ok {
			j.o.Tolerance = max(j.o.Tolerance, off+j.o.Tolerance)
		} else if v["phase"] == "probe" {
			j.o.Earliest, j.o.Latest = false, false
			j.Reason = "clocks were changed by an unknown amount: nothing is promised of expiry"
		}
	}
}

// largestOffset is the largest number of nanoseconds under a name with "offset".
func largestOffset(e map[string]any) (most time.Duration, ok bool) {
	for name, v := range e {
		switch v := v.(type) {
		case int64:
			if strings.Contains(name, "offset") {
				most, ok = max(most, time.Duration(v), -time.Duration(v)), true
			}
		case map[string]any:
			if d, inner := largestOffset(v); inner {
				most, ok = max(most, d), true
			}
		}
	}
	return most, ok
}

func (j *judgement) add(key, name string, when time.Duration, ops []int, explain string) {
	j.Add(checker.Anomaly{Name: name, Key: key, Time: when, Explain: explain}, ops...)
}
