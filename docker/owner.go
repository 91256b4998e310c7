package docker

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The labels on everything that is made in an engine.
const (
	LabelRun   = "faultline"       // the run's id
	LabelPID   = "faultline.pid"   // who made it
	LabelStart = "faultline.start" // when that process started, since a pid comes again
	LabelBoot  = "faultline.boot"  // the machine's boot id and the pid namespace
	// LabelRole is node, agent or janitor.
	LabelRole = "faultline.role"
	// LabelNode is the node's name.
	LabelNode = "faultline.node"
)

// Owner is the process that made something in an engine.
type Owner struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since the boot
	Boot  string `json:"boot"`  // "" where it cannot be known
}

// Self is this process.
func Self() Owner {
	o := Owner{PID: os.Getpid()}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return o
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return o
	}
	if o.Start, err = startOf(o.PID); err != nil {
		return o
	}
	o.Boot = strings.TrimSpace(string(boot)) + "/" + ns
	return o
}

// startOf is when a process started, as /proc says.
func startOf(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the command in parentheses, which may hold anything.
	const startField = 22 - 3 // of those after the command
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) <= startField {
		return "", fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	return fields[startField], nil
}

// labels are those of everything that o makes for a run.
func (o Owner) labels(run, role, node string) map[string]string {
	l := map[string]string{
		LabelRun: run, LabelPID: strconv.Itoa(o.PID), LabelStart: o.Start, LabelBoot: o.Boot, LabelRole: role,
	}
	if node != "" {
		l[LabelNode] = node
	}
	return l
}

// ownerOf reads labels back.
func ownerOf(labels map[string]string) Owner {
	pid, err := strconv.Atoi(labels[LabelPID])
	if err != nil {
		return Owner{}
	}
	return Owner{PID: pid, Start: labels[LabelStart], Boot: labels[LabelBoot]}
}

// Fate says what is known about an owner.
type Fate string

const (
	// Alive is a fate: it is a process of this machine that runs.
	Alive Fate = "alive"
	// Gone is a fate: it was a process of this machine, since this boot, and runs no more.
	Gone Fate = "gone"
	// Unknown is a fate: it belongs to another machine, boot or container, since engines are
	// shared.
	Unknown Fate = "unknown"
)

// Fate looks whether the owner still lives.
func (o Owner) Fate() Fate {
	me := Self()
	if me.Boot == "" || o.Boot != me.Boot || o.PID <= 0 || o.Start == "" {
		return Unknown
	}
	start, err := startOf(o.PID)
	switch {
	case err == nil && start == o.Start:
		return Alive
	case err == nil, os.IsNotExist(err):
		return Gone
	default:
		return Unknown
	}
}
