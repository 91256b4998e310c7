package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-dev/faultline/checker/model"
	"github.com/faultline-dev/faultline/internal/exit"
	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/reports/serve"
)

func newServeCmd(env *Env) *cobra.Command {
	var address string
	var o serve.Options
	c := &cobra.Command{
		Use:   "serve [DIR]",
		Short: "Browse, search, compare and check runs in a web page",
		Long: `Serve shows the runs in a folder (runs/ without an argument) as web pages, until
it is interrupted. It listens on loopback only and changes nothing, unless it is
told otherwise.`,
		Example: `  faultline serve
  faultline serve --listen 127.0.0.1:9000 --write ci-runs/`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "runs"
			if len(args) > 0 {
				dir = args[0]
			}
			o.Recheck, o.Models = recheck, append([]string{"auto"}, modelNames()...)
			return serveRuns(cmd.Context(), env, dir, address, o)
		},
	}
	c.Flags().StringVar(&address, "listen", "127.0.0.1:8088", "address to listen on")
	c.Flags().BoolVar(&o.Write, "write", false, "let visitors write a run's reports again")
	c.Flags().StringArrayVar(&o.Hosts, "host", nil, "another name under which visitors may come; repeatable")
	return c
}

func modelNames() []string {
	var names []string
	for _, s := range model.All() {
		names = append(names, s.Name)
	}
	return names
}

// recheck judges a run's history as `faultline check` does, and writes nothing.
func recheck(ctx context.Context, run *reports.Folder, modelName, engine string) (reports.Results, error) {
	f := checkFlags{model: modelName, engine: engine, format: "auto", memory: "2GiB", timeout: time.Minute}
	if err := f.parse(); err != nil {
		return reports.Results{}, err
	}
	j := f.load(run.HistoryPath())
	if j.err != nil {
		return reports.Results{}, j.err
	}
	f.judge(ctx, &j, 1)
	return j.results()
}

func serveRuns(ctx context.Context, env *Env, dir, address string, o serve.Options) (err error) {
	s, err := serve.New(dir, o)
	if err != nil {
		return &exit.Error{Code: exit.Usage, Err: err}
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return exit.Usagef("cannot listen on %s: %w; give another with --listen", address, err)
	}
	fmt.Fprintf(env.Stdout, "runs in %s: http://%s/ (end with Ctrl-C)\n", dir, l.Addr())
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err = <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		_ = srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
