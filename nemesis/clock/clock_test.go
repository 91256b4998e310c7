package clock_test

import (
	"testing"

	"github.com/faultline-dev/faultline/nemesis/clock"
	"github.com/faultline-dev/faultline/nemesis/nemesistest"
)

func TestConformance(t *testing.T) {
	nemesistest.Run(t, clock.Fault())
}
