package linear

import (
	"fmt"
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/history"
)

func TestHistories(t *testing.T) {
	checkertest.Run(t, "testdata", func(command string) checker.Checker {
		if command == "check" {
			return New(Options{Model: model.CASRegister()})
		}
		spec, err := model.Named(command)
		if err != nil {
			return nil
		}
		return New(Options{Model: spec})
	})
}

// TestEveryKeyExplained: each engine explains every key that violates, up to the bound.
func TestEveryKeyExplained(t *testing.T) {
	t.Parallel()
	var rows []checkertest.Row
	for k := range int64(12) {
		for n, f := range []string{"write", "write", "read"} { // 1, 2, and 1 again
			r := checkertest.Row{Invoke: 100*k + 10*int64(n), Return: 100*k + 10*int64(n) + 5, Type: history.OK, F: f, Key: fmt.Sprint("k", k), In: int64(n + 1)}
			if f == "read" {
				r.In, r.Out = nil, int64(1)
			}
			rows = append(rows, r)
		}
	}
	h := checkertest.History(rows)
	for _, name := range []string{Fast, Search, Porcupine} {
		if r := engine(h, model.Register(), name); len(r.Anomalies) != 12 {
			t.Errorf("%s: %v, %d of 12 keys explained", name, r.Verdict, len(r.Anomalies))
		}
	}
}
