package command

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/workloads"
)

// cell is one of the matrix: a system, a workload and a mode, that is, values of
// the system's options that decide how it is used.
type cell struct {
	Name     string            `json:"name"`
	Doc      string            `json:"doc"` // runs, or why not
	System   string            `json:"system"`
	Workload string            `json:"workload"`
	Options  map[string]string `json:"options,omitempty"`
	Runs     bool              `json:"runs"`
	Nodes    int               `json:"nodes,omitempty"`
	// Expect is what a run without faults may find: valid, any, or an anomaly's name.
	Expect string `json:"expect,omitempty"`
}

// matrix is every cell, refused ones too.
func (env *Env) matrix() []cell {
	var cells []cell
	for _, s := range env.Systems {
		for _, w := range env.Workloads {
			for _, mode := range modes(s, w) {
				cells = append(cells, judgeCell(s, w, mode))
			}
		}
	}
	return cells
}

// modes are the combinations of the options that make one: the system's mode, and
// its recipe for locks or its reads for what is read; the workload's strategy.
func modes(s clients.System, w workloads.Workload) []map[string]string {
	all := []map[string]string{{}}
	for _, o := range slices.Concat(s.Options, w.Options) {
		switch {
		case o.Name == "mode", o.Name == "strategy", o.Name == "recipe" && w.Name == "lock":
		case o.Name == "reads" && !slices.Contains([]string{"lock", "queue", "cache-aside"}, w.Name):
		default:
			continue
		}
		var more []map[string]string
		for _, m := range all {
			for _, v := range o.Values {
				x := maps.Clone(m)
				x[o.Name] = v
				more = append(more, x)
			}
		}
		all = more
	}
	return all
}

// judgeCell asks system and workload whether they go together.
func judgeCell(s clients.System, w workloads.Workload, mode map[string]string) cell {
	c := cell{System: s.Name, Workload: w.Name, Options: mode, Expect: expected(mode), Nodes: 3}
	c.Name = strings.Join(append([]string{s.Name, w.Name}, opts(mode)...), " ")
	if err := c.prepare(s, w); err != nil {
		c.Doc, c.Expect, c.Nodes = "refused: "+err.Error(), "", 0
		return c
	}
	c.Doc, c.Runs = "runs", true
	switch c.Expect {
	case "any":
		c.Doc = "runs; its reads may be old by design"
	case "valid":
	default:
		c.Doc = "runs; " + c.Expect + " is what it is known for"
	}
	return c
}

// prepare says why the cell cannot run, or finds out with how many nodes.
func (c *cell) prepare(s clients.System, w workloads.Workload) error {
	values, own := subset(s.Options, c.Options), subset(w.Options, c.Options)
	if s.Check != nil {
		if err := s.Check(values); err != nil {
			return err
		}
	}
	if s.Nodes != nil {
		least, most := s.Nodes(values)
		c.Nodes = min(max(c.Nodes, least), most)
	}
	p := workloads.Params{Options: own, System: values, Keys: 1, Concurrency: 1, Nodes: []string{"n1"}}
	if s.Methods != nil {
		p.Opened = s.Methods()
	}
	_, err := w.New(p)
	return err
}

// expected is what a run without faults may find.
func expected(mode map[string]string) string {
	if mode["recipe"] == "naive" {
		return "double-hold"
	}
	if slices.Contains([]string{"local", "serializable", "replica"}, mode["reads"]) || slices.Contains([]string{"write-through", "invalidate"}, mode["strategy"]) {
		return "any"
	}
	return "valid"
}

func opts(mode map[string]string) []string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(mode)) {
		words = append(words, k+"="+mode[k])
	}
	return words
}

func (env *Env) printMatrix(asJSON bool, asSuite string) error {
	cells := env.matrix()
	switch {
	case asSuite == suiteOfOne:
		return printSuite(env.Stdout, oneEach(cells))
	case asSuite == suiteOfAll:
		return printSuite(env.Stdout, cells)
	case asSuite != "":
		return exit.Usagef("--suite %s: expected %s or %s", asSuite, suiteOfAll, suiteOfOne)
	case asJSON:
		return printJSON(env.Stdout, cells)
	}
	tw := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, c := range cells {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", c.System, c.Workload, strings.Join(opts(c.Options), " "), c.Doc)
	}
	return tw.Flush()
}

// What --suite writes: every cell, or one of each system and workload.
const (
	suiteOfAll = "all"
	suiteOfOne = "one"
)

// oneEach leaves one cell that runs of each system and workload: the first that must
// be valid, or the first.
func oneEach(cells []cell) []cell {
	at := map[[2]string]int{}
	var out []cell
	for _, c := range cells {
		i, has := at[[2]string{c.System, c.Workload}]
		switch {
		case !c.Runs:
		case !has:
			at[[2]string{c.System, c.Workload}] = len(out)
			out = append(out, c)
		case out[i].Expect != "valid" && c.Expect == "valid":
			out[i] = c
		}
	}
	return out
}

// printSuite writes a suite of every cell that runs, for 5 s and without faults.
// Those that can share a cluster follow each other.
func printSuite(w io.Writer, cells []cell) error {
	slices.SortStableFunc(cells, func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.System, b.System), cmp.Compare(a.Options["mode"], b.Options["mode"]))
	})
	var text strings.Builder
	text.WriteString("name: conformance\ndescription: Every cell of the matrix, without faults.\ndefaults:\n  on: docker\n  nemesis: none\n  time: 5s\n  keys: 3\n  rate: 200\nruns:\n")
	for _, c := range cells {
		if !c.Runs {
			continue
		}
		set := []string{"min-ok: 3"}
		if c.Workload == "lock" {
			// Without faults nobody is to outlast a lease, on a busy machine neither.
			set = append(set, "ttl: 5s", "hold: 300ms")
		}
		for _, k := range slices.Sorted(maps.Keys(c.Options)) {
			set = append(set, k+": "+c.Options[k])
		}
		fmt.Fprintf(&text, "  - name: %s\n    system: %s\n    workload: %s\n    nodes: %d\n    opts: {%s}\n",
			c.Name, c.System, c.Workload, c.Nodes, strings.Join(set, ", "))
		if c.Expect == "valid" || c.Expect == "any" {
			text.WriteString("    expect: " + c.Expect + "\n")
		} else {
			text.WriteString("    expect:\n      anomalies: " + c.Expect + "\n")
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}
