package command

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/images"
	"github.com/faultline-dev/faultline/internal/exit"
)

func newImagesCmd(env *Env) *cobra.Command {
	all := &cobra.Command{
		Use: "images",
		Example: `  faultline images list
  faultline images build etcd redis`,
		Short: "Build and list the container images of the systems",
		Long: `The images of the systems are built without a registry: from Go modules, from
Debian packages, and from faultline's own binary. run builds what is missing itself.`,
		RunE: noSubcommand,
		Args: noArgs,
	}
	all.AddCommand(newImagesBuildCmd(env), newImagesListCmd(env))
	return all
}

func newImagesBuildCmd(env *Env) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "build [SYSTEM[:VERSION]...]",
		Short: "Build images, by default those of all systems in their default versions",
		Example: `  faultline images build
  faultline images build etcd:3.5.2 redis`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, r := range images.Recipes() {
					args = append(args, r.Name)
				}
			}
			return withEngine(cmd.Context(), func(e *client.Client) error {
				b := images.Builder{Engine: e, Progress: func(text string) {
					if !quiet {
						fmt.Fprintln(env.Stderr, text)
					}
				}}
				for _, a := range args {
					ref, err := b.Ensure(cmd.Context(), images.Ref(a, ""))
					if err != nil {
						return err
					}
					fmt.Fprintln(env.Stdout, ref)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&quiet, "quiet", false, "print the images' names only")
	return cmd
}

func newImagesListCmd(env *Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list [SYSTEM[:VERSION]]",
		Example: "  faultline images list",
		Short:   "List the images that were built here, and what can be built",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withEngine(cmd.Context(), func(e *client.Client) error {
				all, err := images.Builder{Engine: e}.List(cmd.Context())
				if err != nil {
					return err
				}
				if len(args) > 0 {
					all = slices.DeleteFunc(all, func(i images.Image) bool { return i.Name != args[0] && i.Name+":"+i.Version != args[0] })
				}
				if asJSON {
					return printJSON(env.Stdout, all)
				}
				return printImages(env, all)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an array of objects")
	return cmd
}

func printImages(env *Env, all []images.Image) error {
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, i := range all {
		fmt.Fprintf(t, "%s\t%d MB\t%s\n", i.Ref, i.Bytes>>20, i.Created.Format("2006-01-02 15:04"))
	}
	if len(all) == 0 {
		fmt.Fprintln(t, "none yet; `faultline images build` makes them, and run does when it needs one")
	}
	return t.Flush()
}

// withEngine connects to the engine for f.
func withEngine(ctx context.Context, f func(*client.Client) error) error {
	e, err := docker.Open(ctx)
	if err != nil {
		return exit.Brokenf("%w", err)
	}
	if err := errFirst(f(e), e.Close()); err != nil {
		return containerError(err)
	}
	return nil
}
