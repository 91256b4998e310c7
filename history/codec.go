package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a value in a history line.
const maxDepth = 64

// endLine is the last line of a complete history.
const endLine = `{"end":true}`

// AppendJSON appends op to b as one line of history.jsonl, without the newline.
// Its fields always come in the same order; empty ones are left out, but value
// and key of client operations always stand.
func AppendJSON(b []byte, op Op) ([]byte, error) {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(op.Index), 10)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, int64(op.Time), 10)
	b = append(b, `,"process":`...)
	b = strconv.AppendInt(b, int64(op.Process), 10)
	b = append(b, `,"type":"`...)
	b = append(b, op.Type.String()...)
	b = append(b, `","f":`...)
	b = appendString(b, op.F)
	if op.Key != "" {
		b = append(b, `,"key":`...)
		b = appendString(b, op.Key)
	}
	b = append(b, `,"value":`...)
	b, err := appendValue(b, op.Value, 0)
	if err != nil {
		return nil, err
	}
	if op.Observed != nil {
		b = append(b, `,"observed":`...)
		if b, err = appendValue(b, op.Observed.Value, 0); err != nil {
			return nil, err
		}
	}
	if op.Node != "" {
		b = append(b, `,"node":`...)
		b = appendString(b, op.Node)
	}
	if op.Version != 0 {
		b = append(b, `,"version":`...)
		b = strconv.AppendInt(b, op.Version, 10)
	}
	if op.Error != "" {
		b = append(b, `,"error":`...)
		b = appendString(b, op.Error)
	}
	return append(b, '}'), nil
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' {
			q, _ := json.Marshal(s) // a string always marshals
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("history: a value is nested deeper than %d", maxDepth)
	}
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case float64:
		return appendFloat(b, v)
	case string:
		return appendString(b, v), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendValue(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k), ':')
			if b, err = appendValue(b, v[k], depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	default:
		return nil, fmt.Errorf("history: a value of type %T cannot be recorded; use nil, bool, int64, float64, string, []any or map[string]any", v)
	}
}

// appendFloat keeps a float distinguishable from an integer, so that it is read
// back as the same type.
func appendFloat(b []byte, v float64) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, fmt.Errorf("history: %v cannot be recorded", v)
	}
	n := len(b)
	b = strconv.AppendFloat(b, v, 'g', -1, 64)
	if !bytes.ContainsAny(b[n:], ".e") {
		b = append(b, ".0"...)
	}
	return b, nil
}

// decoder reads lines of history.jsonl. It keeps the strings it has seen, since
// a history has few different keys, nodes and kinds of operation.
type decoder struct {
	b       []byte
	i       int
	strings map[string]string
}

func newDecoder() *decoder { return &decoder{strings: map[string]string{}} }

type syntaxError struct {
	col int
	msg string
}

func (e syntaxError) Error() string { return fmt.Sprintf("column %d: %s", e.col, e.msg) }

func (d *decoder) errorf(format string, args ...any) error {
	return syntaxError{d.i + 1, fmt.Sprintf(format, args...)}
}

var errEnd = errors.New("end of history")

// decode reads one line. It returns errEnd for the line that ends a history.
func (d *decoder) decode(line []byte) (Op, error) {
	d.b, d.i = line, 0
	var op Op
	var seen uint16
	d.space()
	if !d.take('{') {
		return op, d.errorf("expected an event like {\"index\":0,\"time\":…,\"process\":…,\"type\":\"invoke\",\"f\":…}, found %s", d.here())
	}
	for first := true; ; first = false {
		d.space()
		if d.take('}') {
			break
		}
		if !first {
			if !d.take(',') {
				return op, d.errorf("expected , or }, found %s", d.here())
			}
			d.space()
		}
		name, err := d.str()
		if err != nil {
			return op, err
		}
		d.space()
		if !d.take(':') {
			return op, d.errorf("expected : after %q, found %s", name, d.here())
		}
		d.space()
		bit, err := d.field(&op, name)
		if err != nil {
			return op, err
		}
		if seen&bit != 0 {
			return op, d.errorf("field %q stands twice", name)
		}
		seen |= bit
	}
	d.space()
	if d.i != len(d.b) {
		return op, d.errorf("expected the end of the line, found %s", d.here())
	}
	if seen == fieldEnd {
		return op, errEnd
	}
	return op, missing(seen)
}

const (
	fieldIndex = 1 << iota
	fieldTime
	fieldProcess
	fieldType
	fieldF
	fieldKey
	fieldValue
	fieldObserved
	fieldNode
	fieldVersion
	fieldError
	fieldEnd
)

func missing(seen uint16) error {
	for i, name := range []string{"index", "time", "process", "type", "f"} {
		if seen&(1<<i) == 0 {
			return fmt.Errorf("the event has no %q", name)
		}
	}
	if seen&fieldEnd != 0 {
		return errors.New("an event cannot have \"end\"")
	}
	return nil
}

