package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/faultline-dev/faultline/cluster"
)

const (
	// asAgent is set for a process of the test's that is an agent.
	asAgent = "FAULTLINE_TEST_AGENT"
	// withNetem says "yes" or "no" where the test must find netem used or not.
	withNetem = "FAULTLINE_TEST_NETEM"
	// nobody is a user without rights.
	nobody = 65534
)

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) == "" {
		os.Exit(m.Run())
	}
	if err := Run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestIntegrationShapes measures what agents do to packets between network namespaces,
// without containers and by sockets of its own, on the kernel that it meets: `make
// netem` runs it on one with netem. The bounds are wide enough for an emulated machine.
func TestIntegrationShapes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	l := newLab(t)
	features := l.ask(l.nodes[1], Request{Op: OpFeatures}).Features
	l.netem = features[FeatureNetem] == ""
	t.Logf("this kernel: %v", features)
	if want := os.Getenv(withNetem); want != "" && (want == "yes") != l.netem {
		t.Fatalf("netem: %q, want %s", features[FeatureNetem], want)
	}
	for _, c := range []struct {
		name string
		run  func(*lab)
	}{
		{"delay", (*lab).delays},
		{"jitter", (*lab).jitters},
		{"loss", (*lab).loses},
		{"duplicate", (*lab).doubles},
		{"reorder", (*lab).reorders},
		{"corrupt", (*lab).corrupts},
		{"rate", (*lab).limits},
		{"backlog", (*lab).backlogs},
		{"union", (*lab).unites},
		{"clients", (*lab).separates},
		{"cut", (*lab).cuts},
		{"heal", (*lab).heals},
		{"speed", (*lab).speeds},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.T = t
			for range 3 { // one may go wrong on a busy machine, or by chance
				l.wrong = nil
				c.run(l)
				l.ask(l.nodes[1], Request{Op: OpHeal})
				l.clean()
				if l.wrong == nil {
					return
				}
				t.Log(strings.Join(l.wrong, "; "))
			}
			t.Error("three times in a row")
		})
	}
}

func (l *lab) delays() {
	const delay = 150 * time.Millisecond
	l.shape("a", Shape{Delay: delay})
	q := l.send(n1, n2, 200, time.Millisecond, 64)
	if q.Received != 200 || (q.Delay-delay).Abs() > delay/10 || q.Reordered > 0 {
		l.Errorf("%+v, asked for %v", q, delay)
	}
	if q := l.send(n2, n1, 50, time.Millisecond, 64); q.Received != 50 || q.Delay > delay/5 {
		l.Errorf("the way back: %+v", q)
	}
	if q := l.send(clients, n2, 50, time.Millisecond, 64); q.Received != 50 || q.Delay > delay/5 {
		l.Errorf("clients: %+v", q)
	}
}

// jitters: the delays are distributed normally, and yet no packet overtakes another.
func (l *lab) jitters() {
	const delay, jitter = 200 * time.Millisecond, 10 * time.Millisecond
	l.shape("a", Shape{Delay: delay, Jitter: jitter})
	if q := l.send(n1, n2, 300, time.Millisecond, 64); q.Received != 300 || q.Reordered > 0 {
		l.Errorf("close together: %+v", q)
	}
	const n = 200
	var y Tally
	l.tally(&y, n1, n2, n, 20*time.Millisecond, 64)
	sum, squares, near := 0.0, 0.0, 0
	for _, d := range y.delays {
		off := float64(d-delay) / float64(jitter)
		sum += off
		squares += off * off
		if math.Abs(off) < 1 {
			near++
		}
	}
	mean, deviation := sum/n, math.Sqrt(squares/n)
	l.Logf("%d delays: mean %+.2f sigma, deviation %.2f sigma, %d within one", len(y.delays), mean, deviation, near)
	if len(y.delays) != n || math.Abs(mean) > 0.4 || math.Abs(deviation-1) > 0.3 || math.Abs(float64(near)/n-0.68) > 0.15 {
		l.Errorf("that is not the normal distribution")
	}
}

func (l *lab) loses() {
	l.shape("a", Shape{Loss: 0.2})
	if q := l.send(n1, n2, 2000, 300*time.Microsecond, 64); !near(2000-q.Received, 400, 80) {
		l.Errorf("%+v", q)
	}
	if q := l.send(n2, n1, 500, 300*time.Microsecond, 64); q.Received != 500 {
		l.Errorf("the way back: %+v", q)
	}
}

func (l *lab) doubles() {
	l.shape("a", Shape{Duplicate: 0.2, Delay: 5 * time.Millisecond})
	if q := l.send(n1, n2, 2000, 300*time.Microsecond, 64); q.Received != 2000 || !near(q.Duplicated, 400, 80) {
		l.Errorf("%+v", q)
	}
}

