package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/live"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// forward is one admitted request on its way to Jenkins.
type forward struct {
	Decision
	gate *Gate
	addr string // of the client
	next Next
	// cookies are those of a session client.
	cookies clientCookies
	// flight is for the request of a token client to be ended with its token.
	flight live.Request
}

// key is for whom the Jenkins session of the request is.
func (f *forward) key() crumb.Key {
	key := crumb.Key{User: f.User(), Cookie: f.cookies.session}
	if f.gate.crumbBindsAddr.Load() {
		key.Addr = f.addr
	}
	return key
}

// broker holds the session of the request.
func (f *forward) broker() *crumb.Broker {
	if f.Class == ClassSession {
		return f.gate.people.broker
	}
	return f.gate.broker
}

// token sends the request of a token client on with Jenkins' session and, where
// Jenkins checks it, the crumb. Jenkins checks POST and nothing else
// (hudson.security.csrf.CrumbFilter).
func (f *forward) token(w http.ResponseWriter, r *http.Request) error {
	g := f.gate
	g.shed(r.Header)
	f.identify(r.Header)
	delete(r.Header, "Cookie")
	g.dropCrumb(r.Header)
	if f.manageTokens(w, r) {
		return nil
	}
	if done, err := f.answerCrumb(w, r); done {
		return err
	}
	if r.Method == http.MethodPost {
		body := g.newReplayBody(r, g.ReplayLimit)
		defer body.close()
		session, err := f.jenkins(r, nil, body.mayOutgrow)
		if err != nil {
			return f.crumbFailed(w, r, err)
		}
		return f.post(w, r, body, session, true)
	}
	// Jenkins opens a session for each page that is asked for without one, but not
	// for its API, to which most requests go. Those do without the header.
	if !f.route.isAPI() {
		if s := g.broker.Cached(f.key()); s != nil && s.Cookie != "" {
			r.Header["Cookie"] = []string{s.Cookie}
		}
	}
	g.presentOrigin(r)
	return f.send(f.writer(w), r)
}

// isCrumbField reports whether Jenkins may name its crumb so: as it does by default, now
// or before 2.0, or as configured. Any other name could be a header with another
// meaning, such as Range.
func (g *Gate) isCrumbField(name string) bool {
	return strings.EqualFold(name, "Jenkins-Crumb") || strings.EqualFold(name, ".crumb") ||
		g.CrumbField != "" && strings.EqualFold(name, g.CrumbField)
}

// dropCrumb removes the client's crumb from a request for which Jenkins needs none, or
// gets another.
func (g *Gate) dropCrumb(h http.Header) {
	delete(h, "Jenkins-Crumb")
	if g.CrumbField != "" {
		delete(h, g.CrumbField)
	}
}

func (f *forward) send(a *answerWriter, r *http.Request) error {
	err := f.next(a, r)
	if !a.wrote { // the server will, with the header as it is
		a.cookies()
	}
	return err
}

// post sends a request on with a crumb. If the answer looks like the refusal of the
// crumb, and Jenkins has replaced the session, so that it can't have acted, the request is sent
// again in the new session (crumb.MayReplay). In any other case the client gets the
// answer of Jenkins. Without renew, the client's crumb may not be replaced.
func (f *forward) post(w http.ResponseWriter, r *http.Request, body *replayBody, session *crumb.Session, renew bool) error {
	before := takeSnapshot(r, w.Header())
	defer before.drop()

	first := f.writer(w)
	first.watch, first.opened = f.gate.openings.CheckedByJenkins(f.route.path), session.SetCookie
	sent, _ := body.open()
	f.attach(r, session, sent)
	err := f.send(first, r)
	switch {
	case !first.held:
		return err
	case err != nil: // the answer broke off; whoever handles that has nothing to do with its header
		before.answer.restore(w.Header())
		return err
	}
	if !crumb.LooksRefused(w.Header(), first.body) {
		first.release()
		return nil
	}
	if !renew {
		f.broker().Forget(f.key(), session) // so that the next request asks Jenkins
		first.release()
		return nil
	}
	again := before.again()
	renewed, err := f.renew(again, session)
	var unready *crumb.UnreadyError
	switch {
	case errors.As(err, &unready) && first.opens: // the refusal itself has replaced the session
		before.answer.restore(w.Header())
		return f.crumbFailed(w, r, err)
	case err != nil:
		f.log(r, "no crumb from Jenkins to send the request again", err)
		first.release()
		return nil
	case !crumb.MayReplay(session, renewed):
		f.distrust(r, session)
		first.release()
		return nil
	}
	before.answer.restore(w.Header())
	sent, complete := body.open()
	if !complete {
		f.log(r, "Jenkins refused the crumb of a request whose body is too large to send again", nil)
		answer(w, r, notReplayed)
		return nil
	}

	f.gate.Metrics.replays.Inc()
	r = f.gate.Fork(w, again)
	f.gate.Admitted(r, f.Decision)
	second := f.writer(w)
	second.opened = renewed.SetCookie
	f.attach(r, renewed, sent)
	return f.send(second, r)
}

