package agent

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"
)

// TestEmulation: what netem is told is what all shapes of an address do together.
func TestEmulation(t *testing.T) {
	e := emulate([]Shape{
		{Delay: time.Second, Jitter: 3 * time.Millisecond, Loss: 0.5, Rate: 1000},
		{Delay: time.Millisecond, Jitter: 4 * time.Millisecond, Loss: 0.2, Duplicate: 0.1, Rate: 3000},
	})
	if e.delay != 1001*time.Millisecond || e.jitter != 5*time.Millisecond || math.Abs(e.rate-93.75) > 1e-6 ||
		math.Abs(e.loss-0.6) > 1e-9 || math.Abs(e.duplicate-0.1) > 1e-9 {
		t.Errorf("%+v", e)
	}
	const one = tableSize * 8413 / 10000 // so many lie below one sigma
	sigma, table := e.spread()
	at := func(i int) float64 { return float64(int16(binary.NativeEndian.Uint16(table[2*i:]))) / tableScale }
	if sigma != 5*time.Millisecond || len(table) != 2*tableSize || math.Abs(at(tableSize/2)) > 0.01 ||
		math.Abs(at(one)-1) > 0.01 || at(0) < -4 || at(tableSize-1) < 3.9 {
		t.Errorf("not the normal distribution: %v, %v to %v, one sigma is %v", sigma, at(0), at(tableSize-1), at(one))
	}
}

// TestEmulationReorders: so many packets wait once, or twice where two shapes ask.
func TestEmulationReorders(t *testing.T) {
	sigma, table := emulate([]Shape{{Reorder: 0.25}, {Reorder: 0.5}}).spread()
	times := map[int16]float64{}
	for b := range slices.Chunk(table, 2) {
		times[int16(binary.NativeEndian.Uint16(b))/tableScale] += 1.0 / tableSize
	}
	for i, want := range []float64{0.375, 0.5, 0.125} {
		if sigma != overtaken || math.Abs(times[int16(i)]-want) > 0.001 {
			t.Errorf("%v of the packets wait %d times %v, want %v", times[int16(i)], i, sigma, want)
		}
	}
}

// TestLanes: what netem does not do as it is meant is left to user space, and peers are
// not taken for clients.
func TestLanes(t *testing.T) {
	lanes, rest := lanesFor(wayIn, []string{"p", "q"}, []shaped{
		{"p", Shape{Delay: 1, Corrupt: 0.1}}, {"p", Shape{Reorder: 0.2}}, {"p", Shape{Jitter: 3}}, {Clients, Shape{Reorder: 0.3}},
	})
	want := []lane{
		{way: wayIn, addr: "p", shapes: []Shape{{Delay: 1}, {Jitter: 3}}},
		{way: wayIn, addr: Clients, shapes: []Shape{{Reorder: 0.3}}},
		{way: wayIn, addr: "q"},
	}
	if !slices.EqualFunc(lanes, want, lane.like) {
		t.Errorf("lanes %+v", lanes)
	}
	if !slices.Equal(rest, []shaped{{"p", Shape{Corrupt: 0.1}}, {"p", Shape{Reorder: 0.2}}}) {
		t.Errorf("left to user space: %+v", rest)
	}
	for _, s := range []Shape{{Delay: 1, Jitter: maxJitter + 1}, {Delay: 1, Rate: minRate - 1}} {
		if lanes, rest := lanesFor(wayIn, nil, []shaped{{"p", s}}); len(lanes) != 0 || len(rest) != 1 {
			t.Errorf("netem cannot count %+v", s)
		}
	}
}
