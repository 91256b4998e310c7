package command

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/options"
)

// entry is one line of a list.
type entry struct {
	Name    string           `json:"name"`
	Doc     string           `json:"doc"`
	Args    []nemesis.Arg    `json:"args,omitempty"` // words that follow the name and a colon
	Options []options.Option `json:"options,omitempty"`
}

func newListCmd(env *Env) *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List what there is: systems, workloads, nemeses, bugs, ...",
		Example: `  faultline list systems
  faultline list bugs --json`,
		RunE: noSubcommand,
		Args: noArgs,
	}
	var asJSON bool
	list.PersistentFlags().BoolVar(&asJSON, "json", false, "print an array of objects")
	add := func(name, short string, show func() error) {
		list.AddCommand(&cobra.Command{Use: name, Short: short, Example: "  faultline list " + name, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return show() }})
	}
	add("systems", "what can be tested", func() error { return printEntries(env.Stdout, asJSON, env.systemEntries()) })
	add("workloads", "what can be done with it", func() error { return printEntries(env.Stdout, asJSON, env.workloadEntries()) })
	add("nemeses", "how it can be broken", func() error { return printEntries(env.Stdout, asJSON, env.faultEntries()) })
	add("checkers", "who judges", func() error { return printEntries(env.Stdout, asJSON, checkerEntries()) })
	add("models", "what histories are judged by: --model of check", func() error { return printEntries(env.Stdout, asJSON, modelEntries()) })
	add("bugs", "what the bundled stores can be told to do wrong", func() error { return env.printBugs(asJSON) })
	var asSuite string
	matrix := &cobra.Command{
		Use: "matrix", Short: "which system does which workload in which mode, and why not", Example: "  faultline list matrix --suite > conformance.yaml", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return env.printMatrix(asJSON, asSuite) },
	}
	matrix.Flags().StringVar(&asSuite, "suite", "", "print a suite of those that run, without faults, for faultline suite: all, or one of each system and workload")
	list.AddCommand(matrix)
	return list
}

// noSubcommand prints the help of a command that only has subcommands.
func noSubcommand(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func (env *Env) systemEntries() []entry {
	var es []entry
	for _, s := range env.Systems {
		es = append(es, entry{Name: s.Name, Doc: s.Doc, Options: s.Options})
	}
	return es
}

// checkerEntries are the checkers; a test fails when a folder is missing.
func checkerEntries() []entry {
	return []entry{
		{Name: "linear", Doc: "is every key linearizable: near-linear engines, an exact search, or Porcupine, with a witness where it is not"},
		{Name: "ladder", Doc: "which rungs of consistency hold, from linearizable down to eventual, and how stale reads were"},
		{Name: "stats", Doc: "operations and latency by kind and node"},
		{Name: "power", Doc: "could the run have found anything: successes, faults that bit, overwritten values read"},
		{Name: "logs", Doc: "panics, fatal errors, data races and corruption in the nodes' logs"},
	}
}

func modelEntries() []entry {
	var es []entry
	for _, m := range model.All() {
		es = append(es, entry{Name: m.Name, Doc: m.Doc})
	}
	return es
}

func (env *Env) workloadEntries() []entry {
	var es []entry
	for _, w := range env.Workloads {
		es = append(es, entry{Name: w.Name, Doc: w.Doc, Options: w.Options})
	}
	return es
}

func (env *Env) faultEntries() []entry {
	es := []entry{{Name: "none", Doc: "no faults"}}
	for _, f := range env.Faults {
		e := entry{Name: f.Name, Doc: f.Doc, Options: slices.Concat(nemesis.Common(), f.Options)}
		e.Args = f.Args
		for i := range e.Options {
			e.Options[i].Name = f.Name + "." + e.Options[i].Name
		}
		es = append(es, e)
	}
	return es
}

func printEntries(w io.Writer, asJSON bool, es []entry) error {
	if asJSON {
		return printJSON(w, es)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range es {
		fmt.Fprintf(tw, "%s\t%s\n", e.Name, e.Doc)
		for _, a := range e.Args {
			fmt.Fprintf(tw, "\t  %s:%s  %s\n", e.Name, a.Name, a.Doc)
		}
		for _, o := range e.Options {
			values := string(o.Kind)
			if len(o.Values) > 0 {
				values = strings.Join(o.Values, "|")
			}
			fmt.Fprintf(tw, "\t  --opt %s=%s  %s (default %s)\n", o.Name, values, o.Doc, o.Default)
		}
	}
	return tw.Flush()
}

func (env *Env) printBugs(asJSON bool) error {
	bugs := make([]any, 0)
	for _, s := range env.Systems {
		for _, b := range s.Bugs {
			bugs = append(bugs, b)
		}
	}
	if asJSON {
		return printJSON(env.Stdout, bugs)
	}
	for _, s := range env.Systems {
		for _, b := range s.Bugs {
			fmt.Fprintf(env.Stdout, "%s (%s, %s)\n  %s\n  breaks: %s\n  shows as: %s\n", b.Name, b.System, b.Workload, b.Doc, b.Rule, strings.Join(b.Expects, ", "))
		}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
