package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/gateway/headerrealm"
	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/gateway/webhook"
)

// A Gate decides on requests and passes them on. It is safe for concurrent use.
type Gate struct {
	Config
	scrubber *scrubber
	openings *endpoint.Openings
	cors     *http.CrossOriginProtection
	jenkins  cookieNames   // cookies that reach Jenkins
	broker   *crumb.Broker // sessions of token clients, which the gate holds
	failures *failures
	people   *people // what is known of those who hold theirs

	bodies         budget // of what is kept of request bodies
	placeholderKey [32]byte
	omitted        daily // parts of identities
	dropped        daily // names of cookies
	groupsSent     atomic.Bool
	// crumbBindsAddr is set once Jenkins has turned out to be of a version whose
	// crumbs depend on the client's address.
	crumbBindsAddr atomic.Bool
}

// New returns a gate, or an error that says which setting is wrong. Close it when
// it is not used any more.
func New(config Config) (*Gate, error) {
	c, err := config.Defaulted()
	if err != nil {
		return nil, err
	}
	if c.Metrics == nil {
		if c.Metrics, err = NewMetrics(prometheus.NewRegistry()); err != nil {
			return nil, err
		}
	}
	g := &Gate{Config: c, scrubber: newScrubber(&c), cors: http.NewCrossOriginProtection(), jenkins: newCookieNames(c.PassCookies)}
	g.omitted.limit, g.dropped.limit = maxOmittedNotices, maxDroppedNotices
	for _, origin := range c.TrustedOrigins {
		if err := g.cors.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("trusted_origins: %w", err)
		}
	}
	if g.openings, err = endpoint.Open(c.Public, c.CrumbExempt, slices.Collect(maps.Keys(c.Webhooks))); err != nil {
		return nil, err
	}
	if g.broker, err = crumb.NewBroker(c.MaxSessions, c.CrumbTimeout); err != nil {
		return nil, err
	}
	if g.failures, err = newFailures(c.MaxFailures); err != nil {
		return nil, err
	}
	if g.people, err = newPeople(&c); err != nil {
		return nil, err
	}
	g.bodies.limit = c.ReplayMemory
	rand.Read(g.placeholderKey[:])
	return g, nil
}

// Close ends what the gate does in the background.
func (g *Gate) Close() { g.people.close() }

// A Reason says why a request was refused. It is for the log and the metrics, not
// for the client.
type Reason string

// The reasons for which Check refuses a request.
const (
	ReasonNone         Reason = "no credential"
	ReasonForeign      Reason = "a credential that is not a token of ours"
	ReasonMalformed    Reason = "malformed credential"
	ReasonUnknown      Reason = "unknown token"
	ReasonWrongUser    Reason = "the token belongs to another user"
	ReasonExpired      Reason = "expired token"
	ReasonRevoked      Reason = "revoked token"
	ReasonSuspended    Reason = "suspended token"
	ReasonSuperseded   Reason = "a token that another has replaced"
	ReasonOwner        Reason = "a token of a disabled user"
	ReasonLegacy       Reason = "a token from before Jenkins 2.129"
	ReasonParent       Reason = "a token whose parent token is not valid"
	ReasonIdle         Reason = "a token that was not used for too long"
	ReasonSource       Reason = "a token used from an address that is not its own"
	ReasonScope        Reason = "a token whose scopes don't cover the request"
	ReasonRate         Reason = "a token used too often"
	ReasonUses         Reason = "a token that is used up"
	ReasonPages        Reason = "a token on pages for people"
	ReasonTokenAPI     Reason = "a user's request to Jenkins' token endpoints"
	ReasonAmbiguous    Reason = "more than one credential"
	ReasonTokenInURL   Reason = "a token in the URL"
	ReasonPath         Reason = "a path that Jenkins could read otherwise"
	ReasonOutside      Reason = "a path outside of Jenkins' context path"
	ReasonCrossOrigin  Reason = "a request that a browser made for another site"
	ReasonUnavailable  Reason = "the token store is not open"
	ReasonMethod       Reason = "a method that is not for Jenkins"
	ReasonUntrusted    Reason = "an identity that the client could have claimed"
	ReasonIdentity     Reason = "an identity that can't be told to Jenkins"
	ReasonCharset      Reason = "a user id that Jenkins can't read from a header"
	ReasonNoUser       Reason = "a sign-in that named no user"
	ReasonNoOrigin     Reason = "a WebSocket without an Origin"
	ReasonNoCrumb      Reason = "no crumb"
	ReasonCrumb        Reason = "a crumb that is not this user's"
	ReasonCrumbSession Reason = "a crumb of another session"
	ReasonCrumbExpired Reason = "an expired crumb"
	ReasonCrumbForm    Reason = "a form in which the crumb can't be looked for"
	ReasonCrumbSlow    Reason = "a form that did not arrive in time"
	ReasonCrumbBusy    Reason = "too many request bodies at once"
	ReasonSignature    Reason = "a webhook without a valid signature"
	ReasonWebhookBody  Reason = "a webhook whose body did not arrive"
	ReasonWebhookLarge Reason = "a webhook whose body is too large"
	ReasonWebhookBusy  Reason = "too many webhooks at once"
	ReasonFailures     Reason = "too many failed credentials"
	ReasonEarlyData    Reason = "a request sent before the TLS handshake was complete"
)