// renew asks Jenkins about a session in which a request seems to have been refused. What
// Jenkins said before that does not count.
func (f *forward) renew(r *http.Request, refused *crumb.Session) (*crumb.Session, error) {
	if cached := f.broker().Cached(f.key()); cached != nil && cached.SameSession(refused) {
		refused = cached
	}
	return f.jenkins(r, refused, false)
}

// distrust notes that Jenkins seems to have refused a crumb although its session goes
// on. Other crumb issuers than the default one can be told to look at the client's
// address: from now on each address has a session of its own.
func (f *forward) distrust(r *http.Request, s *crumb.Session) {
	if s.Masks() {
		f.gate.crumbBindsAddr.Store(true)
	}
	f.log(r, "the answer of Jenkins looks like the refusal of a crumb, but its session goes on, so the request was not sent again; "+
		"if the crumb issuer checks the Referer, switch that off", nil)
}

// inFlight is what is to know of a hijacked connection; nil if nothing is.
func (f *forward) inFlight() *live.Request {
	if !f.flight.Begun() {
		return nil
	}
	return &f.flight
}

// writer returns what passes Jenkins' answer to the request on.
func (f *forward) writer(w http.ResponseWriter) *answerWriter {
	a := &answerWriter{ResponseWriter: w, flight: f.inFlight()}
	switch f.Class {
	case ClassToken:
	case ClassSession:
		a.visit = f
	default:
		a.open = f
	}
	if f.gate.SignOut != "" && f.Class != ClassToken && f.route.isLogout() {
		a.signOut = f.gate.SignOut
	}
	return a
}

func (f *forward) attach(r *http.Request, s *crumb.Session, body io.ReadCloser) {
	switch {
	case f.Class == ClassSession:
		setCookie(r.Header, f.cookies.with(s))
	case s.Cookie != "":
		r.Header["Cookie"] = []string{s.Cookie}
	}
	if s.Crumb != "" {
		r.Header.Set(s.Field, s.Crumb)
	}
	r.Body = body
}

// answerCrumb answers a request that leads to Jenkins' crumb issuer, by any method, since
// Jenkins looks at none there, and reports whether it was one. The schema has no crumb in it.
func (f *forward) answerCrumb(w http.ResponseWriter, r *http.Request) (done bool, err error) {
	tail, way := f.route.crumbAPI()
	switch {
	case way == noCrumbWay, len(tail) == 1 && tail[0] == "schema" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		return false, nil
	case way == crumbWayOther:
		answer(w, r, noCrumbHere)
		return true, nil
	case len(tail) == 0 && !strings.HasSuffix(r.URL.Path, "/"):
		target := f.gate.Prefix + "/crumbIssuer/api/"
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", target)
		write(w, r, http.StatusFound, "")
		return true, nil
	}
	return true, f.issue(w, r, tail)
}

