package agent

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// Datagram is what probes send, padded to the size that was asked for.
type Datagram struct {
	Token string `json:"t"`
	Seq   int    `json:"s"`
	// Sent is the wall clock, which all containers of a machine share.
	Sent int64 `json:"n"`
}

// MaxDatagram is the largest that can be sent, in bytes.
const MaxDatagram = 60_000

// Encode is the datagram as it is sent.
func (d Datagram) Encode(size int) []byte {
	b, _ := json.Marshal(d) //nolint:errchkjson // a string and numbers
	b = append(b, '\n')
	if n := min(size, MaxDatagram) - len(b); n > 0 {
		b = append(b, bytes.Repeat([]byte{'.'}, n)...)
	}
	return b
}

// DecodeDatagram is the inverse of Encode.
func DecodeDatagram(b []byte) (d Datagram, ok bool) {
	head, _, _ := bytes.Cut(b, []byte{'\n'})
	return d, json.Unmarshal(head, &d) == nil
}

// Tally is what arrived of one sender's datagrams of one token.
type Tally struct {
	seen       map[int]bool
	highest    int
	duplicated int
	reordered  int
	delays     []time.Duration
	first      time.Time
	last       time.Time
	bits       int64 // after the first, without duplicates
}

// Add counts a datagram that arrived.
func (t *Tally) Add(d Datagram, size int, now time.Time) {
	switch {
	case t.seen == nil:
		t.seen = map[int]bool{}
		t.first, t.highest = now, -1
	case t.seen[d.Seq]:
		t.duplicated++
		return
	default:
		t.bits += int64(size) * 8
	}
	t.last = now
	if d.Seq < t.highest {
		t.reordered++
	}
	t.highest = max(t.highest, d.Seq)
	t.seen[d.Seq] = true
	t.delays = append(t.delays, now.Sub(time.Unix(0, d.Sent)))
}

// Quality is what the tally says of the link.
func (t *Tally) Quality() cluster.Quality {
	q := cluster.Quality{Received: len(t.seen), Duplicated: t.duplicated, Reordered: t.reordered}
	if len(t.delays) == 0 {
		return q
	}
	d := slices.Clone(t.delays)
	slices.Sort(d)
	q.Delay, q.DelayP95 = d[len(d)/2], d[len(d)*95/100]
	if took := t.last.Sub(t.first); took > 0 {
		q.Rate = int64(float64(t.bits) / took.Seconds())
	}
	return q
}