// A Class is what a request is, as far as it decides what is asked of it.
type Class int

// The classes of requests.
const (
	// ClassNone is a request that nothing is known of.
	ClassNone Class = iota
	// ClassToken presents an API token.
	ClassToken
	// ClassSession is from a person who has signed in before the gate.
	ClassSession
	// ClassPublic is for an endpoint that is open to all.
	ClassPublic
	// ClassWebhook is for an endpoint that is open to who can sign.
	ClassWebhook
	// ClassAnonymous is from nobody, where the settings let that pass.
	ClassAnonymous
)

// String returns the name that logs and metrics have for it.
func (c Class) String() string {
	return [...]string{"none", "token", "session", "public", "webhook", "anonymous"}[c]
}

// A Decision is what Check makes of a request.
type Decision struct {
	// Reason is "" if the request goes on.
	Reason Reason
	Class  Class
	// Token is the token that was presented, if it exists, also when it is refused.
	Token *token.Token
	// Need is what a token with scopes needs for the request, and Uncovered tells that
	// its scopes don't cover that, and it is let pass to observe it.
	Need      policy.Need
	Uncovered bool
	observed  bool // by the limits that Need was compared with
	// Person is who has signed in, if that decides.
	Person *token.Profile
	// Err is the detail of a reason that has one. It holds no secret.
	Err error
	// route is the path as Jenkins dispatches it.
	route route
	// outside reports whether the path is outside of Jenkins' context path.
	outside bool
	// opening is why a request without a user is let in.
	opening *endpoint.Entry
	// signed is the endpoint whose forge must have signed the request, whoever sends it.
	signed *endpoint.Entry
	// anonymous tells that a token's scopes don't cover the request, which goes on because
	// it would without any credential, and as if it had none.
	anonymous bool
	// page tells that the request is for the gateway's own pages.
	page bool
	// preflight tells that a browser asks whether a page of a trusted origin may make a
	// request.
	preflight bool
	// addr is the client's address.
	addr string
}

// User returns whom the request goes on as, "" for nobody.
func (d *Decision) User() user.ID {
	switch d.Class {
	case ClassToken:
		if d.anonymous {
			return ""
		}
		return d.Token.Record().Owner
	case ClassSession:
		return d.Person.User
	}
	return ""
}

// PathClass tells what kind of thing a request asks Jenkins for, as a permission of
// package policy, or "ambiguous" if its path has no single meaning: for records that
// are not to hold the path.
func (d *Decision) PathClass(r *http.Request) string {
	if d.Reason == ReasonPath || d.Reason == ReasonOutside {
		return "ambiguous"
	}
	return policy.Classify(r.Method, d.route.path, r.URL.RawQuery).Permission.String()
}

