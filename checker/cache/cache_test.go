package cache_test

import (
	"testing"
	"time"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/checker/cache"
	"github.com/faultline-dev/faultline/checker/checkertest"
)

func TestHistories(t *testing.T) {
	checkertest.Run(t, "testdata", func(command string) checker.Checker {
		switch command {
		case "both":
			return cache.New(cache.Options{Earliest: true, Latest: true, Tolerance: 2 * time.Millisecond})
		case "earliest":
			return cache.New(cache.Options{Earliest: true})
		}
		return nil
	})
}
