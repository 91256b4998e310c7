package local

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// port is a port of loopback that is kept for one node: bound, but not listened
// on. The node binds it as well (both ask for SO_REUSEADDR, as every server of Go
// does), while nobody who asks for any free port, or connects from one, is given
// it; so it stays the node's while the node is dead, and a connection to it is
// refused then.
type port struct {
	fd     int
	number int
}

// keep takes a free port.
func keep() (*port, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cluster/local: a socket for a port: %w", err)
	}
	p := &port{fd: fd}
	if err = p.bind(); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

func (p *port) bind() error {
	if err := syscall.SetsockoptInt(p.fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("cluster/local: sharing a port with its node: %w", err)
	}
	if err := syscall.Bind(p.fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("cluster/local: no free port on 127.0.0.1: %w", err)
	}
	sa, err := syscall.Getsockname(p.fd)
	if err != nil {
		return fmt.Errorf("cluster/local: which port was given: %w", err)
	}
	in, ok := sa.(*syscall.SockaddrInet4)
	if !ok {
		return fmt.Errorf("cluster/local: bound to %T, not to an IPv4 address", sa)
	}
	p.number = in.Port
	return nil
}

func (p *port) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

// release gives the port back.
func (p *port) release() {
	if p.fd >= 0 {
		_ = syscall.Close(p.fd)
		p.fd = -1
	}
}

// listening is the set of ports that somebody listens on, of the given ones. It
// looks at the kernel's table, since a connection would be seen by the node.
func listening(ports []int) (map[int]bool, error) {
	found := map[int]bool{}
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		b, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cluster/local: which ports are open: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != "0A" { // TCP_LISTEN
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			n, err := strconv.ParseUint(hex, 16, 16)
			if err == nil {
				found[int(n)] = true
			}
		}
	}
	out := map[int]bool{}
	for _, p := range ports {
		out[p] = found[p]
	}
	return out, nil
}
