package reports

import (
	"fmt"
	"slices"
	"strings"
)

func (p *page) charts() {
	h, faults := p.src.History, p.R.Faults
	for i := range p.Strips {
		var of []Fault
		for _, f := range faults {
			if f.Fault == p.Strips[i].Name {
				of = append(of, f)
			}
		}
		p.Strips[i].Bands = bands(of, p.length, p.colors)
	}
	all := newSeries(h, -1, p.length)
	lo, hi := decades(all.lo, all.hi)
	p.Latency = all.latencyChart("Latency", lo, hi, faults, p.colors)
	p.Rate = all.rateChart("Operations a second, by outcome", above(all.peak()), faults, p.colors)
	if len(h.Nodes()) < 2 {
		return
	}
	type named struct {
		name string
		s    *series
	}
	var nodes []named
	top := 0.0
	for i, n := range h.Nodes() {
		if len(nodes) == maxNodeCharts {
			break
		}
		s := newSeries(h, i, p.length)
		nodes = append(nodes, named{n, s})
		top = max(top, s.peak())
	}
	slices.SortFunc(nodes, func(a, b named) int { return strings.Compare(a.name, b.name) })
	for _, n := range nodes {
		text := fmt.Sprintf("%s ok, %s fail, %s info", thousands(n.s.count[0]), thousands(n.s.count[1]), thousands(n.s.count[2]))
		p.NodeCharts = append(p.NodeCharts, nodeCharts{
			n.name, text,
			n.s.latencyChart("Latency at "+n.name, lo, hi, faults, p.colors),
			n.s.rateChart("Operations a second at "+n.name, above(top), faults, p.colors),
		})
	}
}

const maxNodeCharts = 9

func (s *series) peak() float64 {
	top := 0.0
	for _, r := range s.rate {
		for _, v := range r {
			top = max(top, v)
		}
	}
	return top
}
