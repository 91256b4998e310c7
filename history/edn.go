package history

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// keyword is an EDN keyword, without its colon.
type keyword string

// ednReader parses EDN (github.com/edn-format/edn), as far as histories use it:
// all literals and collections, tags (which are dropped), comments and discards.
type ednReader struct {
	in        *bufio.Reader
	line, col int
	prevCol   int
	depth     int
}

func newEDN(r io.Reader) *ednReader { return &ednReader{in: bufio.NewReaderSize(r, 1<<16), line: 1} }

// posError is an error at a line and column.
type posError struct {
	line, col int
	err       error
}

func (e posError) Error() string { return fmt.Sprintf("column %d: %v", e.col, e.err) }

func (e posError) Unwrap() error { return e.err }

func (p *ednReader) errorf(format string, args ...any) error {
	return posError{p.line, max(1, p.col), fmt.Errorf(format, args...)}
}

func (p *ednReader) next() (byte, error) {
	c, err := p.in.ReadByte()
	if err != nil {
		return 0, err
	}
	if c == '\n' {
		p.prevCol = p.col
		p.line++
		p.col = 0
	} else {
		p.col++
	}
	return c, nil
}

func (p *ednReader) back(c byte) {
	_ = p.in.UnreadByte() // a byte was read just before
	if c == '\n' {
		p.line--
		p.col = p.prevCol
	} else {
		p.col--
	}
}

func ednSpace(c byte) bool { return c == ' ' || c == ',' || c == '\t' || c == '\n' || c == '\r' }

func ednDelimiter(c byte) bool { return ednSpace(c) || strings.IndexByte(`()[]{}";`, c) >= 0 }

// skip passes white space and comments; io.EOF at the end.
func (p *ednReader) skip() (byte, error) {
	for {
		c, err := p.next()
		switch {
		case err != nil:
			return 0, err
		case ednSpace(c):
		case c == ';':
			for err == nil && c != '\n' {
				c, err = p.next()
			}
		default:
			return c, nil
		}
	}
}

var errClose = errors.New("closing bracket")

// value reads one form; io.EOF where there is none.
func (p *ednReader) value() (any, error) {
	c, err := p.skip()
	if err != nil {
		return nil, err
	}
	if p.depth > maxDepth {
		return nil, p.errorf("forms nested deeper than %d", maxDepth)
	}
	switch c {
	case '(', '[':
		return p.list(map[byte]byte{'(': ')', '[': ']'}[c])
	case '{':
		return p.dict()
	case ')', ']', '}':
		p.back(c)
		return nil, errClose
	case '"':
		return p.str()
	case '\\':
		return p.char()
	case '#':
		return p.hash()
	}
	p.back(c)
	return p.atom()
}

// must is value where the input may not end.
func (p *ednReader) must() (any, error) {
	v, err := p.value()
	if errors.Is(err, io.EOF) {
		return nil, p.errorf("the input ends in the middle of a form")
	}
	return v, err
}

// form is must where neither a closing bracket nor a discarded form will do.
func (p *ednReader) form() (any, error) {
	for {
		v, err := p.must()
		switch {
		case errors.Is(err, errClose):
			return nil, p.errorf("expected a form, found a closing bracket")
		case err != nil || !isDiscarded(v):
			return v, err
		}
	}
}

func (p *ednReader) list(end byte) ([]any, error) {
	list := []any{}
	p.depth++
	defer func() { p.depth-- }()
	for {
		v, err := p.must()
		switch {
		case errors.Is(err, errClose):
			c, _ := p.next()
			if c != end {
				return nil, p.errorf("expected %c, found %c", end, c)
			}
			return list, nil
		case err != nil:
			return nil, err
		case isDiscarded(v):
		default:
			list = append(list, v)
		}
	}
}

// discarded stands for a form behind #_.
type discarded struct{}

func isDiscarded(v any) bool { _, ok := v.(discarded); return ok }

// ednMap keeps keyword keys, in order, since {:process 0} is looked up by name.
type ednMap struct {
	keys   []any
	values []any
}

func (p *ednReader) dict() (*ednMap, error) {
	list, err := p.list('}')
	if err != nil {
		return nil, err
	}
	if len(list)%2 != 0 {
		return nil, p.errorf("a map with a key that has no value")
	}
	m := &ednMap{}
	for i := 0; i < len(list); i += 2 {
		m.keys, m.values = append(m.keys, list[i]), append(m.values, list[i+1])
	}
	return m, nil
}

