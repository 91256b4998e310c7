package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// devicePrefix begins the names of the agent's own devices.
	devicePrefix = "faultline"
	// wayIn and wayOut are where filters hang that see what comes in and goes out.
	wayIn, wayOut uint32 = netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS
	// tableSize is the most entries that netem takes for a distribution, and tableScale
	// what stands for its sigma in them.
	tableSize, tableScale = 16384, 8192
	// maxJitter is what netem counts in 32 bits, and minRate, in bits a second, what
	// the bucket can count for a large packet.
	maxJitter = math.MaxInt32 * time.Nanosecond
	minRate   = 1000
	// maxWaiting bounds the packets that wait on a lane; more are lost.
	maxWaiting = 4 * maxHeld
	// headers is how many bytes more than the link's size a packet may take.
	headers = 100
	// drained is how much longer than its packets may wait a lane stays that is no more
	// used.
	drained = 500 * time.Millisecond
)

// netem shapes by the kernel's emulator of that name. It works on what a device sends,
// and doubles packets only where it is alone on one. So what comes from or goes to a
// shaped address is led through a device of its own, a lane, and goes on from there
// as if it had never left its way: what comes in meets nf_tables after that.
type netem struct {
	lanes []lane
	made  int
}

// lane is for packets of one way and address. It never changes, as what waits in it
// goes when it was due: another one takes its place.
type lane struct {
	way    uint32
	addr   string  // the other side's, or Clients
	shapes []Shape // none for a peer that must not be taken for one of Clients

	device  netlink.Link  // nil without shapes
	longest time.Duration // that a packet may wait in it
	prio    uint16
	filters []netlink.Filter
}

// like says whether they do the same.
func (l lane) like(o lane) bool {
	return l.way == o.way && l.addr == o.addr && slices.Equal(l.shapes, o.shapes)
}

// newNetem tries all that shaping takes, on a device made for it.
func newNetem() (*netem, error) {
	n := &netem{}
	n.clear()
	defer n.clear()
	try := lane{way: wayIn, addr: Clients, shapes: []Shape{{Jitter: 1, Loss: 0.1, Duplicate: 0.1, Rate: 1e6}}}
	err := n.build(&try, nil)
	if err == nil {
		err = guard(try.device)
	}
	if err == nil {
		err = n.lead(&try, []netlink.Link{try.device})
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// clear removes everything, with what waits, and what an agent before this one left.
func (n *netem) clear() {
	n.lanes = nil
	all, _ := netlink.LinkList()
	if !slices.ContainsFunc(all, own) {
		return
	}
	for _, d := range all {
		if own(d) {
			_ = netlink.LinkDel(d)
		} else {
			_ = netlink.QdiscDel(clsact(d))
		}
	}
}

// own says whether a device is a lane's.
func own(d netlink.Link) bool { return strings.HasPrefix(d.Attrs().Name, devicePrefix) }

// apply makes the lanes what the filter asks for, and returns the filter without what
// they do.
func (n *netem) apply(f filter) (filter, error) {
	in, restIn := lanesFor(wayIn, f.peers, f.shapeIn)
	out, restOut := lanesFor(wayOut, f.peers, f.shapeOut)
	f.shapeIn, f.shapeOut = restIn, restOut
	want := append(in, out...)
	if len(want)+len(n.lanes) == 0 {
		return f, nil
	}
	on, err := devices()
	if err != nil {
		return f, err
	}
	// The new ones come before the old ones go, so that no packet meets neither.
	old := n.lanes
	for _, l := range want {
		if slices.ContainsFunc(old, l.like) {
			continue
		}
		if err := n.open(l, on); err != nil {
			return f, err
		}
	}
	n.lanes = slices.DeleteFunc(n.lanes, func(l lane) bool {
		if slices.ContainsFunc(want, l.like) {
			return false
		}
		failed := l.close() // and is tried again at the next change
		err = errors.Join(err, failed)
		return failed == nil
	})
	if len(n.lanes) == 0 {
		for _, d := range on {
			_ = netlink.QdiscDel(clsact(d))
		}
	}
	return f, err
}

// lanesFor are the lanes of one way, and the shapes that are left to user space.
func lanesFor(way uint32, peers []string, shapes []shaped) (out []lane, rest []shaped) {
	at := func(addr string) int {
		return slices.IndexFunc(out, func(l lane) bool { return l.addr == addr })
	}
	for _, s := range shapes {
		jitters := slices.ContainsFunc(shapes, func(o shaped) bool { return o.addr == s.addr && o.shape.Jitter > 0 })
		mine, left := s.shape.split(jitters)
		if left != (Shape{}) {
			rest = append(rest, shaped{s.addr, left})
		}
		if mine == (Shape{}) {
			continue
		}
		if at(s.addr) < 0 {
			out = append(out, lane{way: way, addr: s.addr})
		}
		l := &out[at(s.addr)]
		l.shapes = append(l.shapes, mine)
	}
	if at(Clients) >= 0 {
		for _, p := range peers {
			if at(p) < 0 {
				out = append(out, lane{way: way, addr: p})
			}
		}
	}
	return out, rest
}

// split is what netem does of a shape as it is meant, and what is left to user space.
// Netem would damage Ethernet's header too, which nobody reads any more, and it either
// keeps all packets in order or lets jitter disturb it as well.
func (s Shape) split(jitters bool) (kernel, user Shape) {
	if s.Jitter > maxJitter || s.Rate > 0 && s.Rate < minRate {
		return Shape{}, s
	}
	kernel = s
	user.Corrupt, kernel.Corrupt = s.Corrupt, 0
	if jitters {
		user.Reorder, kernel.Reorder = s.Reorder, 0
	}
	return kernel, user
}

// devices are the ways out of this namespace.
func devices() ([]netlink.Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("netem: list devices: %w", err)
	}
	return slices.DeleteFunc(all, func(l netlink.Link) bool {
		a := l.Attrs()
		return a.Flags&net.FlagLoopback != 0 || a.Flags&net.FlagUp == 0 || own(l)
	}), nil
}

func (n *netem) open(l lane, on []netlink.Link) error {
	if err := n.build(&l, on); err != nil {
		return err
	}
	err := func() error {
		for _, d := range on {
			if err := guard(d); err != nil {
				return err
			}
		}
		return n.lead(&l, on)
	}()
	if err != nil {
		return errors.Join(err, l.close())
	}
	n.lanes = append(n.lanes, l)
	return nil
}

// build makes the lane's device, with what shapes as its queue, for what is as large
// as the others' packets.
func (n *netem) build(l *lane, on []netlink.Link) error {
	if l.shapes == nil {
		return nil
	}
	attrs := netlink.NewLinkAttrs()
	n.made++
	attrs.Name = fmt.Sprint(devicePrefix, n.made)
	for _, d := range on {
		attrs.MTU = max(attrs.MTU, d.Attrs().MTU)
	}
	if err := netlink.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}); err != nil {
		return lacks("ifb", err)
	}
	var err error
	if l.device, err = netlink.LinkByName(attrs.Name); err != nil {
		return lacks("ifb", err)
	}
	e := emulate(l.shapes)
	l.longest = e.longest(l.device.Attrs().MTU)
	if err = e.add(l.device); err != nil {
		err = lacks("netem", err)
	} else if e.rate > 0 {
		err = lacks("tbf", netlink.QdiscAdd(e.bucket(l.device)))
	}
	if err == nil {
		err = lacks("ifb", netlink.LinkSetUp(l.device))
	}
	if err != nil {
		_ = netlink.LinkDel(l.device)
	}
	return err
}

