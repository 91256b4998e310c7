package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/checker/synth"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/internal/exit"
)

func newGenCmd(env *Env) *cobra.Command {
	var o synth.Options
	c := &cobra.Command{
		Use:   "gen",
		Short: "Write a synthetic history, right or with a planted anomaly, to test checkers with",
		Long: `Gen simulates an object and writes what its clients would have seen, as
history.jsonl, to standard output. The same seed gives the same bytes. It
streams: ten million operations need no memory.`,
		Example: `  faultline gen --ops 1000000 --processes 50 --info 0.01 --anomaly stale-read > h.jsonl
  faultline gen --model queue --anomaly reordered --at 0.9 --seed 7 > q.jsonl`,
		RunE: func(*cobra.Command, []string) error {
			var planted bool
			o.Planted = &planted
			events, err := synth.Events(o)
			if err != nil {
				return exit.Usagef("%w", err)
			}
			w := history.NewWriter(env.Stdout)
			for op := range events {
				if err := w.Write(op); err != nil {
					return fmt.Errorf("gen: %w", err)
				}
			}
			if err := w.Close(); err != nil || planted || o.Anomaly == "" {
				return err
			}
			return fmt.Errorf("gen: %s could not be planted after %v of %d operations: the occasion never came; try another --seed, --at or more --ops", o.Anomaly, o.At, o.Ops)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Model, "model", "register", strings.Join(synth.Models(), "|"))
	f.IntVar(&o.Ops, "ops", 1000, "operations")
	f.IntVar(&o.Processes, "processes", 10, "processes at a time")
	f.IntVar(&o.Keys, "keys", 1, "keys")
	f.Float64Var(&o.Info, "info", 0, "share of operations with an effect whose fate stays unknown")
	f.StringVar(&o.Anomaly, "anomaly", "", "planted once; "+plantable())
	f.Float64Var(&o.At, "at", 0.5, "where it is planted, from 0 to 1 of the history")
	f.Uint64Var(&o.Seed, "seed", 1, "of the random choices")
	f.BoolVar(&o.Observe, "observe", true, "failed compare-and-sets say what they saw")
	f.IntVar(&o.Values, "values", 0, "how many different values are written to a key; 0 for unique ones")
	f.BoolVar(&o.Versions, "versions", false, "completions carry versions")
	return c
}

// plantable are the anomalies of each model, in words.
func plantable() string {
	var list []string
	for _, m := range synth.Models() {
		list = append(list, m+": "+strings.Join(synth.Anomalies(m), "|"))
	}
	return strings.Join(list, "; ")
}
