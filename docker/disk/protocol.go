// Package disk makes the disk of a database fail. Its supervisor runs in the
// database's own container, as its first process: it mounts a file system of its
// own over the folder with the data, keeps the data elsewhere, and starts the
// database as its child. So it sees every write and every sync, and can lose, at a
// power cut, what was not synced, or fail, spoil and delay what is asked of it.
//
// What is durable. A write is when a sync of its file that began after it has
// ended; a change of a folder (a file made, removed or renamed) when a sync of
// anything that began after it has, as with the journals of ext4 and XFS, which
// keep the order of such changes. What is older than half a minute is taken for
// written back, as kernels do. Mapped memory counts when it is written back, or
// synced; sync(2) and syncfs(2) do not reach the file system and make nothing
// durable. Torn writes end between two sectors of 512 bytes, never inside of one.
package disk

import "github.com/faultline-dev/faultline/cluster"

// Where things are in the container.
const (
	// Folder is for a volume: the data, what was removed and may come back, and
	// what faults did.
	Folder = "/.faultline"
	// StateFile has the Damage so far, also when the supervisor runs no more.
	StateFile = Folder + "/damage.json"
	filesDir  = "files"
	trashDir  = "trash"
	stateName = "damage.json"
)

// The operations of a Request.
const (
	OpFaults = "faults" // what is wrong from now on is Faults
	OpDamage = "damage" // say what was done so far
	OpPower  = "power"  // cut the power: kill everything, lose what was not synced, and end
)

// Request asks the supervisor for something; its answer is a cluster.Damage.
type Request struct {
	Op     string         `json:"op"`
	Faults []cluster.Disk `json:"faults,omitempty"`
	// Torn leaves, at a power cut, all that was written but a part of the last write.
	Torn bool `json:"torn,omitempty"`
}

// powerLost is the exit code after a power cut, as of any killed process.
const powerLost = 137
