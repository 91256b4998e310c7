package docker_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/faultline-dev/faultline/clients"
	"github.com/faultline-dev/faultline/clients/etcd"
	"github.com/faultline-dev/faultline/cluster"
	"github.com/faultline-dev/faultline/docker"
	"github.com/faultline-dev/faultline/docker/dockertest"
	"github.com/faultline-dev/faultline/history"
	"github.com/faultline-dev/faultline/nemesis"
	"github.com/faultline-dev/faultline/nemesis/all"
)

// eyes look at an etcd cluster in containers without the agents and without the
// nemesis: by etcd's own API, by /proc, by the counters of the kernel's TCP.
type eyes struct {
	*testing.T
	c      *docker.Cluster
	opts   map[string]string
	engine *client.Client
}

// pid is the first process of a node's database, as this machine numbers it; 0 for
// none.
func (e eyes) pid(node string) int {
	e.Helper()
	in, err := e.engine.ContainerInspect(e.Context(), "faultline-"+e.c.RunID()+"-"+node+"-db", client.ContainerInspectOptions{})
	if err != nil {
		e.Fatal(err)
	}
	return in.Container.State.Pid
}

// state is the kernel's letter for the database's process, "" if there is none.
func (e eyes) state(node string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.pid(node)))
	if err != nil {
		return ""
	}
	return string(b[bytes.LastIndexByte(b, ')')+2])
}

// frozen says whether the freezer holds the process, which its letter does not show.
func (e eyes) frozen(node string) bool {
	before := e.ticks(node)
	time.Sleep(300 * time.Millisecond)
	return before > 0 && e.ticks(node) == before && !e.reads(node)
}

// ticks is the processor time that a process has had.
func (e eyes) ticks(node string) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.pid(node)))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return 1 + user + system
}

// reads says whether a node answers a read that takes a majority.
func (e eyes) reads(node string) bool {
	for _, n := range e.c.Nodes() {
		if n.Name != node {
			continue
		}
		ctx, cancel := context.WithTimeout(e.Context(), 700*time.Millisecond)
		defer cancel()
		cl, err := etcd.Open(ctx, clients.Target{Node: n, Cluster: e.c, Options: e.opts, Timeout: 700 * time.Millisecond})
		if err != nil {
			return false
		}
		defer func() { _ = cl.Close() }()
		_, err = cl.Read(ctx, "k")
		return err == nil
	}
	return false
}

// until tries for some seconds: what a fault does to TCP shows by and by.
func (e eyes) until(what func() bool) bool { return e.within(6*time.Second, what) }

func (e eyes) within(limit time.Duration, what func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if what() {
			return true
		}
	}
	return false
}

// counter is one of the kernel's counters of the network, like Tcp RetransSegs, of all
// nodes together.
func (e eyes) counter(proto, name string) int {
	e.Helper()
	sum := 0
	for _, n := range e.c.Nodes() {
		sum += e.counterOf(n.Name, proto, name)
	}
	return sum
}

func (e eyes) counterOf(node, proto, name string) int {
	e.Helper()
	for _, file := range []string{"snmp", "netstat"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", e.pid(node), file))
		if err != nil {
			e.Skipf("the nodes' processes are not on this machine: %v", err)
		}
		lines := strings.Split(string(b), "\n")
		for i := 0; i+1 < len(lines); i += 2 {
			names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			for j := range names {
				if names[0] == proto+":" && names[j] == name {
					n, _ := strconv.Atoi(values[j])
					return n
				}
			}
		}
	}
	e.Fatalf("the kernel has no counter %s %s", proto, name)
	return 0
}

// rises says whether a counter goes up by at least so much, while values cross the
// network that take many packets each.
func (e eyes) rises(proto, name string, by int) bool {
	from := e.counter(proto, name)
	return e.until(func() bool {
		e.put(64 << 10)
		return e.counter(proto, name) >= from+by
	})
}

// put is how long it takes to write a value of so many bytes by n1, which has to send
// it to others or to the leader.
func (e eyes) put(size int) time.Duration {
	e.Helper()
	start := time.Now()
	body := `{"key":"YmlnCg==","value":"` + strings.Repeat("YWFh", size/3) + `"}`
	q, err := http.NewRequestWithContext(e.Context(), http.MethodPost, "http://"+e.c.Nodes()[0].Ports["client"]+"/v3/kv/put", strings.NewReader(body))
	if err != nil {
		e.Fatal(err)
	}
	r, err := (&http.Client{Timeout: 20 * time.Second}).Do(q)
	if err != nil {
		e.Log(err)
		return time.Since(start)
	}
	_ = r.Body.Close()
	return time.Since(start)
}

