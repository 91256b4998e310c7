package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	tc "github.com/testcontainers/testcontainers-go"
	tcnet "github.com/testcontainers/testcontainers-go/network"

	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker/agent"
)

// pod is a node: its agent and the system's containers in the agent's network.
type pod struct {
	node  cluster.Node
	agent string // container id
	addr  string // in the containers' network
	wire  *wire
	udp   *net.UDPConn // to the agent's datagram port; clients' links are measured over it

	clocks clocks
	disks  disks

	mu    sync.Mutex    // one change of the processes at a time
	names []string      // of the system's containers, the first is the main one
	want  cluster.State // what was asked of them last
	past  []past        // containers that others took the place of, with their logs

	ids    sync.Mutex // for system
	system map[string]string
}

// id is that of one of the system's containers, "" before it is made.
func (p *pod) id(name string) string {
	p.ids.Lock()
	defer p.ids.Unlock()
	return p.system[name]
}

func (p *pod) setID(name, id string) {
	p.ids.Lock()
	defer p.ids.Unlock()
	p.system[name] = id
}

func (p *pod) close() {
	if p.wire != nil {
		p.wire.close()
	}
	if p.udp != nil {
		_ = p.udp.Close()
	}
}

func newNetwork(ctx context.Context, labels map[string]string) (*tc.DockerNetwork, error) {
	n, err := tcnet.New(ctx, tcnet.WithLabels(labels))
	if err != nil {
		if strings.Contains(err.Error(), "address pool") {
			err = fmt.Errorf("%w; the engine has no room for another network: remove unused ones (`docker network prune`)", err)
		}
		return nil, fmt.Errorf("docker: network: %w", err)
	}
	return n, nil
}

// name is a container's or volume's.
func (c *Cluster) name(parts ...string) string {
	return "faultline-" + c.cfg.RunID + "-" + strings.Join(parts, "-")
}

// startJanitor starts the container that removes everything when this process
// dies: its standard input ends then.
func (c *Cluster) startJanitor(ctx context.Context, image string) error {
	ctr, err := tc.Run(ctx, image,
		tc.WithName(c.name("janitor")),
		tc.WithLabels(c.owner.labels(c.cfg.RunID, roleJanitor, "")),
		tc.WithEnv(map[string]string{"DOCKER_HOST": "unix:///var/run/docker.sock"}),
		tc.WithCmd("janitor", "--run", c.cfg.RunID),
		tc.WithConfigModifier(openStdin(true)),
		tc.WithHostConfigModifier(func(h *container.HostConfig) {
			h.AutoRemove = true
			h.NetworkMode = "none"
			h.CapDrop = []string{"ALL"}
			h.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: socket(c.engine), Target: "/var/run/docker.sock"}}
		}))
	if err != nil {
		return fmt.Errorf("docker: start the janitor: %w", err)
	}
	j, err := attach(ctx, c.engine, ctr.GetContainerID(), false)
	if err == nil {
		err = j.write([]byte(hello + "\n"))
	}
	if err != nil {
		return fmt.Errorf("docker: attach to the janitor: %w", err)
	}
	c.janitor = j
	return nil
}

// socket is the engine's socket where the engine runs.
func socket(c *client.Client) string {
	if s := os.Getenv("TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE"); s != "" {
		return s
	}
	if path, ok := strings.CutPrefix(c.DaemonHost(), "unix://"); ok && runtime.GOOS == "linux" {
		return path
	}
	return "/var/run/docker.sock" // in a virtual machine of its own
}

func openStdin(once bool) func(*container.Config) {
	return func(cfg *container.Config) { cfg.OpenStdin, cfg.AttachStdin, cfg.StdinOnce = true, true, once }
}

