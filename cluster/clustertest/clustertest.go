// Package clustertest holds the networks of worlds to what package cluster promises
// of faults that overlap.
package clustertest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

// Network is what is tested. That a world refuses a shape is allowed, but then
// nothing may have changed.
type Network interface {
	cluster.Network
	cluster.Shaper
}

// Hold is what one fault does to one link.
type Hold struct {
	Cut   bool
	Shape cluster.Shape // where it is no cut
}

// Held are the holds on one link by the faults' ids.
type Held map[string]Hold

// Union is what all of them do together: delays add up, jitter as the deviations of
// independent delays do, chances are independent, the least rate counts, and one cut
// is enough.
func (h Held) Union() Hold {
	var u Hold
	passes := map[*float64]float64{}
	variance := 0.0
	for _, o := range h {
		u.Cut = u.Cut || o.Cut
		u.Shape.Delay += o.Shape.Delay
		variance += float64(o.Shape.Jitter) * float64(o.Shape.Jitter)
		for _, p := range []struct {
			all *float64
			one float64
		}{
			{&u.Shape.Loss, o.Shape.Loss},
			{&u.Shape.Duplicate, o.Shape.Duplicate},
			{&u.Shape.Reorder, o.Shape.Reorder},
			{&u.Shape.Corrupt, o.Shape.Corrupt},
		} {
			if _, ok := passes[p.all]; !ok {
				passes[p.all] = 1
			}
			passes[p.all] *= 1 - p.one
		}
		if r := o.Shape.Rate; r > 0 && (u.Shape.Rate == 0 || r < u.Shape.Rate) {
			u.Shape.Rate = r
		}
	}
	for p, pass := range passes {
		*p = 1 - pass
	}
	u.Shape.Jitter = time.Duration(math.Sqrt(variance))
	return u
}

// Near says whether two unions are the same but for rounding.
func Near(a, b Hold) bool {
	near := func(x, y float64) bool { return math.Abs(x-y) <= 1e-6*max(1, math.Abs(x)) }
	s, t := a.Shape, b.Shape
	return a.Cut == b.Cut && s.Delay == t.Delay && s.Rate == t.Rate && near(float64(s.Jitter), float64(t.Jitter)) &&
		near(s.Loss, t.Loss) && near(s.Duplicate, t.Duplicate) && near(s.Reorder, t.Reorder) && near(s.Corrupt, t.Corrupt)
}

// model is what is active: whole faults, by their ids.
type model map[string]active

type active struct {
	links []cluster.Link
	hold  Hold
}

func (m model) held(l cluster.Link) Held {
	h := Held{}
	for id, a := range m {
		if slices.Contains(a.links, l) {
			h[id] = a.hold
		}
	}
	return h
}

// Overlap starts, replaces and heals steps random faults that overlap, and compares
// after each step what the network holds of every link with the faults that are
// active then. At the end all are healed, and nothing may be left.
func Overlap(t *testing.T, net Network, nodes []string, seed uint64, steps int, held func(cluster.Link) Held) {
	t.Helper()
	o := &overlap{net: net, rng: rand.New(rand.NewPCG(seed, 1)), links: Links(nodes), model: model{}, held: held}
	for range steps {
		o.step()
		if err := o.compare(); err != nil {
			t.Fatalf("seed %d: %v; so far: %v", seed, err, o.did)
		}
	}
	for _, id := range o.ids() {
		o.mend(id)
		if err := o.compare(); err != nil {
			t.Fatalf("seed %d: at the end: %v; so far: %v", seed, err, o.did)
		}
	}
	for _, l := range o.links {
		if h := held(l); len(h) > 0 {
			t.Errorf("seed %d: %v left of %v", seed, l, h)
		}
	}
}

// Links are all links between nodes, and between the clients and each of them.
func Links(nodes []string) []cluster.Link {
	var links []cluster.Link
	all := append(slices.Clone(nodes), cluster.Clients)
	for _, a := range all {
		for _, b := range all {
			if a != b {
				links = append(links, cluster.Link{From: a, To: b})
			}
		}
	}
	return links
}

