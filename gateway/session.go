package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// people is what a gate knows of those who hold their Jenkins session themselves.
// All of it can be forgotten: then Jenkins is asked again.
type people struct {
	broker *crumb.Broker // what Jenkins says of the sessions that they present
	// owners are the users of sessions, by sessionID.
	owners *otter.Cache[string, user.ID]
	// seen are crumbs that Jenkins has given to a user.
	seen *otter.Cache[seenCrumb, sighting]
	// sessionCookie is the name that Jenkins gives to its session until its next
	// start, nil if no answer has told yet.
	sessionCookie atomic.Pointer[string]

	learning sync.WaitGroup
	learners chan struct{} // bounds how many learn at once
}

type seenCrumb struct {
	user user.ID
	sum  [sha256.Size]byte // see crumb.Session.Sum
}

// A sighting says when Jenkins has given a crumb, in Unix seconds, and in which session, as in
// clientCookies.
type sighting struct {
	at      int64
	session string
}

func newPeople(c *Config) (*people, error) {
	p := &people{learners: make(chan struct{}, maxLearners)}
	var err error
	if p.broker, err = crumb.NewBroker(c.MaxSessions, c.CrumbTimeout); err != nil {
		return nil, err
	}
	if p.owners, err = otter.New(&otter.Options[string, user.ID]{MaximumSize: c.MaxSessions}); err != nil {
		return nil, fmt.Errorf("making the cache of session owners: %w", err)
	}
	if p.seen, err = otter.New(&otter.Options[seenCrumb, sighting]{MaximumSize: c.MaxSessions}); err != nil {
		return nil, fmt.Errorf("making the cache of crumbs: %w", err)
	}
	return p, nil
}

// close waits for what is being learned.
func (p *people) close() { p.learning.Wait() }

// session sends a person's request on. What may change something goes on only with
// a crumb that verifies.
func (f *forward) session(w http.ResponseWriter, r *http.Request) error {
	g := f.gate
	g.shed(r.Header)
	f.identify(r.Header)
	f.cookies = g.cookies(r.Header, f.Person.User, f.sessions(r.Method))
	setCookie(r.Header, f.cookies.header)
	if f.manageTokens(w, r) {
		return nil
	}

	if _, way := f.route.crumbAPI(); way != noCrumbWay {
		return f.askedForCrumb(w, r)
	}
	safe := isSafe(r.Method) || g.CrumbOnPostOnly && r.Method != http.MethodPost
	if !safe && g.openings.CrumbExempt(f.route.path) == nil {
		return f.guarded(w, r)
	}
	if safe {
		g.dropCrumb(r.Header) // Jenkins looks at none, and ours is for nobody but us
	}
	g.presentOrigin(r)
	a := f.writer(w)
	err := f.send(a, r)
	if a.page {
		f.learn(r)
	}
	return err
}

// askedForCrumb answers a signed-in user's request that leads to Jenkins' crumb issuer.
func (f *forward) askedForCrumb(w http.ResponseWriter, r *http.Request) error {
	if !isSafe(r.Method) {
		body := f.gate.newReplayBody(r, f.gate.ReplayLimit)
		defer body.close()
		if _, ok := f.verified(w, r, body, true); !ok {
			return nil
		}
	}
	if done, err := f.answerCrumb(w, r); done {
		return err
	}
	f.gate.dropCrumb(r.Header)
	return f.send(&answerWriter{ResponseWriter: w, visit: f}, r) // the schema
}

// guarded sends a request on whose crumb verifies, with Jenkins' current one: a
// page that was opened before Jenkins was restarted still works. Nothing is put on
// a request that has not been verified.
func (f *forward) guarded(w http.ResponseWriter, r *http.Request) error {
	g := f.gate
	body := g.newReplayBody(r, g.ReplayLimit)
	defer body.close()
	v, ok := f.verified(w, r, body, false)
	if !ok {
		return nil
	}
	session, p := v.session, v.proof
	switch {
	case p == proofTheirs: // the request goes on as it came
		r.Body, _ = body.open()
		return f.send(f.writer(w), r)
	case r.Method != http.MethodPost: // Jenkins looks for no crumb
		f.dropCrumbs(r.Header, session)
		r.Body, _ = body.open()
		return f.send(f.writer(w), r)
	}
	f.dropCrumbs(r.Header, session)
	renew := p == proofOwn || g.RefreshCrumbs && sameOrigin(r)
	if body.mayOutgrow {
		fresh, err := f.jenkins(r, nil, true)
		if err != nil {
			return f.crumbFailed(w, r, err)
		}
		session = fresh
		if !renew && session.SetCookie != nil { // Jenkins would have refused the crumb
			f.Reason = ReasonCrumbSession
			g.refuse(w, r, f.Decision)
			return nil
		}
	}
	return f.post(w, r, body, session, renew)
}

// verified is what is known of a request whose crumb verifies.
type verified struct {
	session *crumb.Session
	proof   proof
}

