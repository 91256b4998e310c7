// Package command is faultline's command line. It can be imported, so that others
// build a binary with systems, workloads and faults of their own:
//
//	func main() {
//		env := command.Default()
//		env.Systems = append(env.Systems, mystore.System())
//		os.Exit(command.Main(os.Args[1:], env))
//	}
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/nemesis"
	allfaults "github.com/faultline-dev/faultline/nemesis/all"
	"github.com/faultline-dev/faultline/sim"
	"github.com/faultline-dev/faultline/workloads"
	allworkloads "github.com/faultline-dev/faultline/workloads/all"
)

// Env is what the commands work with: the catalogues and the outside world.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Terminal says that Stderr is a terminal.
	Terminal bool
	// Size is how many columns and rows that terminal has now, 0 where it is unknown.
	Size func() (columns, rows int)

	Systems   []clients.System
	Workloads []workloads.Workload
	Faults    []nemesis.Fault
	// Simulate finds the simulated store of a system's name, with a bug or none;
	// false if it cannot be simulated.
	Simulate func(system, bug string) (sim.System, bool, error)

	// args is the command line as it was typed.
	args []string
	// code is what Main returns when a command ends without an error.
	code int
}

// Default is the Env of the faultline binary.
func Default() Env {
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Terminal: isTerminal(os.Stderr),
		Size:    func() (int, int) { return sizeOf(os.Stderr) },
		Systems: systems(), Workloads: allworkloads.All(), Faults: allfaults.All(),
		Simulate: sim.ByName,
	}
}

// size is that of the terminal, as it is mostly where it is unknown.
func (env *Env) size() (columns, rows int) {
	if env.Size != nil {
		columns, rows = env.Size()
	}
	if columns <= 0 || rows <= 0 {
		return 80, 24
	}
	return columns, rows
}

// color says whether to colour what goes to standard output.
func (env *Env) color() bool {
	f, ok := env.Stdout.(*os.File)
	return ok && isTerminal(f) && env.Getenv("NO_COLOR") == ""
}

// width is how many columns standard output has, 0 where it is no terminal.
func (env *Env) width() int {
	f, ok := env.Stdout.(*os.File)
	if !ok || !isTerminal(f) {
		return 0
	}
	columns, _ := sizeOf(f)
	return columns
}

func isTerminal(f *os.File) bool {
	s, err := f.Stat()
	return err == nil && s.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// Main runs one command and returns its exit code. The first interrupt or
// termination signal asks it to stop and still report; the second ends it.
func Main(args []string, env Env) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stopSignals := onSignals(cancel, env.Stderr)
	defer stopSignals()

	env.args = args
	root := newRootCmd(&env)
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		if text := err.Error(); text != "" {
			fmt.Fprintf(env.Stderr, "faultline: %s\n", text)
		}
		var coded *exit.Error
		if !errors.As(err, &coded) && !cmd.HasParent() {
			return exit.Usage // cobra's own complaint about the arguments
		}
		return exit.Code(err)
	}
	return env.code
}

func onSignals(cancel context.CancelFunc, stderr io.Writer) (stop func()) {
	signals := make(chan os.Signal, 2)
	done := make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case s := <-signals:
				if n > 0 {
					fmt.Fprintln(stderr, "faultline: stopping now; `faultline doctor` lists what may be left")
					os.Exit(exit.Broken) //nolint:forbidigo // the second signal
				}
				fmt.Fprintf(stderr, "faultline: %v: healing, tearing down and reporting; once more to stop at once\n", s)
				cancel()
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}

func newRootCmd(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "faultline",
		Short: "Test whether a lock really excludes, a register is really linearizable, a cache really forgets",
		Long: `Faultline drives concurrent operations against a distributed store while it
breaks the store's network, processes, clocks and disks, records what every
client saw, and judges that history.

Exit codes: 0 valid, 1 anomalies found, 2 unknown (a budget spent, nothing
succeeded, or a fault did not bite), 254 bad arguments or input, 255 the test
could not be carried out.`,
		Example: `  faultline run                                 the bundled Raft store, partitions and kills, 10 s
  faultline run --bug stale-read                the same with a planted bug: exit 1, and why
  faultline run --system etcd --on docker --nemesis partition,kill,pause --time 30s
  faultline check history.jsonl                 judge a recorded history`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.Usagef("%w; see `%s --help`", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, c := range commands(env) {
		c.Args = usageArgs(c)
		root.AddCommand(c)
	}
	return root
}

// usageArgs makes a command's complaint about its arguments a usage error.
func usageArgs(c *cobra.Command) cobra.PositionalArgs {
	check := c.Args
	if check == nil {
		check = cobra.NoArgs
		if c.HasSubCommands() {
			check = noArgs
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return exit.Usagef("%w; see `%s --help`", err, cmd.CommandPath())
		}
		return nil
	}
}

// noArgs refuses an unknown command with those that exist.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return exit.Usagef("unknown command %q; there are: %s", args[0], strings.Join(names, ", "))
}

// commands are all subcommands, one file each.
func commands(env *Env) []*cobra.Command {
	return []*cobra.Command{
		newRunCmd(env),
		newReplayCmd(env),
		newShrinkCmd(env),
		newCheckCmd(env),
		newPorcupineCmd(env),
		newCompareCmd(env),
		newReportCmd(env),
		newServeCmd(env),
		newSuiteCmd(env),
		newGenCmd(env),
		newListCmd(env),
		newNodeCmd(env),
		newDoctorCmd(env),
		newImagesCmd(env),
		newAgentCmd(env),
		newJanitorCmd(env),
		newVersionCmd(env),
	}
}
