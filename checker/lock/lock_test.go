package lock_test

import (
	"testing"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/checkertest"
	"github.com/faultline-dev/faultline/checker/lock"
)

func TestHistories(t *testing.T) {
	checkertest.Run(t, "testdata", func(command string) checker.Checker {
		switch command {
		case "exclusion", "fenced-data":
			return lock.New(lock.Options{Promise: lock.Promise(command)})
		case "within-lease":
			return lock.New(lock.Options{Promise: lock.WithinLease})
		}
		return nil
	})
}
