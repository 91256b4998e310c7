package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Formats are the names of the formats that Decode reads, "auto" aside.
func Formats() []string {
	return []string{"faultline", "edn", "jepsen-log", "porcupine-kv", "elle-json"}
}

// Decode reads a history in one of Formats, or sniffs which with "auto" (or ""),
// and says which it was. Histories of others have no end line and often no times:
// then an event's position is its time, in nanoseconds.
func Decode(r io.Reader, name, format string) (*History, string, error) {
	in, ok := readers.Get().(*bufio.Reader)
	if !ok {
		in = bufio.NewReaderSize(nil, bufferSize)
	}
	in.Reset(r)
	defer func() {
		in.Reset(nil)
		readers.Put(in)
	}()
	if format == "" || format == "auto" {
		head, _ := in.Peek(bufferSize) // a short input is judged by its reader
		format = sniff(head)
	}
	switch format {
	case "faultline":
		h, err := Read(in, name)
		return h, format, err
	case "edn", "porcupine-kv":
		h, err := build(ednOps(in), name)
		return h, format, err
	case "jepsen-log":
		h, err := build(logOps(in), name)
		return h, format, err
	case "elle-json":
		h, err := build(jsonOps(in), name)
		return h, format, err
	}
	return nil, format, fmt.Errorf("history: unknown format %q; there are auto, %s", format, strings.Join(Formats(), ", "))
}

// bufferSize is how much of an input is looked at to guess its format.
const bufferSize = 1 << 16

// readers are buffers: with many small histories most of the memory that reading
// needs.
var readers sync.Pool //nolint:gochecknoglobals // holds no state

// sniff guesses the format by the beginning of the input.
func sniff(head []byte) string {
	text := bytes.TrimLeft(head, " \t\r\n,")
	first, _, _ := bytes.Cut(text, []byte("\n"))
	switch {
	case bytes.HasPrefix(text, []byte(`{"`)) && bytes.Contains(first, []byte(`"time"`)) && bytes.Contains(first, []byte(`"index"`)),
		bytes.HasPrefix(text, []byte(`{"end"`)):
		return "faultline"
	case bytes.HasPrefix(text, []byte("INFO")) || bytes.Contains(head, []byte("jepsen.util - ")):
		return "jepsen-log"
	case bytes.HasPrefix(text, []byte(`{"`)) || bytes.HasPrefix(bytes.Map(noSpace, first[:min(len(first), 64)]), []byte(`[{"`)) ||
		bytes.HasPrefix(text, []byte("[")) && bytes.HasPrefix(bytes.TrimLeft(text[1:], " \r\n\t"), []byte(`{"`)):
		return "elle-json"
	case bytes.HasPrefix(text, []byte("{:")) && bytes.Contains(first, []byte(":key ")):
		return "porcupine-kv"
	case bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("[")) || bytes.HasPrefix(text, []byte("#")) ||
		bytes.HasPrefix(text, []byte(";")) || bytes.HasPrefix(text, []byte("(")):
		return "edn"
	}
	return "faultline" // whose reader says what it expected
}

func noSpace(r rune) rune {
	if r == ' ' || r == '\t' {
		return -1
	}
	return r
}

// loose is an event of someone else's: it may lack a time.
type loose struct {
	op    Op
	timed bool
	line  int
	col   int
}

// build makes a history of loose events. Where all values are tuples, [key
// value], as Jepsen's independent writes them, their first half is the key.
func build(events iter.Seq2[loose, error], name string) (*History, error) {
	var all []loose
	timed, last := true, time.Duration(0)
	for e, err := range events {
		if err != nil {
			if at, ok := errors.AsType[posError](err); ok {
				return nil, &Error{name, at.line, err}
			}
			return nil, &Error{name, e.line, err}
		}
		timed = timed && e.timed && e.op.Time >= last
		last = e.op.Time
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, &Error{name, 1, errors.New("the history is empty")}
	}
	tuples := independent(all)
	var b Builder
	done := map[Process]bool{}
	for i, e := range all {
		op := e.op
		op.Index = i
		if !timed {
			op.Time = time.Duration(i)
		}
		if tuples && op.Process != Nemesis {
			if t, ok := op.Value.([]any); ok {
				op.Key, op.Value = fmt.Sprint(t[0]), t[1]
			}
		}
		if op.Process != Nemesis {
			op.Key = b.keyOf(op)
		}
		if op.Process != Nemesis && done[op.Process] && op.Type == Invoke {
			return nil, &Error{name, e.line, posError{e.line, e.col, fmt.Errorf("process %d goes on after an info: a process ends with it", op.Process)}}
		}
		done[op.Process] = op.Type == Info
		if err := b.Add(op); err != nil {
			return nil, &Error{name, e.line, posError{e.line, e.col, err}}
		}
	}
	return b.History(true), nil
}

// keyOf is the key of a completion that does not name it: its invocation's.
func (b *Builder) keyOf(op Op) string {
	if i, ok := b.open[op.Process]; ok && op.Type != Invoke && op.Key == "" {
		return b.h.keys.names[b.h.key[i]]
	}
	return op.Key
}

// independent says whether all values of the clients are tuples: arrays of two,
// and those of compare-and-sets arrays of a key and an array.
func independent(all []loose) bool {
	clients := false
	for _, e := range all {
		if e.op.Process == Nemesis || e.op.Type != Invoke {
			continue
		}
		t, ok := e.op.Value.([]any)
		if !ok || len(t) != 2 || e.op.Key != "" {
			return false
		}
		if _, nested := t[1].([]any); e.op.F == "cas" && !nested {
			return false
		}
		switch t[0].(type) {
		case []any, map[string]any, nil:
			return false
		}
		clients = true
	}
	for _, e := range all {
		if e.op.Process == Nemesis || e.op.Type == Invoke {
			continue
		}
		if t, ok := e.op.Value.([]any); e.op.Value != nil && (!ok || len(t) != 2) {
			return false
		}
	}
	return clients
}

// Ops are the events of h in order.
func (h *History) Ops() iter.Seq[Op] {
	return func(yield func(Op) bool) {
		at := make([]int32, h.events) // operation+1, negative for its completion, 0 for a fault
		for i := range h.Len() {
			at[h.invIdx[i]] = int32(i + 1) //nolint:gosec // bounded by events
			if r := h.retIdx[i]; r >= 0 {
				at[r] = -int32(i + 1) //nolint:gosec // bounded by events
			}
		}
		fault := 0
		for index, n := range at {
			var op Op
			switch {
			case n > 0:
				i := int(n - 1)
				op = Op{Time: h.Invoke(i), Type: Invoke, Value: h.Go(h.in[i])}
				h.fill(&op, i)
			case n < 0:
				i := int(-n - 1)
				op = Op{Time: h.Done(i), Type: h.typ[i], Value: h.Go(h.out[i]), Error: h.Error(i), Version: h.Version(i)}
				if o := h.Observed(i); o != None {
					op.Observed = &Seen{h.Go(o)}
				}
				h.fill(&op, i)
			case fault < len(h.Faults):
				op = h.Faults[fault]
				fault++
			}
			op.Index = index
			if !yield(op) {
				return
			}
		}
	}
}

func (h *History) fill(op *Op, i int) {
	op.Process, op.F, op.Key, op.Node = h.Process(i), h.F(i), h.keys.names[h.key[i]], h.nodes.names[h.node[i]]
}

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