func (p *ednReader) str() (string, error) {
	var b strings.Builder
	for {
		c, err := p.next()
		if err != nil {
			return "", p.errorf("a string without its end")
		}
		switch c {
		case '"':
			if !utf8.ValidString(b.String()) {
				return "", p.errorf("a string that is not UTF-8")
			}
			return b.String(), nil
		case '\\':
			if err := p.escape(&b); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
		}
	}
}

func (p *ednReader) escape(b *strings.Builder) error {
	c, err := p.next()
	if err != nil {
		return p.errorf("a string without its end")
	}
	plain := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', '\\': '\\', '"': '"', '/': '/'}
	if r, ok := plain[c]; ok {
		b.WriteByte(r)
		return nil
	}
	if c != 'u' {
		return p.errorf("unknown escape \\%c", c)
	}
	var hex [4]byte
	for i := range hex {
		if hex[i], err = p.next(); err != nil {
			return p.errorf("a string without its end")
		}
	}
	n, err := strconv.ParseUint(string(hex[:]), 16, 16)
	if err != nil {
		return p.errorf("expected four hexadecimal digits after \\u, found %q", hex)
	}
	b.WriteRune(rune(n))
	return nil
}

func (p *ednReader) char() (any, error) {
	c, err := p.next()
	if err != nil {
		return nil, p.errorf("a character without its end")
	}
	text := []byte{c}
	for {
		c, err := p.next()
		if err != nil {
			break
		}
		if ednDelimiter(c) {
			p.back(c)
			break
		}
		text = append(text, c)
	}
	names := map[string]string{"newline": "\n", "space": " ", "tab": "\t", "return": "\r"}
	if s, ok := names[string(text)]; ok {
		return s, nil
	}
	if utf8.RuneCount(text) != 1 || !utf8.Valid(text) {
		return nil, p.errorf("unknown character \\%s", text)
	}
	return string(text), nil
}

// hash reads a set, a discarded form or a tagged one.
func (p *ednReader) hash() (any, error) {
	c, err := p.next()
	if err != nil {
		return nil, p.errorf("the input ends after #")
	}
	p.depth++
	defer func() { p.depth-- }()
	switch c {
	case '{':
		list, err := p.list('}')
		if err != nil {
			return nil, err
		}
		sort.SliceStable(list, func(i, j int) bool { return ednLess(list[i], list[j]) })
		return list, nil
	case '_':
		if _, err := p.form(); err != nil {
			return nil, err
		}
		return discarded{}, nil
	}
	p.back(c)
	if _, err := p.form(); err != nil { // the tag
		return nil, err
	}
	return p.form()
}

func ednLess(a, b any) bool {
	x, okX := a.(int64)
	y, okY := b.(int64)
	if okX && okY {
		return x < y
	}
	return fmt.Sprint(a) < fmt.Sprint(b)
}

func (p *ednReader) atom() (any, error) {
	var text []byte
	for {
		c, err := p.next()
		if err != nil {
			break
		}
		if ednDelimiter(c) {
			p.back(c)
			break
		}
		if text = append(text, c); len(text) > 1<<12 {
			return nil, p.errorf("a word of more than %d bytes", 1<<12)
		}
	}
	s := string(text)
	if !utf8.ValidString(s) {
		return nil, p.errorf("a word that is not UTF-8")
	}
	switch s {
	case "nil":
		return nil, nil //nolint:nilnil // EDN's nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if k, ok := strings.CutPrefix(s, ":"); ok {
		if k == "" {
			return nil, p.errorf("a keyword without a name")
		}
		return keyword(k), nil
	}
	if v, ok := ednNumber(s); ok {
		return v, nil
	}
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return nil, p.errorf("malformed number %q", s)
	}
	return s, nil // a symbol
}

func ednNumber(s string) (any, bool) {
	digits := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	if digits == "" || digits[0] < '0' || digits[0] > '9' {
		return nil, false
	}
	s = strings.TrimPrefix(s, "+")
	if n, err := strconv.ParseInt(strings.TrimSuffix(s, "N"), 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(s, "M"), 64)
	if err != nil || strings.ContainsAny(s, "xXpP_") {
		return nil, false
	}
	return f, true
}

// plain turns what EDN knows into what JSON knows: keywords keep their colon as
// strings, keys of maps lose it.
func plain(v any) any {
	switch v := v.(type) {
	case keyword:
		return ":" + string(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	case *ednMap:
		out := make(map[string]any, len(v.keys))
		for i, k := range v.keys {
			out[ednKey(k)] = plain(v.values[i])
		}
		return out
	}
	return v
}

func ednKey(k any) string {
	if k, ok := k.(keyword); ok {
		return string(k)
	}
	return fmt.Sprint(plain(k))
}