// guard lets filters see what passes a device.
func guard(d netlink.Link) error {
	if err := netlink.QdiscAdd(clsact(d)); !errors.Is(err, syscall.EEXIST) {
		return lacks("clsact", err)
	}
	return nil
}

func clsact(d netlink.Link) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: d.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

// lead makes the lane's packets take it. Peers are looked at before Clients, which
// are all others.
func (n *netem) lead(l *lane, on []netlink.Link) error {
	offset := source
	if l.way == wayOut {
		offset = destination
	}
	sel := &netlink.TcU32Sel{Flags: nl.TC_U32_TERMINAL, Keys: []netlink.TcU32Key{{}}}
	first := uint16(1)
	if l.addr == Clients {
		first = math.MaxUint16 / 2
	} else {
		sel.Keys[0] = netlink.TcU32Key{Mask: math.MaxUint32, Val: binary.BigEndian.Uint32(ipv4(l.addr)), Off: int32(offset)}
	}
	l.prio = first
	for slices.ContainsFunc(n.lanes, func(o lane) bool { return o.prio == l.prio }) {
		l.prio++
	}
	for _, d := range on {
		f := &netlink.U32{Sel: sel, FilterAttrs: netlink.FilterAttrs{
			LinkIndex: d.Attrs().Index, Parent: l.way, Priority: l.prio, Protocol: unix.ETH_P_IP,
		}}
		if l.device != nil {
			f.Actions = []netlink.Action{netlink.NewMirredAction(l.device.Attrs().Index)}
		}
		if err := netlink.FilterAdd(f); err != nil {
			return lacks("u32 and mirred", err)
		}
		l.filters = append(l.filters, f)
	}
	return nil
}

// close leads packets past the lane, which stays as long as any may wait in it.
func (l lane) close() error {
	for _, f := range l.filters {
		if err := netlink.FilterDel(f); err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("netem: %w", err)
		}
	}
	if l.device != nil {
		time.AfterFunc(l.longest+drained, func() { _ = netlink.LinkDel(l.device) })
	}
	return nil
}

