package packet_test

import (
	"testing"

	"github.com/faultline-dev/faultline/nemesis/nemesistest"
	"github.com/faultline-dev/faultline/nemesis/packet"
)

func TestConformance(t *testing.T) {
	for _, f := range packet.Faults() {
		t.Run(f.Name, func(t *testing.T) { nemesistest.Run(t, f) })
	}
}
