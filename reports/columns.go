package reports

import (
	"bufio"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/faultline-dev/faultline/history"
)

// maxEmbedded bounds the operations that index.html carries for its timeline, so
// that a browser can still open it. Of longer histories it carries the stretch
// around the first anomaly.
const maxEmbedded = 1_250_000

// maxInt bounds the integers that stand in the columns as such: what JavaScript
// keeps exactly, less the bits that say what a number is.
const maxInt = 1 << 48

// Codes of values in the columns; from codeFirst on the low two bits say what the
// rest is.
const (
	codeNone = iota
	codeNil
	codeFalse
	codeTrue
	codeSame // the completion carries what the invocation did
	codeFirst

	codeInt   = 0 // zigzag
	codePair  = 1 // two values follow
	codeOther = 2 // number in meta.others
)

// meta tells the viewer what the columns hold.
type meta struct {
	N           int           `json:"n"`
	Left        int           `json:"left"` // operations of the run that are not here
	Length      int64         `json:"length"`
	From        int64         `json:"from"`
	Concurrency int           `json:"concurrency"`
	Fs          []string      `json:"fs"`
	Keys        []string      `json:"keys"`
	Nodes       []string      `json:"nodes"`
	Errors      []string      `json:"errors"`
	Others      []string      `json:"others"` // as JSON
	Faults      []metaFault   `json:"faults"`
	Anomalies   []metaAnomaly `json:"anomalies"`
}

type metaFault struct {
	Text  string `json:"text"`
	Start int64  `json:"start"`
	End   int64  `json:"end"`
	Color int    `json:"color"`
}

type metaAnomaly struct {
	No   int    `json:"no"`
	Name string `json:"name"`
	Ops  []int  `json:"ops"` // indices of invocations
}

// columnWriter writes operations column by column, each number a varint.
type columnWriter struct {
	h        *history.History
	from, to int
	w        *bufio.Writer
	buf      [binary.MaxVarintLen64]byte
	others   map[history.Value]uint64
	errors   map[string]uint64
	meta     *meta
	err      error
}

// writeColumns writes the operations and what the viewer must know of them as two
// scripts that no browser runs: compressed columns, and their description.
func writeColumns(out *bufio.Writer, p *page) error {
	h := p.src.History
	from, to := stretch(h, p.R.Anomalies)
	m := newMeta(p, from, to)
	c := &columnWriter{h: h, from: from, to: to, others: map[history.Value]uint64{}, errors: map[string]uint64{}, meta: m}
	_, err := out.WriteString(`<script type="text/plain" id="columns">`)
	if err != nil {
		return err
	}
	b64 := base64.NewEncoder(base64.StdEncoding, out)
	z, err := flate.NewWriter(b64, flate.DefaultCompression)
	if err != nil {
		return err
	}
	c.w = bufio.NewWriterSize(z, 1<<16)
	c.columns()
	for _, finish := range []func() error{c.w.Flush, z.Close, b64.Close} {
		if err = finish(); err != nil && c.err == nil {
			c.err = err
		}
	}
	if c.err != nil {
		return c.err
	}
	if _, err = out.WriteString("</script>\n<script type=\"application/json\" id=\"meta\">"); err != nil {
		return err
	}
	b, err := json.Marshal(m) // escapes < and >, so that nothing ends the script
	if err != nil {
		return err
	}
	if _, err = out.Write(b); err != nil {
		return err
	}
	_, err = out.WriteString("</script>\n")
	return err
}

// stretch is the range of operations to embed.
func stretch(h *history.History, anomalies []Anomaly) (from, to int) {
	n := h.Len()
	if n <= maxEmbedded {
		return 0, n
	}
	if len(anomalies) > 0 && len(anomalies[0].Ops) > 0 {
		if at := h.At(anomalies[0].Ops[0]); at > 0 {
			from = min(max(0, at-maxEmbedded/2), n-maxEmbedded)
		}
	}
	return from, from + maxEmbedded
}

// maxMetaFaults and maxMetaAnomalies bound what the viewer marks.
const (
	maxMetaFaults    = 5000
	maxMetaAnomalies = 1000
)

func newMeta(p *page, from, to int) *meta {
	h := p.src.History
	m := &meta{
		N: to - from, Left: h.Len() - (to - from), Length: int64(p.length), Concurrency: p.R.Concurrency,
		Fs: h.Fs(), Keys: h.Keys(), Nodes: h.Nodes(), Errors: []string{""}, Others: []string{}, Faults: []metaFault{}, Anomalies: []metaAnomaly{},
	}
	if m.Left > 0 {
		m.From = int64(h.Invoke(from))
		m.Length = int64(h.Invoke(to - 1))
	}
	for _, f := range p.R.Faults[:min(len(p.R.Faults), maxMetaFaults)] {
		end := f.End
		if end == 0 {
			end = p.length
		}
		m.Faults = append(m.Faults, metaFault{faultWords(f), int64(f.Start), int64(end), p.colors[f.Fault]})
	}
	for i, a := range p.R.Anomalies[:min(len(p.R.Anomalies), maxMetaAnomalies)] {
		m.Anomalies = append(m.Anomalies, metaAnomaly{i + 1, a.Name, filled(a.Ops)})
	}
	return m
}

