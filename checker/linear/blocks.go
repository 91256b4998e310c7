package linear

import (
	"slices"

	"github.com/faultline-dev/faultline/history"
)

// number finds the writers and gives each a block.
func (z *zones) number() error {
	if err := z.makeBlocks(); err != nil {
		return err
	}
	least, most, tags := int64(1<<62), int64(-1<<62), 0
	written := z.col.written
	for i := 1; i < len(z.blocks); i++ {
		to := written[z.blocks[i].writer]
		if to.IsPair() {
			return inapplicable{"values are arrays"}
		}
		if to == history.Nil {
			return inapplicable{"a value is written twice"}
		}
		tags |= 1 << (to & 3)
		least, most = min(least, int64(to>>2)), max(most, int64(to>>2))
	}
	if err := z.table.init(len(z.blocks)-1, least, most, tags, z); err != nil {
		return err
	}
	for i := 1; i < len(z.blocks); i++ {
		if !z.table.put(written[z.blocks[i].writer], int32(i)) { //nolint:gosec // a block
			return inapplicable{"a value is written twice"}
		}
	}
	return nil
}

// makeBlocks makes the initial value's block and one for each writer, and sees
// what else there is.
func (z *zones) makeBlocks() error {
	writers, fails, all := 0, 0, uint8(0)
	for _, c := range z.col.code {
		all |= c
		writers += int(c>>1&1 | c>>2&1) // writing, swapping
		fails += int(c >> 3 & 1)
	}
	if all&alien != 0 {
		return inapplicable{"it has other operations than read, write and cas [old,new]"}
	}
	z.swaps, z.mays, z.fails = all&swapping != 0, all&open != 0, fails
	if err := z.reserve(int64(writers+2) * blockBytes); err != nil {
		return err
	}
	// There is one block too many, so that one can be written for every operation,
	// without a branch, which would be guessed wrong half of the time.
	blocks := make([]block, writers+2)
	n := int32(len(z.col.code))                                                              //nolint:gosec // bounded by events
	blocks[0] = block{writer: -1, minRet: -1, first: n, last: -1, prev: -1, flags: flagKept} // the initial value's
	i := 1
	for k, c := range z.col.code {
		blocks[i].writer = int32(k) //nolint:gosec // bounded by events
		i += int(c>>1&1 | c>>2&1)
	}
	z.blocks = blocks[:writers+1]
	for i := 1; i < len(z.blocks); i++ {
		b := &z.blocks[i]
		b.minRet, b.first, b.last, b.prev, b.flags = z.col.ret[b.writer], b.writer, b.writer, -1, flagKept
		if z.col.code[b.writer]&open != 0 {
			b.flags = flagMay
		}
	}
	return nil
}

// prefix checks the history as it stood after event cut, with the columns and the
// table of z, which has loaded a longer one. Operations have the same positions
// and blocks in both; those that had not returned are of unknown fate.
func (z *zones) prefix(cut int) (*zones, conflict, error) {
	v := z.v.until(cut)
	n := v.len()
	p := &zones{v: v, b: z.b, n: n, table: z.table}
	if z.ends != nil {
		p.ends = z.ends[:n] // whose judgement is over
	}
	defer p.release()
	if err := p.reserve(int64(n) * (4 + 1)); err != nil {
		return nil, conflict{}, err
	}
	p.col = z.col.part(0, n)
	p.col.ret, p.col.code = slices.Clone(p.col.ret), slices.Clone(p.col.code)
	for k := range n {
		if v.h.Ret(v.at(k)) <= cut {
			continue
		}
		p.col.ret[k] = never
		if c := p.col.code[k]; c&(writing|swapping) != 0 {
			p.col.code[k] = c | open
		} else {
			p.col.code[k] = dropped
		}
	}
	if err := p.makeBlocks(); err != nil {
		return nil, conflict{}, err
	}
	c, err := p.decide()
	return p, c, err
}

// fill puts the operations into their blocks. Writers go the same way as readers:
// it costs less than to tell them apart. A read that is wrong by itself, of a
// value never written or from the future, is noted and left out: another conflict
// may be earlier.
func (z *zones) fill() {
	blocks, table := z.blocks, z.table
	inv, ret, read, written := z.col.inv, z.col.ret[:len(z.col.code)], z.col.read[:len(z.col.code)], z.col.written[:len(z.col.code)]
	for k, c := range z.col.code {
		if c&(reading|writing|swapping) == 0 {
			continue
		}
		value := written[k]
		if c == reading {
			value = read[k]
		}
		i := table.get(value)
		if i == 0 && value != history.Nil || int(i) >= len(blocks) { // the table may be that of a longer history
			z.found = append(z.found, conflict{kind: kindPhantom, a: int32(k)}) //nolint:gosec // bounded by events
			continue
		}
		b, r := &blocks[i], ret[k]
		if b.writer >= 0 && r < inv[b.writer] {
			z.found = append(z.found, conflict{kind: kindFuture, a: int32(k), b: b.writer}) //nolint:gosec // bounded by events
			continue
		}
		b.flags |= c & reading // flagRead
		b.minRet = min(b.minRet, r)
		b.first, b.last = min(b.first, int32(k)), max(b.last, int32(k)) //nolint:gosec // bounded by events
	}
}

// phantomBlock is what an indeterminate compare-and-set expects that nobody
// wrote: it cannot have happened.
const phantomBlock = -2

// block is the number of the block of v, if somebody wrote it.
func (z *zones) block(v history.Value) (int32, bool) {
	b := z.table.get(v)
	return b, b > 0 && int(b) < len(z.blocks) || v == history.Nil // the table may be that of a longer history
}

// link makes the chains: each compare-and-set that is kept goes behind the block
// that it expects.
func (z *zones) link() conflict {
	if !z.swaps {
		return conflict{}
	}
	for i := 1; i < len(z.blocks); i++ {
		own, k := int32(i), z.blocks[i].writer //nolint:gosec // a block
		if z.col.code[k]&swapping == 0 {
			continue
		}
		b, ok := z.block(z.col.from[k])
		if !ok {
			b = phantomBlock
		}
		z.blocks[own].prev = b
		if z.blocks[own].flags&flagKept == 0 {
			continue
		}
		if !ok {
			return conflict{kind: kindPhantom, a: k}
		}
		if c := z.eat(b, own); c.kind != kindNone {
			return c
		}
	}
	return conflict{}
}

// eat links the kept compare-and-set of block own behind block b.
func (z *zones) eat(b, own int32) conflict {
	x := &z.blocks[b]
	if o := x.next; o != 0 {
		return conflict{kind: kindTwice, a: z.blocks[o].writer, b: z.blocks[own].writer, with: []int32{x.writer}}
	}
	x.next = own
	x.flags |= flagEaten
	return conflict{}
}

// promote keeps the indeterminate writers whose value was seen, back along the
// chains to a fixpoint.
func (z *zones) promote() conflict {
	if !z.mays {
		return conflict{}
	}
	for i := range z.blocks {
		for b := int32(i); z.blocks[b].flags&flagKept == 0 && z.blocks[b].flags&(flagRead|flagEaten) != 0; { //nolint:gosec // a block
			x := &z.blocks[b]
			x.flags |= flagKept
			if x.prev == phantomBlock {
				return conflict{kind: kindPhantom, a: x.writer, b: -1}
			}
			if x.prev < 0 {
				break
			}
			if c := z.eat(x.prev, b); c.kind != kindNone {
				return c
			}
			b = x.prev
		}
	}
	return conflict{}
}