// newPod starts a node's agent, which owns its name, address and ports.
func (c *Cluster) newPod(ctx context.Context, image, node string) (*pod, error) {
	p := &pod{node: cluster.Node{Name: node, Host: node, Ports: map[string]string{}}, system: map[string]string{}}
	probePort := fmt.Sprintf("%d/udp", agent.Port)
	publish := []string{probePort}
	for _, q := range c.cfg.Ports {
		if !q.Peer {
			publish = append(publish, fmt.Sprintf("%d/tcp", q.Number))
		}
	}
	ctr, err := tc.Run(ctx, image,
		tc.WithName(c.name(node)),
		tc.WithLabels(c.owner.labels(c.cfg.RunID, roleAgent, node)),
		tc.WithCmd("agent"),
		tc.WithExposedPorts(publish...),
		tcnet.WithNetwork([]string{node}, c.network),
		tc.WithConfigModifier(func(cfg *container.Config) {
			cfg.Hostname = node
			openStdin(true)(cfg)
		}),
		tc.WithHostConfigModifier(func(h *container.HostConfig) {
			h.CapDrop, h.CapAdd = []string{"ALL"}, []string{"NET_ADMIN", "NET_RAW"} // raw: packets sent twice
			h.PortBindings = onLoopback(publish)
			h.LogConfig = jsonLogs()
		}))
	if err != nil {
		return p, fmt.Errorf("docker: start the agent of %s: %w", node, withLog(ctx, c.engine, ctr, err))
	}
	p.agent = ctr.GetContainerID()
	if p.wire, err = newWire(ctx, c.engine, node, p.agent); err != nil {
		return p, err
	}
	return p, c.address(ctx, p, probePort)
}

// address learns where the pod is reached, by the nodes and by the harness.
func (c *Cluster) address(ctx context.Context, p *pod, probePort string) error {
	in, err := c.engine.ContainerInspect(ctx, p.agent, client.ContainerInspectOptions{})
	if err != nil {
		return fmt.Errorf("docker: inspect the agent of %s: %w", p.node.Name, err)
	}
	settings := in.Container.NetworkSettings
	end := settings.Networks[c.network.Name]
	if end == nil {
		return fmt.Errorf("docker: the agent of %s is not in its network; its log ends with:\n%s",
			p.node.Name, logTail(ctx, c.engine, p.agent))
	}
	p.addr = end.IPAddress.String()
	published := func(port string) (string, error) {
		for _, b := range settings.Ports[network.MustParsePort(port)] {
			return net.JoinHostPort("127.0.0.1", b.HostPort), nil
		}
		return "", fmt.Errorf("docker: port %s of %s was not published", port, p.node.Name)
	}
	for _, q := range c.cfg.Ports {
		if q.Peer {
			continue
		}
		if p.node.Ports[q.Name], err = published(fmt.Sprintf("%d/tcp", q.Number)); err != nil {
			return err
		}
	}
	probe, err := published(probePort)
	if err != nil {
		return err
	}
	to, err := net.ResolveUDPAddr("udp4", probe)
	if err != nil {
		return err
	}
	if p.udp, err = net.DialUDP("udp4", nil, to); err == nil {
		_, err = p.udp.Write(agent.Datagram{}.Encode(0)) // so that the agent knows the way back
	}
	return err
}

func onLoopback(ports []string) network.PortMap {
	m := network.PortMap{}
	for _, p := range ports {
		m[network.MustParsePort(p)] = []network.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: "0"}}
	}
	return m
}

// jsonLogs is a log that can be read back, whatever the engine's default is.
func jsonLogs() container.LogConfig { return container.LogConfig{Type: "json-file"} }

// startSystem starts the system's containers of a node, each with a volume for its
// data, which stays when it is killed.
func (c *Cluster) startSystem(ctx context.Context, p *pod, spec cluster.Pod) error {
	for _, s := range spec.Containers {
		if p.id(s.Name) != "" || s.Name == "" {
			return fmt.Errorf("docker: node %s has two containers named %q", p.node.Name, s.Name)
		}
		if err := c.startContainer(ctx, p, s, c.name(p.node.Name, s.Name)); err != nil {
			return err
		}
		p.mu.Lock()
		p.names = append(p.names, s.Name)
		p.mu.Unlock()
	}
	return nil
}

