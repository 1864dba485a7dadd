package listening

import (
	"net/netip"
	"testing"
)

func TestOverlap(t *testing.T) {
	at := func(network, text string) Address { return Address{network, netip.MustParseAddrPort(text)} }
	for _, test := range []struct {
		a, b Address
		want bool
	}{
		{at("tcp", "127.0.0.1:80"), at("tcp", "127.0.0.1:80"), true},
		{at("tcp", "127.0.0.1:80"), at("tcp", "127.0.0.1:81"), false},
		{at("tcp", "127.0.0.1:80"), at("udp", "127.0.0.1:80"), false},
		{at("tcp", "127.0.0.1:80"), at("tcp", "127.0.0.2:80"), false},
		{at("tcp", "127.0.0.1:80"), at("tcp", "0.0.0.0:80"), true},
		{at("tcp", "127.0.0.1:80"), at("tcp", "[::]:80"), true},
		{at("tcp", "127.0.0.1:80"), at("tcp", "[::ffff:127.0.0.1]:80"), true},
		{at("tcp", "127.0.0.1:80"), at("tcp", "[::1]:80"), false},
		{at("tcp", "[::1]:80"), at("tcp", "[::]:80"), true},
		{at("tcp", "[::1]:80"), at("tcp", "0.0.0.0:80"), false},
		{at("tcp", "0.0.0.0:80"), at("tcp", "[::]:80"), true},
	} {
		if test.a.overlap(test.b) != test.want || test.b.overlap(test.a) != test.want {
			t.Errorf("%v and %v overlap: %t and %t, want %t", test.a, test.b, test.a.overlap(test.b), test.b.overlap(test.a), test.want)
		}
	}
}
