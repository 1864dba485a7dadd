// Package listening finds other processes that listen on addresses of this one.
//
// Caddy sets SO_REUSEPORT on its listeners, so that a second process on the same port
// starts without an error, and the kernel spreads connections over both.
package listening

import (
	"fmt"
	"net/netip"
)

// An Address is one on which this process listens, or is about to.
type Address struct {
	Network string // tcp or udp
	netip.AddrPort
}

// A Conflict is a socket of another process that gets connections meant for an Address.
type Conflict struct {
	Address        // of the other process
	Process string // for people, as in `process 4711, "caddy"`
}

func (c Conflict) Error() string {
	return fmt.Sprintf("%s also listens on %s/%s", c.Process, c.Network, c.AddrPort)
}

// overlap reports whether connections to one address can reach a listener on the other.
// A listener on all IPv6 addresses takes those of IPv4 as well.
func (a Address) overlap(b Address) bool {
	if a.Network != b.Network || a.Port() != b.Port() {
		return false
	}
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	all := func(any, one netip.Addr) bool { return any.IsUnspecified() && (any.Is6() || one.Is4()) }
	return x == y || all(x, y) || all(y, x)
}

// All returns the address of a listener on all addresses, as Go listens without a host.
func All(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Unspecified(), port) }