// startContainer starts one of them, with that volume.
func (c *Cluster) startContainer(ctx context.Context, p *pod, s cluster.Container, volume string) error {
	labels := c.owner.labels(c.cfg.RunID, roleNode, p.node.Name)
	var (
		mounts []mount.Mount
		extra  []tc.ContainerCustomizer
		target = s.Data
		failed = s.Data != "" && c.cfg.Disks // its disk may be
	)
	if failed {
		var err error
		if target, extra, err = c.underDisk(ctx, p, &s); err != nil {
			return err
		}
	}
	if s.Data != "" {
		if _, err := c.engine.VolumeCreate(ctx, client.VolumeCreateOptions{Name: volume, Labels: labels}); err != nil {
			return fmt.Errorf("docker: volume for %s: %w", p.node.Name, err)
		}
		mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: volume, Target: target})
	}
	ctr, err := tc.Run(ctx, s.Image, append(extra,
		tc.WithName(c.name(p.node.Name, s.Name)),
		tc.WithLabels(labels),
		tc.WithEnv(s.Env),
		tc.WithEntrypoint(s.Entrypoint...),
		tc.WithCmd(s.Args...),
		tc.WithHostConfigModifier(func(h *container.HostConfig) {
			h.NetworkMode = container.NetworkMode("container:" + p.agent)
			h.Mounts = mounts
			h.LogConfig = jsonLogs()
			if failed {
				letMount(h)
			}
		}))...)
	if err != nil {
		return fmt.Errorf("docker: start %s of %s: %w", s.Name, p.node.Name, withLog(ctx, c.engine, ctr, err))
	}
	p.setID(s.Name, ctr.GetContainerID())
	return nil
}

// withLog adds the last lines of the guilty container's log to err.
func withLog(ctx context.Context, e *client.Client, ctr *tc.DockerContainer, err error) error {
	if ctr == nil || ctr.GetContainerID() == "" {
		return err
	}
	if t := logTail(ctx, e, ctr.GetContainerID()); t != "" {
		return fmt.Errorf("%w; its log ends with:\n%s", err, t)
	}
	return err
}

const (
	tailLines   = 15
	tailTimeout = 5 * time.Second
)

// logTail is the end of a container's log, indented, or why there is none.
func logTail(ctx context.Context, e *client.Client, id string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tailTimeout)
	defer cancel()
	r, err := e.ContainerLogs(ctx, id, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(tailLines),
	})
	if err != nil {
		return "  (no log: " + err.Error() + ")"
	}
	var b bytes.Buffer
	_, err = stdcopy.StdCopy(&b, &b, r)
	err = errors.Join(err, r.Close())
	text := strings.TrimRight(b.String(), "\n")
	switch {
	case err != nil:
		return "  (no log: " + err.Error() + ")"
	case text == "":
		return "  (nothing)"
	}
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// Tail is the end of the logs of a node's system, for people.
func (c *Cluster) Tail(ctx context.Context, node string) string {
	p, err := c.pod(node)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	return c.tail(ctx, p)
}

// tail is the end of the logs of a node's system.
func (c *Cluster) tail(ctx context.Context, p *pod) string {
	var out []string
	for _, name := range p.names {
		out = append(out, logTail(ctx, c.engine, p.id(name)))
	}
	return strings.Join(out, "\n")
}

// Logs opens the logs of a node's containers, from their first start or Since on.
func (c *Cluster) Logs(ctx context.Context, node string) (map[string]io.ReadCloser, error) {
	p, err := c.pod(node)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	from := map[string]string{roleAgent: p.agent}
	for _, name := range p.names {
		from[name] = p.id(name)
	}
	for _, old := range p.past {
		from[old.name] = old.id
	}
	p.mu.Unlock()
	c.mu.Lock()
	since := ""
	if !c.since.IsZero() {
		since = c.since.Format(time.RFC3339Nano)
	}
	c.mu.Unlock()
	out := map[string]io.ReadCloser{}
	for name, id := range from {
		r, err := c.engine.ContainerLogs(ctx, id, client.ContainerLogsOptions{
			ShowStdout: name != roleAgent, ShowStderr: true, Timestamps: true, Since: since,
		})
		if err != nil {
			for _, open := range out {
				_ = open.Close()
			}
			return nil, fmt.Errorf("docker: logs of %s: %w", node, err)
		}
		out[name+".log"] = demultiplex(r)
	}
	return out, nil
}

// plain is a log without the engine's framing.
type plain struct {
	*io.PipeReader
	raw io.Closer
}

func (p plain) Close() error { return errors.Join(p.raw.Close(), p.PipeReader.Close()) }

func demultiplex(r io.ReadCloser) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() { // ends with the log, or when the reader is closed
		_, err := stdcopy.StdCopy(pw, pw, r)
		pw.CloseWithError(err)
	}()
	return plain{pr, r}
}