// Check decides on a request, from its method, path and headers alone, and
// changes nothing. Whether a session's crumb is right is left to ServeHTTP, as it
// can stand in the body.
func (g *Gate) Check(r *http.Request) Decision {
	d := g.decide(r)
	if inEarlyData(r) && !d.replayable(r) {
		return Decision{Reason: ReasonEarlyData, route: d.route}
	}
	return d
}

// decide is Check for a request whose client has proved its address.
func (g *Gate) decide(r *http.Request) Decision {
	if urlHoldsToken(r) {
		return Decision{Reason: ReasonTokenInURL}
	}
	if g.isTrustedPreflight(r) {
		return Decision{preflight: true}
	}
	if g.Pages != nil && (strings.HasPrefix(r.URL.Path, g.PagesPrefix) || r.URL.Path+"/" == g.PagesPrefix) {
		return g.checkPage(r)
	}
	route, outside := dispatchPath(r, g.Prefix)
	if outside != nil && !errors.Is(outside, ErrOutside) {
		return Decision{Reason: ReasonPath, Err: outside}
	}
	if r.Method == http.MethodConnect && r.ProtoMajor == 1 || r.Method == http.MethodTrace {
		return Decision{Reason: ReasonMethod}
	}
	presented, reason := presented(r.Header, g.TokenHeader)
	var d Decision
	switch reason {
	case "":
		var known bool
		if d, known = g.checkToken(r, presented, route); !known && presented.legacy {
			d = g.checkOthers(r, ReasonForeign, route, outside) // a password of 32 hex digits
		}
	case ReasonNone, ReasonForeign:
		d = g.checkOthers(r, reason, route, outside)
	default:
		d = Decision{Reason: reason}
	}
	if d.Reason == "" && outside != nil {
		d.Reason = ReasonOutside
	}
	if d.Reason == "" && d.User() != "" && g.knownLegacyInURL(r) {
		d.Reason = ReasonTokenInURL
	}
	if d.Reason == "" {
		d.signed, _ = g.openings.Signed(route.path)
	}
	d.route, d.outside = route, outside != nil
	return d
}

// checkPage decides on a request for the gateway's own pages, which nobody but people
// who have signed in may see.
func (g *Gate) checkPage(r *http.Request) Decision {
	if _, reason := presented(r.Header, g.TokenHeader); reason != ReasonNone && reason != ReasonForeign {
		return Decision{Reason: ReasonPages}
	}
	person, reason, err := g.person(r)
	switch {
	case reason != "":
		return Decision{Reason: reason, Err: err}
	case person == nil:
		return Decision{Reason: ReasonNone}
	}
	d := Decision{Class: ClassSession, Person: person, page: true}
	if err := g.cors.Check(r); err != nil {
		d.Reason, d.Err = ReasonCrossOrigin, err
	}
	return d
}

// checkToken decides on a request that presents a token, and tells whether there is
// such a token. One that fails is never taken for anything else.
func (g *Gate) checkToken(r *http.Request, presented credential, route route) (_ Decision, known bool) {
	t, err := g.Lookup(presented.digest)
	switch {
	case err != nil:
		return Decision{Reason: ReasonUnavailable, Err: err}, true
	case t == nil:
		return Decision{Reason: ReasonUnknown}, false
	case presented.legacy != (t.Record().Origin == token.Legacy):
		// Half of a token in the Jenkins format has the digest of the whole.
		return Decision{Reason: ReasonUnknown}, true
	}
	return g.checkKnown(r, presented, route, t), true
}

