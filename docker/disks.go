package docker

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/agent"
	"github.com/faultline-dev/faultline/docker/disk"
)

var _ cluster.Disks = (*Cluster)(nil)

const (
	roleDisk = "disk"
	// selfPath is the binary in faultline's own image, and in the containers whose
	// disks are to fail.
	selfPath = "/faultline"
	fuse     = "/dev/fuse"
	// diskTimeout bounds how long a supervisor may take until it answers, and a
	// container until it has ended.
	diskTimeout = 10 * time.Second
	diskPause   = 10 * time.Millisecond
)

// disks are those of a node's containers that keep data.
type disks struct {
	mu     sync.Mutex
	names  []string // of the containers, fixed once they are made
	ids    []string // of the faults, in order of arrival
	faults map[string]cluster.Disk
}

// list is the faults, in order.
func (d *disks) list() []cluster.Disk {
	var out []cluster.Disk
	for _, id := range d.ids {
		out = append(out, d.faults[id])
	}
	return out
}

// DiskFaults says why a fault is impossible, or nil.
func (c *Cluster) DiskFaults(f cluster.DiskFault) error {
	if !c.cfg.Disks && !c.cfg.Bare {
		return errors.New("docker: the nodes' disks are not under a supervisor, since the run did not ask for it (--nemesis disk)")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.engine != nil && fuseReason(c.engine.DaemonHost()) != "" {
		return fmt.Errorf("docker: disk:%s: %s", f, fuseReason(c.engine.DaemonHost()))
	}
	return nil
}

// fuseReason says why disks cannot fail in containers of the engine, or "". Of an
// engine elsewhere it is not known.
func fuseReason(host string) string {
	if !strings.HasPrefix(host, "unix://") || runtime.GOOS != "linux" {
		return ""
	}
	if _, err := os.Stat(fuse); err != nil {
		return "there is no " + fuse + " here, of which failing disks are made (`modprobe fuse`)"
	}
	return ""
}

// underDisk changes how a container is started, so that a supervisor is its first
// process and its data is in a file system that can fail. It returns where the
// volume is to be mounted.
func (c *Cluster) underDisk(ctx context.Context, p *pod, s *cluster.Container) (string, []tc.ContainerCustomizer, error) {
	program, err := c.program(ctx, *s)
	if err != nil {
		return "", nil, err
	}
	s.Entrypoint = []string{selfPath}
	s.Args = append([]string{"agent", "disk", agent.SideName(roleDisk, s.Name), s.Data, "--"}, program...)
	if !slices.Contains(p.disks.names, s.Name) {
		p.disks.names = append(p.disks.names, s.Name)
	}
	return disk.Folder, []tc.ContainerCustomizer{
		tc.WithAdditionalLifecycleHooks(tc.ContainerLifecycleHooks{
			PostCreates: []tc.ContainerHook{func(ctx context.Context, ctr tc.Container) error {
				return c.giveSelf(ctx, p.agent, ctr.GetContainerID())
			}},
		}),
	}, nil
}

// letMount gives a container what it takes to mount a file system of its own.
func letMount(h *container.HostConfig) {
	h.CapAdd = append(h.CapAdd, "SYS_ADMIN")
	h.Devices = append(h.Devices, container.DeviceMapping{PathOnHost: fuse, PathInContainer: fuse, CgroupPermissions: "rwm"})
	h.SecurityOpt = append(h.SecurityOpt, "apparmor=unconfined") // Docker's profile forbids mounts
}

// program is what a container runs, by itself or by its image.
func (c *Cluster) program(ctx context.Context, s cluster.Container) ([]string, error) {
	entry, args := s.Entrypoint, s.Args
	if len(entry) == 0 || len(args) == 0 {
		in, err := c.engine.ImageInspect(ctx, s.Image)
		if err != nil {
			return nil, fmt.Errorf("docker: inspect %s: %w", s.Image, err)
		}
		if in.Config != nil && len(entry) == 0 {
			entry = in.Config.Entrypoint
			if len(args) == 0 {
				args = in.Config.Cmd
			}
		}
	}
	program := slices.Concat(entry, args)
	if len(program) == 0 {
		return nil, fmt.Errorf("docker: the image %s says not what to run", s.Image)
	}
	return program, nil
}

// giveSelf copies faultline's binary from one container into another.
func (c *Cluster) giveSelf(ctx context.Context, from, to string) error {
	r, err := c.engine.CopyFromContainer(ctx, from, client.CopyFromContainerOptions{SourcePath: selfPath})
	if err != nil {
		return fmt.Errorf("docker: copy the supervisor: %w", err)
	}
	defer r.Content.Close()
	_, err = c.engine.CopyToContainer(ctx, to, client.CopyToContainerOptions{DestinationPath: "/", Content: r.Content})
	if err != nil {
		return fmt.Errorf("docker: copy the supervisor: %w", err)
	}
	return nil
}

// Break makes a node's disk fail, from now until Repair, also when its processes
// are started anew. A fault that loses does so when they are killed.
func (c *Cluster) Break(ctx context.Context, id, node string, d cluster.Disk) error {
	if err := c.DiskFaults(d.Fault); err != nil {
		return err
	}
	return c.changeDisks(ctx, node, func(all *disks) bool {
		if _, ok := all.faults[id]; !ok {
			all.ids = append(all.ids, id)
		}
		if all.faults == nil {
			all.faults = map[string]cluster.Disk{}
		}
		all.faults[id] = d
		return true
	})
}

// Repair ends a fault.
func (c *Cluster) Repair(ctx context.Context, id, node string) error {
	return c.changeDisks(ctx, node, func(all *disks) bool {
		_, ok := all.faults[id]
		delete(all.faults, id)
		all.ids = slices.DeleteFunc(all.ids, func(s string) bool { return s == id })
		return ok
	})
}

// changeDisks changes the faults of a node, and tells its supervisors where they
// run; the others are told when they start.
func (c *Cluster) changeDisks(ctx context.Context, node string, change func(*disks) bool) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	p.disks.mu.Lock()
	defer p.disks.mu.Unlock()
	if len(p.disks.names) == 0 && !c.cfg.Disks {
		return nil // never broken
	}
	if len(p.disks.names) == 0 {
		return fmt.Errorf("docker: no container of %s keeps data", node)
	}
	if !change(&p.disks) {
		return nil
	}
	_, err = c.askDisks(ctx, p, disk.Request{Op: disk.OpFaults, Faults: p.disks.list()})
	return err
}

