package reports

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports/plain"
)

// promises are what a store promises, by the anomaly that breaks it, in the order
// in which they were made: to readers, to holders of locks, to users of caches and
// queues, to itself.
func promises() map[string]string {
	return map[string]string{
		"stale-read":             "A read returns the newest value: none that is older than what was acknowledged, or read by anyone, before it was asked for.",
		"lost-write":             "A write that was acknowledged stays until a later one replaces it.",
		"nonlinearizable":        "Each operation takes effect at one moment between its call and its answer.",
		"phantom-read":           "Only what somebody wrote can be read.",
		"aborted-read":           "What was refused never shows.",
		"future-read":            "Nothing can be read before anyone asked for it to be written.",
		"version-regression":     "Versions only grow, and each belongs to one value.",
		"diverged":               "Once everything is healed, all nodes show the same.",
		"double-hold":            "A lock has one holder at a time.",
		"fence-regression":       "Fencing tokens only grow, and an older one than the last is refused.",
		"lost-update-under-lock": "What the holder of a lock writes under it is not overwritten unseen.",
		"expired-read":           "An entry whose time to live is over is gone.",
		"resurrected":            "What was deleted, or has been seen gone, stays gone.",
		"lost":                   "What was acknowledged is still there.",
		"duplicated":             "What went in once comes out once.",
		"phantom":                "Only what somebody put in comes out.",
		"reordered":              "What went in first comes out first.",
		"out-of-bounds":          "A counter shows the sum of what was added: all that was acknowledged, and nothing that was not asked for.",
		"election-safety":        "A term has at most one leader.",
		"log-matching":           "Two logs that agree on an entry agree on all before it.",
		"leader-completeness":    "What was committed is in the log of every later leader.",
		"state-machine-safety":   "No two nodes apply different commands at the same place.",
		"panic":                  "A node does not crash by itself.",
		"fatal":                  "A node does not crash by itself.",
		"data-race":              "A node's threads do not race for its data.",
		"corruption":             "A node's data stays as it was written.",
	}
}

// reading is what helps to understand the verdict without knowing the test: which
// promise was broken, why it is the store and not the test, how much consistency
// is left; or what a run without a verdict means. h may be nil.
func reading(r Results, h *history.History) []fact {
	var facts []fact
	add := func(name, text string) {
		if text != "" {
			facts = append(facts, fact{name, text})
		}
	}
	switch {
	case r.Error != "":
		add("What this means", "The test could not be carried out. That says nothing about the store.")
	case r.Verdict == checker.Unknown:
		add("What this means", "No evidence for the store and none against it: a broken one could have come through this run unseen.")
		add("What clients got", errorWords(r, h))
	case r.Verdict == checker.Invalid && len(r.Anomalies) > 0:
		a := r.Anomalies[0]
		add("The promise", promises()[a.Name])
		add("Why it is the store", blame(r, newWitness(h, a, 1)))
		add("How far it falls", fallen(r))
	}
	return facts
}

// blame says why the witness speaks against the store and not against the test.
func blame(r Results, w witness) string {
	if slices.Contains([]string{"panic", "fatal", "data-race", "corruption"}, w.anomaly.Name) {
		return "A node's own log says it."
	}
	if len(w.spans) == 0 {
		return ""
	}
	answered, open := 0, 0
	for _, s := range w.spans {
		switch {
		case s.Type == history.OK:
			answered++
		case s.open || s.Type == history.Info:
			open++
		}
	}
	var b strings.Builder
	switch answered {
	case 0:
	case 1:
		b.WriteString("The answer shown is the store's own, timed ")
	default:
		fmt.Fprintf(&b, "The %d answers shown are the store's own, each timed ", answered)
	}
	if answered > 0 {
		b.WriteString("from before the call until after the answer on one clock: a slow test stretches these times, which can hide an anomaly but not make one.")
	}
	if open > 0 {
		fmt.Fprintf(&b, " What is of unknown fate (%s) counts as done or not, whichever helps the store.", plural(open, "operation"))
	}
	if w.anomaly.Name == "double-hold" || w.anomaly.Name == "lost-update-under-lock" {
		b.WriteString(" " + pauseWords(r, w))
	}
	return strings.TrimSpace(b.String())
}

// pauseWords says what a pause of the clients has to do with a lock that did not
// exclude.
func pauseWords(r Results, w witness) string {
	for _, f := range during(r.Faults, w.from, w.to) {
		if kindOfFault(f.Fault) == "pause" && slices.Contains(f.Targets, "clients") {
			return "The test paused a client, as a collection of garbage or a busy host does at any time: the store gave its lock to another, " +
				"and nothing stopped the first when it went on. A lease alone cannot exclude; a fencing token that the store checks can."
		}
	}
	if recipe := r.Options["recipe"]; recipe != "" {
		return "No client was paused: the lock, as the recipe " + recipe + " makes it of the store, was given to another while the first, by all that it had been told, still held it."
	}
	return "No client was paused: the lock was given to another while the first, by all that it had been told, still held it."
}

// fallen says which rungs of the ladder broke, and with the weakest of those that
// have a story of their own, that story.
func fallen(r Results) string {
	var lost, held []string
	for _, name := range rungs(r.Ladder) {
		switch r.Ladder[name] {
		case checker.Invalid:
			lost = append(lost, name)
		case checker.Valid:
			held = append(held, name)
		case checker.Unknown:
		}
	}
	if len(lost) == 0 {
		return ""
	}
	s := "Lost: " + list(lost) + "."
	if len(held) > 0 {
		s += " Kept: " + list(held) + "."
	}
	broken := rungAnomalies(r)
	if a, ok := broken["causal"]; ok {
		s += " Not causal, since " + a.Explain
	}
	return s
}

// rungAnomalies are the anomalies that broke the rungs of the ladder, by rung, as
// the checker of the ladder told them.
func rungAnomalies(r Results) map[string]checker.Anomaly {
	broken := map[string]checker.Anomaly{}
	for _, c := range r.Checks {
		var d struct {
			Rungs map[string]struct {
				Anomaly *checker.Anomaly `json:"anomaly"`
			} `json:"rungs"`
		}
		if c.Checker != "ladder" || json.Unmarshal(c.Detail, &d) != nil {
			continue
		}
		for name, rung := range d.Rungs {
			if rung.Anomaly != nil {
				broken[name] = *rung.Anomaly
			}
		}
	}
	return broken
}

const (
	shownErrors = 3
	mostFail    = 0.5 // share of attempts that succeed below which the errors are told
)

// errorWords are the most frequent errors of a run in which most operations did
// not succeed: "connection refused (412 times)".
func errorWords(r Results, h *history.History) string {
	if h == nil || r.Ops.Total == 0 || r.Ops.Share() >= mostFail {
		return ""
	}
	counts := map[string]int{}
	for i := range h.Len() {
		if e := h.Error(i); h.Type(i) != history.OK && e != "" {
			counts[plain.Clip(e, 120)]++
		}
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var words []string
	for _, n := range names[:min(len(names), shownErrors)] {
		words = append(words, fmt.Sprintf("%s (%s)", n, plural(counts[n], "time")))
	}
	s := fmt.Sprintf("%s of %s operations succeeded.", thousands(r.Ops.OK), thousands(r.Ops.Total))
	if len(words) > 0 {
		s += " Instead: " + strings.Join(words, "; ") + "."
	}
	return s
}
