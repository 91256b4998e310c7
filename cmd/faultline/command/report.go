package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
)

func newReportCmd(env *Env) *cobra.Command {
	var annotations, quiet bool
	c := &cobra.Command{
		Use:   "report RUN…",
		Short: "Write a run's reports again: index.html, junit.xml, summary.md",
		Long: `Report writes the pages of a run again from the evidence in its folder, and
prints its end as run did. It judges nothing: the verdict stays as it is.`,
		Example: `  faultline report runs/latest
  faultline report --annotations runs/latest      findings as a CI service shows them`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, path := range args {
				if err := writeReports(env, path, annotations, quiet); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&annotations, "annotations", false, "print the findings as annotations for a CI service instead of text")
	c.Flags().BoolVar(&quiet, "quiet", false, "print nothing")
	return c
}

func writeReports(env *Env, path string, annotations, quiet bool) error {
	f, err := reports.Open(path)
	if err != nil {
		return &exit.Error{Code: exit.Usage, Err: err}
	}
	s, err := f.Source()
	if s.Results.Format == 0 {
		return &exit.Error{Code: exit.Usage, Err: err}
	}
	if e := reports.RenderSource(f, s); e != nil {
		return e
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "faultline: the reports show less: %v\n", err)
	}
	switch {
	case annotations:
		return reports.WriteAnnotations(env.Stdout, s.Results)
	case quiet:
		return nil
	}
	return reports.Text(env.Stdout, s.Results, s.History, reports.TextOptions{Folder: f.Path, Color: env.color(), Width: env.width()})
}
