// Package clock makes the clocks of other processes wrong, without touching the
// machine's: it patches their private copies of the vDSO, through which programs
// in C, Go and on the JVM ask for the time.
//
// It runs in a container of its own in the pid namespace of the processes, with
// the one capability to trace them. The real-time clock is moved and bent, the
// monotonic one is bent only, and never goes backwards. What the kernel itself
// measures stays right: timers, and how long a thread sleeps.
package clock

import (
	"encoding/binary"
	"math/bits"
)

// one is the rate at which time passes.
const one = int64(1) << 32

// lineSize is what a Line takes in memory.
const lineSize = 4 * 8

// Line is a clock as a function of the right one, in nanoseconds:
// max(Floor, At + max(0, now-Base)·Rate/2³²).
type Line struct {
	Base, At, Rate, Floor int64
}

// right is the line of a clock that is right.
func right() Line { return Line{Rate: one} }

// read is what the clock shows when the right one shows now; the same as the stub
// computes.
func (l Line) read(now int64) int64 {
	hi, lo := bits.Mul64(uint64(max(0, now-l.Base)), uint64(l.Rate))
	return max(l.Floor, l.At+int64(hi<<32|lo>>32))
}

// Face is what clocks a process sees.
type Face struct {
	Real, Mono Line
}

func (f Face) encode() []byte {
	var b []byte
	for _, l := range []Line{f.Real, f.Mono} {
		for _, v := range []int64{l.Base, l.At, l.Rate, l.Floor} {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	return b
}

func decode(b []byte) Face {
	var f Face
	for i, l := range []*Line{&f.Real, &f.Mono} {
		for j, v := range []*int64{&l.Base, &l.At, &l.Rate, &l.Floor} {
			*v = int64(binary.LittleEndian.Uint64(b[i*lineSize+j*8:]))
		}
	}
	return f
}

// Skew is how clocks are to be wrong.
type Skew struct {
	Offset int64 `json:"offset"` // nanoseconds ahead, at Since
	// Rate is how fast time passes from then on, 1 as it does.
	Rate float64 `json:"rate"`
	// Since is when, by the machine's clock; 0 for now.
	Since int64 `json:"since,omitempty"`
}

// neutral says whether the clocks are to be right.
func (s Skew) neutral() bool { return s.Offset == 0 && s.Rate == 1 }

func (s Skew) rate() int64 { return int64(s.Rate * float64(one)) }

// face is what a process is to see that saw before, when its monotonic clock
// showed mono; bend says whether that may be bent.
func (s Skew) face(before Face, mono int64, bend bool) Face {
	f := Face{Real: right(), Mono: before.Mono}
	if !s.neutral() {
		f.Real = Line{Base: s.Since, At: s.Since + s.Offset, Rate: s.rate()}
	}
	rate := one
	if bend {
		rate = s.rate()
	}
	if before.Mono.Rate == rate {
		return f
	}
	// From what it shows now on, so that it never goes backwards. When its rate is
	// right again it stays ahead or behind: only differences of it mean anything.
	shows := before.Mono.read(mono)
	f.Mono = Line{Base: mono, At: shows, Rate: rate, Floor: shows}
	return f
}