// issue answers a client that asks for a crumb. What a token client gets is good
// for nothing but to be sent back, as such clients do: a POST gets the real one on
// its way. Without CSRF protection Jenkins has no issuer, and says so itself.
func (f *forward) issue(w http.ResponseWriter, r *http.Request, tail []string) error {
	s, err := f.jenkins(r, nil, false)
	if err != nil {
		return f.crumbFailed(w, r, err)
	}
	if s.Crumb == "" {
		return f.send(f.writer(w), r)
	}
	issued := crumb.Issued{Class: s.Class, Field: s.Field}
	if f.Class == ClassSession {
		if issued.Crumb, err = f.issueOwn(w, s); err != nil {
			return f.crumbFailed(w, r, err)
		}
	} else {
		issued.Crumb = f.gate.placeholder(f.Token)
		f.gate.setPlaceholderCookie(w, r)
	}
	w.Header().Set("X-Jenkins", s.Version)
	w.Header().Set("X-Jenkins-Session", s.Started)
	issued.ServeAPI(w, r, tail)
	return nil
}

// placeholder returns what token clients are given for a crumb: the shape of the
// default issuer's, the same for a user as long as the gateway runs.
func (g *Gate) placeholder(t *token.Token) string {
	mac := hmac.New(sha256.New, g.placeholderKey[:])
	mac.Write([]byte(t.Record().Owner))
	return hex.EncodeToString(mac.Sum(nil))
}

// jenkins returns Jenkins' session for the request's user, and what it says of the
// one that a session client holds. Fresh asks Jenkins in any case.
func (f *forward) jenkins(r *http.Request, refused *crumb.Session, fresh bool) (*crumb.Session, error) {
	if s := f.broker().Cached(f.key()); s != nil && s != refused && !fresh {
		if !s.Aged(f.gate.Now) {
			return s, nil // nearly always; what follows allocates
		}
		refused = s
	}
	key := f.key()
	// Prepared here: the question can outlive the request, whose header changes at its end.
	s, err := f.share(r.Context(), refused, fresh, f.prepare(r))
	if err == nil && f.key() != key {
		// That fetch has found out that crumbs depend on the address, and may have been
		// made for another one.
		return f.share(r.Context(), refused, fresh, f.prepare(r))
	}
	return s, err
}

// share gets a session, and lets all who need it at the same time have it.
func (f *forward) share(ctx context.Context, refused *crumb.Session, fresh bool, ask crumb.Fetch) (*crumb.Session, error) {
	fetch := func(ctx context.Context, old *crumb.Session) (*crumb.Session, error) {
		s, err := ask(ctx, old)
		if err != nil {
			f.gate.Metrics.unissued.Inc()
			return nil, err
		}
		f.gate.Metrics.fetched.Inc()
		if f.Class == ClassSession {
			f.remember(s)
		}
		return s, nil
	}
	if f.Class == ClassSession && f.cookies.session == "" {
		// Two browsers of one person would get one session, so nothing is shared or kept.
		ctx, cancel := context.WithTimeout(ctx, f.gate.CrumbTimeout)
		defer cancel()
		return fetch(ctx, refused)
	}
	if fresh {
		return f.broker().Fresh(ctx, f.key(), fetch)
	}
	return f.broker().Session(ctx, f.key(), refused, fetch)
}

// passedOn are the headers of a request from which Jenkins tells where it comes from,
// so far as a trusted proxy may set them; a crumb can depend on that.
var passedOn = append([]string{"User-Agent"}, forwardedBy...)

// prepare returns what asks Jenkins for a crumb, through the next handler, so that
// the request takes the same way as all others. All that it needs of r it takes
// now. It presents the session old, or else the client's own.
func (f *forward) prepare(r *http.Request) crumb.Fetch {
	g := f.gate
	target := &url.URL{Path: g.Prefix + crumb.IssuerPath}
	header := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}}
	for _, name := range passedOn {
		if values, set := r.Header[name]; set {
			header[name] = values
		}
	}
	f.identify(header)
	client := f.cookies
	request := (&http.Request{
		Method: http.MethodGet, URL: target, RequestURI: target.Path, Header: header, Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: r.Host, RemoteAddr: r.RemoteAddr, TLS: r.TLS,
	}).WithContext(context.WithoutCancel(r.Context()))
	answer := new(crumb.Answer)
	request = g.Fork(answer, request)
	return func(ctx context.Context, old *crumb.Session) (*crumb.Session, error) {
		switch {
		case f.Class == ClassSession && old == nil:
			old = &crumb.Session{Cookie: client.session}
			setCookie(header, client.header)
		case f.Class == ClassSession:
			setCookie(header, client.with(old))
		case old != nil:
			setCookie(header, old.Cookie)
		}
		bound, cancel := context.WithCancelCause(request.Context())
		defer cancel(nil)
		defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
		return f.fetch(ctx, answer, request.WithContext(bound), old)
	}
}