func (d *decoder) field(op *Op, name string) (bit uint16, err error) {
	var n int64
	switch name {
	case "index":
		bit = fieldIndex
		n, err = d.integer(name)
		op.Index = int(n)
	case "time":
		bit = fieldTime
		n, err = d.integer(name)
		op.Time = time.Duration(n)
		if err == nil && n < 0 {
			err = d.errorf("time %d is before the start of the run", n)
		}
	case "process":
		bit = fieldProcess
		n, err = d.integer(name)
		op.Process = Process(n)
		if err == nil && (n < -1 || n > math.MaxInt32) {
			err = d.errorf("process %d is neither a client's (0 to %d) nor the nemesis (-1)", n, math.MaxInt32)
		}
	case "type":
		bit = fieldType
		var s string
		if s, err = d.str(); err == nil {
			if op.Type, err = ParseType(s); err != nil {
				err = d.errorf("%v", err)
			}
		}
	case "f":
		bit = fieldF
		op.F, err = d.str()
	case "key":
		bit = fieldKey
		op.Key, err = d.str()
	case "node":
		bit = fieldNode
		op.Node, err = d.str()
	case "error":
		bit = fieldError
		op.Error, err = d.str()
	case "value":
		bit = fieldValue
		op.Value, err = d.value(0)
	case "observed":
		bit = fieldObserved
		var v any
		v, err = d.value(0)
		op.Observed = &Seen{v}
	case "version":
		bit = fieldVersion
		op.Version, err = d.integer(name)
	case "end":
		bit = fieldEnd
		var v any
		if v, err = d.value(0); err == nil && v != true {
			err = d.errorf("expected %s", endLine)
		}
	default:
		err = d.errorf("unknown field %q", name)
	}
	return bit, err
}

func (d *decoder) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\r', '\n':
			d.i++
		default:
			return
		}
	}
}

func (d *decoder) take(c byte) bool {
	if d.i < len(d.b) && d.b[d.i] == c {
		d.i++
		return true
	}
	return false
}

// here quotes a little of what stands at the cursor, for errors.
func (d *decoder) here() string {
	if d.i >= len(d.b) {
		return "the end of the line"
	}
	return strconv.Quote(string(d.b[d.i:min(len(d.b), d.i+16)]))
}

// str reads a JSON string and interns short ones.
func (d *decoder) str() (string, error) {
	start := d.i
	if !d.take('"') {
		return "", d.errorf("expected a string, found %s", d.here())
	}
	plain := true
	for ; d.i < len(d.b); d.i++ {
		switch c := d.b[d.i]; {
		case c == '"':
			d.i++
			return d.unquote(d.b[start:d.i], plain)
		case c == '\\':
			plain = false
			d.i++
		case c < 0x20:
			return "", d.errorf("a control character in a string")
		}
	}
	d.i = start
	return "", d.errorf("a string without its end")
}

func (d *decoder) unquote(quoted []byte, plain bool) (string, error) {
	raw := quoted[1 : len(quoted)-1]
	if s, ok := d.strings[string(raw)]; ok && plain {
		return s, nil
	}
	if plain && !utf8.Valid(raw) {
		return "", d.errorf("a string that is not UTF-8")
	}
	s := string(raw)
	if !plain {
		if err := json.Unmarshal(quoted, &s); err != nil {
			return "", d.errorf("a malformed string: %v", err)
		}
	} else if len(raw) <= 64 && len(d.strings) < 1<<16 {
		d.strings[s] = s
	}
	return s, nil
}

func (d *decoder) integer(name string) (int64, error) {
	v, err := d.number()
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok {
		return 0, d.errorf("%q must be an integer, found %v", name, v)
	}
	return n, nil
}

// number reads an int64 where the text is one, else a float64.
func (d *decoder) number() (any, error) {
	start := d.i
	neg := d.take('-')
	digits := d.i
	var n int64
	for d.i < len(d.b) && d.b[d.i] >= '0' && d.b[d.i] <= '9' {
		n = n*10 + int64(d.b[d.i]-'0')
		d.i++
	}
	if d.i == digits {
		return nil, d.errorf("expected a number, found %s", d.here())
	}
	if d.b[digits] == '0' && d.i-digits > 1 {
		return nil, d.errorf("a number with a leading zero")
	}
	whole := d.i
	for d.i < len(d.b) && (d.b[d.i] >= '0' && d.b[d.i] <= '9' || bytes.IndexByte([]byte(".eE+-"), d.b[d.i]) >= 0) {
		d.i++
	}
	if d.i == whole && whole-digits <= 18 {
		if neg {
			n = -n
		}
		return n, nil
	}
	text := string(d.b[start:d.i])
	if d.i == whole {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
	}
	var f float64
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return nil, d.errorf("malformed number %q", text)
	}
	return f, nil
}

func (d *decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, d.errorf("a value nested deeper than %d", maxDepth)
	}
	if d.i >= len(d.b) {
		return nil, d.errorf("expected a value, found the end of the line")
	}
	switch c := d.b[d.i]; {
	case c == '"':
		return d.str()
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	case c == '[':
		return d.array(depth)
	case c == '{':
		return d.object(depth)
	}
	rest := d.b[d.i:]
	switch {
	case bytes.HasPrefix(rest, []byte("null")):
		d.i += len("null")
		return nil, nil //nolint:nilnil // JSON's null is nil
	case bytes.HasPrefix(rest, []byte("true")):
		d.i += len("true")
		return true, nil
	case bytes.HasPrefix(rest, []byte("false")):
		d.i += len("false")
		return false, nil
	}
	return nil, d.errorf("expected a value, found %s", d.here())
}

func (d *decoder) array(depth int) (any, error) {
	d.i++
	a := make([]any, 0, 2)
	for {
		d.space()
		if d.take(']') {
			return a, nil
		}
		if len(a) > 0 {
			if !d.take(',') {
				return nil, d.errorf("expected , or ], found %s", d.here())
			}
			d.space()
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
	}
}

func (d *decoder) object(depth int) (any, error) {
	d.i++
	m := map[string]any{}
	for {
		d.space()
		if d.take('}') {
			return m, nil
		}
		if len(m) > 0 {
			if !d.take(',') {
				return nil, d.errorf("expected , or }, found %s", d.here())
			}
			d.space()
		}
		k, err := d.str()
		if err != nil {
			return nil, err
		}
		d.space()
		if !d.take(':') {
			return nil, d.errorf("expected : after %q, found %s", k, d.here())
		}
		d.space()
		if _, twice := m[k]; twice {
			return nil, d.errorf("key %q stands twice", k)
		}
		if m[k], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
}
