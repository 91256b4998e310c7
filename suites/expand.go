package suites

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/faultline-dev/faultline/checker"
)

// expand makes the cases of one item of runs: all cells of its matrix but the
// excluded ones, and the included ones.
func (p *reader) expand(n *yaml.Node, e entry) error {
	cells := []map[string]string{{}}
	for _, a := range e.axes {
		var next []map[string]string
		for _, c := range cells {
			for _, v := range a.values {
				d := maps.Clone(c)
				d[a.name] = v
				next = append(next, d)
			}
		}
		if cells = next; len(cells) > maxRuns {
			return p.fail(n, "the matrix has more than %d cells", maxRuns)
		}
	}
	used := make([]bool, len(e.exclude))
	cells = slices.DeleteFunc(cells, func(c map[string]string) bool {
		for i, x := range e.exclude {
			if within(x, c) {
				used[i] = true
				return true
			}
		}
		return false
	})
	if i := slices.Index(used, false); i >= 0 {
		return p.fail(n, "exclude number %d matches no cell of the matrix", i+1)
	}
	cells = append(cells, e.include...)
	for _, c := range cells {
		if err := p.add(n, e, c); err != nil {
			return err
		}
	}
	return nil
}

// within says whether all of x stands in c.
func within(x, c map[string]string) bool {
	for k, v := range x {
		if c[k] != v {
			return false
		}
	}
	return true
}

func (p *reader) add(n *yaml.Node, e entry, cell map[string]string) error {
	flags := maps.Clone(p.defaults.flags)
	if flags == nil {
		flags = map[string]string{}
	}
	maps.Copy(flags, e.flags)
	maps.Copy(flags, cell)
	c := Case{Pos: p.pos(n), Of: 1, Need: 1, Expect: Expect{Verdict: checker.Valid}, Name: caseName(e, flags, cell)}
	for _, from := range []entry{p.defaults, e} {
		if from.of > 0 {
			c.Of, c.Need = from.of, from.need
		}
		if from.retries >= 0 {
			c.Retries = from.retries
		}
		if from.expect != nil {
			c.Expect = *from.expect
		}
	}
	for _, name := range flagNames() {
		if v, ok := flags[name]; ok {
			c.Flags = append(c.Flags, Flag{name, v})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if opt, ok := strings.CutPrefix(name, "opts."); ok {
			c.Flags = append(c.Flags, Flag{"opt", opt + "=" + flags[name]})
		}
	}
	if at, twice := p.names[c.Name]; twice {
		return p.fail(n, "a run named %q stands at %s already; give this one another name", c.Name, at)
	}
	p.names[c.Name] = c.Pos
	p.s.Cases = append(p.s.Cases, c)
	if p.s.Runs() > maxRuns {
		return p.fail(n, "the suite has more than %d runs", maxRuns)
	}
	return nil
}

// caseName is the given name and the cell, or what the run is about.
func caseName(e entry, flags, cell map[string]string) string {
	var parts []string
	if e.name != "" {
		parts = append(parts, e.name)
		for _, k := range slices.Sorted(maps.Keys(cell)) {
			parts = append(parts, strings.TrimPrefix(k, "opts.")+"="+cell[k])
		}
		return strings.Join(parts, " ")
	}
	for _, k := range []string{"system", "version", "bug", "workload", "nemesis", "on", "nodes"} {
		if v := flags[k]; v != "" {
			parts = append(parts, v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(cell)) {
		if !slices.Contains(parts, cell[k]) {
			parts = append(parts, strings.TrimPrefix(k, "opts.")+"="+cell[k])
		}
	}
	if len(parts) == 0 {
		return "default"
	}
	return strings.Join(parts, " ")
}
