package gateway

import (
	"net/http"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
)

// inEarlyData reports whether a request may have come in TLS early data (HTTP/3
// 0-RTT): to this server, or to a proxy in front of it, which says so in the header
// Early-Data (RFC 8470, section 5.1). Until the handshake is complete, neither the
// client's address is proved nor that the request is no copy of an earlier one.
//
// Any value of the header counts, from any peer: to add it costs a client nothing but
// its own request. It is passed on, as RFC 8470 demands; Jenkins reads no such header.
func inEarlyData(r *http.Request) bool {
	_, said := r.Header["Early-Data"]
	return said || r.TLS != nil && !r.TLS.HandshakeComplete
}

// replayable reports whether a copy of the request does no harm: it reads what is open
// to all by default, such as the log-in page and its styles, and presents nothing that
// could be a credential.
func (d *Decision) replayable(r *http.Request) bool {
	if d.Reason == ReasonTokenInURL {
		return true // refused in any case, and kept out of the access log
	}
	for _, credential := range []string{"Authorization", "Cookie", "Upgrade"} {
		if _, set := r.Header[credential]; set {
			return false
		}
	}
	return d.Reason == "" && d.Class == ClassPublic && d.opening.Public && isSafe(r.Method) && !endpoint.ActsOnGet(d.route.path, r.URL.RawQuery)
}