// fetch reads what Jenkins says to a prepared request.
func (f *forward) fetch(ctx context.Context, answer *crumb.Answer, request *http.Request, old *crumb.Session) (*crumb.Session, error) {
	g := f.gate
	asked := g.Now()
	err := run(f.next, answer, request)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("no crumb after %v: %w", g.CrumbTimeout, ctx.Err())
	}
	if err != nil && !answer.Stopped() { // that was our doing, and Session says what it means
		return nil, err
	}
	session, err := answer.Session(old)
	if err != nil {
		return nil, err
	}
	if g.CrumbField != "" && session.Crumb != "" && !strings.EqualFold(session.Field, g.CrumbField) {
		return nil, fmt.Errorf("the crumb of Jenkins is named %s: set crumb_field to that, or leave it out", session.Field)
	}
	if session.Crumb != "" && !g.isCrumbField(session.Field) {
		return nil, fmt.Errorf("the crumb of Jenkins is named %q, which is no default name: set crumb_field to that name if it is right", session.Field)
	}
	session.Fetched = asked
	if bindsAddr(session.Version) {
		g.crumbBindsAddr.Store(true)
	}
	return session, nil
}

// remember keeps for later that a crumb has been this user's, and whose the
// session is.
func (f *forward) remember(s *crumb.Session) {
	p, id := f.gate.people, f.Person.User
	switch {
	case s.SetCookie != nil:
		f.gate.learnCookies(s.SetCookie, id)
	case f.cookies.session != "" && !strings.Contains(f.cookies.session, ";"): // of several, nobody knows which one Jenkins took
		p.owners.SetIfAbsent(sessionID(f.cookies.session), id)
	}
	if s.Crumb != "" {
		session := f.cookies.session
		if s.SetCookie != nil {
			session = s.Pairs()
		}
		p.seen.Set(seenCrumb{id, s.Sum(s.Crumb)}, sighting{f.gate.Now().Unix(), session})
	}
}

// run calls a handler in a goroutine that is not its server's, where a panic
// would end the process. A proxy panics with http.ErrAbortHandler when an answer
// breaks off.
func run(next Next, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case any(http.ErrAbortHandler):
			err = errors.New("the answer broke off")
		default:
			err = fmt.Errorf("the next handler panicked: %v", p)
		}
	}()
	return next(w, r)
}

// bindsAddr tells whether a version of Jenkins makes the client's address a part
// of the crumb, as it did before 2.543
// (hudson.security.csrf.DefaultCrumbIssuer).
func bindsAddr(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	return err == nil && major == "2" && n < 543
}

// crumbFailed answers a request that can't go on because Jenkins gives no crumb. If Jenkins
// asks its clients to wait, the client gets that answer.
func (f *forward) crumbFailed(w http.ResponseWriter, r *http.Request, err error) error {
	if r.Context().Err() != nil {
		return nil // the client has left
	}
	f.log(r, "no crumb from Jenkins", err)
	var unready *crumb.UnreadyError
	switch {
	case errors.As(err, &unready):
		passOn(w, r, unready)
	case errors.Is(err, crumb.ErrForbidden):
		answer(w, r, noCrumbRight)
	case errors.Is(err, context.DeadlineExceeded):
		answer(w, r, timedOut)
	default:
		answer(w, r, badGateway)
	}
	return nil
}

func (f *forward) log(r *http.Request, message string, err error) {
	args := []any{"method", r.Method, "owner", string(f.User())}
	if f.Token != nil {
		args = append(args, "token_id", f.Token.Record().ID.String())
	}
	if err != nil {
		args = append(args, "error", err)
	}
	// Not as an error, to which Caddy's logger adds a stack; and without the request's
	// context, from which it would add the token's id a second time.
	f.gate.Log.Warn(message, args...)
}
