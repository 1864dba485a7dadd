package gateway

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

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
	// maxCookieName bounds, in bytes, a name of a cookie in the log.
	maxCookieName = 64
	// maxDroppedNotices bounds how many names of dropped cookies the log has in a day:
	// clients choose them.
	maxDroppedNotices = 100
)

// ownCookies are the names of cookies that Jenkins and widely used plugins read. The
// ones that only scripts in a page read need not reach Jenkins, and nor do the cookies
// of the sign-in: they are large, and Jenkins' plugins could use them. A * at the end
// stands for any text. The sessions are not here, as they pass by rules of their own.
var ownCookies = []string{
	"screenResolution",          // hudson.Functions.getScreenResolution, set by hudson/model/View/screen-resolution.js
	"iconSize",                  // jenkins.model.Jenkins.doIconSize, lib/hudson/setIconSize.jelly
	"disableStickyPositioning",  // hudson.Functions
	"jenkins-timestamper",       // timestamper: hudson.plugins.timestamper.format.TimestampFormatProvider
	"jenkins-timestamper-local", // the same
	"jenkins-timestamper-offset",
	"hudson.plugins.*", // analysis-core, performance: their CookieHandler, for the settings of graphs
}

// cookieNames is a set of names of cookies.
type cookieNames struct {
	exact    map[string]bool
	prefixes []string
}

// newCookieNames returns the cookies that reach Jenkins: its own and those in more.
func newCookieNames(more []string) cookieNames {
	c := cookieNames{exact: make(map[string]bool)}
	for _, name := range slices.Concat(ownCookies, more) {
		if prefix, isPrefix := strings.CutSuffix(name, "*"); isPrefix {
			c.prefixes = append(c.prefixes, prefix)
		} else {
			c.exact[name] = true
		}
	}
	return c
}

func (c *cookieNames) has(name string) bool {
	return c.exact[name] || slices.ContainsFunc(c.prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// checkPassedCookie returns an error for a name that Config.PassCookies can't hold.
func checkPassedCookie(name string) error {
	text, _ := strings.CutSuffix(name, "*")
	switch {
	case name == "" || text != "" && !httpguts.ValidHeaderFieldName(text) || strings.Contains(text, "*"):
		return fmt.Errorf("%q is not the name of a cookie: write a name such as theme, or its beginning and a *, such as theme-*", name)
	case slices.Contains(rememberMe, name):
		return fmt.Errorf("%q never passes: Jenkins would take a user from it", name)
	case containsSession(text):
		return fmt.Errorf("%q is Jenkins' session, which passes by rules of its own: leave it out", name)
	}
	return nil
}

// rememberMe are cookies with which Jenkins' own log-in lets a browser in again
// (hudson.security.TokenBasedRememberMeServices2), now and before 2.266. Who a
// request is from is for the gate to say.
var rememberMe = []string{"remember-me", "ACEGI_SECURITY_HASHED_REMEMBER_ME_COOKIE"}

// clientCookies are the cookies of a session client as Jenkins gets them.
type clientCookies struct {
	header  string // the value of Cookie
	session string // the pair of Jenkins' session, or the pairs that may be it; "" if there is none
	ofUser  bool   // the client sent a session that may be a user's, whether or not Jenkins gets it
}

// A sessionRule says which of Jenkins' sessions in a request's cookies reach Jenkins.
type sessionRule int

const (
	noSessions  sessionRule = iota
	ownSessions             // those that are not known to be another user's
	allSessions             // all that the browser has
)

// sessions returns the rule for a request. An open endpoint needs no session, and an
// anonymous request must not act in a user's. /logout ends the browser's session, for
// which it has to be known: no identity is taken from it.
func (f *forward) sessions(method string) sessionRule {
	switch {
	case f.route.isLogout() && (f.Class == ClassPublic || f.Class == ClassAnonymous || f.Class == ClassSession && isSafe(method)):
		return allSessions
	case f.Class == ClassSession || f.Class == ClassAnonymous:
		return ownSessions
	}
	return noSessions
}

// cookies reads the cookies of a request. It leaves out those that are not Jenkins',
// those that another reader, Jenkins' container, could read otherwise, and sessions
// that the rule does not let pass. The user is "" for a request without one.
func (g *Gate) cookies(h http.Header, id user.ID, rule sessionRule) clientCookies {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return clientCookies{}
	}
	var c clientCookies
	var (
		keptRoom, sessionRoom [8]string // enough for nearly all, without allocation
		kept, sessions        = keptRoom[:0], sessionRoom[:0]
		dropped               []string
	)
	current := g.people.sessionCookie.Load()
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			name, _, _ := strings.Cut(pair, "=")
			if name == placeholderCookie {
				continue
			}
			isSession := strings.HasPrefix(name, crumb.SessionCookie)
			if isSession && !g.isAnonymous(pair, name, current) {
				c.ofUser = true
			}
			if !plainCookie(pair) {
				continue
			}
			if !isSession {
				if g.jenkins.has(name) {
					kept = append(kept, pair)
				} else if id != "" && len(dropped) < maxDroppedNotices {
					dropped = append(dropped, name)
				}
				continue
			}
			// Of two with one name the container would take one: it gets one. Browsers send
			// the one for the longer path first (RFC 6265, section 5.4).
			twice := slices.ContainsFunc(sessions, func(s string) bool { return strings.HasPrefix(s, name) && s[len(name)] == '=' })
			if rule == noSessions || twice || len(sessions) == maxSessionCookies || len(pair) > maxSessionCookie || rule == ownSessions && g.ofAnother(pair, id) {
				continue
			}
			sessions = append(sessions, pair)
			if current != nil && name == *current {
				c.session = pair
			}
			kept = append(kept, pair)
		}
	}
	if c.session == "" {
		c.session = strings.Join(sessions, "; ")
	}
	c.header = strings.Join(kept, "; ")
	g.reportDropped(dropped)
	return c
}

