package docker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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

// until tries for a while: what a fault did to TCP shows by and by, and the pauses
// between its attempts grow as long as a fault lasts.
func (e eyes) until(what func() bool) bool { return e.within(30*time.Second, what) }

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
	return e.within(15*time.Second, func() bool {
		e.put(64 << 10)
		return e.counter(proto, name) >= from+by
	})
}

// put is how long it takes to write a value of so many bytes by n1, which has to send
// it to others or to the leader.
func (e eyes) put(size int) time.Duration {
	e.Helper()
	start := time.Now()
	e.post(0, "/v3/kv/put", `{"key":"YmlnCg==","value":"`+strings.Repeat("YWFh", size/3)+`"}`, nil)
	return time.Since(start)
}

// post asks etcd's HTTP gateway of a node; what fails is logged.
func (e eyes) post(node int, path, body string, answer any) {
	e.Helper()
	q, err := http.NewRequestWithContext(e.Context(), http.MethodPost, "http://"+e.c.Nodes()[node].Ports["client"]+path, strings.NewReader(body))
	if err != nil {
		e.Fatal(err)
	}
	r, err := (&http.Client{Timeout: 20 * time.Second}).Do(q)
	if err != nil {
		e.Log(err)
		return
	}
	defer func() { _ = r.Body.Close() }()
	if answer != nil {
		if err := json.NewDecoder(r.Body).Decode(answer); err != nil {
			e.Log(err)
		}
	}
}

// passes says whether a datagram that is not the agents' gets from one node to another.
func (e eyes) passes(from, to string) bool {
	e.Helper()
	socket := func(node string) *net.UDPConn {
		var u *net.UDPConn
		err := within(e.pid(node), func() (err error) {
			u, err = net.ListenUDP("udp4", nil)
			return err
		})
		if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
			e.Skipf("the containers' networks cannot be entered here: %v", err)
		}
		if err != nil {
			e.Fatal(err)
		}
		return u
	}
	in, out := socket(to), socket(from)
	defer func() { _, _ = in.Close(), out.Close() }()
	addr, err := e.c.Addr(to)
	if err != nil {
		e.Fatal(err)
	}
	dst := &net.UDPAddr{IP: net.ParseIP(addr), Port: in.LocalAddr().(*net.UDPAddr).Port}
	if _, err := out.WriteToUDP([]byte(from), dst); err != nil {
		e.Fatal(err)
	}
	_ = in.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, err = in.Read(make([]byte, 16))
	return err == nil
}

// members counts those that etcd lists, by its HTTP gateway.
func (e eyes) members() int {
	var list struct{ Members []struct{ Name string } }
	e.post(1, "/v3/cluster/member/list", "{}", &list)
	return len(list.Members)
}

