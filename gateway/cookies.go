package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/user"
)

const (
	// maxSessionCookie bounds, in bytes, a session cookie that is passed on. Jetty's
	// have some 60 with their name.
	maxSessionCookie = 256
	// maxSessionCookies bounds how many are: their names change with each start of
	// Jenkins, so that old ones pile up in a browser.
	maxSessionCookies = 16
)

// rememberMe are cookies with which Jenkins' own log-in lets a browser in again
// (hudson.security.TokenBasedRememberMeServices2), now and before 2.266. Who a
// request is from is for the gate to say.
var rememberMe = []string{"remember-me", "ACEGI_SECURITY_HASHED_REMEMBER_ME_COOKIE"}

// clientCookies are the cookies of a session client as Jenkins gets them.
type clientCookies struct {
	header  string // the value of Cookie
	session string // the pair of Jenkins' session, or the pairs that may be it; "" if there is none
}

// cookies reads the cookies of a user and leaves out those that another reader,
// Jenkins' container, could read otherwise, and sessions of others.
func (g *Gate) cookies(h http.Header, id user.ID) clientCookies {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return clientCookies{}
	}
	var kept, sessions []string
	current := g.people.sessionCookie.Load()
	var session string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if !plainCookie(pair) {
				continue
			}
			if strings.HasPrefix(pair, crumb.SessionCookie) {
				name, _, _ := strings.Cut(pair, "=")
				// Of two with one name the container would take one: it gets one. Browsers send
				// the one for the longer path first (RFC 6265, section 5.4).
				twice := slices.ContainsFunc(sessions, func(s string) bool { return strings.HasPrefix(s, name) && s[len(name)] == '=' })
				if twice || len(sessions) == maxSessionCookies || len(pair) > maxSessionCookie || g.ofAnother(pair, id) {
					continue
				}
				sessions = append(sessions, pair)
				if current != nil && name == *current {
					session = pair
				}
			}
			kept = append(kept, pair)
		}
	}
	if session == "" {
		session = strings.Join(sessions, "; ")
	}
	return clientCookies{strings.Join(kept, "; "), session}
}

// plainCookie tells whether a pair is a cookie to every reader. Jetty can be told to
// read quotes, commas and $Version as RFC 2965 has them, and then a value could
// bring forth another session.
func plainCookie(pair string) bool {
	name, value, found := strings.Cut(pair, "=")
	switch {
	case !found || name == "" || name[0] == '$', slices.Contains(rememberMe, name):
		return false
	case strings.ContainsAny(pair, "\"\\,") || strings.ContainsFunc(pair, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return false
	case strings.HasPrefix(name, crumb.SessionCookie):
		return !strings.Contains(value, "%") // no id has one, and some decode it
	}
	return !containsSession(name) && !containsSession(value)
}

func containsSession(s string) bool {
	return len(s) >= len(crumb.SessionCookie) && strings.Contains(strings.ToUpper(s), crumb.SessionCookie)
}

// with returns the Cookie header with the client's sessions replaced by one that
// Jenkins has opened since.
func (c clientCookies) with(s *crumb.Session) string {
	if s.SetCookie == nil {
		return c.header
	}
	kept := []string{s.Cookie}
	for pair := range strings.SplitSeq(c.header, "; ") {
		if pair != "" && !strings.HasPrefix(pair, crumb.SessionCookie) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "; ")
}

// sessionID returns what identifies a session to Jetty: the value up to a dot. What
// follows names the node that holds it.
func sessionID(pair string) string {
	_, value, _ := strings.Cut(pair, "=")
	id, _, _ := strings.Cut(value, ".")
	return id
}

// ofAnother tells whether a session is known to be another user's.
func (g *Gate) ofAnother(pair string, id user.ID) bool {
	owner, known := g.people.owners.GetIfPresent(sessionID(pair))
	return known && !g.UserIDs.Equal(owner, id)
}

// learnCookies notes whose the sessions are that an answer opens, and under which
// name Jenkins keeps them until its next start.
func (g *Gate) learnCookies(lines []string, id user.ID) (session string) {
	for _, line := range lines {
		if !strings.HasPrefix(line, crumb.SessionCookie) {
			continue
		}
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Value == "" || c.MaxAge < 0 {
			continue
		}
		session = c.Name + "=" + c.Value
		g.people.owners.SetIfAbsent(sessionID(session), id)
		if current := g.people.sessionCookie.Load(); current == nil || *current != c.Name {
			g.people.sessionCookie.Store(&c.Name)
		}
	}
	return session
}