func (g *Gate) checkKnown(r *http.Request, presented credential, route route, t *token.Token) Decision {
	d := Decision{Class: ClassToken, Token: t}
	record := t.Record()
	if presented.named && !g.UserIDs.Equal(presented.user, record.Owner) {
		d.Reason = ReasonWrongUser
		return d
	}
	d.Reason = reasonOf(t.Admit(g.Now()))
	if d.Reason == "" {
		if _, err := headerrealm.ID(record.Owner); err != nil {
			if d.opening = g.open(r, route); d.opening != nil {
				d.anonymous = true // as without a credential
			} else {
				d.Reason, d.Err = ReasonCharset, err
			}
		}
	}
	if d.Reason == "" && !t.AllowsSource(g.ClientAddr(r)) {
		d.Reason = ReasonSource
	}
	// A browser that has been asked for a password sends it with every request that
	// any page makes. No page can have it send a token otherwise.
	if d.Reason == "" && presented.named {
		d.Err = g.checkPassword(r, route)
		if d.Err != nil {
			d.Reason = ReasonCrossOrigin
		}
	}
	if d.Reason == "" && t.Scoped() {
		g.checkScopes(r, route, &d)
	}
	return d
}

// checkScopes compares what a request needs with the scopes of its token. On an open
// endpoint a token is never worse than no credential: what its scopes don't cover goes
// on as anonymous.
func (g *Gate) checkScopes(r *http.Request, route route, d *Decision) {
	d.Need = policy.Classify(r.Method, route.path, r.URL.RawQuery)
	covered, uncovered := d.Token.Covers(d.Need)
	if covered {
		d.observed = d.Token.Observed()
		return
	}
	opening := g.open(r, route)
	switch {
	case opening != nil && (opening.SameForAll || !uncovered):
		d.opening, d.anonymous = opening, true
	case uncovered:
		d.observed, d.Uncovered = true, true
	default:
		d.Reason = ReasonScope
	}
}

// open returns the entry by which a request needs no user; nil if it needs one.
func (g *Gate) open(r *http.Request, route route) *endpoint.Entry {
	if !isSafe(r.Method) && r.Method != http.MethodPost {
		return nil
	}
	return g.openings.Public(route.path, r.URL.RawQuery)
}

// refusals are the reasons of package token in our words.
var refusals = map[token.Refusal]Reason{
	token.RefusedRevoked:    ReasonRevoked,
	token.RefusedSuspended:  ReasonSuspended,
	token.RefusedExpired:    ReasonExpired,
	token.RefusedSuperseded: ReasonSuperseded,
	token.RefusedOwner:      ReasonOwner,
	token.RefusedLegacy:     ReasonLegacy,
	token.RefusedParent:     ReasonParent,
	token.RefusedIdle:       ReasonIdle,
	token.RefusedRate:       ReasonRate,
	token.RefusedUses:       ReasonUses,
	token.RefusedStore:      ReasonUnavailable,
	token.RefusedSource:     ReasonSource,
	token.RefusedScope:      ReasonScope,
}

// reasonOf returns the reason for a refusal. One that has none yet is refused all the
// same.
func reasonOf(refusal token.Refusal) Reason {
	if refusal == "" {
		return ""
	}
	if reason, known := refusals[refusal]; known {
		return reason
	}
	return ReasonUnknown
}

// checkOthers decides on a request without a token. The reason is ReasonNone or
// ReasonForeign, for which it is refused if it is not let in for another reason.
func (g *Gate) checkOthers(r *http.Request, reason Reason, route route, outside error) Decision {
	person, unusable, err := g.person(r)
	switch {
	case unusable == ReasonUntrusted:
		return Decision{Reason: unusable, Err: err}
	case person != nil:
		// A password that a handler before us has checked is still in the header.
		d := Decision{Class: ClassSession, Person: person}
		d.Reason, d.Err = g.checkOrigin(r, route)
		return d
	case outside != nil && unusable != "":
		return Decision{Reason: unusable, Err: err}
	case outside != nil && !g.Anonymous:
		return Decision{Reason: reason}
	}
	if _, open := g.openings.Signed(route.path); open {
		return Decision{Class: ClassWebhook}
	}
	switch opening := g.open(r, route); {
	case opening != nil && !(g.Shadow && isBasic(r.Header)):
		// A password can't be checked here, so it is dropped. Browsers send it with every
		// request once they have been asked for it, and would ask again after a 401.
		return Decision{Class: ClassPublic, opening: opening}
	case unusable != "" && !(unusable == ReasonNoUser && g.Anonymous):
		// On open endpoints, which are above, a sign-in is never worse than none.
		return Decision{Reason: unusable, Err: err}
	case g.Anonymous && reason == ReasonNone:
		return Decision{Class: ClassAnonymous}
	}
	return Decision{Reason: reason}
}

