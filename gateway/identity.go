package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// hopByHop are the options of a Connection header that mean something to a proxy
// (RFC 9110, section 7.6.1). Any other names a header that the proxy behind us
// would then remove: a client could have it drop the identity, the crumb or the
// session that we set.
var hopByHop = []string{"close", "keep-alive", "upgrade", "te", "trailer", "transfer-encoding", "proxy-connection", "http2-settings"}

// scrubber removes what no client may say.
type scrubber struct {
	// identity are the headers that name the user.
	identity *HeaderNames
	// own are the headers that nobody may set, and all those that no client may: a
	// trusted proxy may tell where a request comes from.
	own, all *HeaderNames
	// token is the second header for tokens.
	token *HeaderNames
}

// methodOverrides are headers in which some frameworks let a client replace the
// method, which has then been checked in vain.
var methodOverrides = []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}

// forwardedBy are headers which Jenkins' container would believe about scheme, host,
// port and client of a request (Jetty's ForwardedRequestCustomizer), and so put
// into links and logs, beside X-Forwarded-For, -Host and -Proto: those a proxy
// sets itself.
var forwardedBy = []string{"Forwarded", "X-Forwarded-Port", "X-Forwarded-Server", "X-Proxied-Https"}

func newScrubber(c *Config) *scrubber {
	token := NewHeaderNames(nil)
	if c.TokenHeader != "" {
		token = NewHeaderNames([]string{c.TokenHeader})
	}
	identity := append(defaultIdentity[:], c.UserHeader, c.GroupsHeader, c.MailHeader, c.DisplayNameHeader)
	own := slices.Concat(identity, methodOverrides)
	return &scrubber{NewHeaderNames(identity), NewHeaderNames(own), NewHeaderNames(slices.Concat(own, forwardedBy)), token}
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
	if trusted {
		s.own.Remove(r.Header)
	} else {
		s.all.Remove(r.Header)
	}
	if lines, set := r.Header["Connection"]; set && !(len(lines) == 1 && hopByHopIndex(lines[0]) >= 0) {
		if options := connectionOptions(lines); options != "" {
			r.Header["Connection"] = []string{options}
		} else {
			delete(r.Header, "Connection")
		}
	}
	if upgrade, set := r.Header["Upgrade"]; set && (len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket")) {
		delete(r.Header, "Upgrade")
	}
	scrubReferer(r.Header)
	r.Trailer = nil
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
