package clock

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	jumpSize = 5
	// tries and tryPause: a thread may stand inside of what is to be replaced.
	tries    = 50
	tryPause = time.Millisecond
	// mostSize bounds a vDSO.
	mostSize = 1 << 20
)

// errBusy says that a thread stands where the jump is to be.
var errBusy = errors.New("a thread is just asking for the time")

// supported says why clocks cannot be skewed here, or nil.
func supported() error { return nil }

// process is one whose clocks are to be wrong.
type process struct {
	pid   int
	vdso  uint64 // where it is
	at    uint64 // where the stub is, 0 while there is none
	image []byte // of the vDSO
	java  bool
}

// find looks for the vDSO of a process, and the stub in it.
func find(pid int) (*process, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, java: bytes.Contains(maps, []byte("/libjvm.so"))}
	var end uint64
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x", &p.vdso, &end); err != nil {
				return nil, fmt.Errorf("clock: maps of process %d: %w", pid, err)
			}
		}
	}
	if p.vdso == 0 || end-p.vdso > mostSize {
		return nil, fmt.Errorf("clock: process %d has no vDSO", pid)
	}
	p.image = make([]byte, end-p.vdso)
	if err := readMemory(pid, p.vdso, p.image); err != nil {
		return nil, fmt.Errorf("clock: read the vDSO of process %d: %w", pid, err)
	}
	if i := bytes.Index(p.image, []byte(magic)); i >= 0 {
		p.at = p.vdso + uint64(i)
	}
	return p, nil
}

// still says whether the process is the one that was found, with the stub in it:
// it may have executed another program since.
func (p *process) still() bool {
	b := make([]byte, len(magic))
	return p.at != 0 && readMemory(p.pid, p.at, b) == nil && string(b) == magic
}

// face is what clocks the process sees, and in which slot that is.
func (p *process) face() (Face, int, error) {
	b := make([]byte, atCode)
	if err := readMemory(p.pid, p.at, b); err != nil {
		return Face{}, 0, err
	}
	slot := int(b[atSelector]) % slotCount
	return decode(b[atSlots+slot*slotSize:]), slot, nil
}

// set makes the clocks of the process wrong.
func (p *process) set(s Skew) error {
	var err error
	for range tries {
		if err = stopped(p.pid, func(t *traced) error { return p.change(t, s) }); !errors.Is(err, errBusy) {
			break
		}
		time.Sleep(tryPause)
	}
	if err != nil {
		return fmt.Errorf("clock: process %d: %w", p.pid, err)
	}
	return nil
}

// change sets the clocks while the process stands still.
func (p *process) change(t *traced, s Skew) error {
	if p.at == 0 {
		if err := p.patch(t); err != nil {
			return err
		}
	}
	before, slot, err := p.face()
	if err != nil {
		return err
	}
	mono := nanos(unix.CLOCK_MONOTONIC)
	next := (slot + 1) % slotCount
	if err := t.write(p.at+atSlots+uint64(next*slotSize), s.face(before, mono, !p.java).encode()); err != nil {
		return err
	}
	return t.write(p.at+atSelector, []byte{byte(next)})
}

// patch puts the stub into the unused end of the vDSO, and jumps to it where its
// functions begin.
func (p *process) patch(t *traced) error {
	code := stub()
	cave := (len(p.image) - len(code)) &^ 15
	if cave < 0 || len(bytes.Trim(p.image[cave:], "\x00")) > 0 {
		return fmt.Errorf("its vDSO of %d bytes has no room for a stub of %d", len(p.image), len(code))
	}
	jumps, err := p.jumps(cave)
	if err != nil {
		return err
	}
	for tid := range t.signals {
		var r unix.PtraceRegsAmd64
		if err := unix.PtraceGetRegsAmd64(tid, &r); err != nil {
			return err
		}
		for at := range jumps {
			if r.Rip > at && r.Rip < at+jumpSize {
				return errBusy
			}
		}
	}
	if err := t.write(p.vdso+uint64(cave), code); err != nil {
		return fmt.Errorf("write to the vDSO: %w", err)
	}
	for at, jump := range jumps {
		if err := t.write(at, jump); err != nil {
			return fmt.Errorf("write to the vDSO: %w", err)
		}
	}
	p.at = p.vdso + uint64(cave)
	return nil
}

// jumps are the instructions that lead from each function of the vDSO to the stub,
// by where they go.
func (p *process) jumps(cave int) (map[uint64][]byte, error) {
	e, err := elf.NewFile(bytes.NewReader(p.image))
	if err != nil {
		return nil, fmt.Errorf("its vDSO: %w", err)
	}
	symbols, err := e.DynamicSymbols()
	if err != nil {
		return nil, fmt.Errorf("its vDSO: %w", err)
	}
	out := map[uint64][]byte{}
	want := functions()
	for _, s := range symbols {
		to, ok := want[s.Name]
		if !ok || s.Size < jumpSize {
			continue
		}
		jump := binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(int32(cave+to-int(s.Value)-jumpSize)))
		out[p.vdso+s.Value] = jump
	}
	if len(out) != len(want) {
		return nil, fmt.Errorf("its vDSO has %d of %d functions", len(out), len(want))
	}
	return out, nil
}

// entered says whether the functions of the vDSO lead to the stub and the stub is
// ours, as read from the process.
func (p *process) entered() (bool, error) {
	now := make([]byte, len(p.image))
	if err := readMemory(p.pid, p.vdso, now); err != nil {
		return false, err
	}
	cave := int(p.at - p.vdso)
	jumps, err := p.jumps(cave)
	if err != nil {
		return false, err
	}
	for at, jump := range jumps {
		if !bytes.HasPrefix(now[at-p.vdso:], jump) {
			return false, nil
		}
	}
	return bytes.HasPrefix(now[cave+atCode:], stub()[atCode:]), nil
}

// ahead is by how much the process' clock is ahead, in nanoseconds: what the code
// and the data in its memory make of the time now.
func (p *process) ahead() (int64, error) {
	if p.at == 0 {
		return 0, nil
	}
	ok, err := p.entered()
	if err != nil || !ok {
		return 0, err
	}
	f, _, err := p.face()
	if err != nil {
		return 0, err
	}
	now := nanos(unix.CLOCK_REALTIME)
	return f.Real.read(now) - now, nil
}

// nanos reads a clock of the machine.
func nanos(which int32) int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(which, &t) // cannot fail for these
	return t.Nano()
}

func realtime() int64 { return nanos(unix.CLOCK_REALTIME) }
