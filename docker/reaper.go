package docker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Item is something in the engine that belongs to a run.
type Item struct {
	Kind string `json:"kind"` // container, network or volume
	ID   string `json:"id"`
	Name string `json:"name"`
	Run  string `json:"run"`
	Role string `json:"role,omitempty"`
	Owner
	Fate Fate `json:"fate"`
}

// String is for people.
func (i Item) String() string {
	return fmt.Sprintf("%s %s of run %s (process %d, %s)", i.Kind, i.Name, i.Run, i.PID, i.Fate)
}

// List is everything in the engine that carries our label, of every run.
func List(ctx context.Context, c *client.Client) ([]Item, error) { return list(ctx, c, LabelRun) }

// list is everything with a label, "name" or "name=value": containers first, then
// networks, then volumes, which is the order in which they can be removed.
func list(ctx context.Context, c *client.Client, label string) ([]Item, error) {
	filter := make(client.Filters).Add("label", label)
	var items []Item
	add := func(kind, id, name string, labels map[string]string) {
		o := ownerOf(labels)
		items = append(items, Item{
			Kind: kind, ID: id, Name: name, Run: labels[LabelRun], Role: labels[LabelRole], Owner: o, Fate: o.Fate(),
		})
	}
	cs, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("docker: list containers: %w", err)
	}
	for _, x := range cs.Items {
		add("container", x.ID, strings.TrimPrefix(first(x.Names, x.ID), "/"), x.Labels)
	}
	ns, err := c.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("docker: list networks: %w", err)
	}
	for _, x := range ns.Items {
		add("network", x.ID, x.Name, x.Labels)
	}
	vs, err := c.VolumeList(ctx, client.VolumeListOptions{Filters: filter})
	if err != nil {
		return nil, fmt.Errorf("docker: list volumes: %w", err)
	}
	for _, x := range vs.Items {
		add("volume", x.Name, x.Name, x.Labels)
	}
	return items, nil
}

func first(s []string, otherwise string) string {
	if len(s) > 0 {
		return s[0]
	}
	return otherwise
}

// remove removes items: containers at once and in parallel, then the rest, which
// must not be in use. What is gone already is no error.
func remove(ctx context.Context, c *client.Client, items []Item) error {
	of := func(kind string) []Item {
		return slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return i.Kind != kind })
	}
	each := func(items []Item, rm func(id string) error) error {
		return parallel(len(items), func(i int) error {
			err := rm(items[i].ID)
			if err == nil || errdefs.IsNotFound(err) || strings.Contains(err.Error(), "already in progress") {
				return nil
			}
			return fmt.Errorf("docker: remove %s %s: %w", items[i].Kind, items[i].Name, err)
		})
	}
	return errors.Join(
		each(of("container"), func(id string) error {
			_, err := c.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			return err
		}),
		each(of("network"), func(id string) error {
			_, err := c.NetworkRemove(ctx, id, client.NetworkRemoveOptions{})
			return err
		}),
		each(of("volume"), func(id string) error {
			_, err := c.VolumeRemove(ctx, id, client.VolumeRemoveOptions{Force: true})
			return err
		}),
	)
}

// Sweep removes what certainly belongs to dead owners: processes of this machine,
// boot and pid namespace that run no more. It returns what it removed; all else
// stays, since engines are shared.
func Sweep(ctx context.Context, c *client.Client) ([]Item, error) {
	items, err := List(ctx, c)
	if err != nil {
		return nil, err
	}
	items = slices.DeleteFunc(items, func(i Item) bool { return i.Fate != Gone })
	if len(items) == 0 {
		return nil, nil
	}
	return items, remove(ctx, c, items)
}

const (
	// passes and between: a creation may be under way while a sweep lists.
	passes  = 3
	between = 300 * time.Millisecond
	// janitorTimeout bounds the janitor's sweep.
	janitorTimeout = 90 * time.Second
)

// sweepRun removes everything of a run but what has the role except. Where the
// engine may still be creating (late), several passes in a row must find nothing; who
// sweeps a run that stands creates nothing meanwhile. It bears as many failures.
func sweepRun(ctx context.Context, c *client.Client, run, except string, late bool) error {
	for quiet, failed := 0, 0; ; {
		items, err := list(ctx, c, LabelRun+"="+run)
		items = slices.DeleteFunc(items, func(i Item) bool { return except != "" && i.Role == except })
		quiet++
		if err == nil && len(items) > 0 {
			err = remove(ctx, c, items)
			if late {
				quiet = 0
			}
		}
		switch {
		case err != nil:
			if quiet, failed = 0, failed+1; failed == passes {
				return err
			}
		case !late || quiet == passes:
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(between):
		}
	}
}

const (
	// hello is the line with which the harness says that it is attached, bye the
	// one with which it says that it has cleaned up itself.
	hello, bye = "hello", "bye"
	// patience is how long the janitor waits for hello: a harness may die between
	// creating it and attaching.
	patience = 60 * time.Second
)

// Janitor waits until in ends, which it does when the harness dies, and then
// removes everything of the run but itself. It runs in a container of its own.
func Janitor(ctx context.Context, run string, in io.Reader) error {
	c, err := client.New(client.FromEnv)
	if err != nil {
		return fmt.Errorf("janitor: %w", err)
	}
	defer func() { _ = c.Close() }()
	if waitForEnd(ctx, in) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), janitorTimeout)
	defer cancel()
	return sweepRun(ctx, c, run, roleJanitor, true)
}

// waitForEnd returns when in ends or nobody says hello; done says that the
// harness said bye.
func waitForEnd(ctx context.Context, in io.Reader) (done bool) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	greeted := time.After(patience)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-greeted:
			return false
		case l, ok := <-lines:
			switch {
			case !ok:
				return false
			case l == bye:
				return true
			case l == hello:
				greeted = nil
			}
		}
	}
}