// verified verifies the crumb of a request, or answers it. With here the request is not
// for Jenkins, which then can't check the crumb.
func (f *forward) verified(w http.ResponseWriter, r *http.Request, body *replayBody, here bool) (v verified, ok bool) {
	g := f.gate
	session, err := f.jenkins(r, nil, false)
	if err != nil {
		_ = f.crumbFailed(w, r, err) // it has none
		return v, false
	}
	text, reason, err := f.presentedCrumb(w, r, session, body)
	var p proof
	if reason == "" {
		p, reason, err = f.prove(r, text, session)
		if reason == ReasonCrumb && f.cookies.session != "" {
			// Somebody may have chosen another crumb issuer in Jenkins since it was asked.
			if session, err = f.jenkins(r, session, false); err != nil {
				_ = f.crumbFailed(w, r, err)
				return v, false
			}
			p, reason, err = f.prove(r, text, session)
		}
	}
	if here && reason == "" && p == proofTheirs {
		reason = ReasonCrumb
	}
	if reason != "" {
		f.Reason, f.Err = reason, err
		g.refuse(w, r, f.Decision)
		return v, false
	}
	return verified{session, p}, true
}

// A proof says how a crumb has verified.
type proof int

const (
	_ proof = iota
	// proofOwn is a crumb that the gate has issued for this user and session.
	proofOwn
	// proofJenkins is the crumb that Jenkins has for them, or has had in this session.
	proofJenkins
	// proofTheirs is a crumb of which Jenkins alone can tell, on a request on which it
	// will check the crumb.
	proofTheirs
	// proofOnce is a crumb that was once this user's, on a request for which the
	// browser vouches that a page of this site made it.
	proofOnce
)

// prove verifies a crumb, or tells why it does not.
func (f *forward) prove(r *http.Request, text string, s *crumb.Session) (proof, Reason, error) {
	g, id := f.gate, f.Person.User
	keys, err := g.CrumbKeys()
	if err != nil {
		return 0, ReasonUnavailable, err
	}
	standing := keys.Verify(text, id, f.cookies.session, g.Now(), g.CrumbLifetime)
	switch {
	case standing == crumb.Valid:
		return proofOwn, "", nil
	case standing == crumb.Expired:
		return 0, ReasonCrumbExpired, nil
	case s.Crumb == "":
		// CSRF protection is off in Jenkins, so that its pages have no crumb. Then the
		// browser has to vouch for the page.
		if !g.provesOrigin(r) {
			return 0, ReasonNoCrumb, nil
		}
		return proofJenkins, "", nil
	case text == "":
		return 0, ReasonNoCrumb, nil
	case s.SetCookie == nil && s.Matches(text):
		return proofJenkins, "", nil
	}
	given, seen := g.people.seen.GetIfPresent(seenCrumb{id, s.Sum(text)})
	seen = seen && g.Now().Unix() < given.at+int64(g.CrumbLifetime.Seconds())
	current := s.Masks() && s.SetCookie == nil && f.cookies.session != "" // of such an issuer a session has many crumbs
	switch {
	case seen && current && given.session == f.cookies.session:
		return proofJenkins, "", nil
	case !seen && standing != crumb.OtherSession && current && r.Method == http.MethodPost && g.openings.CheckedByJenkins(f.route.path):
		return proofTheirs, "", nil
	case !seen && standing != crumb.OtherSession:
		return 0, ReasonCrumb, nil
	case g.RefreshCrumbs && sameOrigin(r):
		return proofOnce, "", nil
	}
	return 0, ReasonCrumbSession, nil
}

// crumbFields are the names under which a client can have sent its crumb: what
// Jenkins calls it, and what clients have built in, of now and before 2.0.
func crumbFields(s *crumb.Session) []string {
	fields := []string{"Jenkins-Crumb", ".crumb"}
	if s.Field != "" && !slices.Contains(fields, s.Field) {
		fields = slices.Insert(fields, 0, s.Field)
	}
	return fields
}

// presentedCrumb looks for the crumb where Jenkins does, in the header, then in the
// query, then in the form (hudson.security.csrf.CrumbFilter), and beyond that in
// multipart forms. It returns "" if there is none. Of the body, no more is read
// than can be handed on.
func (f *forward) presentedCrumb(w http.ResponseWriter, r *http.Request, s *crumb.Session, body *replayBody) (text string, _ Reason, _ error) {
	fields := crumbFields(s)
	for _, name := range fields {
		switch values := r.Header[http.CanonicalHeaderKey(name)]; {
		case len(values) > 1:
			return "", ReasonCrumb, fmt.Errorf("the header %s came %d times", name, len(values))
		case len(values) == 1:
			return values[0], "", nil
		}
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || !slices.Contains(fields, name) {
			continue
		}
		if value, err := url.QueryUnescape(value); err == nil {
			return value, "", nil
		}
	}
	if body.src == nil {
		return "", "", nil
	}
	types := r.Header["Content-Type"]
	if len(types) != 1 || r.Header["Content-Encoding"] != nil {
		return "", "", nil
	}
	text, found, err := f.searchForm(w, r, types[0], body, fields)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", ReasonCrumbSlow, err
	case errors.Is(err, errNoMemory):
		return "", ReasonCrumbBusy, err
	case err != nil:
		return "", ReasonCrumbForm, err
	case !found:
		return "", "", nil
	}
	return text, "", nil
}

