package main

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/faultline-dev/faultline/checker/linear"
	"github.com/faultline-dev/faultline/checker/synth"
)

// kind is a kind of register, with what is promised of it.
type kind struct {
	spec  string
	sorts float64 // at most so many times the sort
	bytes float64 // an operation, at most
	porc  [3]float64
	stale float64 // Porcupine's time over ours, one stale read
}

func kinds() []kind {
	return []kind{
		{spec: "register", sorts: 0.5, bytes: 65, porc: [3]float64{1000, 300, 30}, stale: 5000},
		{spec: "cas-register", sorts: 1.5, bytes: 65, porc: [3]float64{150, 100, 15}, stale: 700},
		{spec: "excluding-register", sorts: 5, bytes: 220, porc: [3]float64{100, 30, 14}, stale: 2000},
	}
}

// of is a history of a kind of object.
func of(spec, engine string, ops, processes, keys int, info float64, anomaly string) subject {
	generated := spec
	if spec == "excluding-register" {
		generated = "cas-register"
	}
	return subject{synth.Options{
		Model: generated, Ops: ops, Processes: processes, Keys: keys, Info: info, Anomaly: anomaly, At: 0.98, Seed: 1,
	}, spec, engine}
}

// zoneRows compare the register engine with sorting.
func zoneRows(o options, flat *flatness) []row {
	var rs []row
	var c cache
	for _, k := range kinds() {
		add := func(n, processes int, info float64) {
			for _, anomaly := range []string{"", "stale-read"} {
				s := of(k.spec, linear.Auto, n, processes, 1, info, anomaly)
				rs = append(rs, row{"sort: " + s.String(), func(o options) (line, error) { return k.sort(o, s, &c, flat) }})
			}
		}
		sizes := []int{100_000, 1_000_000}
		if o.long {
			sizes = append(sizes, 10_000_000)
		}
		for _, n := range sizes {
			for _, p := range []int{8, 64} {
				add(n, p, 0)
			}
		}
		for _, info := range []float64{0.001, 0.01, 0.2} {
			for _, p := range []int{8, 64} {
				add(1_000_000, p, info)
			}
		}
	}
	return rs
}

func (k kind) sort(o options, s subject, c *cache, flat *flatness) (line, error) {
	h, spec, err := c.get(s)
	if err != nil {
		return line{}, err
	}
	l := s.judged(h, spec)
	ours, sort, ratio := o.contest(func() time.Duration { return o.timed(func() { s.check(h, spec) }) }, o.sorting(s.Ops), turns)
	ratio = 1 / ratio
	l.ns = float64(ours) / float64(s.Ops)
	l.peer, l.got, l.asked = fmt.Sprintf("%.1f ns", float64(sort)/float64(s.Ops)), fmt.Sprintf("%.2f x", ratio), fmt.Sprintf("<= %.1f x sort, %.0f B/op", k.sorts, k.bytes)
	if ratio > k.sorts {
		l.failed = append(l.failed, "time")
	}
	if l.bytes > k.bytes {
		l.failed = append(l.failed, "memory")
	}
	if s.Info == 0 {
		flat.add(k.spec+" "+map[bool]string{true: "right", false: s.Anomaly}[s.Anomaly == ""], l.ns)
	}
	return l, nil
}

// flatness collects times an operation, to see that they hardly differ.
type flatness struct {
	names []string
	ns    map[string][]float64
}

func (f *flatness) add(name string, ns float64) {
	if f.ns == nil {
		f.ns = map[string][]float64{}
	}
	if f.ns[name] == nil {
		f.names = append(f.names, name)
	}
	f.ns[name] = append(f.ns[name], ns)
}

func (f *flatness) rows() []row {
	var rs []row
	for _, k := range kinds() {
		for _, what := range []string{"right", "stale-read"} {
			name := k.spec + " " + what
			rs = append(rs, row{"flat: time an operation, all lengths and processes, " + name, func(options) (line, error) {
				l := line{asked: "<= 2.0 x"}
				all := f.ns[name]
				if len(all) == 0 {
					l.skipped = "none was measured"
					return l, nil
				}
				least, most := all[0], all[0]
				for _, x := range all {
					least, most = min(least, x), max(most, x)
				}
				l.got, l.peer = fmt.Sprintf("%.2f x", most/least), fmt.Sprintf("%.1f ns", least)
				l.ns = most
				if most > 2*least {
					l.failed = append(l.failed, "time")
				}
				return l, nil
			}})
		}
	}
	return rs
}

