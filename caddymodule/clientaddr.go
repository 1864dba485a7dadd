package caddymodule

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// clientAddr returns the address for which a request counts: for sources, rates, audit
// and usage. It is what Caddy's client_ip matcher sees.
func clientAddr(r *http.Request) string {
	addr, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return addr
}

// fromTrustedProxy reports whether the peer of a request is in trusted_proxies.
func fromTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// settleClientAddr corrects the client's address of a request from a trusted proxy.
// Caddy skips hops that it can't read as an address, such as "unknown", and goes on to
// the left, to what the client may have claimed. Such a hop hides the client's address:
// then the request counts for the proxy that sent it.
func settleClientAddr(r *http.Request) {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		return
	}
	addr := clientAddr(r)
	for _, name := range server.ClientIPHeaders {
		// As Caddy reads it: header by header, hops from the right.
		hops := strings.Split(strings.Join(r.Header.Values(name), ","), ",")
		for _, hop := range slices.Backward(hops) {
			if strings.TrimSpace(hop) == "" {
				continue // a list may have empty elements (RFC 9110, section 5.6.1)
			}
			switch read, ok := readHop(hop); {
			case !ok:
				peer, _, err := net.SplitHostPort(r.RemoteAddr)
				if err != nil {
					peer = r.RemoteAddr // "@", of a Unix socket
				}
				peer, _, _ = strings.Cut(peer, "%")
				caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, peer)
				return
			case read == addr:
				return
			}
		}
	}
}

// readHop returns the address of an element of X-Forwarded-For, without port and zone.
func readHop(hop string) (string, bool) {
	host, _, err := net.SplitHostPort(hop)
	if err != nil {
		host = hop
	}
	host, _, _ = strings.Cut(strings.TrimSpace(host), "%")
	addr, err := netip.ParseAddr(host)
	return addr.String(), err == nil
}

// peerPlaceholders are those of the connection's peer. The gate has the handlers behind
// it see the client instead of a trusted proxy, whose placeholders stay the same.
var peerPlaceholders = []string{"http.request.remote", "http.request.remote.host", "http.request.remote.port"}

// keepPeer keeps the values of peerPlaceholders until the function that it returns is
// called.
func keepPeer(r *http.Request) (release func()) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	for _, name := range peerPlaceholders {
		if value, found := repl.Get(name); found {
			repl.Set(name, value)
		}
	}
	return func() {
		for _, name := range peerPlaceholders {
			repl.Delete(name)
		}
	}
}
