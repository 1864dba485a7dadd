package crumb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

const (
	// maxAnswer bounds, in bytes, what is read of Jenkins' answer to a crumb request;
	// a real one has some 200.
	maxAnswer = 64 << 10
	// maxSkipped bounds, in bytes, what is read of an answer other than 200, whose body says
	// nothing. Without CSRF protection it is a page of some 85 kB.
	maxSkipped = 1 << 20
	// maxCrumb and maxCookie bound what of it is kept for each user. A masked crumb
	// of the Strict Crumb Issuer has 128 characters.
	maxCrumb   = 1 << 10
	maxCookie  = 4 << 10
	maxVersion = 64
)

// IssuerPath is where Jenkins issues crumbs, below its context path
// (hudson.security.csrf.CrumbIssuer).
const IssuerPath = "/crumbIssuer/api/json"

// ErrForbidden is returned by Answer.Session if Jenkins does not let the user
// have a crumb, for lack of Overall/Read.
var ErrForbidden = errors.New("this user gets no crumb from Jenkins: Overall/Read is missing")

// An UnreadyError is returned by Answer.Session if Jenkins, or a proxy before it, asks its
// clients to wait.
type UnreadyError struct {
	Status int
	Header http.Header // what of it a client may see
	Body   []byte      // nil if it is too large, or encoded
}

func (e *UnreadyError) Error() string { return fmt.Sprintf("status %d in place of 200", e.Status) }

// unready are the statuses of an UnreadyError. Jenkins answers 503 while it starts.
var unready = []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// unreadyHeaders are the headers of an UnreadyError.
var unreadyHeaders = []string{"Content-Type", "Content-Language", "Refresh", "Retry-After", "X-Hudson", "X-Jenkins", "X-Jenkins-Session"}

// errTooLarge stops a handler that writes more than an Answer takes.
var errTooLarge = fmt.Errorf("the answer has more than %d bytes", maxAnswer)

// An Answer is an http.ResponseWriter that takes Jenkins' answer to a request for
// IssuerPath.
type Answer struct {
	header  http.Header
	status  int
	body    bytes.Buffer // the first maxAnswer bytes
	length  int          // of all that was written
	stopped bool
}

// Header implements http.ResponseWriter.
func (a *Answer) Header() http.Header {
	if a.header == nil {
		a.header = make(http.Header)
	}
	return a.header
}

