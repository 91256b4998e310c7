package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/agent"
	"github.com/faultline-dev/faultline/docker/clock"
	"github.com/faultline-dev/faultline/docker/disk"
	"github.com/faultline-dev/faultline/internal/exit"
)

// newAgentCmd is what runs in the container that owns a node's network.
func newAgentCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "The network agent inside a node's container",
		Long: `The network agent owns a node's network namespace in the container world. It
takes requests as JSON lines on its standard input, cuts and degrades links by the
kernel's packet filter, and measures them by numbered datagrams. When its standard
input ends it heals everything and exits. faultline starts it itself.`,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := agent.Run(cmd.Context(), env.Stdin, env.Stdout); err != nil {
				return exit.Brokenf("%w", err)
			}
			return nil
		},
	}
	cmd.AddCommand(newClockCmd(), newDiskCmd())
	return cmd
}

// newClockCmd is what runs in a container beside a node's, to set its clocks.
func newClockCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "clock ADDRESS",
		Short: "Set the clocks of the other processes in this process namespace",
		Long: `The hand of a clock runs in the process namespace of a node's container and
patches its processes, so that they see another time than the machine's. It takes
requests from the node's agent. faultline starts it itself.`,
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := clock.Run(cmd.Context(), args[0]); err != nil {
				return exit.Brokenf("%w", err)
			}
			return nil
		},
	}
}

// newDiskCmd is what a node's container runs whose disk is to fail.
func newDiskCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "disk ADDRESS FOLDER -- PROGRAM…",
		Short: "Run a program over a disk that fails",
		Long: `The supervisor of a disk is the first process of a node's container. It mounts a
file system of its own over the folder with the data, runs the program, and takes
requests from the node's agent. faultline starts it itself.`,
		Hidden: true,
		Args:   cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			code, err := disk.Run(cmd.Context(), disk.Config{Address: args[0], Mount: args[1], Command: args[2:]})
			switch {
			case err != nil:
				return exit.Brokenf("%w", err)
			case code != 0:
				return &exit.Error{Code: code, Err: fmt.Errorf("the program ended with %d", code)}
			}
			return nil
		},
	}
}

// newJanitorCmd is what runs in the container that cleans up after a harness that
// died.
func newJanitorCmd(env *Env) *cobra.Command {
	var run string
	cmd := &cobra.Command{
		Use:   "janitor --run ID",
		Short: "Remove a run's containers, networks and volumes when standard input ends",
		Long: `The janitor waits in a container of its own, with the engine's socket, until its
standard input ends, which it does when the harness dies, and then removes
everything that carries the run's label. faultline starts it itself.`,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run == "" {
				return exit.Usagef("--run is needed: the id of the run to clean up after")
			}
			if err := docker.Janitor(cmd.Context(), run, env.Stdin); err != nil {
				return exit.Brokenf("%w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "the run's id")
	return cmd
}
