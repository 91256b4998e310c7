package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// gap is between two datagrams of one token.
	gap = 10 * time.Millisecond
	// maxTokens bounds what is remembered; the oldest goes first.
	maxTokens = 128
	// maxCount bounds what one request sends.
	maxCount = 10_000
	// alive is how often the harness' address is told that it is remembered: the
	// engine forgets the way back to it after 90 s of silence.
	alive = 20 * time.Second
)

// Datagram is what probes send.
type Datagram struct {
	Token string `json:"token"`
	Seq   int    `json:"seq"`
}

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
	counts map[string]map[string]int // by token, then sender
}

func listen() (*probe, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: Port})
	if err != nil {
		return nil, err
	}
	p := &probe{conn: conn, done: make(chan struct{}), counts: map[string]map[string]int{}}
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
	b := make([]byte, 2048)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var d Datagram
		if err != nil || json.Unmarshal(b[:n], &d) != nil {
			continue
		}
		p.note(from, d.Token)
	}
}

// note counts a datagram. One without a token only tells where the harness is.
func (p *probe) note(from netip.AddrPort, token string) {
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
		p.counts[token] = map[string]int{}
	}
	p.counts[token][who]++
}

func (p *probe) count(token string) map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]int{}
	for who, n := range p.counts[token] {
		out[who] = n
	}
	return out
}

// send sends n datagrams to each address, spread over n gaps, in the background.
func (p *probe) send(token string, addrs []string, n int) error {
	if n > maxCount {
		return fmt.Errorf("%d datagrams are more than %d", n, maxCount)
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
		for seq := range n {
			b, err := json.Marshal(Datagram{token, seq})
			if err != nil {
				return
			}
			for _, dst := range to {
				// A cut way out refuses the packet here: not received is what counts.
				_, _ = p.conn.WriteToUDPAddrPort(b, dst)
			}
			select {
			case <-p.done:
				return
			case <-time.After(gap):
			}
		}
	})
	return nil
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
			_, _ = p.conn.WriteToUDPAddrPort([]byte("{}"), dst)
		}
	}
}
