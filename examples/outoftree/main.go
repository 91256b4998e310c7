// A faultline with a system of its own, built outside faultline's repository:
//
//	go run . run --system mykv --nodes 1 --nemesis kill
//
// finds that this store forgets what it acknowledged when it is killed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/cmd/faultline/command"
	"github.com/faultline-dev/faultline/history"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		fmt.Fprintln(os.Stderr, serve(os.Args[2]))
		os.Exit(1)
	}
	env := command.Default()
	env.Systems = append(env.Systems, mykv())
	os.Exit(command.Main(os.Args[1:], env))
}

// mykv is the server of server.go, which is this same binary.
func mykv() clients.System {
	return clients.System{
		Name:  "mykv",
		Doc:   "an example: a map behind HTTP, which forgets all when it dies",
		Ports: []cluster.Port{{Name: "http"}},
		Process: func(l cluster.Launch) (cluster.Command, error) {
			self, err := os.Executable()
			return cluster.Command{Path: self, Args: []string{"serve", l.Listen["http"]}}, err
		},
		Methods: func() any { return client{} },
		Ready: func(ctx context.Context, t clients.Target) error {
			_, err := client{t.Node.Ports["http"]}.Read(ctx, "ready")
			return err
		},
		Open: func(_ context.Context, t clients.Target) (clients.Client, error) {
			return client{t.Node.Ports["http"]}, nil
		},
	}
}

type client struct{ addr string }

// Close implements clients.Client.
func (client) Close() error { return nil }

type request struct {
	Op, Key  string
	Old, New any
}

type answer struct {
	Value   *int64
	Swapped bool
}

func (c client) do(ctx context.Context, q request) (answer, error) {
	var a answer
	body, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.addr, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err // not history.Definite: it may have arrived
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(text, &a)
}

func (a answer) value() any {
	if a.Value == nil {
		return nil
	}
	return *a.Value
}

// Read, Write and CAS are what the workload register asks for.
func (c client) Read(ctx context.Context, key string) (history.Reply, error) {
	a, err := c.do(ctx, request{Op: "read", Key: key})
	return history.Reply{Value: a.value()}, err
}

func (c client) Write(ctx context.Context, key string, value any) (history.Reply, error) {
	_, err := c.do(ctx, request{Op: "write", Key: key, New: value})
	return history.Reply{}, err
}

func (c client) CAS(ctx context.Context, key string, prev, next any) (history.Reply, error) {
	a, err := c.do(ctx, request{Op: "cas", Key: key, Old: prev, New: next})
	if err == nil && !a.Swapped {
		return history.Reply{Observed: &history.Seen{Value: a.value()}}, history.Definite(fmt.Errorf("it holds %v", a.value()))
	}
	return history.Reply{}, err
}
