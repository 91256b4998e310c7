package partition_test

import (
	"testing"

	"github.com/faultline-dev/faultline/nemesis/nemesistest"
	"github.com/faultline-dev/faultline/nemesis/partition"
)

func TestConformance(t *testing.T) {
	nemesistest.Run(t, partition.Fault())
}