// Next is the handler behind the gate.
type Next func(http.ResponseWriter, *http.Request) error

// ServeHTTP passes a request on to next as the user that it is from, or answers
// it. It returns next's error.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next Next) error {
	d := g.Check(r) // before the scrub: a handler before us may have named the person in a header
	d.addr = g.ClientAddr(r)
	g.scrubber.scrub(r, g.Trusted(r))
	peer := presentAddr(r, d.addr)
	defer g.withdraw(r, peer)
	if g.shadows(r, &d) {
		f := &forward{gate: g, Decision: d, addr: d.addr, next: next}
		return f.shadow(w, r)
	}
	if d.Reason != "" {
		g.refuse(w, r, d)
		return nil
	}
	if d.preflight {
		g.answerPreflight(w, r)
		return nil
	}
	if d.signed != nil {
		release, reason, err := g.verifySignature(w, r, d.signed, d.addr)
		if reason != "" {
			d.Reason, d.Err = reason, err
			g.refuse(w, r, d)
			return nil
		}
		defer release()
	}
	addr, now := d.addr, g.Now()
	if d.Class == ClassToken {
		// Here and not in Check, which changes nothing.
		used := d.Token.Use(usage.Use{Time: now, Addr: addr, Agent: r.UserAgent()})
		if d.Reason = reasonOf(used); d.Reason != "" {
			g.refuse(w, r, d)
			return nil
		}
		if d.observed {
			if d.Uncovered {
				g.letPass(r, d, addr)
			}
			decided := d // a copy, so that d stays on the stack for all other requests
			w = &statusWriter{ResponseWriter: w, decided: decided.observe}
		}
	}
	g.Metrics.admitted[d.Class].Inc()
	g.Admitted(r, d)
	if d.page {
		g.Pages(w, r, d.Person, addr)
		return nil
	}
	f := &forward{gate: g, Decision: d, addr: addr, next: next}
	switch d.Class {
	case ClassToken:
		if registry := g.Live(); registry != nil {
			access := token.Access{Method: r.Method, Path: d.route.path, Query: r.URL.RawQuery, Addr: addr, Open: d.anonymous}
			r = registry.Begin(&f.flight, d.Token, access, w, r, now)
			defer func() {
				if f.flight.End() {
					panic(http.ErrAbortHandler) // or what came of the answer could look whole
				}
			}()
		}
		if d.anonymous {
			return f.nobody(w, r)
		}
		return f.token(w, r)
	case ClassSession:
		return f.session(w, r)
	default:
		return f.nobody(w, r)
	}
}

// letPass reports a request that goes on although the scopes of its token don't cover it.
func (g *Gate) letPass(r *http.Request, d Decision, addr string) {
	g.Metrics.uncovered.Inc()
	g.Observed(r, d)
	record := d.Token.Record()
	g.Log.LogAttrs(context.Background(), slog.LevelInfo, "request not covered by the scopes of its token, which is observed",
		slog.String("token_id", record.ID.String()), slog.String("owner", string(record.Owner)), slog.String("token_name", record.Name),
		slog.String("needs", d.Need.Scope()), slog.String("client_addr", addr), slog.String("method", r.Method))
}

// observe notes what an observed token needs, from the status of Jenkins' answer. What
// Jenkins refuses, does not have, or fails at is nothing that the token needs: otherwise
// requests that Jenkins refuses would widen the scopes that are suggested.
func (d *Decision) observe(status int) {
	switch {
	case status >= http.StatusInternalServerError:
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound:
	default:
		d.Token.Observe(d.Need)
	}
}

