// Package all lists the faults that come with faultline. Others are added by
// passing a longer slice to whatever takes faults.
package all

import (
	"slices"

	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/nemesis/clock"
	"github.com/faultline-dev/faultline/nemesis/disk"
	"github.com/faultline-dev/faultline/nemesis/kill"
	"github.com/faultline-dev/faultline/nemesis/member"
	"github.com/faultline-dev/faultline/nemesis/packet"
	"github.com/faultline-dev/faultline/nemesis/partition"
	"github.com/faultline-dev/faultline/nemesis/pause"
	"github.com/faultline-dev/faultline/nemesis/restart"
)

// All are the faults, in the order in which people are shown them.
func All() []nemesis.Fault {
	return slices.Concat(
		[]nemesis.Fault{partition.Fault(), kill.Fault(), pause.Fault()},
		restart.Faults(),
		packet.Faults(),
		[]nemesis.Fault{clock.Fault(), disk.Fault(), member.Fault()},
	)
}
