package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/faultline-dev/faultline/cluster"
)

const (
	// maxTokens bounds what is remembered; the oldest goes first.
	maxTokens = 128
	// maxCount bounds what one request sends.
	maxCount = 100_000
	// alive is how often the harness' address is told that it is remembered: the
	// engine forgets the way back to it after 90 s of silence.
	alive = 20 * time.Second
)

// probe counts numbered datagrams, so that what passes a link is known by who
// receives, in each direction apart.
type probe struct {
	conn *net.UDPConn
	done chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	peers  []string
	client netip.AddrPort // where the harness sent from last
	tokens []string
	counts map[string]map[string]*Tally // by token, then sender
}

func listen() (*probe, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: Port})
	if err != nil {
		return nil, err
	}
	roomy(conn)
	p := &probe{conn: conn, done: make(chan struct{}), counts: map[string]map[string]*Tally{}}
	p.wg.Go(p.receive)
	p.wg.Go(p.keepAlive)
	return p, nil
}

func (p *probe) close() {
	close(p.done)
	_ = p.conn.Close()
	p.wg.Wait()
}

func (p *probe) setPeers(addrs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers = addrs
}

func (p *probe) receive() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if d, ok := DecodeDatagram(b[:n]); ok {
			p.note(from, d, n)
		}
	}
}

// note counts a datagram. One without a token only tells where the harness is.
func (p *probe) note(from netip.AddrPort, d Datagram, size int) {
	now, token := time.Now(), d.Token
	p.mu.Lock()
	defer p.mu.Unlock()
	who := from.Addr().Unmap().String()
	if !slices.Contains(p.peers, who) {
		who, p.client = Clients, from
	}
	if token == "" {
		return
	}
	if p.counts[token] == nil {
		if len(p.tokens) == maxTokens {
			delete(p.counts, p.tokens[0])
			p.tokens = p.tokens[1:]
		}
		p.tokens = append(p.tokens, token)
		p.counts[token] = map[string]*Tally{}
	}
	if p.counts[token][who] == nil {
		p.counts[token][who] = &Tally{}
	}
	p.counts[token][who].Add(d, size, now)
}

func (p *probe) count(token string) map[string]cluster.Quality {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]cluster.Quality{}
	for who, t := range p.counts[token] {
		out[who] = t.Quality()
	}
	return out
}

// send sends datagrams to each address, in the background.
func (p *probe) send(token string, addrs []string, probes cluster.Probes) error {
	if probes.Count > maxCount {
		return fmt.Errorf("%d datagrams are more than %d", probes.Count, maxCount)
	}
	var to []netip.AddrPort
	for _, a := range addrs {
		dst, err := p.resolve(a)
		if err != nil {
			return err
		}
		if dst.IsValid() {
			to = append(to, dst)
		}
	}
	p.wg.Go(func() {
		Paced(p.done, probes, func(seq int) {
			b := Datagram{token, seq, time.Now().UnixNano()}.Encode(probes.Size)
			for _, dst := range to {
				// A cut way out refuses the packet here: not received is what counts.
				_, _ = p.conn.WriteToUDPAddrPort(b, dst)
			}
		})
	})
	return nil
}

// Paced calls send for each probe at its time, until done is closed.
func Paced(done <-chan struct{}, p cluster.Probes, send func(seq int)) {
	start := time.Now()
	for seq := range p.Count {
		if wait := time.Until(start.Add(time.Duration(seq) * p.Every)); wait > 0 {
			select {
			case <-done:
				return
			case <-time.After(wait):
			}
		}
		send(seq)
	}
}

// resolve is where a datagram for addr goes; invalid for a harness that was never
// heard of.
func (p *probe) resolve(addr string) (netip.AddrPort, error) {
	if addr == Clients {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.client, nil
	}
	ip, err := netip.ParseAddr(addr)
	return netip.AddrPortFrom(ip, Port), err
}

func (p *probe) keepAlive() {
	t := time.NewTicker(alive)
	defer t.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-t.C:
		}
		if dst, err := p.resolve(Clients); err == nil && dst.IsValid() {
			_, _ = p.conn.WriteToUDPAddrPort(Datagram{}.Encode(0), dst)
		}
	}
}
