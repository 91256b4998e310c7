package linear

import "github.com/faultline-dev/faultline/history"

// values maps the values written to their blocks: a plain array where they are
// all integers, or all interned, and lie close together, else open addressing.
type values struct {
	dense []int32
	tag   history.Value
	base  int64

	keys   []history.Value
	blocks []int32
}

func (t *values) init(writers int, least, most int64, tags int, z *zones) error {
	if writers == 0 {
		return nil
	}
	if span := most - least; tags&(tags-1) == 0 && span >= 0 && span < 4*int64(writers)+1024 {
		for t.tag = 0; tags>>t.tag&1 == 0; t.tag++ {
		}
		t.base = least
		if err := z.reserve(4 * (span + 1)); err != nil {
			return err
		}
		t.dense = make([]int32, span+1)
		return nil
	}
	n := 16
	for n < 2*writers {
		n *= 2
	}
	if err := z.reserve(int64(n) * 12); err != nil {
		return err
	}
	t.keys, t.blocks = make([]history.Value, n), make([]int32, n)
	return nil
}

// put returns false where v is there already.
func (t *values) put(v history.Value, block int32) bool {
	if t.dense != nil {
		p := &t.dense[int64(v>>2)-t.base]
		if *p != 0 {
			return false
		}
		*p = block
		return true
	}
	mask := uint64(len(t.keys) - 1)
	i := mix(uint64(v)) & mask //nolint:gosec // bits
	for t.blocks[i] != 0 {
		if t.keys[i] == v {
			return false
		}
		i = (i + 1) & mask
	}
	t.keys[i], t.blocks[i] = v, block
	return true
}

// get returns 0 where v is not there.
func (t *values) get(v history.Value) int32 {
	if i := uint64(int64(v>>2) - t.base); v&3 == t.tag && i < uint64(len(t.dense)) { //nolint:gosec // wraps below the base
		return t.dense[i]
	}
	return t.sparse(v)
}

func (t *values) sparse(v history.Value) int32 {
	if len(t.keys) == 0 {
		return 0
	}
	mask := uint64(len(t.keys) - 1)
	for i := mix(uint64(v)) & mask; t.blocks[i] != 0; i = (i + 1) & mask { //nolint:gosec // bits
		if t.keys[i] == v {
			return t.blocks[i]
		}
	}
	return 0
}
