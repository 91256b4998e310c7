package kill_test

import (
	"testing"

	"github.com/faultline-dev/faultline/nemesis/kill"
	"github.com/faultline-dev/faultline/nemesis/nemesistest"
)

func TestConformance(t *testing.T) {
	nemesistest.Run(t, kill.Fault())
}
