package docker

import (
	"context"
	"slices"
	"strings"
	"time"

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

// StaleAge is from when on an unused image of faultline's own counts as left over.
const StaleAge = time.Hour

// SweepImages removes the images of other builds of faultline that are left over, and
// returns them.
func SweepImages(ctx context.Context, c *client.Client) ([]images.Image, error) {
	old, err := stale(ctx, images.Builder{Engine: c})
	if err != nil {
		return nil, err
	}
	return images.Builder{Engine: c}.Remove(ctx, old)
}

func stale(ctx context.Context, b images.Builder) ([]images.Image, error) {
	current, err := b.Current(ctx)
	if err != nil {
		return nil, err
	}
	return b.Stale(ctx, current, StaleAge)
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
	b := images.Builder{Engine: e}
	if all, err := b.List(ctx); err == nil {
		r.Images = all
	}
	if old, err := stale(ctx, b); err == nil {
		for i := range r.Images {
			r.Images[i].Stale = slices.ContainsFunc(old, func(o images.Image) bool { return o.Ref == r.Images[i].Ref })
		}
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
