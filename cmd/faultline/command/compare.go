package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
)

type compareFlags struct {
	checkFlags
	html, baseline string
}

func newCompareCmd(env *Env) *cobra.Command {
	var f compareFlags
	c := &cobra.Command{
		Use:   "compare RUN|HISTORY|DIR…",
		Short: "Lay runs side by side: consistency, anomalies, availability, staleness",
		Long: `Compare lays runs side by side, or histories, which it judges first. A folder of
runs counts as all runs in it, grouped by what they tested.

With --baseline it says what got worse since the runs in that folder, and exits
with 1 if anything did.`,
		Example: `  faultline compare runs/etcd-register-*
  faultline compare --html compare.html --baseline last-release/ runs/`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			return compareRuns(cmd.Context(), env, &f, args)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.json, "json", false, "print the comparison as JSON, and nothing else")
	c.Flags().StringVar(&f.html, "html", "", "write the comparison as a page to this file")
	c.Flags().StringVar(&f.baseline, "baseline", "", "folder of runs to compare with; exit 1 if anything got worse")
	return c
}

func compareRuns(ctx context.Context, env *Env, f *compareFlags, args []string) error {
	groups, runs, err := f.groups(ctx, args)
	if err != nil {
		return &exit.Error{Code: exit.Usage, Err: err}
	}
	var worse []reports.Regression
	if f.baseline != "" {
		if worse, err = against(env, f.baseline, runs); err != nil {
			return err
		}
	}
	c := reports.Compare(groups)
	if f.html != "" {
		if err := writeFile(f.html, func(w io.Writer) error { return reports.WriteCompareHTML(w, "Comparison", c, worse) }); err != nil {
			return err
		}
	}
	if len(worse) > 0 {
		env.code = exit.Anomalies
	}
	if f.json {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			reports.Comparison
			Worse []reports.Regression `json:"worse"`
		}{c, append([]reports.Regression{}, worse...)})
	}
	return reports.WriteCompareText(env.Stdout, c, worse)
}

// against says what got worse since the runs of a folder. Runs of which it has
// none of their kind are named; if that is all of them, nothing was compared.
func against(env *Env, baseline string, runs []reports.Results) ([]reports.Regression, error) {
	before, err := resultsIn(baseline)
	if err != nil {
		return nil, &exit.Error{Code: exit.Usage, Err: err}
	}
	worse, fresh := reports.Regressions(before, runs)
	for _, kind := range fresh {
		fmt.Fprintf(env.Stderr, "not in the baseline: %s\n", kind)
	}
	if len(fresh) == len(reports.GroupByKind(runs)) {
		return nil, exit.Usagef("--baseline %s: it has no run that tests what any of these do", baseline)
	}
	return worse, nil
}

// groups are the columns: a run, a history that is judged now, or the kinds of
// runs in a folder. Runs go by what they tested that not all columns did, or by
// their folder or all that they tested where that is not theirs alone.
func (f *compareFlags) groups(ctx context.Context, args []string) ([]reports.Group, []reports.Results, error) {
	var groups []reports.Group
	var all []reports.Results
	runs := map[int]bool{} // the columns of runs
	for _, path := range args {
		if found, err := resultsIn(path); err == nil {
			for _, g := range reports.GroupByVersion(found) {
				runs[len(groups)] = true
				groups = append(groups, g)
			}
			all = append(all, found...)
			continue
		}
		r, err := f.one(ctx, path)
		if err != nil {
			return nil, nil, err
		}
		if target, err := filepath.EvalSymlinks(path); err == nil { // runs/latest
			path = target
		}
		runs[len(groups)] = r.System != ""
		groups = append(groups, reports.Group{Name: filepath.Base(path), Runs: []reports.Results{r}})
		all = append(all, r)
	}
	for i, name := range differing(groups) {
		if runs[i] && name != "" {
			groups[i].Name = name
		}
	}
	return groups, all, nil
}

// differing is what each column tested that not all did, in words; empty where
// another column has the same.
func differing(groups []reports.Group) []string {
	names, columns, same := make([]string, len(groups)), map[string]int{}, map[string]int{}
	words := func(g reports.Group) []string { return strings.Fields(reports.GroupByVersion(g.Runs[:1])[0].Name) }
	for _, g := range groups {
		for _, w := range words(g) {
			columns[w]++
		}
	}
	for i, g := range groups {
		names[i] = strings.Join(slices.DeleteFunc(words(g), func(w string) bool { return columns[w] == len(groups) }), " ")
		same[names[i]]++
	}
	for i, n := range names {
		if same[n] > 1 {
			names[i] = ""
		}
	}
	return names
}

func (f *compareFlags) one(ctx context.Context, path string) (reports.Results, error) {
	folder, err := reports.Open(path)
	if err != nil {
		return reports.Results{}, err
	}
	if folder.Path != "" {
		if r, err := folder.Results(); err == nil || !errors.Is(err, os.ErrNotExist) {
			return r, err
		}
	}
	j := f.load(path)
	if j.err != nil {
		return reports.Results{}, j.err
	}
	f.judge(ctx, &j, 1)
	f.climb(ctx, &j)
	return j.results()
}

// resultsIn are the results of all runs in a folder.
func resultsIn(dir string) ([]reports.Results, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", reports.ResultsFile))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var runs []reports.Results
	for _, file := range files {
		if filepath.Base(filepath.Dir(file)) == reports.Latest {
			continue
		}
		folder, err := reports.Open(filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		r, err := folder.Results()
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("%s: there are no runs with results in it", dir)
	}
	return runs, nil
}

// writeFile writes a file that the user named.
func writeFile(path string, fill func(io.Writer) error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return exit.Usagef("cannot write %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return fill(f)
}
