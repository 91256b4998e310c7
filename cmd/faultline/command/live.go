package command

import (
	"sync"

	"github.com/faultline-dev/faultline"
	"github.com/faultline-dev/faultline/reports/live"
)

// liveView tells how far a run has come, unless it is to be quiet.
type liveView struct {
	env  *Env
	mu   sync.Mutex // stages are entered by others than the one who watches
	view *live.View
}

func newLiveView(env *Env, a asked) *liveView {
	if a.quiet || a.json {
		return &liveView{}
	}
	return &liveView{env: env, view: live.New(env.Stderr, env.Terminal)}
}

func (v *liveView) update(s faultline.Snapshot) {
	if v.view == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	columns, _ := v.env.size()
	v.view.SetWidth(columns)
	v.view.Update(live.Snapshot{
		Stage: s.Stage, Elapsed: s.Elapsed, Total: s.Total, OK: s.OK, Fail: s.Fail, Info: s.Info,
		Faults: s.Faults, Latency: s.Latency, Errors: s.Errors,
	})
}

func (v *liveView) close() {
	if v.view != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.view.Close()
	}
}
