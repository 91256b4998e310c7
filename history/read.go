package history

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// maxLine bounds a line of history.jsonl, in bytes.
const maxLine = 16 << 20

// Error is an ill-formed history: where, and what was expected.
type Error struct {
	File string
	Line int // from 1
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Read reads a history in JSON Lines, one event a line; name is for errors. A
// history that was cut short reads up to its last whole line, with Ended false:
// its open operations are of unknown fate. All else that no run can have
// recorded is an *Error. It takes one pass and time linear in the input.
func Read(r io.Reader, name string) (*History, error) {
	var b Builder
	ended, line := false, 0
	for op, err := range Events(r, name) {
		line++
		switch {
		case errors.Is(err, errEnd):
			ended = true
		case err != nil:
			return nil, err
		default:
			if err := b.Add(op); err != nil {
				return nil, &Error{name, line, err}
			}
		}
	}
	if line == 0 {
		return nil, &Error{name, 1, errors.New("the history is empty; expected one JSON event a line")}
	}
	return b.History(ended), nil
}

// Events reads the events of a history one by one, without holding them. It ends
// after an error, after the last line (whose error errors.Is an end marker, see
// IsEnd), or where the input does; a last line without its newline is left out,
// as its writer was cut short.
func Events(r io.Reader, name string) iter.Seq2[Op, error] {
	return func(yield func(Op, error) bool) {
		in := bufio.NewReaderSize(r, 1<<16)
		d := newDecoder()
		var long []byte
		for n := 1; ; n++ {
			line, err := readLine(in, &long)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(Op{}, &Error{name, n, err})
				} else if n == 1 && len(bytes.TrimSpace(line)) > 0 {
					yieldWhole(d, line, name, yield)
				}
				return
			}
			op, err := d.decode(line)
			if errors.Is(err, errEnd) {
				if yield(Op{}, errEnd) {
					yieldRest(in, name, n, yield)
				}
				return
			}
			if err != nil {
				yield(Op{}, &Error{name, n, err})
				return
			}
			if !yield(op, nil) {
				return
			}
		}
	}
}

// IsEnd says whether err marks the last line of a complete history.
func IsEnd(err error) bool { return errors.Is(err, errEnd) }

// yieldWhole judges an input of one line without a newline: an alien file is an
// error, not an empty history.
func yieldWhole(d *decoder, line []byte, name string, yield func(Op, error) bool) {
	op, err := d.decode(line)
	if err != nil && !errors.Is(err, errEnd) {
		err = &Error{name, 1, err}
	}
	yield(op, err)
}

// yieldRest refuses anything that follows the last line.
func yieldRest(in *bufio.Reader, name string, n int, yield func(Op, error) bool) {
	if _, err := in.Peek(1); err == nil {
		yield(Op{}, &Error{name, n + 1, fmt.Errorf("expected nothing after %s", endLine)})
	}
}

func readLine(in *bufio.Reader, long *[]byte) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], nil
	}
	*long = append((*long)[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(*long) > maxLine {
			return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
		}
		line, err = in.ReadSlice('\n')
		*long = append(*long, line...)
	}
	if err != nil {
		return *long, err
	}
	return (*long)[:len(*long)-1], nil
}

// Writer writes a history in JSON Lines. It is not safe for concurrent use.
type Writer struct {
	w   *bufio.Writer
	buf []byte
	n   int
}

// NewWriter writes to w; Close flushes, but does not close it.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 1<<16)} }

// Write appends an event and numbers it, whatever its Index.
func (w *Writer) Write(op Op) error {
	op.Index = w.n
	b, err := AppendJSON(w.buf[:0], op)
	if err != nil {
		return err
	}
	w.buf = append(b, '\n')
	w.n++
	_, err = w.w.Write(w.buf)
	return err
}

// Flush hands what was written to the underlying writer.
func (w *Writer) Flush() error { return w.w.Flush() }

// Close writes the last line, which says that the history is complete, and
// flushes.
func (w *Writer) Close() error {
	if _, err := w.w.WriteString(endLine + "\n"); err != nil {
		return err
	}
	return w.w.Flush()
}
