package history

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ednOps reads maps, one after another or in one vector.
func ednOps(r io.Reader) iter.Seq2[loose, error] {
	return func(yield func(loose, error) bool) {
		p := newEDN(r)
		one := func() bool { // reads one form, or descends into a vector
			c, err := p.skip()
			if err != nil {
				return false
			}
			line, col := p.line, p.col
			if c == '[' || c == '(' || c == ']' || c == ')' {
				return true
			}
			p.back(c)
			v, err := p.must()
			if err == nil && isDiscarded(v) {
				return true
			}
			e := loose{line: line, col: col}
			if errors.Is(err, errClose) {
				err = p.errorf("a bracket that closes nothing")
			}
			if err == nil {
				err = e.edn(v)
			}
			if err != nil {
				if _, ok := errors.AsType[posError](err); !ok {
					err = posError{line, col, err}
				}
			}
			return yield(e, err) && err == nil
		}
		for one() {
		}
	}
}

func (e *loose) edn(v any) error {
	m, ok := v.(*ednMap)
	if !ok {
		return fmt.Errorf("expected an operation like {:process 0, :type :invoke, :f :read, :value nil}, found %v", plain(v))
	}
	fields := map[string]any{}
	for i, k := range m.keys {
		v := plain(m.values[i])
		if w, ok := m.values[i].(keyword); ok && (ednKey(k) == "type" || ednKey(k) == "f" || ednKey(k) == "process") {
			v = string(w)
		}
		fields[ednKey(k)] = v
	}
	return e.fields(fields)
}

// fields fills the event from a map's entries; others than it knows are dropped.
func (e *loose) fields(m map[string]any) error {
	switch p := m["process"].(type) {
	case int64:
		if p < -1 || p > math.MaxInt32 {
			return fmt.Errorf("process %d is out of range", p)
		}
		e.op.Process = Process(p)
	case string:
		e.op.Process = Nemesis // :nemesis and other named threads
	default:
		return errors.New("the operation has no process")
	}
	t, _ := m["type"].(string)
	var err error
	if e.op.Type, err = ParseType(t); err != nil {
		return err
	}
	var ok bool
	if e.op.F, ok = m["f"].(string); !ok {
		return errors.New("the operation has no f")
	}
	e.op.Value = m["value"]
	if k, ok := m["key"]; ok {
		e.op.Key = fmt.Sprint(k)
	}
	if n, ok := m["time"].(int64); ok && n >= 0 {
		e.op.Time, e.timed = time.Duration(n), true
	}
	if o, ok := m["observed"]; ok {
		e.op.Observed = &Seen{o}
	}
	if s, ok := m["node"].(string); ok {
		e.op.Node = s
	}
	if v, ok := m["error"]; ok && v != nil {
		e.op.Error = fmt.Sprint(v)
	}
	if n, ok := m["version"].(int64); ok {
		e.op.Version = n
	}
	return nil
}

// logOps reads lines of Jepsen's text log; those that tell of no operation are
// passed over.
func logOps(r io.Reader) iter.Seq2[loose, error] {
	return func(yield func(loose, error) bool) {
		in := bufio.NewReaderSize(r, 1<<16)
		var long []byte
		for n := 1; ; n++ {
			line, err := readLine(in, &long)
			if err != nil && !errors.Is(err, io.EOF) {
				yield(loose{line: n}, err)
				return
			}
			e := loose{line: n, col: 1}
			if ok, bad := e.log(string(line)); bad != nil {
				yield(e, posError{n, 1, bad})
				return
			} else if ok && !yield(e, nil) {
				return
			}
			if err != nil {
				return
			}
		}
	}
}

// log reads "INFO  jepsen.util - 4  :invoke  :cas  [1 3]".
func (e *loose) log(line string) (bool, error) {
	if !utf8.ValidString(line) {
		return false, errors.New("a line that is not UTF-8")
	}
	_, rest, ok := strings.Cut(line, " - ")
	if !ok {
		return false, nil
	}
	words := strings.Fields(rest)
	if len(words) < 3 || !strings.HasPrefix(words[1], ":") || !strings.HasPrefix(words[2], ":") {
		return false, nil
	}
	t, err := ParseType(words[1][1:])
	if err != nil {
		return false, nil //nolint:nilerr // some other line
	}
	e.op.Type, e.op.F, e.op.Process = t, words[2][1:], Nemesis
	if words[0] != ":nemesis" {
		p, err := strconv.Atoi(words[0])
		if err != nil || p < 0 || p > math.MaxInt32 {
			return false, fmt.Errorf("expected a process before :%v, found %q", t, words[0])
		}
		e.op.Process = Process(p)
	}
	if len(words) == 3 {
		return true, nil
	}
	p := newEDN(strings.NewReader(strings.Join(words[3:], " ")))
	v, err := p.value()
	if err != nil || isDiscarded(v) {
		if e.op.Process == Nemesis {
			return true, nil // free text
		}
		return false, fmt.Errorf("expected a value after :%s, found %q", e.op.F, strings.Join(words[3:], " "))
	}
	if k, ok := v.(keyword); ok && t != Invoke && t != OK {
		e.op.Error = string(k) // :timed-out
		return true, nil
	}
	e.op.Value = plain(v)
	return true, nil
}
