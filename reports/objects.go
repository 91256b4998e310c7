package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/faultline-dev/faultline/history"
)

const (
	objectKeys = 12  // drawn
	objectBars = 600 // of one key
)

// objects are drawings of what the operations add up to: the holds of locks, the
// lifetimes of cache entries.
type objects struct {
	Title, Note string
	Charts      []objectChart
}

type objectChart struct {
	Name, Text string
	Height     int
	Bars       []objectBar
}

type objectBar struct{ X, W, Y, Class, Title string }

// hold is the time for which a client may believe to own something.
type hold struct {
	from, to time.Duration
	process  history.Process
	words    string
	open     bool // nobody said that it ended
	clash    bool // overlaps another
	get      bool // a read of a cache, not a lifetime
}

// newObjects is nil for workloads whose operations add up to nothing with a
// lifetime.
func newObjects(h *history.History, r Results, length time.Duration) *objects {
	fs := h.Fs()
	switch {
	case slices.Contains(fs, "acquire"):
		return draw(holdsOf(h, length), h, r, length, objects{Title: "Holds", Note: "Each bar is a hold as its owner knew it: " +
			"from the answer to acquire until release was called, the loss was learnt, or the process ended. Overlaps are marked."})
	case slices.Contains(fs, "set") && slices.Contains(fs, "get"):
		return draw(lifetimesOf(h), h, r, length, objects{Title: "Lifetimes", Note: "Each bar is an entry from the call of set " +
			"until its time to live had passed after the answer; ticks are reads."})
	}
	return nil
}

// holdsOf are the holds of locks, by key.
func holdsOf(h *history.History, length time.Duration) map[int][]hold {
	holds := map[int][]hold{}
	open := map[history.Process]map[int]int{} // process, key: place in holds
	for i := range h.Len() {
		who, key := h.Process(i), h.KeyID(i)
		switch f := h.F(i); {
		case f == "acquire" && h.Type(i) == history.OK:
			holds[key] = append(holds[key], hold{
				from: h.Done(i), to: length, process: who, open: true, words: came(h.Op(i)),
			})
			if open[who] == nil {
				open[who] = map[int]int{}
			}
			open[who][key] = len(holds[key]) - 1
		case f == "release" || f == "lost":
			if at, ok := open[who][key]; ok {
				holds[key][at].to, holds[key][at].open = h.Invoke(i), false
				delete(open[who], key)
			}
		}
		if h.Type(i) == history.Info && h.Done(i) != history.Forever {
			for key, at := range open[who] {
				holds[key][at].to = min(holds[key][at].to, h.Done(i))
			}
			delete(open, who)
		}
	}
	for key := range holds {
		clash(holds[key])
	}
	return holds
}

// clash marks the holds that overlap one before them, and that one.
func clash(holds []hold) {
	slices.SortStableFunc(holds, func(a, b hold) int { return cmp.Compare(a.from, b.from) })
	last := -1
	for i := range holds {
		if last >= 0 && holds[i].from < holds[last].to {
			holds[i].clash, holds[last].clash = true, true
		}
		if last < 0 || holds[i].to > holds[last].to {
			last = i
		}
	}
}

// lifetimesOf are the entries of a cache and the reads of them, by key.
func lifetimesOf(h *history.History) map[int][]hold {
	lives := map[int][]hold{}
	for i := range h.Len() {
		key := h.KeyID(i)
		switch f := h.F(i); {
		case f == "set" && h.Type(i) != history.Fail:
			o := h.Op(i)
			m, _ := o.In.(map[string]any)
			ttl, _ := m["ttl_ns"].(int64)
			end := o.Done
			if end == history.Forever {
				end = o.Invoke
			}
			lives[key] = append(lives[key], hold{
				from: o.Invoke, to: end + time.Duration(ttl), process: o.Process, words: asked(o), open: o.Type != history.OK,
			})
		case f == "get" && h.Type(i) == history.OK:
			lives[key] = append(lives[key], hold{
				from: h.Invoke(i), to: h.Done(i), process: h.Process(i), words: "get → " + came(h.Op(i)), get: true,
			})
		}
	}
	return lives
}

// draw shows the keys with anomalies first, then those with clashes.
func draw(of map[int][]hold, h *history.History, r Results, length time.Duration, o objects) *objects {
	type ranked struct{ key, rank int }
	var keys []ranked
	for k, holds := range of {
		rank := 0
		for _, x := range holds {
			if x.clash {
				rank--
			}
		}
		for _, a := range r.Anomalies {
			if a.Key == h.Keys()[k] {
				rank -= 1 << 20
			}
		}
		keys = append(keys, ranked{k, rank})
	}
	slices.SortFunc(keys, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.key, b.key)) })
	for i, k := range keys {
		if i == objectKeys {
			o.Note += fmt.Sprintf(" %d of %d keys are shown.", i, len(keys))
			break
		}
		o.Charts = append(o.Charts, drawObject(h.Keys()[k.key], of[k.key], length))
	}
	return &o
}

// drawObject lays the bars of one key in lanes, so that overlapping ones lie below
// each other.
func drawObject(key string, holds []hold, length time.Duration) objectChart {
	c := objectChart{Name: key}
	var lanes []time.Duration
	clashes := 0
	for i, x := range holds {
		if x.clash {
			clashes++
		}
		if i >= objectBars {
			continue
		}
		lane := 0
		if !x.get {
			for lane < len(lanes) && lanes[lane] > x.from && lane < 5 {
				lane++
			}
			if lane == len(lanes) {
				lanes = append(lanes, 0)
			}
			lanes[lane] = max(lanes[lane], x.to)
		}
		c.Bars = append(c.Bars, x.bar(lane, length))
	}
	c.Height = 14*max(1, len(lanes)) + 3
	c.Text = plural(len(holds), "bar")
	if clashes > 0 {
		c.Text += fmt.Sprintf(", %d overlap", clashes)
	}
	if len(holds) > objectBars {
		c.Text += fmt.Sprintf(", the first %d are drawn", objectBars)
	}
	return c
}

func (x hold) bar(lane int, length time.Duration) objectBar {
	class := "hold"
	switch {
	case x.get:
		class = "get"
	case x.clash:
		class = "hold clash"
	case x.open:
		class = "hold open"
	}
	to := min(x.to, length)
	return objectBar{
		X: px(float64(x.from) / float64(length) * chartWidth),
		W: px(max(1.5, float64(to-x.from)/float64(length)*chartWidth)),
		Y: strconv.Itoa(3 + 14*lane), Class: class,
		Title: fmt.Sprintf("process %d: %s, %s – %s", x.process, x.words, clock(x.from), clock(x.to)),
	}
}