// refuse answers a request that does not go on, and says why in the log.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, d Decision) {
	if wait, first := g.failures.exceeded(&d, g.Now()); wait > 0 {
		g.Metrics.refused[ReasonFailures].Inc()
		if first {
			g.Log.Warn("too many failed credentials, which are not logged until the client slows down", "client_addr", d.addr)
		}
		g.raiseReuse(r, d)
		if d.Token != nil {
			g.Refused(r, d) // the records of a token miss no use of it
		}
		w.Header().Set("Retry-After", strconv.Itoa(wait))
		answer(w, r, responses[ReasonFailures])
		return
	}
	g.report(r, d)
	// Its end is no secret from a client that has the right secret, user and address.
	told := d.Token != nil && d.Token.AllowsSource(d.addr)
	refuse(w, r, d, told, g.Now())
}

// raiseReuse raises the alarm if a refused request presents the secret of a token that
// another has replaced, whatever it was refused for and wherever the secret stands.
func (g *Gate) raiseReuse(r *http.Request, d Decision) {
	now := g.Now()
	if d.Token != nil {
		if d.Token.Ended(now) {
			d.Token.Reused(d.addr)
		}
		return
	}
	switch d.Reason {
	case ReasonTokenInURL, ReasonMalformed, ReasonAmbiguous, ReasonPages: // no token was looked up
	default:
		return
	}
	for text := range presentedTexts(r, g.TokenHeader) {
		for digest := range token.Digests(text) {
			if t, err := g.Lookup(digest); err == nil && t != nil && t.Ended(now) {
				t.Reused(d.addr)
			}
		}
	}
}

// report counts and logs a denial.
func (g *Gate) report(r *http.Request, d Decision) {
	g.Metrics.refused[d.Reason].Inc()
	if d.Reason == ReasonEarlyData {
		// The address is not proved, and the client sends the request again: no denial to record.
		g.Log.Debug("request in early data refused", "method", r.Method)
		return
	}
	g.logRefusal(r, d)
	g.raiseReuse(r, d)
	g.Refused(r, d)
}

// verifySignature checks that a webhook comes from a forge that knows the secret. The
// body goes on as it came; release gives back the memory that it takes.
func (g *Gate) verifySignature(w http.ResponseWriter, r *http.Request, e *endpoint.Entry, addr string) (release func(), _ Reason, _ error) {
	if err := e.CheckSignedQuery(r.URL.RawQuery); err != nil {
		return nil, ReasonSignature, err
	}
	release, err := g.Webhooks[e.Signed].Verify(w, r, networkOf(addr))
	switch {
	case err == nil:
		return release, "", nil
	case errors.Is(err, webhook.ErrSignature):
		return nil, ReasonSignature, err
	case errors.Is(err, webhook.ErrBusy):
		return nil, ReasonWebhookBusy, err
	case errors.Is(err, webhook.ErrTooLarge):
		return nil, ReasonWebhookLarge, err
	}
	return nil, ReasonWebhookBody, err
}

func (g *Gate) logRefusal(r *http.Request, d Decision) {
	attrs := []slog.Attr{
		slog.String("reason", string(d.Reason)),
		slog.String("client_addr", d.addr),
		slog.String("method", r.Method),
	}
	if d.Token != nil {
		record := d.Token.Record()
		attrs = append(attrs,
			slog.String("token_id", record.ID.String()),
			slog.String("owner", string(record.Owner)),
			slog.String("token_name", record.Name))
	}
	if d.Reason == ReasonScope {
		attrs = append(attrs, slog.String("needs", d.Need.Scope()))
	}
	if d.Person != nil {
		attrs = append(attrs, slog.String("user", string(d.Person.User)))
	}
	if d.Err != nil {
		attrs = append(attrs, slog.String("error", d.Err.Error()))
	}
	g.Log.LogAttrs(r.Context(), slog.LevelWarn, "request refused", attrs...)
}
