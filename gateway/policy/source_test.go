package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/policy"
)

func TestParseSources(t *testing.T) {
	many := make([]string, policy.MaxSources+1)
	for i := range many {
		many[i] = fmt.Sprintf("10.0.0.%d", i)
	}
	for _, c := range []struct {
		name  string
		texts []string
		want  string
		err   string
	}{
		{"an address", []string{"192.0.2.7"}, "192.0.2.7/32", ""},
		{"a network", []string{"10.0.0.0/8"}, "10.0.0.0/8", ""},
		{"everything", []string{"0.0.0.0/0", "::/0"}, "0.0.0.0/0 ::/0", ""},
		{"IPv6", []string{"2001:DB8::/32", "2001:db8:0:0::1"}, "2001:db8::/32 2001:db8::1/128", ""},
		{"a mapped address", []string{"::ffff:192.0.2.7"}, "192.0.2.7/32", ""},
		{"as many as there may be", many[:policy.MaxSources], "", ""},
		{"too many", many, "", "at most 32"},
		{"none", nil, "", "no source"},
		{"empty", []string{""}, "", `""`},
		{"twice", []string{"10.0.0.1", "10.0.0.1"}, "", "twice"},
		{"twice, spelled differently", []string{"10.0.0.1", "10.0.0.1/32"}, "", "twice"},
		{"bits beyond the network", []string{"10.0.0.1/8"}, "", "10.0.0.0/8"},
		{"a mapped network", []string{"::ffff:10.0.0.0/104"}, "", "neither"},
		{"a zone", []string{"fe80::1%eth0"}, "", "neither"},
		{"a network with a zone", []string{"fe80::%eth0/64"}, "", "neither"},
		{"a name", []string{"ci.example.org"}, "", "neither"},
		{"a port", []string{"10.0.0.1:80"}, "", "neither"},
		{"leading zeros", []string{"010.0.0.1"}, "", "neither"},
		{"bits with a leading zero", []string{"10.0.0.0/08"}, "", "neither"},
		{"too many bits", []string{"10.0.0.0/33"}, "", "neither"},
		{"a blank", []string{" 10.0.0.1"}, "", "neither"},
		{"a star", []string{"10.*"}, "", "neither"},
		{"long", []string{strings.Repeat("1", 10_000)}, "", "…"},
	} {
		got, err := policy.ParseSources(c.texts)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || len(err.Error()) > 300 {
				t.Errorf("%s: ParseSources = %v, %v, want an error with %q", c.name, got, err, c.err)
			}
			continue
		}
		if err != nil || c.want != "" && strings.Join(got.Strings(), " ") != c.want {
			t.Errorf("%s: ParseSources = %v, %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestSourcesAllow(t *testing.T) {
	s, err := policy.ParseSources([]string{"10.0.0.0/8", "192.0.2.7", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"10.0.0.0":               true,
		"10.255.255.255":         true,
		"11.0.0.0":               false,
		"9.255.255.255":          false,
		"192.0.2.7":              true,
		"192.0.2.8":              false,
		"::ffff:10.1.2.3":        true, // as a socket for both families names it
		"::ffff:11.1.2.3":        false,
		"::10.1.2.3":             false, // no mapped address
		"2001:db8::1":            true,
		"2001:db8::1%eth0":       true,
		"2001:db9::1":            false,
		"::ffff:10.1.2.3%eth0":   true,
		"":                       false,
		"@":                      false, // a Unix socket
		"unix":                   false,
		"10.1.2.3:80":            false,
		"10.1.2.3, 192.0.2.1":    false,
		"010.1.2.3":              false,
		"10.1.2":                 false,
		"10.1.2.3/8":             false,
		"[2001:db8::1]":          false,
		" 10.1.2.3":              false,
		strings.Repeat("1", 1e5): false,
	} {
		if got := s.Allow(addr); got != want {
			t.Errorf("Allow(%.40q) = %t, want %t", addr, got, want)
		}
	}
	if new(policy.Sources).Allow("10.0.0.1") {
		t.Error("the zero value allows an address")
	}
}

// What parses prints back as the same networks, and allows the addresses in them.
func FuzzParseSources(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::ffff:10.0.0.1", "fe80::1%eth0", "0.0.0.0/0", "::/0", "10.0.0.1/8", "::ffff:0:0/96", ""} {
		f.Add(seed, "10.1.2.3")
		f.Add(seed, "2001:db8::1")
	}
	f.Fuzz(func(t *testing.T, text, addr string) {
		s, err := policy.ParseSources([]string{text})
		if err != nil {
			return
		}
		again, err := policy.ParseSources(s.Strings())
		if err != nil || !slices.Equal(again.Strings(), s.Strings()) {
			t.Fatalf("%q is %q, which is %v, %v", text, s.Strings(), again, err)
		}
		network := netip.MustParsePrefix(s.Strings()[0])
		if !s.Allow(network.Addr().String()) {
			t.Errorf("%q does not allow its first address %v", text, network.Addr())
		}
		ip, err := netip.ParseAddr(addr)
		want := err == nil && network.Contains(ip.Unmap().WithZone(""))
		if got := s.Allow(addr); got != want || again.Allow(addr) != want {
			t.Errorf("%q allows %q: %t, want %t", text, addr, got, want)
		}
	})
}

func BenchmarkSources(b *testing.B) {
	texts := make([]string, policy.MaxSources)
	for i := range texts {
		texts[i] = fmt.Sprintf("10.%d.0.0/16", i)
	}
	s, err := policy.ParseSources(texts)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !s.Allow("10.31.2.3") {
			b.Fatal("not allowed")
		}
	}
}
