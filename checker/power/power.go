// Package power asks whether a run could have found anything at all: a test
// whose operations all fail, or whose faults never bite, finds no anomaly either.
// Its verdict is valid or unknown, naming what is missing.
package power

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/faults"
	"github.com/faultline-dev/faultline/history"
)

// Options are the thresholds and what was asked for.
type Options struct {
	// Faults were requested; "none" asks for none.
	Faults []string
	// Nodes are the nodes that must answer a final read; default those in the
	// history.
	Nodes []string
	// MinOK and MinShare are the successes that each kind of operation needs, and
	// their share of the attempts; by default 20 and 0.05. Negative is no demand.
	MinOK    int
	MinShare float64
	// Kinds are the kinds of operation that this is asked of; nil for all there are.
	Kinds []string
	// Reads are the kinds of operation that read; default read, get, contains.
	// Where a history has none of them, the rules about reads do not apply.
	Reads []string
}

// Rule is one demand and what was measured.
type Rule struct {
	Rule string `json:"rule"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

// Detail is what the checker found.
type Detail struct {
	Enough  bool     `json:"enough"`
	Missing []string `json:"missing,omitempty"`
	Rules   []Rule   `json:"rules"`
}

// New is the checker "power".
func New(o Options) checker.Checker {
	if o.MinOK == 0 {
		o.MinOK = 20
	}
	if o.MinShare == 0 {
		o.MinShare = 0.05
	}
	if o.Reads == nil {
		o.Reads = []string{"read", "get", "contains"}
	}
	return checker.Func("power", func(_ context.Context, h *history.History) checker.Result {
		start := time.Now()
		m := measure{o: o, h: h, spans: faults.Spans(h)}
		m.all()
		r := checker.Result{Verdict: checker.Valid, Ops: h.Len(), Detail: m.d}
		if !m.d.Enough {
			r.Verdict, r.Reason = checker.Unknown, strings.Join(m.d.Missing, "; ")
		}
		r.Duration = time.Since(start)
		return r
	})
}

type measure struct {
	o     Options
	h     *history.History
	spans []faults.Span
	d     Detail
}

func (m *measure) all() {
	m.d.Enough = true
	m.kinds()
	tested := 0
	var aside []func(others int)
	for _, f := range m.o.Faults {
		if f != "none" && f != "" {
			ok, irrelevant := m.fault(f)
			if ok {
				tested++
			}
			if irrelevant != nil {
				aside = append(aside, irrelevant)
			}
		}
	}
	for _, f := range aside {
		f(tested)
	}
	if m.hasReads() {
		m.overwritten()
		m.finals()
	}
}

func (m *measure) rule(met bool, rule, got, missing string) {
	m.d.Rules = append(m.d.Rules, Rule{rule, got, met})
	if !met {
		m.d.Enough = false
		m.d.Missing = append(m.d.Missing, missing)
	}
}

// kinds: every kind of operation has to succeed often enough.
func (m *measure) kinds() {
	ok, all := make([]int, len(m.h.Fs())), make([]int, len(m.h.Fs()))
	for i := range m.h.Len() {
		f := m.h.FID(i)
		all[f]++
		if m.h.Type(i) == history.OK {
			ok[f]++
		}
	}
	for _, name := range m.o.Kinds {
		if len(all) > 0 && !slices.Contains(m.h.Fs(), name) {
			m.rule(false, "there are "+name+" operations", "none", "there were no "+name+" operations")
		}
	}
	if len(all) == 0 {
		m.rule(false, "there are operations", "none", "there were no operations")
	}
	for f, name := range m.h.Fs() {
		if m.o.Kinds != nil && !slices.Contains(m.o.Kinds, name) {
			continue
		}
		share := float64(ok[f]) / float64(all[f])
		got := fmt.Sprintf("%d of %d (%.1f %%)", ok[f], all[f], 100*share)
		rule := fmt.Sprintf("at least %d %s operations and %.0f %% of them succeed", m.o.MinOK, name, 100*m.o.MinShare)
		m.rule(ok[f] >= m.o.MinOK && share >= m.o.MinShare, rule, got, fmt.Sprintf("too few %s operations succeeded: %s", name, got))
	}
}

// fault: a requested fault has to start, bite, be healed, and see operations
// succeed, or see them attempted while it takes a quorum away, alone or together with
// the others that act then.
//
// One that bit only what nothing reads is no test: irrelevant, if not nil, says so
// when it is known how many other faults were tested.
func (m *measure) fault(asked string) (tested bool, irrelevant func(others int)) {
	kind, _, _ := strings.Cut(asked, ":")
	var started, bit, healed, ok, outage, beside int
	var why string // the last that did not bite did not
	for _, s := range m.spans {
		if s.Fault != asked && s.Kind() != kind {
			continue
		}
		started++
		if s.Healed {
			healed++
		}
		if !s.Bit {
			why = masked(s.Evidence)
			continue
		}
		if s.Irrelevant {
			beside++
			continue
		}
		bit++
		succeeded, tried := m.during(s)
		if succeeded > 0 {
			ok++
		} else if tried > 0 && (s.Outage || 2*m.hit(s) > len(m.nodes())) {
			outage++
		}
	}
	rule := asked + " starts, bites, and sees operations succeed (or measures an outage)"
	got := fmt.Sprintf("started %d, bit %d, with successes %d, with an outage %d", started, bit, ok, outage)
	var missing string
	switch {
	case started == 0:
		missing = asked + " never started"
	case bit == 0:
		missing = asked + " never bit" + why
	default:
		missing = "no operation succeeded during " + asked
	}
	if bit == 0 && beside > 0 {
		irrelevant = func(others int) {
			m.rule(others > 0, asked+" bites what some decision reads", fmt.Sprintf("0 of %d starts", started),
				asked+" bit only what no decision reads (relevant: false), and nothing else was tested")
		}
	} else {
		m.rule(ok+outage > 0, rule, got, missing)
	}
	if started > 0 {
		m.rule(healed == started, asked+" is proven healed", fmt.Sprintf("%d of %d", healed, started),
			fmt.Sprintf("%s was proven healed only %d of %d times", asked, healed, started))
	}
	return ok+outage > 0, irrelevant
}

// masked is what a probe said of other faults that hid this one, to follow other words.
func masked(evidence any) string {
	e, _ := evidence.(map[string]any)
	if s, ok := e["masked"].(string); ok {
		return ": " + s
	}
	return ""
}

// hit counts the nodes that were targets of s, or of another fault that bit while s
// acted and keeps nodes from answering.
func (m *measure) hit(s faults.Span) int {
	silencing := []string{"kill", "pause", "restart", "rolling", "partition"}
	hit := slices.Clone(s.Targets)
	for _, o := range m.spans {
		if o.Bit && slices.Contains(silencing, o.Kind()) && o.Start < s.End && s.Start < o.End {
			hit = append(hit, o.Targets...)
		}
	}
	return len(slices.DeleteFunc(slices.Clone(m.nodes()), func(n string) bool { return !slices.Contains(hit, n) }))
}

// during counts the operations that were invoked while the fault acted, and those
// that succeeded, which may have been only after it: who waits for a node that is
// paused has met the pause.
func (m *measure) during(s faults.Span) (ok, tried int) {
	for i := range m.h.Len() {
		if at := m.h.Invoke(i); at >= s.Start && at < s.End {
			tried++
			if m.h.Type(i) == history.OK {
				ok++
			}
		}
	}
	return ok, tried
}

func (m *measure) isRead(i int) bool { return slices.Contains(m.o.Reads, m.h.F(i)) }

func (m *measure) hasReads() bool {
	return slices.ContainsFunc(m.h.Fs(), func(f string) bool { return slices.Contains(m.o.Reads, f) })
}

// overwritten: every key that was written needs a read after a later write by
// another process, or a stale one could not have shown.
func (m *measure) overwritten() {
	h := m.h
	type first struct { // the two earliest successful writes by different processes
		at      [2]time.Duration
		process [2]history.Process
		n       int
	}
	keys := make([]first, len(h.Keys()))
	for i := range h.Len() {
		if m.isRead(i) || h.Type(i) != history.OK {
			continue
		}
		k := &keys[h.KeyID(i)]
		switch {
		case k.n > 0 && k.process[0] == h.Process(i):
			k.at[0] = min(k.at[0], h.Done(i))
		case k.n > 1 && k.process[1] == h.Process(i):
			k.at[1] = min(k.at[1], h.Done(i))
		case k.n < len(k.at):
			k.at[k.n], k.process[k.n] = h.Done(i), h.Process(i)
			k.n++
		}
	}
	seen := make([]bool, len(keys))
	for i := range h.Len() {
		k := &keys[h.KeyID(i)]
		if !m.isRead(i) || h.Type(i) != history.OK {
			continue
		}
		for j := range k.n {
			seen[h.KeyID(i)] = seen[h.KeyID(i)] || k.process[j] != h.Process(i) && k.at[j] < h.Invoke(i)
		}
	}
	written, good, example := 0, 0, ""
	for k := range keys {
		if keys[k].n == 0 {
			continue
		}
		written++
		if seen[k] {
			good++
		} else if example == "" {
			example = h.Keys()[k]
		}
	}
	got := fmt.Sprintf("%d of %d keys", good, written)
	missing := fmt.Sprintf("only %s were read after a write by another process (not %q)", got, example)
	if written == 0 {
		missing = "no write succeeded that a read could have missed"
	}
	m.rule(written > 0 && good == written, "every key is read after a write by another process", got, missing)
}

func (m *measure) nodes() []string {
	if m.o.Nodes != nil {
		return m.o.Nodes
	}
	return slices.DeleteFunc(slices.Clone(m.h.Nodes()), func(n string) bool { return n == "" })
}

// finals: every node answers a read after the last fault was healed.
func (m *measure) finals() {
	var heal time.Duration
	for _, s := range m.spans {
		heal = max(heal, s.End)
	}
	answered := map[string]bool{}
	for i := range m.h.Len() {
		if m.isRead(i) && m.h.Type(i) == history.OK && m.h.Invoke(i) >= heal {
			answered[m.h.Nodes()[m.h.NodeID(i)]] = true
		}
	}
	var silent []string
	for _, n := range m.nodes() {
		if !answered[n] {
			silent = append(silent, n)
		}
	}
	got := fmt.Sprintf("%d of %d nodes", len(m.nodes())-len(silent), len(m.nodes()))
	m.rule(len(silent) == 0, "every node answers a read after the last heal", got,
		"no final read succeeded on "+strings.Join(silent, ", "))
}
