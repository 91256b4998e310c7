// Package clock makes nodes' clocks wrong: they jump, drift, or do so back and
// forth.
package clock

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// Fault is the fault.
func Fault() nemesis.Fault {
	return nemesis.Fault{
		Name: "clock",
		Doc:  "nodes' clocks are wrong; healing sets them right",
		Args: []nemesis.Arg{
			{Name: "jump", Doc: "ahead or back at once; options by and way"},
			{Name: "drift", Doc: "too fast or too slow; options rate and way"},
			{Name: "strobe", Doc: "ahead and right again, over and over; options by and every"},
		},
		Deck: func(int, bool) []string { return []string{"drift", "jump", "strobe"} },
		Options: append(nemesis.QuorumOptions(),
			options.Option{Name: "on", Doc: "which nodes", Kind: options.String, Default: "random", Values: targets()},
			options.Option{Name: "by", Doc: "how far a clock jumps", Kind: options.Duration, Default: "3s", Min: "1ms"},
			options.Option{Name: "rate", Doc: "how many times too fast a clock drifts, or too slow", Kind: options.Float, Default: "3", Min: "1.01", Max: "100"},
			options.Option{Name: "way", Doc: "ahead (and fast), back (and slow), or any by chance", Kind: options.String, Default: "any", Values: []string{"any", "ahead", "back"}},
			options.Option{Name: "every", Doc: "of strobe: from one change to the next", Kind: options.Duration, Default: "200ms", Min: "1ms"},
		),
		Color: "#ff9da6",
		Needs: needs,
		Start: start,
	}
}

func targets() []string {
	var words []string
	for _, a := range nemesis.TargetArgs() {
		words = append(words, a.Name)
	}
	return words
}

func needs(c cluster.Cluster, _ string, _ options.Values) error {
	if _, ok := c.(cluster.Clocks); !ok {
		return cluster.Missing(c, "set clocks")
	}
	if r, ok := c.(cluster.ClockRefuser); ok {
		return r.ClockFaults()
	}
	return nil
}

// wrong is a start of the fault.
type wrong struct {
	env    *nemesis.Env
	id     string
	form   string
	choice nemesis.Choice
	skew   map[string]cluster.Skew // by node
	moves  []cluster.Clock
	read   []string // what the system decides by those clocks
	every  time.Duration
	before map[string]time.Duration // offsets
	since  time.Duration
	strobe int                      // changes so far
	last   map[string]time.Duration // offsets measured just before healing
}

func start(ctx context.Context, env *nemesis.Env, step nemesis.Step) (nemesis.Active, error) {
	ask := step
	if ask.Arg = step.Opts["on"]; ask.Arg == "" {
		ask.Arg = "random"
	}
	choice, err := env.Choose(ctx, ask)
	if err != nil {
		return nil, err
	}
	w := &wrong{env: env, id: step.ID, form: step.Arg, choice: choice, every: options.Values(step.Opts).Duration("every")}
	if w.form == "" {
		w.form = "jump"
	}
	w.draw(step)
	w.aim()
	if w.before, err = env.Offsets(ctx, choice.Nodes); err != nil {
		return nil, err
	}
	w.since = env.Runtime.Now()
	return w, w.set(ctx)
}

// draw decides what happens to each clock.
func (w *wrong) draw(step nemesis.Step) {
	o, rng := options.Values(step.Opts), step.Rand()
	by, rate := o.Duration("by"), o.Float("rate")
	w.skew = map[string]cluster.Skew{}
	for _, n := range w.choice.Nodes {
		back := o["way"] == "back" || o["way"] != "ahead" && rng.IntN(2) == 0
		s := cluster.Skew{Offset: by, Rate: 1}
		if w.form == "drift" {
			s = cluster.Skew{Rate: rate}
		}
		if back {
			s.Offset = -s.Offset
			s.Rate = 1 / s.Rate
		}
		w.skew[n] = s
	}
}

