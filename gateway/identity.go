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
	forbidden []string // folded, see folded
}

func newScrubber(c *Config) *scrubber {
	s := new(scrubber)
	for _, name := range append(defaultIdentity[:], c.UserHeader, c.GroupsHeader, c.MailHeader, c.DisplayNameHeader) {
		if f := folded(name); !slices.Contains(s.forbidden, f) {
			s.forbidden = append(s.forbidden, f)
		}
	}
	return s
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

func (s *scrubber) forbids(name string) bool {
	for _, f := range s.forbidden {
		if len(name) == len(f) && equalFolded(name, f) {
			return true
		}
	}
	return false
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

// methodOverrides are headers in which some frameworks let a client replace the
// method, which has then been checked in vain.
var methodOverrides = [...]string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

// scrub removes identity headers in every spelling, foreign options from
// Connection, trailers, which a proxy would pass on after everything has been
// checked, and the wish for another protocol than WebSocket: in an h2c connection
// a client could write what no gateway sees, as anybody.
func (s *scrubber) scrub(r *http.Request) {
	for name := range r.Header {
		if s.forbids(name) {
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
	if upgrade, set := r.Header["Upgrade"]; set && (len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket")) {
		delete(r.Header, "Upgrade")
	}
	for _, name := range methodOverrides {
		delete(r.Header, name)
	}
	scrubReferer(r.Header)
	r.Trailer = nil
}

// RemoveHeaders removes headers in every spelling that some server takes for one of
// names.
func RemoveHeaders(h http.Header, names []string) {
	for _, name := range names {
		f := folded(name)
		for spelled := range h {
			if len(spelled) == len(f) && equalFolded(spelled, f) {
				delete(h, spelled)
			}
		}
	}
}

// scrubForwarded removes what Jenkins' container would believe about scheme, host,
// port and client of a request (Jetty's ForwardedRequestCustomizer), and so put
// into links and logs, beside X-Forwarded-For, -Host and -Proto: those a proxy
// sets itself.
func scrubForwarded(h http.Header) {
	for _, name := range [...]string{"Forwarded", "X-Forwarded-Port", "X-Forwarded-Server", "X-Proxied-Https"} {
		delete(h, name)
	}
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