// lacks names what of it this kernel cannot.
func lacks(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", what, reason(err))
}

// emulation is all that several shapes do to a packet.
type emulation struct {
	delay, jitter   time.Duration
	loss, duplicate float64
	held            []float64 // chances to be held back so many times, for others to overtake
	rate            float64   // bytes a second, 0 for any
}

func emulate(shapes []Shape) emulation {
	e := emulation{held: []float64{1}}
	passes, once, variance, busy := 1.0, 1.0, 0.0, 0.0
	for _, s := range shapes {
		e.delay += s.Delay
		variance += float64(s.Jitter) * float64(s.Jitter)
		passes *= 1 - s.Loss
		once *= 1 - s.Duplicate
		if s.Reorder > 0 {
			next := make([]float64, len(e.held)+1)
			for i, p := range e.held {
				next[i] += p * (1 - s.Reorder)
				next[i+1] += p * s.Reorder
			}
			e.held = next
		}
		if s.Rate > 0 {
			busy += 8 / float64(s.Rate)
		}
	}
	e.jitter = min(time.Duration(math.Sqrt(variance)), maxJitter)
	e.loss, e.duplicate = 1-passes, 1-once
	if busy > 0 {
		e.rate = 1 / busy
	}
	return e
}

// longest is how long a packet may wait, on a link for packets of up to so many bytes.
func (e emulation) longest(size int) time.Duration {
	d := e.delay + 4*e.jitter + time.Duration(len(e.held)-1)*overtaken
	if e.rate > 0 {
		d += backlog + time.Duration(float64(size+headers)/e.rate*float64(time.Second))
	}
	return d
}

// spread is how delays differ: netem's jitter, and what that is multiplied by, each
// entry as likely as any other.
func (e emulation) spread() (sigma time.Duration, table []byte) {
	value := func(p float64) float64 { return math.Sqrt2 * math.Erfinv(2*p-1) } // the normal distribution
	switch {
	case e.jitter > 0:
		sigma = e.jitter
	case len(e.held) > 1:
		sigma = overtaken
		value = func(p float64) float64 {
			times := 0
			for ; times < len(e.held)-1 && p > e.held[times]; times++ {
				p -= e.held[times]
			}
			return float64(times)
		}
	default:
		return 0, nil
	}
	table = make([]byte, 0, 2*tableSize)
	for i := range tableSize {
		v := math.Round(tableScale * value((float64(i)+0.5)/tableSize))
		v = min(max(v, math.MinInt16), math.MaxInt16)
		table = binary.NativeEndian.AppendUint16(table, uint16(int16(v)))
	}
	return sigma, table
}

// The attributes of netem that the library does not know.
const (
	attrLatency64 = 10
	attrJitter64  = 11
)

// add makes netem the queue of a device. It is asked for here since the library knows
// neither its distributions nor its nanoseconds.
func (e emulation) add(d netlink.Link) error {
	share := func(p float64) uint32 { return uint32(min(p, 1) * math.MaxUint32) }
	opt := nl.TcNetemQopt{Limit: maxWaiting, Loss: share(e.loss), Duplicate: share(e.duplicate)}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, opt.Serialize())
	options.AddRtAttr(attrLatency64, nl.Uint64Attr(uint64(e.delay)))
	if sigma, table := e.spread(); table != nil {
		options.AddRtAttr(attrJitter64, nl.Uint64Attr(uint64(sigma)))
		options.AddRtAttr(nl.TCA_NETEM_DELAY_DIST, table)
	}
	if e.jitter > 0 {
		fast := nl.TcNetemRate{Rate: math.MaxUint32} // a link with a rate keeps its packets in order
		options.AddRtAttr(nl.TCA_NETEM_RATE, fast.Serialize())
	}
	q := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	q.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(d.Attrs().Index),
		Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
	})
	q.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("netem")))
	q.AddData(options)
	_, err := q.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// bucket limits the rate of what netem lets go. Netem's own rate would hold back any
// number of large packets; this loses what would wait longer than the backlog.
func (e emulation) bucket(d netlink.Link) netlink.Qdisc {
	one := float64(d.Attrs().MTU + headers) // less would lose packets of that size
	rate := uint64(max(e.rate, 1))
	burst := uint32(max(e.rate*time.Millisecond.Seconds(), one))
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: d.Attrs().Index, Handle: netlink.MakeHandle(2, 0), Parent: netlink.MakeHandle(1, 1)},
		Rate:       rate, Buffer: netlink.Xmittime(rate, burst),
		Limit: uint32(min(max(e.rate*backlog.Seconds(), one), math.MaxUint32)),
	}
}
