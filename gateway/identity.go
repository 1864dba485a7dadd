package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// hopByHop are the options of a Connection header that mean something to a proxy
// (RFC 9110, section 7.6.1). Any other names a header that the proxy behind us
// would then remove: a client could have it drop the identity, the crumb or the
// session that we set.
var hopByHop = []string{"close", "keep-alive", "upgrade", "te", "trailer", "transfer-encoding", "proxy-connection", "http2-settings"}

// scrubber removes what no client may say.
type scrubber struct {
	// client are the headers that no client may set, and kept those of them that a
	// trusted proxy may, in canonical form.
	client *HeaderNames
	kept   []string
	// token is the second header for tokens.
	token *HeaderNames
	// done are the headers that are of no use to what comes after the gateway: all that hold a secret, and the identity.
	done *HeaderNames
}

// methodOverrides are headers in which some frameworks let a client replace the
// method, which has then been checked in vain.
var methodOverrides = []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}

// retryHints make Go's transport send a request of any method a second time when a
// kept-alive connection breaks (net/http.Request.isReplayable): a POST would act twice.
var retryHints = []string{"Idempotency-Key", "X-Idempotency-Key"}

// tlsAttributes are headers in which Jenkins' container takes the client certificate
// and the TLS session of a request (Jetty's ForwardedRequestCustomizer).
var tlsAttributes = []string{"Proxy-Auth-Cert", "Proxy-Ssl-Id"}

// forwardedFor is the header whose first address Jenkins takes for the client's
// (hudson.security.csrf.DefaultCrumbIssuer, Jetty's ForwardedRequestCustomizer). The
// gateway determines that address; no proxy's value is passed on.
const forwardedFor = "X-Forwarded-For"

// forwardedBy are the other headers that Jenkins and its container believe about
// scheme, host, port and client of a request (jenkins.model.Jenkins#getRootUrlFromRequest,
// Jetty's ForwardedRequestCustomizer). A proxy that doesn't overwrite one of them
// passes on what the client has sent.
var forwardedBy = []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Proxied-Https"}

// defaultProxySets is the header that proxies that terminate TLS set.
const defaultProxySets = "X-Forwarded-Proto"

func newScrubber(c *Config) *scrubber {
	token := NewHeaderNames(nil)
	if c.TokenHeader != "" {
		token = NewHeaderNames([]string{c.TokenHeader})
	}
	identity := append(defaultIdentity[:], c.UserHeader, c.GroupsHeader, c.MailHeader, c.DisplayNameHeader)
	client := slices.Concat(identity, methodOverrides, retryHints, tlsAttributes, []string{forwardedFor}, forwardedBy)
	done := slices.Concat(endpoint.SecretNames(), c.SecretNames(), []string{c.UserHeader, c.GroupsHeader, c.MailHeader, c.DisplayNameHeader})
	return &scrubber{client: NewHeaderNames(client), kept: c.proxySets(), token: token, done: NewHeaderNames(done)}
}

// proxySets returns the headers of forwardedBy that trusted proxies set.
func (c *Config) proxySets() []string {
	switch {
	case len(c.ProxySets) == 0:
		return []string{defaultProxySets}
	case c.ProxySets[0] == ProxySetsNone:
		return nil
	}
	return c.ProxySets
}

// checkProxySets returns the canonical names of a list for Config.ProxySets.
func checkProxySets(list []string) ([]string, error) {
	if len(list) == 1 && list[0] == ProxySetsNone {
		return list, nil
	}
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = http.CanonicalHeaderKey(name)
		if !slices.Contains(forwardedBy, names[i]) {
			return nil, fmt.Errorf("proxy_sets %q: use some of %s, or %s alone", name, strings.Join(forwardedBy, ", "), ProxySetsNone)
		}
	}
	return names, nil
}

// HeaderNames are names of headers, each in every spelling that some server takes for
// the same.
type HeaderNames struct {
	folded []string
	// lengths has a bit for each length of a name, modulo 64: most other names differ
	// in that.
	lengths uint64
}

// NewHeaderNames returns a set of names, which any spelling is in.
func NewHeaderNames(names []string) *HeaderNames {
	n := new(HeaderNames)
	for _, name := range names {
		if f := folded(name); !slices.Contains(n.folded, f) {
			n.folded = append(n.folded, f)
			n.lengths |= 1 << (len(f) % 64)
		}
	}
	return n
}

func (n *HeaderNames) has(name string) bool {
	if n.lengths&(1<<(len(name)%64)) == 0 {
		return false
	}
	for _, f := range n.folded {
		if len(name) == len(f) && equalFolded(name, f) {
			return true
		}
	}
	return false
}

