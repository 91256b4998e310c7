package command

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/checker"
	"github.com/faultline-dev/faultline/reports"
)

// TestEveryCommandShowsAnExample: what people see of a command begins with what
// they can type.
func TestEveryCommandShowsAnExample(t *testing.T) {
	t.Parallel()
	env := Default()
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example, or does not say what it does", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRootCmd(&env))
}

// TestEveryAnomalyHasItsPromise: of whatever the catalogue's bugs show as, a report
// says which promise it breaks.
func TestEveryAnomalyHasItsPromise(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, b := range bugs() {
		for _, name := range b.Expects {
			seen[name] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("the catalogues have only %v", seen)
	}
	for name := range seen {
		r := reports.Results{Verdict: checker.Invalid, Anomalies: []reports.Anomaly{{Anomaly: checker.Anomaly{Name: name}}}}
		var text strings.Builder
		if err := reports.Text(&text, r, nil, reports.TextOptions{}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), "The promise: ") {
			t.Errorf("%s breaks no promise that a report knows", name)
		}
	}
}
