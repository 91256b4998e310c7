package member_test

import (
	"testing"

	"github.com/faultline-dev/faultline/nemesis/member"
	"github.com/faultline-dev/faultline/nemesis/nemesistest"
)

func TestConformance(t *testing.T) {
	nemesistest.Run(t, member.Fault())
}