// searchTime is how long a client may take to send as much of a form as has the crumb in it.
const searchTime = time.Minute

// searchForm looks for the crumb in the body, and does not wait for a client for ever. If the
// server has a limit of its own for a whole request, that holds instead.
func (f *forward) searchForm(w http.ResponseWriter, r *http.Request, contentType string, body *replayBody, fields []string) (text string, found bool, err error) {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	limited := server != nil && server.ReadTimeout > 0
	control := http.NewResponseController(w)
	if !limited {
		_ = control.SetReadDeadline(time.Now().Add(searchTime)) // where that is not possible, the body's size alone is bounded
	}
	text, found, err = crumb.FindInForm(contentType, body.search(), f.gate.ReplayLimit, fields)
	if !limited && !errors.Is(err, os.ErrDeadlineExceeded) { // else the server would wait for the rest of the body
		_ = control.SetReadDeadline(time.Time{})
	}
	return text, found, err
}

// dropCrumbs removes the client's crumb where it would stand beside ours. What is
// in the query or the form Jenkins looks at only if there is no header.
func (f *forward) dropCrumbs(h http.Header, s *crumb.Session) {
	for _, name := range crumbFields(s) {
		delete(h, http.CanonicalHeaderKey(name))
	}
}

// issueOwn returns a crumb of ours for a person's client. The session that Jenkins
// has opened for it goes to the client, which has to send it back.
func (f *forward) issueOwn(w http.ResponseWriter, s *crumb.Session) (string, error) {
	keys, err := f.gate.CrumbKeys()
	if err != nil {
		return "", err
	}
	session := f.cookies.session
	if s.SetCookie != nil {
		w.Header()["Set-Cookie"] = slices.Concat(s.SetCookie, w.Header()["Set-Cookie"])
		session = f.gate.learnCookies(s.SetCookie, f.Person.User)
	}
	return keys.Issue(f.Person.User, session, f.gate.Now()), nil
}

// maxLearners bounds how many requests for crumbs are made ahead of need at once.
const maxLearners = 8

// learn asks Jenkins for the crumb of a page that has just been sent, so that it is
// known when the page is used after Jenkins has been restarted. Of an issuer that gives
// another crumb each time it asks for each page, since the gateway itself has to verify the crumb
// of a DELETE. It does so in the background, and not at all if there is much to do.
func (f *forward) learn(r *http.Request) {
	g := f.gate
	known := g.people.broker.Cached(f.key())
	if f.cookies.session == "" || known != nil && !known.Masks() {
		return
	}
	select {
	case g.people.learners <- struct{}{}:
	default:
		return
	}
	prepared := f.prepare(r)
	ask := func(ctx context.Context, _ *crumb.Session) (*crumb.Session, error) { return prepared(ctx, nil) }
	ctx := context.WithoutCancel(r.Context()) // the request ends now
	g.people.learning.Go(func() {
		defer func() { <-g.people.learners }()
		if _, err := f.share(ctx, known, false, ask); err != nil {
			g.Log.Debug("no crumb for a page ahead of its use", "error", err)
		}
	})
}

func setCookie(h http.Header, value string) {
	if value == "" {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = []string{value}
}

// nobody sends a request on that is let in without a user.
func (f *forward) nobody(w http.ResponseWriter, r *http.Request) error {
	keep := r.Header["Authorization"]
	f.gate.shed(r.Header)
	if f.Token != nil { // whose scopes don't cover the request; no cookie passes either way
		delete(r.Header, "Cookie")
		return f.send(&answerWriter{ResponseWriter: w, flight: f.inFlight()}, r)
	}
	if f.opening != nil && f.opening.KeepsAuthorization && keep != nil && !strings.EqualFold(keep[0][:min(len(keep[0]), len("Basic"))], "Basic") {
		r.Header["Authorization"] = keep
	}
	f.cookies = f.gate.cookies(r.Header, "", f.sessions(r.Method))
	setCookie(r.Header, f.cookies.header)
	return f.send(f.writer(w), r)
}

// presentOrigin has a WebSocket come from where Jenkins expects it, as has been
// checked: it compares with its configured URL (hudson.cli.CLIAction).
func (g *Gate) presentOrigin(r *http.Request) {
	if g.JenkinsOrigin != "" && isUpgrade(r.Header) {
		r.Header["Origin"] = []string{g.JenkinsOrigin}
	}
}