func (l *lab) reorders() {
	for _, d := range []time.Duration{0, 50 * time.Millisecond} {
		l.shape("a", Shape{Reorder: 0.1, Delay: d})
		q := l.send(n1, n2, 1000, time.Millisecond, 64)
		if q.Received != 1000 || !near(q.Reordered, 100, 40) || (q.Delay-d).Abs() > 10*time.Millisecond {
			l.Errorf("delayed by %v: %+v", d, q)
		}
	}
}

// corrupts: what is damaged is found to be by the checksums, of TCP too.
func (l *lab) corrupts() {
	l.shape("a", Shape{Corrupt: 0.2})
	before := l.counter(n2, "Udp", "InCsumErrors")
	q := l.send(n1, n2, 2000, 300*time.Microsecond, 64)
	found := l.counter(n2, "Udp", "InCsumErrors") - before
	l.Logf("%d of %d were found to be damaged", found, 2000)
	if !near(2000-q.Received, 400, 80) || !near(found, 2000-q.Received, 40) {
		l.Errorf("%+v, %d with a wrong checksum", q, found)
	}
	l.shape("a", Shape{Corrupt: 0.02})
	l.stream(n1, n2, 1<<20)
}

func (l *lab) limits() {
	const rate = 1_000_000
	l.shape("a", Shape{Rate: rate})
	if q := l.send(n1, n2, 250, 4*time.Millisecond, 1000); math.Abs(float64(q.Rate)/rate-1) > 0.15 {
		l.Errorf("%+v, asked for %d bits a second", q, rate)
	}
	l.shape("a", Shape{Rate: 8 * rate, Delay: 10 * time.Millisecond})
	took := l.stream(n1, n2, 2<<20)
	l.Logf("2 MiB took %v at 8 Mbit/s", took)
	if took < 1700*time.Millisecond || took > 4*time.Second {
		l.Errorf("2 MiB took %v", took)
	}
}

// backlogs: a limited link holds half a second back and loses what is beyond.
func (l *lab) backlogs() {
	l.shape("a", Shape{Rate: 400_000}) // 50 datagrams a second
	var y Tally
	l.tally(&y, n1, n2, 200, time.Millisecond, 1000)
	q, last := y.Quality(), slices.Max(y.delays)
	l.Logf("the last came after %v", last)
	if q.Received < 20 || q.Received > 45 || last < 400*time.Millisecond || last > 900*time.Millisecond {
		l.Errorf("%+v, the last after %v", q, last)
	}
}

// unites: shapes that overlap add up, and one that ends leaves the others.
func (l *lab) unites() {
	l.shape("a", Shape{Delay: 50 * time.Millisecond, Loss: 0.2})
	l.shape("b", Shape{Delay: 100 * time.Millisecond, Loss: 0.5, Corrupt: 0.25})
	if q := l.send(n1, n2, 1000, 300*time.Microsecond, 64); !near(q.Received, 300, 60) || (q.Delay-150*time.Millisecond).Abs() > 20*time.Millisecond {
		l.Errorf("both: %+v", q)
	}
	l.ask(l.nodes[1], Request{Op: OpMend, ID: "b"})
	time.Sleep(200 * time.Millisecond)
	if q := l.send(n1, n2, 1000, 300*time.Microsecond, 64); !near(q.Received, 800, 60) || (q.Delay-50*time.Millisecond).Abs() > 15*time.Millisecond {
		l.Errorf("the first: %+v", q)
	}
}

// separates: the clients' packets, in and out, apart from those of peers.
func (l *lab) separates() {
	const delay = 100 * time.Millisecond
	slow := func(q cluster.Quality) bool { return q.Delay > delay*9/10 }
	for _, out := range []bool{false, true} {
		q := Request{Op: OpShape, ID: "a", Shape: Shape{Delay: delay}}
		if out {
			q.Out = []string{Clients}
		} else {
			q.In = []string{Clients}
		}
		l.ask(l.nodes[1], q)
		from, to := slow(l.send(clients, n2, 50, time.Millisecond, 64)), slow(l.send(n2, clients, 50, time.Millisecond, 64))
		peers := slow(l.send(n1, n2, 50, time.Millisecond, 64)) || slow(l.send(n2, n1, 50, time.Millisecond, 64))
		if from == out || to != out || peers {
			l.Errorf("out %v: from clients slow %v, to clients %v, peers %v", out, from, to, peers)
		}
	}
}

// cuts: a cut holds for what is shaped, and for what waits when it comes.
func (l *lab) cuts() {
	l.shape("a", Shape{Delay: 50 * time.Millisecond})
	l.ask(l.nodes[1], Request{Op: OpCut, ID: "b", In: []string{l.nodes[0].addr}})
	if q := l.send(n1, n2, 100, time.Millisecond, 64); q.Received > 0 {
		l.T.Errorf("cut: %+v", q)
	}
	l.ask(l.nodes[1], Request{Op: OpMend, ID: "b"})
	if q := l.send(n1, n2, 100, time.Millisecond, 64); q.Received != 100 || q.Delay < 45*time.Millisecond {
		l.Errorf("shaped still: %+v", q)
	}
}

