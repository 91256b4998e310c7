package pause_test

import (
	"testing"

	"github.com/faultline-dev/faultline/nemesis/nemesistest"
	"github.com/faultline-dev/faultline/nemesis/pause"
)

func TestConformance(t *testing.T) {
	nemesistest.Run(t, pause.Fault())
}
