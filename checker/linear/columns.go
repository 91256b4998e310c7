package linear

import (
	"math"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// Codes of operations as the register engine sees them.
const (
	dropped  uint8 = 0
	reading  uint8 = 1
	writing  uint8 = 2
	swapping uint8 = 4  // a compare-and-set that succeeded, or may have
	failing  uint8 = 8  // one that failed and says that the value was another
	alien    uint8 = 16 // something that registers don't know
	open     uint8 = 32 // or it: its fate is unknown
)

// never is the stamp of a return that did not come.
const never = math.MaxInt32

// columns are the operations of one part or of several, side by side. Stamps
// are places in the order of time in which invocations come before returns of
// the same moment: operation a precedes b iff ret[a] < inv[b].
type columns struct {
	inv, ret []int32
	code     []uint8
	// read and written are the values, of which value chooses; one slice where the
	// columns are not the history's own.
	read, written []history.Value
	// from is what compare-and-sets expect; nil without any.
	from []history.Value
}

const columnBytes = 4 + 4 + 1 + 8

// value is the value that operation k read or wrote, or the one that a failed
// compare-and-set says was not there.
func (c *columns) value(k int) history.Value {
	if c.code[k] == reading {
		return c.read[k]
	}
	return c.written[k]
}

// part are the columns of operations lo to hi.
func (c *columns) part(lo, hi int) columns {
	p := columns{inv: c.inv[lo:hi:hi], ret: c.ret[lo:hi:hi], code: c.code[lo:hi:hi], read: c.read[lo:hi:hi], written: c.written[lo:hi:hi]}
	if c.from != nil {
		p.from = c.from[lo:hi:hi]
	}
	return p
}

// ownColumns are h's own, but for the codes and, where some operations never
// returned, the returns: all that one key's reads and writes need where no two
// events were at one moment. O(n).
func ownColumns(h *history.History, codes [][4]uint8, b *budget) (columns, error) {
	from, n := h.Columns(), h.Len()
	if err := b.grow(int64(n)); err != nil {
		return columns{}, err
	}
	c := columns{inv: from.Index, ret: from.Ret, code: make([]uint8, n), read: from.Out, written: from.In}
	all := uint8(0)
	for i, kind := range from.Kind {
		code := codes[kind][from.Type[i]&3]
		c.code[i] = code
		all |= code
	}
	if all&open == 0 {
		return c, nil
	}
	if err := b.grow(4 * int64(n)); err != nil {
		return columns{}, err
	}
	c.ret = slices.Clone(c.ret)
	for i, code := range c.code {
		if code&open != 0 {
			c.ret[i] = never
		}
	}
	return c, nil
}

// newColumns reads all operations of h, key after key: starts has where each
// key's first one goes, or is nil where there is only one. O(n).
func newColumns(h *history.History, starts []int32, excluding bool, b *budget) (columns, error) {
	n := h.Len()
	codes, swaps := codesOf(h)
	if !swaps && starts == nil && !h.Tied() {
		return ownColumns(h, codes, b)
	}
	bytes := int64(n) * columnBytes
	if swaps {
		bytes += int64(n) * 8
	}
	if err := b.grow(bytes); err != nil {
		return columns{}, err
	}
	c := columns{inv: make([]int32, n), ret: make([]int32, n), code: make([]uint8, n), read: make([]history.Value, n)}
	c.written = c.read
	if swaps {
		c.from = make([]history.Value, n)
	}
	stamps, err := stampsOf(h, excluding && starts != nil, b)
	if err != nil {
		return columns{}, err
	}
	c.fill(h, starts, stamps, codes, excluding)
	_ = b.grow(-4 * int64(len(stamps)))
	return c, nil
}

// fill reads h into the columns.
func (c *columns) fill(h *history.History, starts, stamps []int32, codes [][4]uint8, excluding bool) {
	next := append([]int32(nil), starts...)
	from := h.Columns()
	for i, inv := range from.Index {
		k := i
		if next != nil {
			key := from.Key[i]
			k = int(next[key])
			next[key]++
		}
		ret := from.Ret[i]
		if stamps != nil {
			inv = stamps[inv]
			if ret >= 0 {
				ret = stamps[ret]
			}
		}
		code := codes[from.Kind[i]][from.Type[i]&3]
		val, out := from.In[i], from.Out[i]
		if code == reading {
			val = out
		}
		if code >= open {
			ret = never
		}
		c.inv[k], c.ret[k], c.code[k], c.read[k] = inv, ret, code, val
		if code&(swapping|failing) != 0 {
			c.swap(h, i, k, excluding)
		}
	}
}

// codesOf are the codes of h's kinds of operation, by how one ended.
func codesOf(h *history.History) (codes [][4]uint8, swaps bool) {
	codes = make([][4]uint8, len(h.Fs()))
	for f, name := range h.Fs() {
		switch name {
		case "read":
			codes[f] = [4]uint8{history.OK: reading}
		case "write":
			codes[f] = [4]uint8{history.OK: writing, history.Info: writing | open}
		case "cas":
			codes[f] = [4]uint8{history.OK: swapping, history.Info: swapping | open, history.Fail: failing}
			swaps = true
		default:
			codes[f] = [4]uint8{history.OK: alien, history.Info: alien, history.Fail: alien}
		}
	}
	return codes, swaps
}

// swap reads compare-and-set i into row k. A failed one that tells what it saw is
// a read of that; another is dropped, unless it is to exclude a value.
func (c *columns) swap(h *history.History, i, k int, excluding bool) {
	if !c.read[k].IsPair() {
		c.code[k] = alien
		return
	}
	from, to := h.Pair(c.read[k])
	c.read[k], c.from[k] = to, from
	if c.code[k] != failing {
		return
	}
	switch o := h.Observed(i); {
	case o != history.None:
		c.code[k], c.read[k] = reading, o
	case excluding:
		c.read[k] = from
	default:
		c.code[k] = dropped
	}
}

// stampsOf gives every event of h its place in the order of time, among those of
// its key where byKey; nil where that is its index. O(n).
func stampsOf(h *history.History, byKey bool, b *budget) ([]int32, error) {
	if !h.Tied() && !byKey {
		return nil, nil
	}
	if err := b.grow(4 * int64(h.Events())); err != nil {
		return nil, err
	}
	const nobody = math.MinInt32
	s := make([]int32, h.Events()) // first of all who was invoked, or, as its complement, who returned
	for e := range s {
		s[e] = nobody
	}
	for i := range h.Len() {
		s[h.Index(i)] = int32(i) //nolint:gosec // bounded by events
		if r := h.Ret(i); r >= 0 {
			s[r] = ^int32(i) //nolint:gosec // bounded by events
		}
	}
	when := func(who int32) time.Duration {
		if who >= 0 {
			return h.Invoke(int(who))
		}
		return h.Done(int(^who))
	}
	next := make([]int32, len(h.Keys())) // by key, the next stamp
	stamp := func(i int32) int32 {
		k := 0
		if byKey {
			k = h.KeyID(int(i))
		}
		next[k]++
		return next[k] - 1
	}
	for from := 0; from < len(s); {
		if s[from] == nobody {
			from++
			continue
		}
		at, to := when(s[from]), from+1
		for to < len(s) && (s[to] == nobody || when(s[to]) == at) {
			to++
		}
		for e := from; e < to; e++ { // of one moment: invocations first
			if s[e] >= 0 {
				s[e] = stamp(s[e])
			}
		}
		for e := from; e < to; e++ {
			if s[e] < 0 && s[e] != nobody {
				s[e] = stamp(^s[e])
			}
		}
		from = to
	}
	return s, nil
}
