package history

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// WriteEDN writes h as Jepsen does, one map a line, so that other checkers can
// judge it. Keys become independent tuples, [key value], unless there is only the
// empty one.
func WriteEDN(w io.Writer, h *History) error {
	out := bufio.NewWriterSize(w, 1<<16)
	tuples := len(h.Keys()) > 1 || len(h.Keys()) == 1 && h.Keys()[0] != ""
	for op := range h.Ops() {
		if err := writeEDN(out, op, tuples && op.Process != Nemesis); err != nil {
			return err
		}
	}
	return out.Flush()
}

func writeEDN(out *bufio.Writer, op Op, tuple bool) error {
	process := strconv.Itoa(int(op.Process))
	if op.Process == Nemesis {
		process = ":nemesis"
	}
	b := fmt.Appendf(nil, "{:index %d, :time %d, :type :%v, :process %s, :f %s, :value ", op.Index, int64(op.Time), op.Type, process, ednF(op.F))
	if tuple {
		b = append(strconv.AppendQuote(append(b, '['), op.Key), ' ')
	}
	b, err := appendEDN(b, op.Value, 0)
	if err != nil {
		return err
	}
	if tuple {
		b = append(b, ']')
	}
	if op.Observed != nil {
		if b, err = appendEDN(append(b, ", :observed "...), op.Observed.Value, 0); err != nil {
			return err
		}
	}
	for _, f := range [][2]string{{"node", op.Node}, {"error", op.Error}} {
		if f[1] != "" {
			b = append(b, ", :"+f[0]+" "...)
			b = ednString(b, f[1])
		}
	}
	if op.Version != 0 {
		b = fmt.Appendf(b, ", :version %d", op.Version)
	}
	_, err = out.Write(append(b, "}\n"...))
	return err
}

func ednF(f string) string {
	if isKeyword(f) {
		return ":" + f
	}
	return string(ednString(nil, f))
}

func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= utf8.RuneSelf || ednDelimiter(c) || strings.IndexByte(`\#@^~'`+"`", c) >= 0 {
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, ":")
}

func ednString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

func appendEDN(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("history: a value is nested deeper than %d", maxDepth)
	}
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, "nil"...), nil
	case string:
		if k, ok := strings.CutPrefix(v, ":"); ok && isKeyword(k) {
			return append(b, v...), nil
		}
		return ednString(b, v), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ' ')
			}
			if b, err = appendEDN(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(b, ednF(k)...)
			if b, err = appendEDN(append(b, ' '), v[k], depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return appendValue(b, v, depth)
}
