package restart_test

import (
	"testing"

	"github.com/faultline-dev/faultline/nemesis/nemesistest"
	"github.com/faultline-dev/faultline/nemesis/restart"
)

func TestConformance(t *testing.T) {
	for _, f := range restart.Faults() {
		t.Run(f.Name, func(t *testing.T) { nemesistest.Run(t, f) })
	}
}