// isAnonymous reports whether a session can't be a user's: Jenkins has opened it for an
// anonymous request, or before its last start.
func (g *Gate) isAnonymous(pair, name string, current *string) bool {
	owner, known := g.people.owners.GetIfPresent(sessionID(pair))
	return known && owner == "" || !known && current != nil && name != *current
}

// reportDropped logs, once a day for each name, cookies that do not reach Jenkins.
func (g *Gate) reportDropped(names []string) {
	var unseen []string
	for _, name := range names {
		if name = name[:min(len(name), maxCookieName)]; g.dropped.first(g.Now(), notice{"cookie", name}) {
			unseen = append(unseen, name)
		}
	}
	if unseen != nil {
		g.Log.Info("cookies not passed to Jenkins; pass_cookies lets them through", "names", unseen)
	}
}

// openCookies keeps the answer to a request without a user from replacing or clearing
// the session of a user in the same browser: Jenkins opens a session for each page that
// it refuses to anonymous. /logout does clear it.
func (f *forward) openCookies(h http.Header) {
	lines, set := h["Set-Cookie"]
	if !set {
		return
	}
	f.gate.learnCookies(lines, "")
	if !f.cookies.ofUser || f.route.isLogout() {
		return
	}
	lines = slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		return containsSession(name) || slices.Contains(rememberMe, name)
	})
	if len(lines) == 0 {
		delete(h, "Set-Cookie")
		return
	}
	h["Set-Cookie"] = lines
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

// placeholderCookie is the name of a cookie that is good for nothing. Some token clients
// insist on a session with their crumb, and look for it under this prefix.
const placeholderCookie = crumb.SessionCookie + ".crumbgate"

// setPlaceholderCookie gives a token client a cookie in the shape of Jenkins' session. The gateway
// drops it from all requests.
func (g *Gate) setPlaceholderCookie(w http.ResponseWriter, r *http.Request) {
	line := placeholderCookie + "=none;Path=" + cmp.Or(g.Prefix, "/")
	if r.TLS != nil {
		line += ";Secure"
	}
	w.Header()["Set-Cookie"] = []string{line + ";HttpOnly;SameSite=Lax"}
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
