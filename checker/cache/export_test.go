package cache

import (
	"context"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/history"
)

// Exact is the search alone, without the rules over windows.
func Exact(ctx context.Context, h *history.History, o Options) checker.Result {
	found, _ := checker.Find(h, "search", o.MaxAnomalies)
	j := &judgement{found, h, o}
	keys, err := j.read()
	if err != nil {
		return checker.Result{Reason: err.Error()}
	}
	j.exact(ctx, keys)
	return j.Done()
}
