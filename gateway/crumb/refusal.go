package crumb

import (
	"bytes"
	"net/http"
	"strings"
	"time"
)

// MaxRefusal bounds, in bytes, the answers that are held back to see whether
// they refuse a crumb. The container's page has some 800.
const MaxRefusal = 16 << 10

// phrase is what Jenkins says in every form of the refusal
// (hudson.security.csrf.CrumbFilter).
var phrase = []byte("No valid crumb was included in the request")

// defaultIssuer is the class of Jenkins' own crumb issuer. It gives a user and a
// session the same crumb each time. Other issuers need not: the crumb of the Strict
// Crumb Issuer also depends on the time, and is masked.
const defaultIssuer = "hudson.security.csrf.DefaultCrumbIssuer"

// maxAge is how long the crumb of another issuer is used. The Strict Crumb Issuer
// accepts its crumbs for 2 hours by default, and for 1 hour at least.
const maxAge = 30 * time.Minute

// MayRefuse reports, from status and header, whether an answer can be the refusal of
// a crumb. It comes from the container, and so without the headers that Jenkins
// sets; a missing permission names itself.
func MayRefuse(status int, h http.Header) bool {
	return status == http.StatusForbidden && h.Get("X-Required-Permission") == "" && h.Get("X-Jenkins") == ""
}

// LooksRefused reports whether an answer for which MayRefuse holds reads like the
// refusal of a crumb. The container sends an empty refusal if the client accepts neither HTML,
// JSON nor text, and a handler in between may compress it. The answer proves nothing: a job or a
// plugin may have acted, and answered in the same words.
func LooksRefused(h http.Header, body []byte) bool {
	return len(body) == 0 || h.Get("Content-Encoding") != "" || bytes.Contains(body, phrase)
}

// MayReplay reports whether a request that was sent in the session sent, and whose
// answer looks like the refusal of its crumb, may be sent again in the session now. That
// is so only if Jenkins can't have acted on it:
//
//   - Jenkins has opened now in the place of sent. The crumb of a session that is gone is
//     not valid.
//   - The session is the same, and the default issuer now gives it another crumb. The crumb of
//     that issuer is a function of user, session and, before 2.543, address.
//
// The crumb of any other issuer changes within a session that goes on, and so proves nothing.
func MayReplay(sent, now *Session) bool {
	had := sessionPairs(sent.Cookie)
	switch {
	case had == "":
		return false
	case sessionPairs(now.Cookie) != had:
		return now.replaces == had
	}
	return now.steady() && (sent.steady() || sent.Crumb == "") && now.Crumb != sent.Crumb
}

// SameSession reports whether s and other are of one session of Jenkins.
func (s *Session) SameSession(other *Session) bool {
	return sessionPairs(s.Cookie) == sessionPairs(other.Cookie)
}

// Pairs returns the cookies of Jenkins' session, as they stand in a Cookie header; "" if
// there are none.
func (s *Session) Pairs() string { return sessionPairs(s.Cookie) }

// steady reports whether the issuer of the crumb gives a session the same one each time.
func (s *Session) steady() bool { return s.Crumb != "" && s.Class == defaultIssuer }

// Masks reports whether the issuer gives a session another crumb each time, as the
// Strict Crumb Issuer does.
func (s *Session) Masks() bool { return s.Crumb != "" && s.Class != defaultIssuer }

// Aged reports whether the crumb may have become invalid by its age alone. Then it is
// to be fetched anew before it is used.
func (s *Session) Aged(now func() time.Time) bool {
	if !s.Masks() {
		return false
	}
	age := now().Sub(s.Fetched)
	return age < 0 || age >= maxAge
}

// sessionPairs returns what a Cookie header has of Jenkins' sessions.
func sessionPairs(cookie string) string {
	if !strings.Contains(cookie, ";") { // nearly always
		if strings.HasPrefix(cookie, SessionCookie) {
			return cookie
		}
		return ""
	}
	var pairs []string
	for pair := range strings.SplitSeq(cookie, ";") {
		if pair = strings.TrimSpace(pair); strings.HasPrefix(pair, SessionCookie) {
			pairs = append(pairs, pair)
		}
	}
	return strings.Join(pairs, "; ")
}