func (c *columnWriter) uint(n uint64) {
	if c.err == nil {
		_, c.err = c.w.Write(c.buf[:binary.PutUvarint(c.buf[:], n)])
	}
}

func zigzag(n int64) uint64 { return uint64(n<<1) ^ uint64(n>>63) } //nolint:gosec // the bits are meant

// each writes one column.
func (c *columnWriter) each(of func(i int)) {
	for i := c.from; i < c.to && c.err == nil; i++ {
		of(i)
	}
}

// columns writes them in the order in which the viewer reads them.
func (c *columnWriter) columns() {
	h := c.h
	var last time.Duration
	c.each(func(i int) { // time of invocation, since the one before
		c.uint(uint64(h.Invoke(i) - last)) //nolint:gosec // times do not run backwards
		last = h.Invoke(i)
	})
	c.each(func(i int) { // duration + 1; 0 without completion
		if d := h.Done(i); d == history.Forever {
			c.uint(0)
		} else {
			c.uint(uint64(d-h.Invoke(i)) + 1) //nolint:gosec // a completion follows its invocation
		}
	})
	c.each(func(i int) { c.uint(uint64(h.Process(i))) })                     //nolint:gosec // a client's, >= 0
	c.each(func(i int) { c.uint(uint64(h.FID(i)<<2 | outcome(h.Type(i)))) }) //nolint:gosec // small
	c.each(func(i int) { c.uint(uint64(h.KeyID(i))) })                       //nolint:gosec // small
	c.each(func(i int) { c.uint(uint64(h.NodeID(i))) })                      //nolint:gosec // small
	c.each(func(i int) { c.value(h.In(i)) })
	c.each(c.out)
	at := 0
	c.each(func(i int) { // index of the invocation, since the one before
		c.uint(uint64(h.Index(i) - at)) //nolint:gosec // ascending
		at = h.Index(i)
	})
	c.each(func(i int) { c.uint(uint64(max(0, h.Ret(i)-h.Index(i)))) }) //nolint:gosec // not negative
	c.versions()
	c.each(func(i int) { c.uint(c.errorID(h.Error(i))) })
	c.each(func(i int) { c.value(h.Observed(i)) })
}

func (c *columnWriter) out(i int) {
	in, out := c.h.In(i), c.h.Out(i)
	if out == in && !out.IsPair() || out.IsPair() && in.IsPair() && c.samePair(in, out) {
		c.uint(codeSame)
		return
	}
	c.value(out)
}

func (c *columnWriter) samePair(a, b history.Value) bool {
	a1, a2 := c.h.Pair(a)
	b1, b2 := c.h.Pair(b)
	return a1 == b1 && a2 == b2 && !a1.IsPair() && !a2.IsPair()
}

func (c *columnWriter) versions() {
	var last int64
	c.each(func(i int) {
		v := c.h.Version(i)
		if v == 0 {
			c.uint(0)
			return
		}
		c.uint(zigzag(v-last) + 1)
		last = v
	})
}

func (c *columnWriter) errorID(s string) uint64 {
	if s == "" {
		return 0
	}
	id, ok := c.errors[s]
	if !ok {
		id = uint64(len(c.meta.Errors))
		c.errors[s] = id
		c.meta.Errors = append(c.meta.Errors, s)
	}
	return id
}

func (c *columnWriter) value(v history.Value) {
	switch v {
	case history.None:
		c.uint(codeNone)
		return
	case history.Nil:
		c.uint(codeNil)
		return
	case history.False:
		c.uint(codeFalse)
		return
	case history.True:
		c.uint(codeTrue)
		return
	}
	if n, ok := v.IsInt(); ok && n < maxInt && n > -maxInt {
		c.uint(zigzag(n)<<2 + codeFirst + codeInt)
		return
	}
	if v.IsPair() {
		a, b := c.h.Pair(v)
		c.uint(codeFirst + codePair)
		c.value(a)
		c.value(b)
		return
	}
	id, ok := c.others[v]
	if !ok {
		id = uint64(len(c.meta.Others))
		c.others[v] = id
		c.meta.Others = append(c.meta.Others, valueJSON(c.h.Go(v)))
	}
	c.uint(id<<2 + codeFirst + codeOther)
}

// valueJSON is v as it stands in the history.
func valueJSON(v any) string {
	const before = `{"index":0,"time":0,"process":0,"type":"invoke","f":"f","value":`
	b, err := history.AppendJSON(nil, history.Op{F: "f", Value: v})
	if err != nil || len(b) <= len(before) {
		return "null"
	}
	return string(b[len(before) : len(b)-1])
}
