package gateway

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/live"
)

// An answerWriter passes an answer of Jenkins on: to a token client without its
// cookies, as the session is ours, not the client's; to a signed-in user with the session
// that Jenkins has opened in between; to a client without a user, without cookies that would
// replace the session of a user. With watch set it holds back an answer that
// may refuse the crumb. It buffers nothing else.
type answerWriter struct {
	http.ResponseWriter
	watch  bool
	visit  *forward      // of a signed-in user, else nil
	open   *forward      // without a user, else nil
	flight *live.Request // of a token client, if what is in flight is known
	opened []string      // the lines that set a session which was opened for this request

	page    bool   // the answer is a page with Jenkins' crumb in it
	opens   bool   // the answer that is held back opens a session of Jenkins
	signOut string // where the browser is sent instead of Jenkins' answer, if anywhere

	wrote  bool // the final header has been seen
	held   bool // the answer is held back, with status and body
	status int
	body   []byte
}

// Unwrap lets http.ResponseController reach the connection, for upgrades.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Hijack implements what http.ResponseController looks for.
func (a *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil && a.flight != nil {
		a.flight.Hijacked(conn)
	}
	return conn, buffered, err
}

func (a *answerWriter) WriteHeader(status int) {
	if a.held {
		return
	}
	h := a.Header()
	held := a.watch && !a.wrote && crumb.MayRefuse(status, h)
	a.opens = held && crumb.OpensSession(h)
	switch { // of early hints, too
	case a.open != nil:
		a.open.openCookies(h)
	case a.visit == nil:
		delete(h, "Set-Cookie")
	}
	if !a.wrote && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.wrote = true
		if held {
			a.held, a.status = true, status
			return
		}
		a.cookies()
		if status == http.StatusSwitchingProtocols || status >= http.StatusBadRequest {
			a.signOut = "" // Jenkins has not ended its session, and says why
		}
		if a.signOut != "" {
			redirect(h, a.signOut)
			status = http.StatusFound
		}
		// Whatever its status: the form to build with parameters is a page of status 405.
		a.page = a.visit != nil && status/100 != 1 && status/100 != 3 && h.Get("X-Jenkins") != "" && strings.HasPrefix(h.Get("Content-Type"), "text/html")
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answerWriter) Write(p []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	switch {
	case !a.held && a.signOut != "":
		return len(p), nil // a redirect has no body
	case !a.held:
		return a.ResponseWriter.Write(p)
	}
	a.body = append(a.body, p...)
	if len(a.body) > crumb.MaxRefusal {
		a.release() // too long for a refusal
	}
	return len(p), nil
}

// FlushError implements what http.ResponseController looks for.
func (a *answerWriter) FlushError() error {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	if a.held {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// release sends on what was held back.
func (a *answerWriter) release() {
	a.held, a.signOut = false, "" // Jenkins refused, and that is the answer
	a.cookies()
	a.ResponseWriter.WriteHeader(a.status)
	a.ResponseWriter.Write(a.body) //nolint:errcheck // the next write of the handler sees it, or the client has left
	a.body = nil
}

// cookies sets what the client gets of cookies, right before the header is
// written.
func (a *answerWriter) cookies() {
	h := a.Header()
	switch {
	case a.open != nil:
		a.open.openCookies(h)
		return
	case a.visit == nil:
		delete(h, "Set-Cookie")
		return
	}
	lines := h["Set-Cookie"]
	id := a.visit.Person.User
	if session := a.visit.gate.learnCookies(lines, id); session != "" {
		// The client's from now on, and what learn asks Jenkins about.
		c := &a.visit.cookies
		c.session, c.header = session, c.with(&crumb.Session{Cookie: session, SetCookie: lines})
		return
	}
	if a.opened != nil {
		// First, as some clients take the first line for the session (gojenkins).
		h["Set-Cookie"] = slices.Concat(a.opened, lines)
		a.visit.gate.learnCookies(a.opened, id)
		a.opened = nil
	}
}

// redirect turns the header of an answer into one that redirects, and keeps its
// cookies.
func redirect(h http.Header, target string) {
	for _, name := range []string{"Content-Encoding", "Content-Type", "Etag", "Last-Modified", "Refresh", "Transfer-Encoding"} {
		delete(h, name)
	}
	h["Content-Length"] = []string{"0"}
	h["Cache-Control"] = []string{"no-store"}
	h["Location"] = []string{target}
}