// heals: what waits when everything ends comes when it was due, and what comes
// after that comes at once.
func (l *lab) heals() {
	const delay = 600 * time.Millisecond
	l.shape("a", Shape{Delay: delay, Jitter: time.Millisecond, Duplicate: 0.1})
	if l.netem && !l.devices() {
		l.Error("netem is not used")
	}
	var y Tally
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.tally(&y, n1, n2, 300, time.Millisecond, 64)
	}()
	time.Sleep(400 * time.Millisecond)
	l.ask(l.nodes[1], Request{Op: OpHeal})
	<-done
	q := y.Quality()
	l.Logf("of 300 that waited %d came, after %v", q.Received, q.Delay)
	if q.Received != 300 {
		l.Error("what waited was lost") // of this there is no second try
	}
	if (q.Delay - delay).Abs() > delay/10 {
		l.Errorf("of what waited: %+v", q)
	}
	if q := l.send(n1, n2, 100, time.Millisecond, 64); q.Received != 100 || q.Delay > 50*time.Millisecond || q.Duplicated > 0 {
		l.Errorf("afterwards: %+v", q)
	}
}

// speeds: netem costs little of what passes a link by TCP.
func (l *lab) speeds() {
	const mega = 16
	speed := func() float64 { return mega * 1.048576 / l.stream(n1, n2, mega<<20).Seconds() }
	speed() // the first is slower
	bare := speed()
	l.shape("a", Shape{Delay: time.Millisecond})
	delayed := speed()
	l.shape("a", Shape{Delay: time.Millisecond, Duplicate: 0.001})
	doubled := speed()
	l.Logf("%.0f MB/s, delayed %.0f MB/s, doubled too %.0f MB/s", bare, delayed, doubled)
	if l.netem && min(delayed, doubled) < bare/2 {
		l.Errorf("netem slows the link from %.0f to %.0f and %.0f MB/s", bare, delayed, doubled)
	}
}

func near(got, want, by int) bool { return got >= want-by && got <= want+by }

// lab is two nodes and a bridge that clients are on, each a network namespace.
type lab struct {
	*testing.T
	wrong []string // with the measurement that is under way
	nodes [2]*labNode
	home  *os.File
	netem bool
}

// The ends of what a lab measures.
const n1, n2, clients = 0, 1, -1

// longest is how long is waited for what comes after the last was sent.
const longest = 700 * time.Millisecond

type labNode struct {
	addr string
	pid  int
	ns   *os.File
	to   io.Writer
	from *bufio.Scanner
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{T: t}
	// The bridge's namespace is that of a process that does nothing else.
	idle := l.start()
	l.home = idle.ns
	for i := range l.nodes {
		l.nodes[i] = l.start()
	}
	within(t, l.home, func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		for i, n := range l.nodes {
			v := &netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("v", i), MasterIndex: bridge.Index},
				PeerName:  "eth0", PeerNamespace: netlink.NsPid(n.pid),
			}
			if err := errors.Join(netlink.LinkAdd(v), netlink.LinkSetUp(v)); err != nil {
				return err
			}
			n.addr = fmt.Sprint("10.9.0.", i+2)
		}
		return up("br0", "10.9.0.1/24")
	})
	peers := Request{Op: OpPeers, Addrs: []string{l.nodes[0].addr, l.nodes[1].addr}}
	for _, n := range l.nodes {
		within(t, n.ns, func() error { return errors.Join(up("lo", ""), up("eth0", n.addr+"/24")) })
		l.ask(n, peers)
	}
	return l
}

func up(name, addr string) error {
	d, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if addr != "" {
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(d, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(d)
}

// Errorf hides that of testing.T.
func (l *lab) Errorf(format string, args ...any) {
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// start starts an agent in a namespace of its own, with the capabilities that it has in
// containers.
func (l *lab) start() *labNode {
	l.Helper()
	t := l.T // which each measurement replaces
	// By this way nobody needs to be allowed to see the file; it ends with its input.
	c := exec.CommandContext(context.WithoutCancel(t.Context()), "/proc/self/exe")
	c.Env = append(os.Environ(), asAgent+"=1")
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET, Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
	}
	in, err := c.StdinPipe()
	if err != nil {
		l.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := c.Start(); errors.Is(err, os.ErrPermission) {
		l.Skipf("no network namespaces may be made here: %v", err)
	} else if err != nil {
		l.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	})
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.Process.Pid))
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = ns.Close() })
	return &labNode{pid: c.Process.Pid, ns: ns, to: in, from: bufio.NewScanner(out)}
}

