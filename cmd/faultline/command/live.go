package command

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultline-dev/faultline"
)

// liveView tells how far a run has come: one line that is rewritten on a
// terminal, a line every few seconds elsewhere.
type liveView struct {
	env   *Env
	quiet bool
	last  faultline.Snapshot
	said  time.Duration
	open  bool // a line on the terminal is unfinished
}

func newLiveView(env *Env, a asked) *liveView { return &liveView{env: env, quiet: a.quiet || a.json} }

// plainEvery is how often progress is told where lines cannot be rewritten.
const plainEvery = 5 * time.Second

func (v *liveView) update(s faultline.Snapshot) {
	if v.quiet {
		return
	}
	fresh := s.Stage != v.last.Stage
	if !v.env.Terminal && !fresh && s.Elapsed-v.said < plainEvery {
		return
	}
	line := v.line(s)
	if v.env.Terminal {
		fmt.Fprintf(v.env.Stderr, "\r\x1b[K%s", line)
		v.open = true
	} else {
		fmt.Fprintln(v.env.Stderr, line)
	}
	v.last, v.said = s, s.Elapsed
}

func (v *liveView) line(s faultline.Snapshot) string {
	if s.OK+s.Fail+s.Info == 0 {
		return fmt.Sprintf("%-6s %5.1fs", s.Stage, s.Elapsed.Seconds())
	}
	rate := 0.0
	if d := s.Elapsed - v.last.Elapsed; d > 0 && s.Stage == v.last.Stage {
		rate = float64(s.OK+s.Fail+s.Info-v.last.OK-v.last.Fail-v.last.Info) / d.Seconds()
	}
	text := fmt.Sprintf("%-6s %5.1fs  %7.0f ops/s  ok %d  fail %d  info %d", s.Stage, s.Elapsed.Seconds(), rate, s.OK, s.Fail, s.Info)
	if len(s.Faults) > 0 {
		text += "  faults now: " + strings.Join(s.Faults, ", ")
	}
	return text
}

func (v *liveView) close() {
	if v.open {
		fmt.Fprintln(v.env.Stderr)
		v.open = false
	}
}
