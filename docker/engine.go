package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// ErrNoEngine is the error when no container engine answers.
var ErrNoEngine = errors.New("no container engine answers")

// engineTimeout bounds the first contact.
const engineTimeout = 10 * time.Second

// settle is done once before anything of testcontainers runs, which reads its
// environment once: its own reaper is not used (the janitor is, see reaper.go),
// and where it believes to run in a container it must still dial the loopback,
// not the machine's gateway.
var settle = sync.OnceFunc(func() { //nolint:gochecknoglobals // the environment is the process' own
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	_ = os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	tclog.SetDefault(tclog.NewNoopLogger())
})

// Open connects to the container engine that the environment names (DOCKER_HOST,
// the docker context, or the usual socket). The caller closes it.
func Open(ctx context.Context) (*client.Client, error) {
	settle()
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if err := asked(ctx); err != nil {
		return nil, noEngine(err)
	}
	c, err := tc.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, noEngine(err)
	}
	if _, err := c.Client.Ping(ctx, client.PingOptions{}); err != nil {
		_ = c.Close()
		return nil, noEngine(err)
	}
	return c.Client, nil
}

// asked says whether the engine that DOCKER_HOST names answers; testcontainers would
// go on to the usual socket, which is another engine than the one asked for.
func asked(ctx context.Context) error {
	host := os.Getenv(client.EnvOverrideHost)
	if host == "" {
		return nil
	}
	c, err := client.New(client.FromEnv)
	if err != nil {
		return fmt.Errorf("DOCKER_HOST=%s: %w", host, err)
	}
	_, err = c.Ping(ctx, client.PingOptions{})
	if err = errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("DOCKER_HOST=%s: %w", host, err)
	}
	return nil
}

func noEngine(err error) error {
	why, _, _ := strings.Cut(err.Error(), ";") // what follows is the client's own advice
	return fmt.Errorf("docker: %w: %s: start Docker or set DOCKER_HOST; the bundled stores also run with --on local", ErrNoEngine, why)
}

// parallel runs f for each of n and joins the errors.
func parallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
