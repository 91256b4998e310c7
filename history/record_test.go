package history_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/history"
)

func wallClock() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// Every state of the file, at every flush, is a well-formed prefix in time, and
// holds every event older than the moment of the flush.
func TestRecorderWritesPrefixes(t *testing.T) {
	var buf bytes.Buffer
	r := history.NewRecorder(&buf, wallClock())
	const workers, each = 8, 2000
	var wg sync.WaitGroup
	for w := range workers {
		lane := r.Lane()
		wg.Go(func() {
			for i := range each {
				op := history.Op{Process: history.Process(w), F: "write", Key: "k", Value: int64(i)}
				lane.Record(op)
				op.Type = history.OK
				lane.Record(op)
			}
		})
	}
	stop := make(chan struct{})
	go func() { wg.Wait(); close(stop) }()
	for done := false; !done; {
		select {
		case <-stop:
			done = true
		default:
		}
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := history.Read(bytes.NewReader(buf.Bytes()), "h")
	if err != nil {
		t.Fatal(err)
	}
	if h.Len() != workers*each || !h.Ended {
		t.Fatalf("got %d operations, ended %v; want %d, true", h.Len(), h.Ended, workers*each)
	}
	for i := 1; i < h.Len(); i++ {
		if h.Invoke(i) < h.Invoke(i-1) {
			t.Fatalf("operation %d was invoked before operation %d", i, i-1)
		}
	}
}

// Cut anywhere, a history reads up to its last whole line.
func TestReadSalvages(t *testing.T) {
	var buf bytes.Buffer
	w := history.NewWriter(&buf)
	for i := range 50 {
		op := history.Op{Time: time.Duration(2 * i), Process: history.Process(i), F: "read", Key: "k"}
		if err := w.Write(op); err != nil {
			t.Fatal(err)
		}
		op.Type, op.Time, op.Value = history.OK, op.Time+1, int64(i)
		if err := w.Write(op); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := buf.String()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		cut := 200 + rng.IntN(len(whole)-200)
		h, err := history.Read(strings.NewReader(whole[:cut]), "h")
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		lines := strings.Count(whole[:cut], "\n")
		if want := min(lines, 100); h.Events() != want {
			t.Fatalf("cut at %d: got %d events, want %d", cut, h.Events(), want)
		}
		if h.Ended != (cut == len(whole)) {
			t.Fatalf("cut at %d: ended is %v", cut, h.Ended)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	ev := `{"index":0,"time":1,"process":0,"type":"invoke","f":"read","key":"k","value":null}` + "\n"
	for name, c := range map[string]struct{ in, want string }{
		"nothing":            {"", "h:1: the history is empty"},
		"another file":       {"hello\n", "h:1: column 1: expected an event"},
		"another file whole": {"hello", "h:1: column 1: expected an event"},
		"a gap":              {ev + strings.Replace(ev, `"index":0`, `"index":2`, 1), "h:2: index 2, but 1 was expected"},
		"backwards":          {ev + `{"index":1,"time":0,"process":0,"type":"ok","f":"read","key":"k","value":1}` + "\n", "h:2: time 0 runs backwards"},
		"no invocation":      {`{"index":0,"time":1,"process":0,"type":"ok","f":"read"}` + "\n", "h:1: ok of read by process 0, which has no operation open"},
		"two open":           {ev + strings.Replace(ev, `"index":0`, `"index":1`, 1), "h:2: process 0 invokes read while its read, event 0, is open"},
		"other f":            {ev + `{"index":1,"time":2,"process":0,"type":"ok","f":"write","key":"k"}` + "\n", `completes write "k", but it invoked read "k"`},
		"after info": {
			ev + `{"index":1,"time":2,"process":0,"type":"info","f":"read","key":"k"}` + "\n" + strings.Replace(strings.Replace(ev, `"index":0`, `"index":2`, 1), `"time":1`, `"time":3`, 1),
			"h:3: process 0 goes on after an info",
		},
		"after the end":  {ev + `{"end":true}` + "\n" + ev, `h:3: expected nothing after {"end":true}`},
		"unknown field":  {strings.Replace(ev, `"key"`, `"kye"`, 1), `unknown field "kye"`},
		"missing field":  {`{"index":0,"time":1,"type":"invoke","f":"read"}` + "\n", `h:1: the event has no "process"`},
		"unknown type":   {strings.Replace(ev, `invoke`, `start`, 1), `type "start" is not one of invoke, ok, fail, info`},
		"not an integer": {strings.Replace(ev, `"time":1`, `"time":1.5`, 1), `"time" must be an integer`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := history.Read(strings.NewReader(c.in), "h")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestValuesRoundTrip(t *testing.T) {
	values := []any{
		nil, true, false, int64(0), int64(-5), int64(1) << 61, -(int64(1) << 61), int64(9223372036854775807),
		0.5, 3.0, 1e300, "", "a\"b\\c\n\x01é<script>",
		[]any{},
		[]any{int64(1), int64(2)},
		[]any{int64(1), nil, "x"},
		map[string]any{"owner": "n1", "token": int64(7), "deep": []any{map[string]any{"a": 1.5}}},
	}
	for _, v := range values {
		in := history.Op{Process: 3, Type: history.Invoke, F: "write", Key: "k é", Value: v, Node: "n1"}
		done := in
		done.Time, done.Type, done.Observed, done.Version, done.Error = 9, history.Fail, &history.Seen{Value: v}, 12, "no \"way\""
		var buf bytes.Buffer
		w := history.NewWriter(&buf)
		for _, op := range []history.Op{in, done} {
			if err := w.Write(op); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		first := buf.String()
		h, err := history.Read(strings.NewReader(first), "h")
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		o := h.Op(0)
		var again bytes.Buffer
		w = history.NewWriter(&again)
		back := history.Op{Process: o.Process, F: o.F, Key: o.Key, Value: o.In, Node: o.Node}
		if err := w.Write(back); err != nil {
			t.Fatal(err)
		}
		back.Time, back.Type, back.Value, back.Observed, back.Version, back.Error = o.Done, o.Type, o.Out, o.Observed, o.Version, o.Error
		if err := w.Write(back); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if again.String() != first {
			t.Errorf("%v was written as\n%sbut came back as\n%s", v, first, again.String())
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"index":0,"time":1,"process":0,"type":"invoke","f":"cas","key":"k","value":[1,{"a":null}]}` + "\n" + `{"index":1,"time":2,"process":0,"type":"fail","f":"cas","key":"k","value":null,"observed":2.5,"error":"x"}` + "\n{\"end\":true}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		w := history.NewWriter(&out)
		for op, err := range history.Events(bytes.NewReader(in), "h") {
			if err != nil {
				return
			}
			if err := w.Write(op); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		var twice bytes.Buffer
		w = history.NewWriter(&twice)
		for op, err := range history.Events(&out, "h") {
			if err != nil {
				t.Fatalf("what was written is refused: %v", err)
			}
			if err := w.Write(op); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The cost of recording one event, with another goroutine flushing.
func BenchmarkRecord(b *testing.B) {
	r := history.NewRecorder(io.Discard, wallClock())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-tick.C:
				_ = r.Flush()
			case <-stop:
				return
			}
		}
	}()
	lane := r.Lane()
	op := history.Op{F: "write", Key: "k1", Value: int64(1), Node: "n1"}
	b.ReportAllocs()
	for b.Loop() {
		lane.Record(op)
	}
	close(stop)
	<-stopped
}

func BenchmarkRead(b *testing.B) {
	var buf bytes.Buffer
	w := history.NewWriter(&buf)
	const ops = 100_000
	for i := range ops {
		op := history.Op{Time: time.Duration(2 * i), Process: history.Process(i % 10), F: "write", Key: "k1", Value: int64(i), Node: "n1"}
		_ = w.Write(op)
		op.Type, op.Time = history.OK, op.Time+1
		_ = w.Write(op)
	}
	_ = w.Close()
	b.SetBytes(int64(buf.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := history.Read(bytes.NewReader(buf.Bytes()), "h"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/ops, "ns/operation")
}

// full is a disk that is full after n bytes.
type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.left {
		n := f.left
		f.left = 0
		return n, errors.New("no space left on device")
	}
	f.left -= len(b)
	return len(b), nil
}

// When the disk is full the recorder says so, and goes on saying so.
func TestRecorderOnAFullDisk(t *testing.T) {
	r := history.NewRecorder(&full{left: 100_000}, wallClock())
	lane := r.Lane()
	var failed bool
	for i := range 3000 {
		lane.Record(history.Op{Process: 1, F: "write", Key: "k", Value: int64(i)})
		if i%100 == 99 && r.Flush() != nil {
			failed = true
		}
	}
	if !failed || r.Err() == nil || r.Close() == nil {
		t.Errorf("failed %v, error %v: the full disk went unnoticed", failed, r.Err())
	}
}
