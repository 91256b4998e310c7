// Package bin is the small binary codec that the bundled stores share for
// messages, log records and snapshots: varints and length-prefixed bytes, in a
// fixed order, so that the same value has the same bytes everywhere.
package bin

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// ErrCorrupt is the error of a Reader whose input ended early, or holds a length
// that doesn't fit.
var ErrCorrupt = errors.New("bin: corrupt or short input")

// AppendUint appends v as an unsigned varint.
func AppendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendInt appends v as a signed varint.
func AppendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// AppendBool appends one byte, 0 or 1.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendBytes appends v with its length; nil and empty stay distinct.
func AppendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(v))+1)
	return append(b, v...)
}

// AppendString appends s with its length.
func AppendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Reader reads what the Append functions wrote. The first error sticks: later
// reads return zero values, and Err returns it.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads from b, which the returned byte slices alias.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is nil while everything read so far was well formed.
func (r *Reader) Err() error { return r.err }

// Len is the number of bytes left to read.
func (r *Reader) Len() int { return len(r.b) }

func (r *Reader) fail() {
	r.err = ErrCorrupt
	r.b = nil
}

// Uint reads an unsigned varint.
func (r *Reader) Uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := uint64(r.b[0])
		r.b = r.b[1:]
		return v
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Int reads a signed varint.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Bool reads one byte; anything but 0 and 1 is an error.
func (r *Reader) Bool() bool {
	if len(r.b) == 0 || r.b[0] > 1 {
		r.fail()
		return false
	}
	v := r.b[0] == 1
	r.b = r.b[1:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Bytes reads what AppendBytes wrote; the slice aliases the input.
func (r *Reader) Bytes() []byte {
	n := r.Uint()
	if n == 0 || r.err != nil {
		return nil
	}
	n--
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// String reads what AppendString wrote.
func (r *Reader) String() string {
	n := r.Uint()
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail()
		return ""
	}
	v := string(r.b[:n])
	r.b = r.b[n:]
	return v
}

// Count reads a count of elements that take at least one byte each, so that a
// corrupt count can't make the caller allocate more than the input's length.
func (r *Reader) Count() int {
	n := r.Uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// Sum is the checksum (CRC-32C) used for frames and log records.
func Sum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Seal appends b's checksum, four bytes big-endian.
func Seal(b []byte) []byte { return binary.BigEndian.AppendUint32(b, Sum(b)) }

// Open checks and strips what Seal appended.
func Open(b []byte) ([]byte, bool) {
	if len(b) < 4 {
		return nil, false
	}
	body := b[:len(b)-4]
	return body, binary.BigEndian.Uint32(b[len(b)-4:]) == Sum(body)
}
