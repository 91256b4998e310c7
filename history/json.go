package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"
	"strconv"
	"strings"
)

// jsonOps reads JSON objects, one after another or in one array, as elle-cli
// does.
func jsonOps(r io.Reader) iter.Seq2[loose, error] {
	return func(yield func(loose, error) bool) {
		lines := &lineCounter{r: r}
		d := json.NewDecoder(lines)
		d.UseNumber()
		array := false
		for first := true; ; first = false {
			if first {
				if t, err := firstToken(d, lines); err != nil {
					yield(loose{}, lines.at(d.InputOffset(), err))
					return
				} else if array = t; t {
					continue
				}
			}
			if array && !d.More() {
				return
			}
			var m map[string]any
			if err := d.Decode(&m); err != nil {
				if !errors.Is(err, io.EOF) || array {
					yield(loose{}, lines.at(d.InputOffset(), err))
				}
				return
			}
			at := lines.position(d.InputOffset() - 1) // where the object ends
			e := loose{line: at.line, col: at.col}
			err := e.json(m)
			if err != nil {
				err = posError{at.line, at.col, err}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// firstToken enters an array, if the input is one.
func firstToken(d *json.Decoder, lines *lineCounter) (array bool, err error) {
	c, err := lines.first()
	if err != nil || c != '[' {
		return false, err
	}
	_, err = d.Token()
	return true, err
}

func (e *loose) json(m map[string]any) error {
	for k, v := range m {
		w, err := jsonPlain(v, 0)
		if err != nil {
			return err
		}
		m[k] = w
		if s, ok := w.(string); ok && (k == "type" || k == "f" || k == "process") {
			m[k] = strings.TrimPrefix(s, ":")
		}
	}
	return e.fields(m)
}

func jsonPlain(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("a value nested deeper than %d", maxDepth)
	}
	var err error
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n, nil
		}
		return v.Float64()
	case []any:
		for i := range v {
			if v[i], err = jsonPlain(v[i], depth+1); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = jsonPlain(v[k], depth+1); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// lineCounter remembers where lines begin, so that errors name line and column.
type lineCounter struct {
	r      io.Reader
	read   int64
	starts []int64 // offsets of line beginnings after the first
	peeked []byte
}

func (l *lineCounter) Read(b []byte) (int, error) {
	var n int
	var err error
	if len(l.peeked) > 0 {
		n = copy(b, l.peeked)
		l.peeked = l.peeked[n:]
	} else {
		n, err = l.r.Read(b)
	}
	for i, c := range b[:n] {
		if c == '\n' {
			l.starts = append(l.starts, l.read+int64(i)+1)
		}
	}
	l.read += int64(n)
	return n, err
}

// first is the first byte that is not white space, without consuming it.
func (l *lineCounter) first() (byte, error) {
	var one [1]byte
	for {
		n, err := l.r.Read(one[:])
		if n == 1 {
			l.peeked = append(l.peeked, one[0])
			if !ednSpace(one[0]) || one[0] == ',' {
				return one[0], nil
			}
			if len(l.peeked) > 1<<16 {
				return 0, errors.New("nothing but white space")
			}
		}
		if err != nil {
			return 0, nil //nolint:nilerr // the decoder meets it as well
		}
	}
}

func (l *lineCounter) position(offset int64) posError {
	line, start := sort.Search(len(l.starts), func(i int) bool { return l.starts[i] > offset }), int64(0)
	if line > 0 {
		start = l.starts[line-1]
	}
	return posError{line: line + 1, col: int(offset-start) + 1}
}

func (l *lineCounter) at(offset int64, err error) error {
	p := l.position(offset)
	p.err = err
	return p
}