// aim says which clocks go wrong, and what the system decides by them.
func (w *wrong) aim() {
	c, ok := w.env.Cluster.(cluster.Clocks)
	if !ok {
		return // Offsets will say so
	}
	for _, n := range w.choice.Nodes {
		for _, clock := range c.Moves(w.skew[n]) {
			if !slices.Contains(w.moves, clock) {
				w.moves = append(w.moves, clock)
			}
		}
	}
	for _, d := range w.env.Decisions {
		if slices.Contains(w.moves, d.Clock) {
			w.read = append(w.read, d.What)
		}
	}
}

// Relevant says whether any decision reads a clock that is wrong.
func (w *wrong) Relevant() bool { return w.env.Decisions == nil || len(w.read) > 0 }

func (w *wrong) set(ctx context.Context) error {
	var errs []error
	for _, n := range w.choice.Nodes {
		errs = append(errs, w.env.Skew(ctx, w.id, n, w.skew[n]))
	}
	return errors.Join(errs...)
}

// Drive strobes; other forms only last. At its end it measures how far the clocks
// have come, which says of a drift what the probe, early as it is, cannot.
func (w *wrong) Drive(ctx context.Context, until time.Duration) error {
	rt := w.env.Runtime
	for w.form == "strobe" && w.every > 0 && rt.Now()+w.every < until {
		if err := rt.Sleep(ctx, w.every); err != nil {
			return err
		}
		w.strobe++
		act := w.set
		if w.strobe%2 == 1 {
			act = w.Heal
		}
		if err := act(ctx); err != nil {
			return err
		}
	}
	if err := rt.Sleep(ctx, until-rt.Now()); err != nil {
		return err
	}
	var err error
	w.last, err = w.env.Offsets(ctx, w.choice.Nodes)
	return err
}

// Targets are the nodes whose clocks are wrong.
func (w *wrong) Targets() []string { return w.choice.Nodes }

// Probe asks the nodes for their time: each must be off by at least half of what
// it should be by now. Nodes that do not answer do not count, but one must.
func (w *wrong) Probe(ctx context.Context) (bool, any, error) {
	now, err := w.env.Offsets(ctx, w.choice.Nodes)
	if err != nil {
		return false, nil, err
	}
	passed := w.env.Runtime.Now() - w.since
	shown := 0
	for _, n := range w.choice.Nodes {
		at, ok := now[n]
		s := w.skew[n]
		want := s.Offset + time.Duration(float64(passed)*(s.Rate-1))
		off := at - w.before[n]
		if ok && (w.env.ClockHeldByOthers(w.id, n) || abs(want) >= time.Millisecond && abs(off) >= abs(want)/2) {
			shown++
		}
	}
	return shown > 0 && shown == len(now), w.evidence(now, "shown_on", shown), nil
}

func (w *wrong) evidence(now map[string]time.Duration, counted string, n int) map[string]any {
	e := map[string]any{"form": w.form, "clock": w.moves, "offset_ms": millis(now), counted: n}
	if w.env.Decisions != nil {
		e["decided_by_it"] = append([]string{}, w.read...)
	}
	if w.last != nil {
		e["offset_ms_before_heal"] = millis(w.last)
	}
	return w.choice.Evidence(e)
}

func millis(offsets map[string]time.Duration) map[string]any {
	ms := map[string]any{}
	for node, at := range offsets {
		ms[node] = float64(at.Microseconds()) / 1000
	}
	return ms
}

func abs(d time.Duration) time.Duration { return max(d, -d) }

// Heal sets the clocks right, as far as this fault is concerned.
func (w *wrong) Heal(ctx context.Context) error {
	var errs []error
	for _, n := range w.choice.Nodes {
		errs = append(errs, w.env.Unskew(ctx, w.id, n))
	}
	return errors.Join(errs...)
}

// Gone asks again: each clock is where it was before, give or take what measuring
// costs, but for those that other faults hold.
func (w *wrong) Gone(ctx context.Context) (bool, any, error) {
	now, err := w.env.Offsets(ctx, w.choice.Nodes)
	if err != nil {
		return false, nil, err
	}
	right := 0
	for n, at := range now {
		// A fault that ended meanwhile may have been the reason for what was before.
		off := min(abs(at-w.before[n]), abs(at))
		if w.env.ClockHeldByOthers(w.id, n) || off < 50*time.Millisecond {
			right++
		}
	}
	return right == len(now), w.evidence(now, "right_on", right), nil
}
