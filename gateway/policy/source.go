package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxSources bounds how many networks a token can be limited to.
const MaxSources = 32

// Sources are the networks from which a token may be used. The zero value allows
// none.
type Sources struct{ networks []netip.Prefix }

// ParseSources reads networks as people write them: 192.0.2.7, 10.0.0.0/8,
// 2001:db8::/32. An address whose bits go beyond its network is an error, since it
// is not clear what was meant.
func ParseSources(texts []string) (*Sources, error) {
	if len(texts) == 0 {
		return nil, errors.New("no source address is given: name networks such as 10.0.0.0/8")
	}
	if len(texts) > MaxSources {
		return nil, fmt.Errorf("%d source networks are too many: at most %d are allowed", len(texts), MaxSources)
	}
	s := new(Sources)
	for _, text := range texts {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(s.networks, network) {
			return nil, fmt.Errorf("source %q is given twice", text)
		}
		s.networks = append(s.networks, network)
	}
	return s, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	wrong := func() (netip.Prefix, error) {
		if len(text) > 64 {
			text = text[:64] + "…"
		}
		return netip.Prefix{}, fmt.Errorf("source %q is neither an address such as 192.0.2.7 nor a network such as 10.0.0.0/8", text)
	}
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return wrong()
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network.Addr().Is4In6() {
		return wrong()
	}
	if network.Masked() != network {
		return netip.Prefix{}, fmt.Errorf("source %q names an address within its network: write %v for the network, or the address alone", text, network.Masked())
	}
	return network, nil
}

// Allow tells whether an address, as text, is in one of the networks. What is no
// address is in none.
func (s *Sources) Allow(addr string) bool {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	for _, network := range s.networks {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// Strings returns the networks in their usual form.
func (s *Sources) Strings() []string {
	texts := make([]string, len(s.networks))
	for i, network := range s.networks {
		texts[i] = network.String()
	}
	return texts
}