// ratioRows compare the register engine with Porcupine.
func ratioRows() []row {
	var rs []row
	for _, k := range kinds() {
		add := func(least float64, n, processes, keys int, anomaly string) {
			s := of(k.spec, linear.Auto, n, processes, keys, 0, anomaly)
			rs = append(rs, row{"porcupine: " + s.String(), func(o options) (line, error) { return against(o, s, least, 0) }})
		}
		add(k.porc[0], 10_000, 8, 1, "")
		add(k.porc[1], 100_000, 4, 1, "")
		add(k.porc[2], 1_000_000, 8, 100, "")
		add(k.stale, 10_000, 8, 1, "stale-read")
	}
	return rs
}

// answerRows are histories on which Porcupine finds no answer.
func answerRows() []row {
	var rs []row
	for _, k := range kinds() {
		for _, s := range []subject{
			of(k.spec, linear.Auto, 10_000, 16, 1, 0, ""),
			of(k.spec, linear.Auto, 1_000, 32, 1, 0, ""),
			of(k.spec, linear.Auto, 1_000_000, 8, 1, 0, ""),
			of(k.spec, linear.Auto, 10_000, 8, 1, 0.01, "stale-read"),
			of(k.spec, linear.Auto, 1_000, 16, 1, 0.01, "stale-read"),
		} {
			rs = append(rs, row{"answer: " + s.String(), func(o options) (line, error) {
				o.limit = o.hopeless
				if s.Ops == 1_000_000 { // its sets of operations are of 125 kB each
					o.limit = time.Second
				}
				return against(o, s, 1, 0)
			}})
		}
	}
	return rs
}

// searchRows compare the exact search with Porcupine.
func searchRows() []row {
	var rs []row
	for _, spec := range []string{"cas-register", "kv", "mutex", "owner-mutex"} {
		add := func(least float64, n, processes, keys int, info float64) {
			s := of(spec, linear.Search, n, processes, keys, info, "")
			bytes := 300.0
			s.Wait = true // for locks, else most acquires fail and are left out
			if spec == "cas-register" {
				s.Values = 5
			}
			rs = append(rs, row{"search: " + s.String(), func(o options) (line, error) { return against(o, s, least, bytes) }})
		}
		add(3, 1_000, 8, 1, 0)
		add(20, 10_000, 8, 1, 0)
		add(30, 100_000, 4, 1, 0)
		add(30, 100_000, 8, 1, 0)
		add(10, 1_000_000, 8, 100, 0)
		for _, info := range []float64{0.001, 0.01} {
			add(1, 1_000, 4, 1, info)
			add(1, 10_000, 4, 1, info)
			add(1, 100_000, 8, 100, info)
		}
	}
	return rs
}

// against times a check against Porcupine, which may find no answer.
func against(o options, s subject, least, bytes float64) (line, error) {
	var c cache
	h, spec, err := c.get(s)
	if err != nil {
		return line{}, err
	}
	l := s.judged(h, spec)
	said, took, err := once(h, spec, o)
	if err != nil {
		return line{}, err
	}
	n := turns
	if took > time.Second {
		n = 3
	}
	ours, _, ratio := o.contest(
		func() time.Duration { return o.timed(func() { s.check(h, spec) }) },
		func() time.Duration {
			if took > 3*time.Second {
				return took // not again
			}
			_, t, _ := once(h, spec, o)
			return t
		}, n)
	l.ns, l.peer, l.got = float64(ours)/float64(s.Ops), short(took), fmt.Sprintf("%.0f", ratio)
	if ratio < 10 {
		l.got = fmt.Sprintf("%.1f", ratio)
	}
	l.asked = fmt.Sprintf(">= %.0f", least)
	switch {
	case bytes > 0 && l.wentBack: // then it remembers where it was
		l.asked += ", went back"
	case bytes > 0:
		l.asked += fmt.Sprintf(", %.0f B/op", bytes)
	}
	switch said {
	case porcupine.Unknown:
		l.peer, l.got = "> "+l.peer, "> "+l.got
	case porcupine.Ok, porcupine.Illegal:
		if (said == porcupine.Ok) != (s.Anomaly == "") {
			l.failed = append(l.failed, "porcupine disagrees: "+string(said))
		}
	}
	if ratio < least {
		l.failed = append(l.failed, "time")
	}
	if bytes > 0 && !l.wentBack && l.bytes > bytes {
		l.failed = append(l.failed, "memory")
	}
	return l, nil
}

func short(d time.Duration) string {
	switch {
	case d > time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d > time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d µs", d.Microseconds())
}
