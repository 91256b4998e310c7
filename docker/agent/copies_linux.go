package agent

import (
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"
)

// copyMark is on the copies that the agent sends, so that they pass its own rules.
const copyMark = 0xfa017

// alter damages or doubles the packet with these bytes by chance, once each.
func (p *packet) alter(b []byte, s Shape) {
	head := int(b[0]&0x0f) * 4 // of the IP header, in bytes
	if p.bad == nil && chance(s.Corrupt) && len(b) > head && head > 0 {
		// The kernel believes no checksum of an altered packet, but verifies it.
		p.bad = slices.Clone(b)
		p.bad[head+rand.IntN(len(b)-head)] ^= 1 << rand.IntN(8) //nolint:forbidigo // packets come by real time, no seed repeats them
	}
	if p.twice == nil && chance(s.Duplicate) {
		p.twice = slices.Clone(b)
		if p.bad != nil {
			p.twice = p.bad
		}
	}
}

// copies sends packets again, as they were: to this node those that came in. It
// needs the capability NET_RAW.
type copies struct{ fd int }

func openCopies() (*copies, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, copyMark); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &copies{fd}, nil
}

// send sends a packet with its own header; one that does not fit is lost, as on
// any link.
func (c *copies) send(b []byte) {
	const destination = 16
	to := &unix.SockaddrInet4{Addr: [4]byte(b[destination : destination+4])}
	_ = unix.Sendto(c.fd, b, 0, to)
}

// close may be called on nil.
func (c *copies) close() {
	if c != nil {
		_ = unix.Close(c.fd)
	}
}
