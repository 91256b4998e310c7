package command

import (
	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/reports/live"
)

// liveView tells how far a run has come, unless it is to be quiet.
type liveView struct{ view *live.View }

func newLiveView(env *Env, a asked) *liveView {
	if a.quiet || a.json {
		return &liveView{}
	}
	return &liveView{live.New(env.Stderr, env.Terminal)}
}

func (v *liveView) update(s faultline.Snapshot) {
	if v.view == nil {
		return
	}
	v.view.Update(live.Snapshot{
		Stage: s.Stage, Elapsed: s.Elapsed, Total: s.Total, OK: s.OK, Fail: s.Fail, Info: s.Info,
		Faults: s.Faults, Latency: s.Latency, Errors: s.Errors,
	})
}

func (v *liveView) close() {
	if v.view != nil {
		v.view.Close()
	}
}
