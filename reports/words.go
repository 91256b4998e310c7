package reports

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/reports/plain"
)

// Sentence is the verdict in one sentence for people.
func Sentence(r Results) string {
	switch {
	case r.Error != "":
		return "Could not test " + subject(r) + ": " + strings.TrimSuffix(r.Error, ".") + "."
	case r.Verdict == checker.Invalid:
		weak := ""
		if r.Ladder["causal"] == checker.Invalid {
			weak = "; it is not even causal"
		}
		return fmt.Sprintf("%s did what it must not: %s in %s%s%s.",
			subject(r), anomalyWords(r), plural(r.Ops.Total, "operation"), under(r), weak)
	case r.Verdict == checker.Valid:
		return fmt.Sprintf("No anomaly of %s in %s%s%s.",
			subject(r), plural(r.Ops.Total, "operation"), under(r), proven(r))
	}
	return fmt.Sprintf("Nothing can be said about %s: %s.", subject(r), strings.TrimSuffix(unknownWhy(r), "."))
}

func subject(r Results) string {
	s := r.System
	if s == "" {
		s = "the recorded system"
	}
	if r.Version != "" {
		s += " " + r.Version
	}
	return s
}

func anomalyWords(r Results) string {
	if len(r.Anomalies) == 0 {
		return "an anomaly"
	}
	counts := r.AnomalyCounts()
	var words []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] == 1 {
			words = append(words, name)
		} else {
			words = append(words, fmt.Sprintf("%s (%s times)", name, thousands(counts[name])))
		}
	}
	return list(words)
}

// under is " under partition and kill", or nothing without faults.
func under(r Results) string {
	names := asKinds(r.Nemesis)
	if len(names) == 0 {
		return ""
	}
	return " under " + list(names)
}

// asKinds are the faults that were asked for, also where several share a string.
func asKinds(nemesis []string) []string {
	var names []string
	for n := range strings.SplitSeq(strings.Join(nemesis, ","), ",") {
		if n != "" && n != "none" {
			names = append(names, n)
		}
	}
	return names
}

func proven(r Results) string {
	if len(r.Faults) == 0 {
		return ""
	}
	for _, f := range r.Faults {
		if !f.Bit || !f.Healed || f.Relevant != nil {
			return ""
		}
	}
	if len(r.Faults) == 1 {
		return "; the one fault provably bit and healed"
	}
	if len(r.Faults) == 2 {
		return "; both faults provably bit and healed"
	}
	return fmt.Sprintf("; all %d faults provably bit and healed", len(r.Faults))
}

// unknownWhy is the first reason there is for an unknown verdict.
func unknownWhy(r Results) string {
	if r.Reason != "" {
		return r.Reason
	}
	if r.Ops.Total > 0 && r.Ops.OK == 0 {
		return fmt.Sprintf("none of its %s succeeded", plural(r.Ops.Total, "operation"))
	}
	if n := len(r.Power.Missing); n > maxMissing {
		return strings.Join(r.Power.Missing[:maxMissing], "; ") + fmt.Sprintf("; and %d more", n-maxMissing)
	} else if n > 0 {
		return strings.Join(r.Power.Missing, "; ")
	}
	for _, c := range r.Checks {
		if c.Verdict == checker.Unknown && c.Reason != "" {
			return c.Checker + ": " + c.Reason
		}
	}
	return "no checker came to a verdict"
}

// maxMissing bounds what a sentence names of all that a run lacked.
const maxMissing = 2

// upper is s with its first letter as a sentence begins, unless the first word is
// more than a word: a name must stay as it is.
func upper(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if strings.ContainsFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }) || word == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	switch {
	case strings.HasSuffix(what, "y") && !strings.HasSuffix(what, "ey"):
		what = strings.TrimSuffix(what, "y") + "ie"
	case strings.HasSuffix(what, "s"), strings.HasSuffix(what, "sh"):
		what += "e"
	}
	return thousands(n) + " " + what + "s"
}

// thousands is n with a comma for every thousand.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short is a time in at most four digits and a unit.
func short(d time.Duration) string {
	switch {
	case d == history.Forever:
		return "?"
	case d < 0:
		return "-" + short(-d)
	case d == 0:
		return "0 s"
	case d < time.Microsecond:
		return strconv.Itoa(int(d)) + " ns"
	case d < time.Millisecond:
		return digits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 10*time.Minute:
		return digits(d.Seconds()) + " s"
	}
	return d.Round(time.Second).String()
}