// TestIntegrationFaultsFromOutside measures each fault on the network, on processes and
// on the membership in containers by other means than the fault's own probe, and that
// it is gone after healing.
func TestIntegrationFaultsFromOutside(t *testing.T) {
	s := etcd.System()
	c, opts := dockertest.Up(t, s, 3, nil, "")
	e := eyes{t, c, opts, dockertest.Need(t)}
	quietLink := func(proto, name string) func(eyes) bool {
		return func(e eyes) bool {
			return e.until(func() bool { // there is a quiet second
				from := e.counter(proto, name)
				time.Sleep(time.Second)
				return e.counter(proto, name) <= from+2
			})
		}
	}
	serve := func(e eyes) bool { return e.reads("n1") && e.reads("n2") && e.reads("n3") }
	open := func(e eyes) bool { return e.passes("n1", "n2") && e.passes("n2", "n1") && serve(e) }
	reads := func(e eyes) time.Duration {
		start := time.Now()
		if !e.reads("n1") {
			return 0
		}
		return time.Since(start)
	}
	var before int
	again := func(e eyes) bool { return e.pid("n1") > 0 && e.pid("n1") != before }
	for _, tc := range []struct {
		spec string
		opts map[string]string
		bit  func(e eyes) bool
		gone func(e eyes) bool
	}{
		{"partition:n1", nil, func(e eyes) bool { return !e.reads("n1") && e.reads("n2") && e.reads("n3") }, serve},
		{"partition:n1|n2|n3", nil, func(e eyes) bool { return !e.reads("n1") && !e.reads("n2") && !e.reads("n3") }, serve},
		{"partition:one-way", map[string]string{"way": "in"}, func(e eyes) bool { return !e.passes("n2", "n1") && e.passes("n1", "n2") }, open},
		{"partition:one-way", map[string]string{"way": "out"}, func(e eyes) bool { return e.passes("n2", "n1") && !e.passes("n1", "n2") }, open},
		{"partition:clients", nil, func(e eyes) bool {
			return !e.reads("n1") && e.reads("n2") && e.passes("n1", "n2") && e.passes("n2", "n1")
		}, serve},
		{"kill:n1", nil, func(e eyes) bool { return e.state("n1") == "" && e.state("n2") != "" && !e.reads("n1") }, serve},
		{"pause:n1", nil, func(e eyes) bool { return e.frozen("n1") && !e.frozen("n2") }, serve},
		{"restart:n1", nil, again, serve},
		{"loss:n1", map[string]string{"p": "0.3"}, func(e eyes) bool { return e.rises("Tcp", "RetransSegs", 5) }, quietLink("Tcp", "RetransSegs")},
		{"corrupt:n1", map[string]string{"p": "0.2"}, func(e eyes) bool { return e.rises("Tcp", "InCsumErrors", 3) }, quietLink("Tcp", "InCsumErrors")},
		{"duplicate:n1", map[string]string{"p": "0.5"}, func(e eyes) bool { return e.rises("TcpExt", "TCPDSACKOldSent", 5) }, quietLink("TcpExt", "TCPDSACKOldSent")},
		{"reorder:n1", map[string]string{"p": "0.3"}, func(e eyes) bool { return e.rises("TcpExt", "TCPOFOQueue", 1) }, quietLink("TcpExt", "TCPOFOQueue")},
		{"rate:n1", map[string]string{"bps": "200000"}, func(e eyes) bool { return e.put(64<<10) > 1500*time.Millisecond }, func(e eyes) bool {
			return e.put(64<<10) < 1500*time.Millisecond
		}},
		{"rolling", nil, again, serve},
		{"delay:n1", map[string]string{"by": "300ms", "jitter": "1ms"}, func(e eyes) bool { return reads(e) > 250*time.Millisecond }, func(e eyes) bool {
			took := reads(e)
			return took > 0 && took < 250*time.Millisecond
		}},
		{"member:remove", nil, func(e eyes) bool { return e.members() == 2 && e.state("n1") == "" }, func(e eyes) bool { return e.members() == 3 && serve(e) }},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			e := e
			e.T = t
			before = e.pid("n1")
			fromOutside(e, tc.spec, tc.opts, tc.bit)
			if !e.until(func() bool { return tc.gone(e) }) {
				t.Errorf("after healing it still shows from outside")
			}
		})
	}
}

// fromOutside runs one step on n1 until it has been seen to act.
func fromOutside(e eyes, spec string, opts map[string]string, bit func(eyes) bool) {
	e.Helper()
	const lasts = 20 * time.Second
	name, arg, _ := strings.Cut(spec, ":")
	step := nemesis.Step{ID: "x", Fault: name, Arg: arg, For: lasts, Opts: opts, Seed: 1}
	if arg != "" && len(nemesis.Groups(arg)) < 2 {
		step.Targets = []string{"n1"}
	}
	rt := cluster.Real()
	members, err := etcd.System().Members(e.c, rt, e.opts)
	if err != nil {
		e.Fatal(err)
	}
	probed := make(chan struct{}, 1)
	ctx, seen := context.WithCancel(e.Context())
	defer seen()
	var plan nemesis.Plan
	wait := rt.Go(func() {
		plan, err = nemesis.Run(ctx, rt, nemesis.Plan{Steps: []nemesis.Step{step}}, nemesis.Env{
			Faults: all.All(), Cluster: e.c, Members: members, Record: func(op history.Op) {
				if v, ok := op.Value.(map[string]any); ok && v["phase"] == "probe" {
					probed <- struct{}{}
				}
			},
		})
	})
	<-probed
	if !e.within(lasts, func() bool { return bit(e) }) {
		e.Errorf("it does not show from outside")
	}
	seen()
	wait()
	if r := plan.Steps[0].Done; err != nil || !r.Bit || !r.Healed {
		e.Errorf("%v: %+v", err, r)
	}
}
