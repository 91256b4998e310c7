package disk_test

import (
	"testing"

	"github.com/faultline-dev/faultline/nemesis/disk"
	"github.com/faultline-dev/faultline/nemesis/nemesistest"
)

func TestConformance(t *testing.T) {
	nemesistest.Run(t, disk.Fault())
}