func (l *lab) ask(n *labNode, q Request) Response {
	l.Helper()
	b, err := json.Marshal(q)
	if err != nil {
		l.Fatal(err)
	}
	if _, err := n.to.Write(append(b, '\n')); err != nil || !n.from.Scan() {
		l.Fatalf("the agent does not answer: %v", err)
	}
	var r Response
	if err := json.Unmarshal(n.from.Bytes(), &r); err != nil || r.Error != "" {
		l.Fatalf("%+v: %s %v", q, r.Error, err)
	}
	return r
}

// shape degrades what n2 gets from n1.
func (l *lab) shape(id string, s Shape) {
	l.Helper()
	l.ask(l.nodes[1], Request{Op: OpShape, ID: id, In: []string{l.nodes[n1].addr}, Shape: s})
}

func (l *lab) ns(at int) *os.File {
	if at == clients {
		return l.home
	}
	return l.nodes[at].ns
}

func (l *lab) addr(at int) net.IP {
	if at == clients {
		return net.IPv4(10, 9, 0, 1)
	}
	return net.ParseIP(l.nodes[at].addr)
}

// send sends datagrams and says what became of them.
func (l *lab) send(from, to, count int, every time.Duration, size int) cluster.Quality {
	l.Helper()
	var y Tally
	l.tally(&y, from, to, count, every, size)
	q := y.Quality()
	l.Logf("%d to %d: %+v", from, to, q)
	return q
}

func (l *lab) tally(y *Tally, from, to, count int, every time.Duration, size int) {
	var in, out *net.UDPConn
	within(l.T, l.ns(to), func() (err error) {
		in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: l.addr(to)})
		return err
	})
	defer func() { _ = in.Close() }()
	roomy(in)
	within(l.T, l.ns(from), func() (err error) {
		out, err = net.DialUDP("udp4", nil, in.LocalAddr().(*net.UDPAddr))
		return err
	})
	defer func() { _ = out.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, err := in.Read(b)
			if err != nil {
				return
			}
			if d, ok := DecodeDatagram(b[:n]); ok {
				y.Add(d, n, time.Now())
			}
		}
	}()
	Paced(nil, cluster.Probes{Count: count, Every: every}, func(seq int) {
		_, _ = out.Write(Datagram{"t", seq, time.Now().UnixNano()}.Encode(size))
	})
	_ = in.SetReadDeadline(time.Now().Add(longest))
	<-done
}

// stream sends so many bytes by TCP, which must arrive as they are.
func (l *lab) stream(from, to, size int) time.Duration {
	l.Helper()
	var in net.Listener
	within(l.T, l.ns(to), func() (err error) {
		in, err = net.Listen("tcp4", net.JoinHostPort(l.addr(to).String(), "0"))
		return err
	})
	defer func() { _ = in.Close() }()
	var out net.Conn
	within(l.T, l.ns(from), func() (err error) {
		out, err = net.Dial("tcp4", in.Addr().String())
		return err
	})
	want := make([]byte, size)
	_, _ = rand.Read(want)
	start := time.Now()
	go func() {
		defer out.Close()
		_, _ = out.Write(want)
	}()
	c, err := in.Accept()
	if err != nil {
		l.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		l.T.Errorf("%d of %d bytes came, as they were: %v; %v", len(got), size, bytes.Equal(got, want), err)
	}
	return time.Since(start)
}

// counter is one of the kernel's, of a node.
func (l *lab) counter(at int, proto, name string) int {
	l.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", l.nodes[at].pid))
	if err != nil {
		l.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) > 0 && names[0] == proto+":" {
			n, _ := strconv.Atoi(values[slices.Index(names, name)])
			return n
		}
	}
	l.Fatalf("the kernel has no counter %s %s", proto, name)
	return 0
}

// devices says whether n2 has devices or filters of its agent's.
func (l *lab) devices() (some bool) {
	l.Helper()
	within(l.T, l.nodes[1].ns, func() error {
		all, err := netlink.LinkList()
		for _, d := range all {
			some = some || strings.HasPrefix(d.Attrs().Name, devicePrefix)
		}
		if err != nil {
			return err
		}
		queues, err := netlink.QdiscList(nil)
		for _, q := range queues {
			some = some || q.Type() == "netem" || q.Type() == "clsact"
		}
		return err
	})
	return some
}

// clean waits until nothing of the agent's is left.
func (l *lab) clean() {
	l.Helper()
	for end := time.Now().Add(5 * time.Second); l.devices(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			l.Error("devices are left after healing")
			return
		}
	}
}

// within runs f on a thread in another network namespace.
func within(t *testing.T, ns *os.File, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks it, so the thread ends with f
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