// TestIntegrationFaultsFromOutside measures each fault on the network and on
// processes in containers by other means than the fault's own probe, and that it is
// gone after healing.
func TestIntegrationFaultsFromOutside(t *testing.T) {
	s := etcd.System()
	c, opts := dockertest.Up(t, s, 3, nil, "")
	e := eyes{t, c, opts, dockertest.Need(t)}
	quietLink := func(proto, name string) func(eyes) bool {
		return func(e eyes) bool {
			return e.within(30*time.Second, func() bool { // until there is a quiet second
				from := e.counter(proto, name)
				time.Sleep(time.Second)
				return e.counter(proto, name) <= from+2
			})
		}
	}
	serve := func(e eyes) bool {
		// TCP's pauses between attempts have grown as long as the fault lasted.
		return e.within(30*time.Second, func() bool { return e.reads("n1") && e.reads("n2") && e.reads("n3") })
	}
	var before int
	for _, tc := range []struct {
		spec string
		opts map[string]string
		bit  func(e eyes) bool
		gone func(e eyes) bool
	}{
		{"partition:n1", nil, func(e eyes) bool {
			return e.until(func() bool { return !e.reads("n1") && e.reads("n2") && e.reads("n3") })
		}, serve},
		{"partition:n1|n2|n3", nil, func(e eyes) bool {
			return e.until(func() bool { return !e.reads("n1") && !e.reads("n2") && !e.reads("n3") })
		}, serve},
		{"kill:n1", nil, func(e eyes) bool { return e.state("n1") == "" && e.state("n2") != "" && !e.reads("n1") }, serve},
		{"pause:n1", nil, func(e eyes) bool { return e.frozen("n1") && !e.frozen("n2") }, serve},
		{"restart:n1", nil, func(e eyes) bool { return e.until(func() bool { return e.pid("n1") > 0 && e.pid("n1") != before }) }, serve},
		{"loss:n1", map[string]string{"p": "0.3"}, func(e eyes) bool { return e.rises("Tcp", "RetransSegs", 5) }, quietLink("Tcp", "RetransSegs")},
		{"corrupt:n1", map[string]string{"p": "0.2"}, func(e eyes) bool { return e.rises("Tcp", "InCsumErrors", 3) }, quietLink("Tcp", "InCsumErrors")},
		{"duplicate:n1", map[string]string{"p": "0.5"}, func(e eyes) bool { return e.rises("TcpExt", "TCPDSACKOldSent", 5) }, quietLink("TcpExt", "TCPDSACKOldSent")},
		{"reorder:n1", map[string]string{"p": "0.3"}, func(e eyes) bool {
			return e.rises("TcpExt", "TCPOFOQueue", 1)
		}, quietLink("TcpExt", "TCPOFOQueue")},
		{"rate:n1", map[string]string{"bps": "200000"}, func(e eyes) bool { return e.put(64<<10) > 1500*time.Millisecond }, func(e eyes) bool {
			return e.within(30*time.Second, func() bool { return e.put(64<<10) < 1500*time.Millisecond })
		}},
		{"rolling", nil, func(e eyes) bool { return e.until(func() bool { return e.pid("n1") > 0 && e.pid("n1") != before }) }, serve},
		{"delay:n1", map[string]string{"by": "300ms", "jitter": "1ms"}, func(e eyes) bool {
			start := time.Now()
			return e.until(func() bool { start = time.Now(); return e.reads("n1") }) && time.Since(start) > 250*time.Millisecond
		}, func(e eyes) bool {
			return e.until(func() bool { start := time.Now(); return e.reads("n1") && time.Since(start) < 250*time.Millisecond })
		}},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			e := e
			e.T = t
			before = e.pid("n1")
			fromOutside(e, tc.spec, tc.opts, tc.bit)
			if !tc.gone(e) {
				t.Errorf("after healing it still shows from outside")
			}
		})
	}
}

// fromOutside runs one step, and looks while it acts.
func fromOutside(e eyes, spec string, opts map[string]string, bit func(eyes) bool) {
	e.Helper()
	name, arg, _ := strings.Cut(spec, ":")
	probed := make(chan struct{}, 1)
	rt := cluster.Real()
	var plan nemesis.Plan
	var err error
	wait := rt.Go(func() {
		plan, err = nemesis.Run(e.Context(), rt, nemesis.Plan{Steps: []nemesis.Step{
			{ID: "x", Fault: name, Arg: arg, For: 7 * time.Second, Opts: opts, Seed: 1},
		}}, nemesis.Env{Faults: all.All(), Cluster: e.c, Record: func(op history.Op) {
			if v, ok := op.Value.(map[string]any); ok && v["phase"] == "probe" {
				probed <- struct{}{}
			}
		}})
	})
	<-probed
	if !bit(e) {
		e.Errorf("it does not show from outside")
	}
	wait()
	if r := plan.Steps[0].Done; err != nil || !r.Bit || !r.Healed {
		e.Errorf("%v: %+v", err, r)
	}
}
