package command

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and commit are set when faultline is linked (see the Makefile).
var version, commit string //nolint:gochecknoglobals // set by the linker

func newVersionCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version, the commit and the Go version it was built with",
		Example: "  faultline version",
		RunE: func(*cobra.Command, []string) error {
			v, c := buildVersion()
			_, err := fmt.Fprintf(env.Stdout, "faultline %s (commit %s, %s %s/%s)\n", v, c, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// buildVersion is what the linker was told, else what the Go tool knows.
func buildVersion() (v, c string) {
	v, c = version, commit
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && c == "" {
			c = s.Value[:min(12, len(s.Value))]
		}
	}
	if v == "" {
		v = "dev"
		if m := info.Main.Version; m != "" && m != "(devel)" {
			v = m
		}
	}
	if c == "" {
		c = "unknown"
	}
	return v, c
}
