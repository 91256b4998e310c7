package checker

import (
	"context"
	"fmt"
	"time"

	"github.com/faultline-dev/faultline/history"
)

const (
	// growLeast is how many events must come before what there is is judged again;
	// growShare is the part of them by which a longer history must grow, so that all
	// judgements of it together cost about as much as growShare of the last.
	growLeast = 200
	growShare = 8
	// growTimeout bounds one judgement, which its caller waits for.
	growTimeout = 2 * time.Second
)

// Growing judges a history while it grows, for checkers that need the whole of it:
// what there is of it, again and again. What it returns takes each event in order;
// its error is the first violation, found when a history has grown by an eighth.
// Memory follows the history. It is not safe for concurrent use.
func Growing(ctx context.Context, checkers []Checker) func(history.Op) error {
	var events []history.Op
	next := growLeast
	return func(op history.Op) error {
		events = append(events, op)
		if len(events) < next {
			return nil
		}
		next = len(events) + max(growLeast, len(events)/growShare)
		return first(ctx, checkers, events)
	}
}

// first is the first violation among the events, in words.
func first(ctx context.Context, checkers []Checker, events []history.Op) error {
	h, err := history.Of(events...)
	if err != nil {
		return nil // the judge after the run says so
	}
	ctx, cancel := context.WithTimeout(ctx, growTimeout)
	defer cancel()
	for _, c := range checkers {
		if r := c.Check(ctx, h); r.Verdict == Invalid && len(r.Anomalies) > 0 {
			return fmt.Errorf("%s on %s", r.Anomalies[0].Name, r.Anomalies[0].Key)
		}
	}
	return nil
}
