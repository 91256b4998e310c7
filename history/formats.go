package history

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"
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
