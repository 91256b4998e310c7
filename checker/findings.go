package checker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// MaxAnomalies is how many anomalies of each name a checker tells unless it is
// told otherwise.
const MaxAnomalies = 16

// Findings collect what a checker finds in a history: the frame of a check that
// goes through it once and tells the first few anomalies of each name.
type Findings struct {
	Result

	h    *history.History
	most int
	told map[string]int
}

// Find begins the check of h by the named engine, which tells at most so many
// anomalies of each name (0 for MaxAnomalies). The figures stand in the result
// also where they stay zero. It returns false where there is nothing to judge.
func Find(h *history.History, engine string, most int, figures ...string) (*Findings, bool) {
	f := &Findings{h: h, most: most, told: map[string]int{}}
	if most == 0 {
		f.most = MaxAnomalies
	}
	f.Result = Result{Verdict: Valid, Engine: engine, Ops: h.Len(), Figures: map[string]float64{}}
	for _, name := range figures {
		f.Figures[name] = 0
	}
	if h.Len() == 0 {
		f.Unknown("the history has no operations")
		return f, false
	}
	return f, true
}

// Unknown ends the check without a verdict.
func (f *Findings) Unknown(why string) { f.Verdict, f.Reason = Unknown, why }

// Add counts an anomaly, and tells it if there is room. Its witness are the given
// operation numbers, in any order and more than once; negative ones stand for none.
func (f *Findings) Add(a Anomaly, ops ...int) {
	f.Verdict = Invalid
	f.told[a.Name]++
	if f.told[a.Name] > f.most {
		return
	}
	for _, i := range ops {
		if i >= 0 {
			a.Ops = append(a.Ops, f.h.Index(i))
		}
	}
	slices.Sort(a.Ops)
	a.Ops = slices.Compact(a.Ops)
	f.Anomalies = append(f.Anomalies, a)
}

// Done is the result, its anomalies in the order of their times.
func (f *Findings) Done() Result {
	slices.SortStableFunc(f.Anomalies, func(a, b Anomaly) int { return cmp.Compare(a.Time, b.Time) })
	return f.Result
}

// At is a moment or a length of time in words: in seconds, or milliseconds if it is
// less than one.
func At(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
	return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
}