// WriteHeader implements http.ResponseWriter.
func (a *Answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

// Write implements http.ResponseWriter. It fails as soon as the answer is too
// large, so that a proxy stops reading it.
func (a *Answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	limit := maxAnswer
	if a.status != http.StatusOK {
		limit = maxSkipped
	}
	if a.length+len(p) > limit {
		a.stopped = true
		return 0, errTooLarge
	}
	a.length += len(p)
	a.body.Write(p[:min(len(p), maxAnswer-a.body.Len())])
	return len(p), nil
}

// Stopped reports whether a Write failed because the answer is too large.
func (a *Answer) Stopped() bool { return a.stopped }

// Session reads the answer. Anything but a crumb, or a 404 that is Jenkins' own
// and means that CSRF protection is off, is an error: no request may go on
// without its crumb because something else answered. old is the session that the
// request presented.
func (a *Answer) Session(old *Session) (*Session, error) {
	s := &Session{
		Version: a.Header().Get("X-Jenkins"),
		Started: a.Header().Get("X-Jenkins-Session"),
	}
	// The status first: of another answer than 200 nothing else counts.
	off := a.status == http.StatusNotFound && s.Version != ""
	switch {
	case a.status == http.StatusOK, off:
	case a.status == http.StatusNotFound:
		return nil, errors.New("status 404 without an X-Jenkins header: this is not Jenkins' context path; set prefix to it")
	case a.status == http.StatusForbidden && a.Header().Get("X-Required-Permission") != "":
		return nil, ErrForbidden
	case slices.Contains(unready, a.status):
		return nil, a.unready()
	case a.status == http.StatusUnauthorized || a.status >= 300 && a.status < 400:
		return nil, fmt.Errorf("status %d in place of 200: a sign-in between gateway and Jenkins must let the gateway's requests pass", a.status)
	default:
		return nil, fmt.Errorf("status %d in place of 200", a.status)
	}
	if len(s.Version) > maxVersion || len(s.Started) > maxVersion {
		return nil, fmt.Errorf("X-Jenkins or X-Jenkins-Session has more than %d bytes", maxVersion)
	}
	if err := s.keepCookies(a.Header(), old); err != nil {
		return nil, err
	}
	switch {
	case off:
		return s, nil
	case a.stopped:
		return nil, errTooLarge
	}
	contentType, _, err := mime.ParseMediaType(a.Header().Get("Content-Type"))
	if err != nil || contentType != "application/json" {
		return nil, fmt.Errorf("content type %.128q in place of application/json", a.Header().Get("Content-Type"))
	}
	var answer struct {
		Class string `json:"_class"`
		Crumb string `json:"crumb"`
		Field string `json:"crumbRequestField"`
	}
	// The decoder's own error could quote what it read.
	if json.Unmarshal(a.body.Bytes(), &answer) != nil {
		return nil, errors.New("the body is not the JSON of a crumb issuer")
	}
	switch {
	case answer.Crumb == "" || len(answer.Crumb) > maxCrumb || strings.ContainsFunc(answer.Crumb, notVisible):
		return nil, fmt.Errorf("the crumb is empty, longer than %d bytes, or has other than visible ASCII characters", maxCrumb)
	case len(answer.Field) > 128 || !httpguts.ValidHeaderFieldName(answer.Field):
		return nil, fmt.Errorf("the crumb's field %.128q is not a name for a header", answer.Field)
	case len(answer.Class) > 256:
		return nil, errors.New("the name of the issuer's class has more than 256 bytes")
	}
	s.Class, s.Crumb, s.Field = answer.Class, answer.Crumb, answer.Field
	return s, nil
}

func (a *Answer) unready() *UnreadyError {
	e := &UnreadyError{Status: a.status, Header: make(http.Header)}
	for _, name := range unreadyHeaders {
		if values := a.Header()[name]; len(values) == 1 && len(values[0]) <= maxVersion {
			e.Header[name] = values
		}
	}
	if a.length == a.body.Len() && !a.stopped && a.Header()["Content-Encoding"] == nil {
		e.Body = a.body.Bytes()
	}
	return e
}

func notVisible(r rune) bool { return r <= ' ' || r > '~' }

// SessionCookie begins the names of Jenkins' session cookies. What follows is
// another one each time that Jenkins starts (executable.Main in its war).
const SessionCookie = "JSESSIONID"

// OpensSession reports whether an answer opens a session of Jenkins.
func OpensSession(h http.Header) bool {
	return slices.ContainsFunc(h["Set-Cookie"], func(line string) bool {
		c, err := http.ParseSetCookie(line)
		return err == nil && isSession(c)
	})
}

// isSession reports whether a cookie that an answer sets is a session of Jenkins.
func isSession(c *http.Cookie) bool {
	return c.MaxAge >= 0 && c.Value != "" && strings.HasPrefix(c.Name, SessionCookie)
}

// keepCookies keeps the cookies that the answer sets, Jenkins' session and those
// of a balancer that keeps a session at one controller, and the ones of the
// presented session that it does not replace.
func (s *Session) keepCookies(h http.Header, old *Session) error {
	var kept []*http.Cookie
	opened := false
	if old != nil && old.Cookie != "" {
		kept, _ = http.ParseCookie(old.Cookie) // it was written here
	}
	for _, line := range h["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			return errors.New("a cookie of the answer can't be read")
		}
		set := c.MaxAge >= 0 && c.Value != ""
		session := isSession(c)
		opened = opened || session
		kept = slices.DeleteFunc(kept, func(k *http.Cookie) bool {
			return k.Name == c.Name || session && strings.HasPrefix(k.Name, SessionCookie)
		})
		if set {
			kept = append(kept, c)
		}
	}
	pairs := make([]string, len(kept))
	for i, c := range kept {
		if c.Quoted {
			c.Value = `"` + c.Value + `"`
		}
		pairs[i] = c.Name + "=" + c.Value
	}
	s.Cookie = strings.Join(pairs, "; ")
	if len(s.Cookie) > maxCookie {
		return fmt.Errorf("the cookies of the session have more than %d bytes", maxCookie)
	}
	if !opened {
		if old != nil {
			s.replaces = old.replaces
		}
		return nil
	}
	if old != nil {
		s.replaces = sessionPairs(old.Cookie)
	}
	if s.SetCookie = h["Set-Cookie"]; len(strings.Join(s.SetCookie, "")) > 2*maxCookie {
		return fmt.Errorf("the lines that set the cookies of the session have more than %d bytes", 2*maxCookie)
	}
	return nil
}