// Remove removes all headers with these names.
func (n *HeaderNames) Remove(h http.Header) {
	if len(n.folded) == 0 {
		return
	}
	for name := range h {
		if n.has(name) {
			delete(h, name)
		}
	}
}

// folded returns the form in which all spellings of a header name are equal that
// some server takes for the same: any case, and "_" or "." for "-", as CGI-like
// environments map them.
func folded(name string) string {
	return strings.Map(foldedRune, name)
}

func foldedRune(r rune) rune {
	switch {
	case r == '_' || r == '.':
		return '-'
	case 'A' <= r && r <= 'Z':
		return r + ('a' - 'A')
	}
	return r
}

// equalFolded tells whether folded(name) is f. Header names are ASCII: net/http
// refuses others.
func equalFolded(name, f string) bool {
	for i := len(f) - 1; i >= 0; i-- { // the ends of names differ sooner than X-Forwarded-
		if byte(foldedRune(rune(name[i]))) != f[i] {
			return false
		}
	}
	return true
}

// scrub removes what no client may say, in every spelling, foreign options from
// Connection, trailers, which a proxy would pass on after everything has been
// checked, and the wish for another protocol than WebSocket: in an h2c connection
// a client could write what no gateway sees, as anybody.
func (s *scrubber) scrub(r *http.Request, trusted bool) {
	for name, lines := range r.Header {
		if !s.client.has(name) {
			continue
		}
		// A proxy that overwrites a header sends one value.
		if set := trusted && slices.Contains(s.kept, name) && len(lines) == 1 && !strings.Contains(lines[0], ","); !set {
			delete(r.Header, name)
		}
	}
	if lines, set := r.Header["Connection"]; set && !(len(lines) == 1 && hopByHopIndex(lines[0]) >= 0) {
		if options := connectionOptions(lines); options != "" {
			r.Header["Connection"] = []string{options}
		} else {
			delete(r.Header, "Connection")
		}
	}
	if !isUpgrade(r.Header) {
		delete(r.Header, "Upgrade")
	}
	scrubReferer(r.Header)
	r.Trailer = nil
}

// presentAddr makes the client's address that of the request's peer, and returns what
// the peer's was. A proxy behind us appends the peer to X-Forwarded-For, of which
// Jenkins believes the first address: so it gets the client's, and no other.
func presentAddr(r *http.Request, addr string) (peer string) {
	peer = r.RemoteAddr
	if addr == peerAddr(r) {
		return peer
	}
	if _, err := netip.ParseAddr(addr); err == nil {
		r.RemoteAddr = net.JoinHostPort(addr, "0") // the client's port is not known
	}
	return peer
}

// withdraw takes off a request what was for Jenkins alone, and what the client had
// presented, once the handlers behind us are done with it: an error route or an access
// log can come next.
func (g *Gate) withdraw(r *http.Request, peer string) {
	r.RemoteAddr = peer
	g.scrubber.done.Remove(r.Header)
}

// scrubReferer takes credentials out of Referer, where RFC 9110 (section 10.1.3)
// forbids them: the npm package jenkins, given a URL with user and token in it,
// sends that URL with every request. The rest stays, since Jenkins' Strict Crumb
// Issuer can be told to look at it.
func scrubReferer(h http.Header) {
	lines, set := h["Referer"]
	if !set || !slices.ContainsFunc(lines, suspicious) {
		return
	}
	delete(h, "Referer")
	if u, err := url.Parse(lines[0]); err == nil && len(lines) == 1 {
		u.User = nil
		if clean := u.String(); !suspicious(clean) {
			h["Referer"] = []string{clean}
		}
	}
}

func suspicious(referer string) bool {
	return strings.Contains(referer, "@") || token.ContainsSecret(referer)
}

// hopByHopIndex returns where in hopByHop an option stands, in any case, or -1.
func hopByHopIndex(option string) int {
	return slices.IndexFunc(hopByHop, func(known string) bool { return strings.EqualFold(option, known) })
}

// connectionOptions returns the options of hopByHop that lines hold, each once.
func connectionOptions(lines []string) string {
	var kept []string
	for _, line := range lines {
		for option := range strings.SplitSeq(line, ",") {
			if i := hopByHopIndex(strings.TrimSpace(option)); i >= 0 && !slices.Contains(kept, hopByHop[i]) {
				kept = append(kept, hopByHop[i])
			}
		}
	}
	return strings.Join(kept, ", ")
}
