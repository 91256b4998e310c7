package docker

import (
	"context"
	"strings"

	"github.com/moby/moby/client"

	"github.com/faultline-dev/faultline/docker/images"
)

// Engine is what answers as a container engine.
type Engine struct {
	Version string `json:"version"`
	API     string `json:"api"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Host    string `json:"host"`
}

// Report is what a machine can do with containers.
type Report struct {
	Engine *Engine `json:"engine"`
	// Reason is why there is no engine.
	Reason string         `json:"reason,omitempty"`
	Images []images.Image `json:"images"`
	// Kernel maps what faults are made of to "" or why it is missing.
	Kernel map[string]string `json:"kernel,omitempty"`
	// Left is what runs left in the engine or still have there.
	Left []Item `json:"left"`
}

// Examine looks at the engine without changing anything there, but for c, a bare
// cluster that is up, whose agents say what the kernel can do; nil to leave that
// out.
func Examine(ctx context.Context, c *Cluster) Report {
	r := Report{Images: []images.Image{}, Left: []Item{}}
	e, err := Open(ctx)
	if err != nil {
		r.Reason = err.Error()
		return r
	}
	defer func() { _ = e.Close() }()
	v, err := e.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		r.Reason = noEngine(err).Error()
		return r
	}
	r.Engine = &Engine{Version: v.Version, API: v.APIVersion, OS: v.Os, Arch: v.Arch, Host: e.DaemonHost()}
	if all, err := (images.Builder{Engine: e}).List(ctx); err == nil {
		r.Images = all
	}
	if all, err := List(ctx, e); err == nil {
		for _, i := range all {
			if c == nil || i.Run != c.RunID() {
				r.Left = append(r.Left, i)
			}
		}
	}
	if c != nil {
		r.Kernel = kernel(ctx, c, e.DaemonHost(), v.Arch)
	}
	return r
}

// kernel is what the agents say, and what is known without them.
func kernel(ctx context.Context, c *Cluster, host, arch string) map[string]string {
	k, err := c.Features(ctx)
	if err != nil {
		return map[string]string{"agent": err.Error()}
	}
	k["clock"] = clockReason(arch)
	k["fuse"] = fuseReason(host)
	if k["fuse"] == "" && !strings.HasPrefix(host, "unix://") {
		k["fuse"] = "the engine runs elsewhere: not known"
	}
	return k
}