// againDisks tells supervisors that were started what is wrong.
func (c *Cluster) againDisks(ctx context.Context, node string) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	p.disks.mu.Lock()
	defer p.disks.mu.Unlock()
	if len(p.disks.ids) == 0 {
		return nil
	}
	_, err = c.askDisks(ctx, p, disk.Request{Op: disk.OpFaults, Faults: p.disks.list()})
	return err
}

// askDisks asks the supervisors that run, and adds up what was done; what those did
// that do not run is in their files. A paused one is left alone.
func (c *Cluster) askDisks(ctx context.Context, p *pod, q disk.Request) (sum cluster.Damage, err error) {
	for _, name := range p.disks.names {
		d, err := c.askDisk(ctx, p, name, q)
		if err != nil {
			return sum, fmt.Errorf("docker: disk of %s: %w", p.node.Name, err)
		}
		sum.Lost += d.Lost
		sum.Torn += d.Torn
		sum.Flipped += d.Flipped
		sum.Failed += d.Failed
		sum.Slowed += d.Slowed
	}
	return sum, nil
}

func (c *Cluster) askDisk(ctx context.Context, p *pod, name string, q disk.Request) (d cluster.Damage, err error) {
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	id := p.id(name)
	for {
		in, err := c.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return d, err
		}
		if s := in.Container.State; !s.Running || s.Paused {
			return c.damageFile(ctx, id)
		}
		err = c.side(ctx, p, roleDisk, name, q, &d)
		if err == nil || !absent(err) {
			return d, err
		}
		select { // it just starts, or just ends
		case <-ctx.Done():
			return d, err
		case <-time.After(diskPause):
		}
	}
}

// damageFile is what a supervisor that does not run has left.
func (c *Cluster) damageFile(ctx context.Context, id string) (d cluster.Damage, err error) {
	r, err := c.engine.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: disk.StateFile})
	if err != nil {
		if strings.Contains(err.Error(), "Could not find the file") || strings.Contains(err.Error(), "no such file") {
			return d, nil // nothing happened yet
		}
		return d, err
	}
	defer r.Content.Close()
	t := tar.NewReader(r.Content)
	if _, err := t.Next(); err != nil {
		return d, err
	}
	return d, json.NewDecoder(t).Decode(&d)
}

// Damage counts what was done to the node's disk.
func (c *Cluster) Damage(ctx context.Context, node string) (cluster.Damage, error) {
	p, err := c.pod(node)
	if err != nil {
		return cluster.Damage{}, err
	}
	p.disks.mu.Lock()
	defer p.disks.mu.Unlock()
	return c.askDisks(ctx, p, disk.Request{Op: disk.OpDamage})
}

// powerRequest is what the supervisors of a node are told before it is killed: to
// lose what was not synced, where a fault asks for it.
func (p *pod) powerRequest() disk.Request {
	q := disk.Request{Op: disk.OpDamage} // so that what was done is kept
	for _, d := range p.disks.list() {
		switch d.Fault {
		case cluster.LoseUnsynced:
			return disk.Request{Op: disk.OpPower}
		case cluster.TornWrites:
			q = disk.Request{Op: disk.OpPower, Torn: true}
		case cluster.FailIO, cluster.Full, cluster.FlipBits, cluster.SlowSync:
		}
	}
	return q
}

// killDisks tells the supervisors of a node that is to be killed, and waits until
// those whose power is cut have ended. Paused ones go on for a moment.
func (c *Cluster) killDisks(ctx context.Context, node string) error {
	p, err := c.pod(node)
	if err != nil {
		return err
	}
	p.disks.mu.Lock()
	defer p.disks.mu.Unlock()
	if len(p.disks.ids) == 0 {
		return nil
	}
	q := p.powerRequest()
	return parallel(len(p.disks.names), func(i int) error {
		id := p.id(p.disks.names[i])
		if in, err := c.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); err == nil && in.Container.State.Paused {
			if _, err := c.engine.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{}); err != nil {
				return fmt.Errorf("docker: resume %s: %w", node, err)
			}
		}
		if _, err := c.askDisk(ctx, p, p.disks.names[i], q); err != nil {
			return fmt.Errorf("docker: power of %s: %w", node, err)
		}
		if q.Op == disk.OpPower {
			return c.waitDead(ctx, id)
		}
		return nil
	})
}

func (c *Cluster) waitDead(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	for {
		if runs, err := c.runs(ctx, id); err != nil || !runs {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(diskPause):
		}
	}
}