func digits(f float64) string {
	switch {
	case f < 10:
		return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(f, 'f', 2, 64), "0"), ".")
	case f < 100:
		return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// clock is a moment of the run: seconds, to the millisecond.
func clock(d time.Duration) string {
	if d == history.Forever {
		return "?"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) + " s"
}

func percent(f float64) string {
	s := strconv.FormatFloat(100*f, 'f', 1, 64)
	if s == "100.0" && f < 1 {
		s = "99.9"
	}
	return strings.TrimSuffix(s, ".0") + " %"
}

func bytesWords(n int64) string {
	const k = 1 << 10
	switch {
	case n < k:
		return strconv.FormatInt(n, 10) + " B"
	case n < k*k:
		return digits(float64(n)/k) + " KiB"
	case n < k*k*k:
		return digits(float64(n)/(k*k)) + " MiB"
	}
	return digits(float64(n)/(k*k*k)) + " GiB"
}

// maxValue bounds a value in a sentence or drawing, in runes; the whole one
// stands in the raw event.
const maxValue = 40

// value is v as people read it in a line.
func value(v any) string {
	if v == nil {
		return "nothing"
	}
	if s, ok := v.(string); ok && s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
		return plain.Clip(s, maxValue)
	}
	return plain.Clip(compact(v), maxValue)
}

// compact is v as JSON in a line, < and > left as they are.
func compact(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// asked is what an operation asked for: "write 17", "cas 17 → 18".
func asked(o history.Operation) string {
	switch in := o.In.(type) {
	case nil:
		return o.F
	case []any:
		if o.F == "cas" && len(in) == 2 {
			return "cas " + value(in[0]) + " → " + value(in[1])
		}
	case map[string]any:
		if v, ok := in["v"]; ok && o.F == "set" {
			if ttl, ok := in["ttl_ns"].(int64); ok {
				return "set " + value(v) + " for " + short(time.Duration(ttl))
			}
		}
		return strings.TrimSpace(o.F + " " + fieldWords(in, nil))
	}
	return o.F + " " + value(o.In)
}

// came is what came of an operation: "17", "ok", "failed", "unknown".
func came(o history.Operation) string {
	switch o.Type {
	case history.Fail:
		if o.Observed != nil {
			return "failed, saw " + value(o.Observed.Value)
		}
		return "failed"
	case history.Info, history.Invoke:
		return "unknown"
	case history.OK:
	}
	if m, ok := o.Out.(map[string]any); ok {
		in, _ := o.In.(map[string]any)
		return cmp.Or(fieldWords(m, in), "ok")
	}
	if asksBack(o) {
		return value(o.Out)
	}
	return "ok"
}

// asksBack says whether the completion's value tells something that the
// invocation's did not.
func asksBack(o history.Operation) bool {
	switch o.F {
	case "read", "get", "dequeue", "contains":
		return true
	}
	return o.Out != nil && value(o.Out) != value(o.In)
}

// maxFields bounds the fields of a value that are told in a line.
const maxFields = 6

// fieldWords tells the fields of a value, but those that known has alike: "token 4,
// for 500 ms".
func fieldWords(m, known map[string]any) string {
	var parts []string
	first := []string{"read", "write", "owner", "token"}
	names := slices.Concat(first, slices.DeleteFunc(slices.Sorted(maps.Keys(m)), func(k string) bool { return slices.Contains(first, k) }))
	for _, k := range names {
		v, ok := m[k]
		if was, same := known[k]; !ok || same && compact(was) == compact(v) {
			continue
		}
		n, isInt := v.(int64)
		switch {
		case len(parts) == maxFields:
			return strings.Join(parts, ", ") + ", …"
		case isInt && (k == "lease_ns" || k == "ttl_ns"):
			parts = append(parts, "for "+short(time.Duration(n)))
		case isInt && strings.HasSuffix(k, "_ns"):
			parts = append(parts, strings.TrimSuffix(k, "_ns")+" "+short(time.Duration(n)))
		default:
			parts = append(parts, plain.Clip(k, 18)+" "+plain.Clip(value(v), 18))
		}
	}
	return strings.Join(parts, ", ")
}
