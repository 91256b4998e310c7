package zookeeper

import (
	"context"
	"crypto/sha1" //nolint:gosec // ZooKeeper's digests are made of it
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/options"
)

// Only the superuser may change the members.
const superUser, superPassword = "super", "faultline"

// superDigest is the option of the JVM that lets the superuser in.
func superDigest() string {
	sum := sha1.Sum([]byte(superUser + ":" + superPassword)) //nolint:gosec // as above
	return "-Dzookeeper.DigestAuthenticationProvider.superDigest=" + superUser + ":" + base64.StdEncoding.EncodeToString(sum[:])
}

// configPath is the node that holds who the servers are.
const configPath = "/zookeeper/config"

// serverLine is a server in a configuration.
func serverLine(id int, node string) string {
	return fmt.Sprintf("server.%d=%s:2888:3888:participant;0.0.0.0:2181", id, node)
}

// members changes ZooKeeper's ensemble by reconfig. A server that is removed goes on
// running, without a vote; added again it is made anew, with the servers that there
// are and an empty disk, from which it catches up.
type members struct {
	cluster cluster.Cluster
	build   cluster.Rebuilder
	rt      cluster.Runtime // nil before the cluster is up

	mu    sync.Mutex
	built map[string]bool // nodes that were made anew and are no voters yet
}

// newMembers is a clients.System's.
func newMembers(c cluster.Cluster, rt cluster.Runtime, _ options.Values) (cluster.Members, error) {
	b, ok := c.(cluster.Rebuilder)
	if !ok {
		return nil, cluster.Missing(c, "make a node anew, as a server that is added again has to be")
	}
	return &members{cluster: c, build: b, rt: rt, built: map[string]bool{}}, nil
}

// memberTimeout bounds what one server is asked.
const memberTimeout = time.Second

// ask lets f ask the servers that are voters, as far as they know, until one answers.
func (m *members) ask(ctx context.Context, but []string, f func(*Client) error) error {
	err := errors.New("zookeeper: no server to ask")
	for _, n := range m.cluster.Nodes() {
		if slices.Contains(but, n.Name) || ctx.Err() != nil {
			continue
		}
		if err = m.askOne(ctx, n, f); err == nil {
			return nil
		}
	}
	return errors.Join(err, ctx.Err())
}

func (m *members) askOne(ctx context.Context, n cluster.Node, f func(*Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	c, err := Open(ctx, clients.Target{Node: n, Cluster: m.cluster, Timeout: memberTimeout})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.do(ctx, func() error { return f(c) }); err != nil {
		return fmt.Errorf("zookeeper: members by %s: %w", n.Name, err)
	}
	return nil
}

// Members implements cluster.Members.
func (m *members) Members(ctx context.Context) ([]string, error) {
	var names []string
	err := m.ask(ctx, nil, func(c *Client) error {
		if _, err := c.driver.Sync(configPath); err != nil {
			return err
		}
		b, _, err := c.driver.Get(configPath)
		names = voters(string(b))
		return err
	})
	return names, err
}

// voters are the nodes of a configuration's participants, sorted.
func voters(config string) []string {
	var names []string
	for line := range strings.SplitSeq(config, "\n") {
		_, server, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || !strings.HasPrefix(line, "server.") || strings.Contains(server, ":observer") {
			continue
		}
		host, _, _ := strings.Cut(server, ":")
		names = append(names, host)
	}
	slices.Sort(names)
	return names
}

// id is a server's number.
func (m *members) id(node string) int {
	return 1 + slices.IndexFunc(m.cluster.Nodes(), func(n cluster.Node) bool { return n.Name == node })
}

// reconfig asks servers that stay.
func (m *members) reconfig(ctx context.Context, joining, leaving, but []string) error {
	return m.ask(ctx, but, func(c *Client) error {
		err := c.driver.AddAuth("digest", []byte(superUser+":"+superPassword))
		if err == nil {
			_, err = c.driver.IncrementalReconfig(joining, leaving, -1)
		}
		return err
	})
}

// Remove implements cluster.Members.
func (m *members) Remove(ctx context.Context, nodes []string) error {
	now, err := m.Members(ctx)
	if err != nil {
		return err
	}
	var leaving []string
	for _, n := range nodes {
		if slices.Contains(now, n) {
			leaving = append(leaving, strconv.Itoa(m.id(n)))
		}
	}
	if len(leaving) == 0 {
		return nil
	}
	return m.reconfig(ctx, nil, leaving, nodes)
}

// Add implements cluster.Members.
func (m *members) Add(ctx context.Context, nodes []string) error {
	for _, n := range nodes {
		if err := m.add(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// add makes a server anew, and a voter once it follows: the others may need it for a
// majority at once.
func (m *members) add(ctx context.Context, node string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.Members(ctx)
	switch {
	case err != nil:
		return err
	case slices.Contains(now, node):
		delete(m.built, node)
		return nil
	case m.build.Wanted(node) != cluster.Running:
		return fmt.Errorf("zookeeper: %s cannot join while another fault holds it %s", node, m.build.Wanted(node))
	}
	if !m.built[node] || !m.runs(ctx, node) {
		var servers []string
		for _, n := range append(now, node) {
			servers = append(servers, serverLine(m.id(n), n))
		}
		err = m.build.Rebuild(ctx, node, func(p *cluster.Pod) { joining(p.Containers[0].Env, servers) })
		if err != nil {
			return err
		}
		m.built[node] = true
	}
	if err := m.follows(ctx, m.cluster.Nodes()[m.id(node)-1]); err != nil {
		return err
	}
	err = m.reconfig(ctx, []string{serverLine(m.id(node), node)}, nil, []string{node})
	if err == nil {
		delete(m.built, node)
	}
	return err
}

func (m *members) runs(ctx context.Context, node string) bool {
	o, ok := m.cluster.(cluster.Observer)
	if !ok {
		return true
	}
	s, err := o.State(ctx, node)
	return err != nil || s == cluster.Running
}

// joinPause is the time between two looks at whether a server follows.
const joinPause = 100 * time.Millisecond

// follows waits until a server has found the others.
func (m *members) follows(ctx context.Context, n cluster.Node) error {
	for {
		mode, err := modeOf(ctx, n.Ports[clientPort])
		if mode != "" {
			return nil
		}
		if m.rt.Sleep(ctx, joinPause) != nil {
			return errors.Join(fmt.Errorf("zookeeper: %s does not follow yet", n.Name), err)
		}
	}
}

// joining replaces the servers in the configuration of one that joins.
func joining(env map[string]string, servers []string) {
	var lines []string
	for line := range strings.SplitSeq(env["ZOO_CFG"], "\n") {
		if !strings.HasPrefix(line, "server.") {
			lines = append(lines, line)
		}
	}
	env["ZOO_CFG"] = strings.Join(append(lines, servers...), "\n")
}
