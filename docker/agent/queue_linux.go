package agent

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

const (
	// maxHeld bounds the packets that wait; more pass undelayed.
	maxHeld = 65535
	// readBuffer keeps a burst from overflowing the socket.
	readBuffer = 8 << 20
	// header is how much of a packet is needed: addresses and length.
	header = 20
	// backlog is how much a rate limit holds back before it drops.
	backlog = 500 * time.Millisecond
	// overtaken is how much longer a packet is held back that others are to overtake.
	overtaken = 10 * time.Millisecond
)

// queue holds packets back in user space, where the kernel has no netem and for what
// netem does not do as it is meant.
type queue struct {
	nf     *nfqueue.Nfqueue
	copies *copies // nil for a queue that sees the packets' headers only
	cancel context.CancelFunc
	wake   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	held    packets
	peers   []string
	in, out []shaped
	last    map[string]time.Time // by address: when the last one was or will be let go
	free    map[string]time.Time // by address: when a limited link is free again
	seq     uint64
}

// packet is one that waits.
type packet struct {
	id    uint32
	due   time.Time
	seq   uint64
	bad   []byte // what goes on in its place
	twice []byte // what is sent once more beside it
}

type packets []packet

func (p *packets) Len() int { return len(*p) }
func (p *packets) Less(i, j int) bool {
	a, b := (*p)[i], (*p)[j]
	if a.due.Equal(b.due) {
		return a.seq < b.seq
	}
	return a.due.Before(b.due)
}
func (p *packets) Swap(i, j int) { (*p)[i], (*p)[j] = (*p)[j], (*p)[i] }
func (p *packets) Push(x any)    { *p = append(*p, x.(packet)) }
func (p *packets) Pop() any {
	old := *p
	x := old[len(old)-1]
	*p = old[:len(old)-1]
	return x
}

// openQueue opens the queue that sees headers only, or the one that sees whole
// packets, which the kernel cuts to the link's size and completes with checksums
// before.
func openQueue(whole bool) (*queue, error) {
	cfg := nfqueue.Config{
		NfQueue: queueNumber, MaxQueueLen: maxHeld, Copymode: nfqueue.NfQnlCopyPacket, MaxPacketLen: header,
		Flags: nfqueue.NfQaCfgFlagFailOpen | nfqueue.NfQaCfgFlagGSO, WriteTimeout: 50 * time.Millisecond,
	}
	var c *copies
	if whole {
		var err error
		if c, err = openCopies(); err != nil {
			return nil, err
		}
		cfg.NfQueue, cfg.MaxPacketLen, cfg.Flags = wholeNumber, 0xffff, nfqueue.NfQaCfgFlagFailOpen
	}
	nf, err := nfqueue.Open(&cfg)
	if err != nil {
		c.close()
		return nil, err
	}
	const noENOBUFS = 5 // NETLINK_NO_ENOBUFS
	_ = nf.SetOption(noENOBUFS, true)
	_ = nf.Con.SetReadBuffer(readBuffer)
	ctx, cancel := context.WithCancel(context.Background())
	q := &queue{
		nf: nf, copies: c, cancel: cancel, wake: make(chan struct{}, 1),
		last: map[string]time.Time{}, free: map[string]time.Time{},
	}
	onError := func(error) int {
		if ctx.Err() != nil {
			return 1
		}
		return 0
	}
	if err := nf.RegisterWithErrorFunc(ctx, q.receive, onError); err != nil {
		cancel()
		_ = nf.Close()
		c.close()
		return nil, err
	}
	q.wg.Go(func() { q.release(ctx) })
	return q, nil
}

func (q *queue) close() {
	q.cancel()
	q.wg.Wait()
	_ = q.nf.Close()
	q.copies.close()
}

// set replaces the shapes. What waits already goes out when it was due.
func (q *queue) set(peers []string, in, out []shaped) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.peers, q.in, q.out = peers, in, out
	clear(q.last)
	clear(q.free)
}

// receive decides what becomes of a packet.
func (q *queue) receive(a nfqueue.Attribute) int {
	if a.PacketID == nil {
		return 0
	}
	q.mu.Lock()
	p, drop := q.decide(time.Now(), a)
	if !drop && !p.due.IsZero() && q.held.Len() < maxHeld {
		q.seq++
		p.seq = q.seq
		heap.Push(&q.held, p)
		first := q.held[0].id == p.id
		q.mu.Unlock()
		if first {
			q.poke()
		}
		return 0
	}
	q.mu.Unlock()
	if drop {
		_ = q.nf.SetVerdict(p.id, nfqueue.NfDrop)
	} else {
		q.letGo(p)
	}
	return 0
}

// letGo lets a packet go on, as it has become, and its copy.
func (q *queue) letGo(p packet) {
	if p.bad == nil {
		_ = q.nf.SetVerdict(p.id, nfqueue.NfAccept)
	} else {
		_ = q.nf.SetVerdictWithOption(p.id, nfqueue.NfAccept, nfqueue.WithAlteredPacket(p.bad))
	}
	if p.twice != nil {
		q.copies.send(p.twice)
	}
}

// decide says what becomes of a packet, and when it may go: zero for at once.
func (q *queue) decide(now time.Time, a nfqueue.Attribute) (p packet, drop bool) {
	p.id = *a.PacketID
	if a.Payload == nil || len(*a.Payload) < header {
		return p, false
	}
	b := *a.Payload
	size := int64(b[2])<<8 | int64(b[3])
	shapes, off, way := q.in, source, "in "
	if a.OutDev != nil {
		shapes, off, way = q.out, destination, "out "
	}
	addr := netip.AddrFrom4([4]byte(b[off : off+4])).String()
	if !slices.Contains(q.peers, addr) {
		addr = Clients
	}
	due := now
	inOrder, none := true, true
	for _, s := range shapes {
		if s.addr != addr || !s.shape.queued() {
			continue
		}
		none = false
		if r := s.shape.Rate; r > 0 {
			start := later(q.free[way+addr], now)
			if start.Sub(now) > backlog {
				return p, true
			}
			done := start.Add(time.Duration(size * 8 * int64(time.Second) / r))
			q.free[way+addr] = done
			due = due.Add(done.Sub(now))
		}
		if q.copies != nil {
			p.alter(b, s.shape)
		}
		if chance(s.shape.Reorder) {
			inOrder = false // those that come after overtake this one
			due = due.Add(overtaken)
		}
		jitter := rand.NormFloat64() * float64(s.shape.Jitter)
		due = due.Add(max(0, s.shape.Delay+time.Duration(jitter)))
	}
	if none {
		return p, false
	}
	if inOrder {
		due = later(due, q.last[way+addr])
		q.last[way+addr] = due
	}
	p.due = due
	return p, false
}

func chance(p float64) bool {
	return p > 0 && rand.Float64() < p //nolint:forbidigo // packets come by real time, no seed repeats them
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// release lets packets go when they are due, and all of them at the end.
func (q *queue) release(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := time.Hour
		now := time.Now()
		q.mu.Lock()
		var ready []packet
		for q.held.Len() > 0 {
			if d := q.held[0].due.Sub(now); d > 0 && ctx.Err() == nil {
				wait = d
				break
			}
			ready = append(ready, heap.Pop(&q.held).(packet))
		}
		q.mu.Unlock()
		for _, p := range ready {
			q.letGo(p)
		}
		if ctx.Err() != nil {
			return
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-q.wake:
		}
	}
}

// roomy lets a socket hold a burst while this process does not run, so that only
// the link loses datagrams. It needs NET_ADMIN, and does without.
func roomy(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, readBuffer)
	})
}
