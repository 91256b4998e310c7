package command

import (
	"testing"

	"github.com/spf13/cobra"
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