type overlap struct {
	net   Network
	rng   *rand.Rand
	links []cluster.Link
	model model
	held  func(cluster.Link) Held
	n     int
	did   []string
	wrong error
}

// step does one thing by chance.
func (o *overlap) step() {
	id := fmt.Sprintf("f%d", o.n)
	ids := o.ids()
	switch k := o.rng.IntN(20); {
	case k < 8 && len(ids) > 0:
		o.mend(ids[0])
		return
	case k == 8:
		o.mend("nobody")
		return
	case k == 9 && o.rng.IntN(4) == 0:
		o.did = append(o.did, "heal")
		o.check("heal", o.net.Heal(context.Background()))
		clear(o.model)
		return
	case k < 12 && len(ids) > 0:
		id = ids[0] // replaced, perhaps by one of the other kind
	default:
		o.n++
	}
	if o.rng.IntN(2) == 0 {
		o.start(id, Hold{Cut: true})
		return
	}
	o.start(id, Hold{Shape: o.shape()})
}

// ids are the active faults, mixed.
func (o *overlap) ids() []string {
	ids := slices.Sorted(maps.Keys(o.model))
	o.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}

func (o *overlap) mend(id string) {
	o.did = append(o.did, "mend "+id)
	o.check("mend "+id, o.net.Mend(context.Background(), id))
	delete(o.model, id)
}

// start lets id hold some links. Now and then one of them does not exist: that is
// refused, and changes nothing.
func (o *overlap) start(id string, h Hold) {
	links := o.some()
	bad := o.rng.IntN(10) == 0
	if bad {
		links = slices.Insert(links, o.rng.IntN(len(links)+1), cluster.Link{From: "n1", To: "nowhere"})
	}
	var err error
	if h.Cut {
		err = o.net.Cut(context.Background(), id, links)
	} else {
		err = o.net.Shape(context.Background(), id, links, h.Shape)
	}
	o.did = append(o.did, fmt.Sprintf("%s = %+v of %v: %v", id, h, links, err))
	switch {
	case bad && err == nil:
		o.check(id, fmt.Errorf("%s holds a link that does not exist", id))
	case h.Cut && !bad:
		o.check(id, err)
	}
	if err == nil {
		o.model[id] = active{links, h}
	}
}

func (o *overlap) check(what string, err error) {
	if err != nil && o.wrong == nil {
		o.wrong = fmt.Errorf("%s: %w", what, err)
	}
}

// some are the links of a fault: between two of a few pairs, one way or both.
func (o *overlap) some() []cluster.Link {
	var links []cluster.Link
	for range 1 + o.rng.IntN(4) {
		l := o.links[o.rng.IntN(len(o.links))]
		links = append(links, l)
		if o.rng.IntN(2) == 0 {
			links = append(links, cluster.Link{From: l.To, To: l.From})
		}
	}
	return links
}

// shape is one of the ways to degrade a link, or several.
func (o *overlap) shape() cluster.Shape {
	var s cluster.Shape
	chance := func() float64 { return []float64{0.25, 0.5, 1}[o.rng.IntN(3)] }
	for range 1 + o.rng.IntN(2) {
		switch o.rng.IntN(6) {
		case 0:
			s.Delay, s.Jitter = time.Duration(1+o.rng.IntN(100))*time.Millisecond, time.Duration(o.rng.IntN(9))*time.Millisecond
		case 1:
			s.Loss = chance()
		case 2:
			s.Duplicate = chance()
		case 3:
			s.Reorder = chance()
		case 4:
			s.Corrupt = chance()
		default:
			s.Rate = 1000 * int64(1+o.rng.IntN(1000))
		}
	}
	return s
}

// compare holds every link to the model.
func (o *overlap) compare() error {
	if o.wrong != nil {
		return o.wrong
	}
	for _, l := range o.links {
		if got, want := o.held(l), o.model.held(l); !maps.Equal(got, want) {
			return fmt.Errorf("%v is held by %v, and the faults that are active hold it by %v", l, got, want)
		}
	}
	return nil
}
