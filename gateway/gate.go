package gateway

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// A Gate decides on requests and passes them on. It is safe for concurrent use.
type Gate struct {
	Config
	scrubber *scrubber
	broker   *crumb.Broker
	cors     *http.CrossOriginProtection

	placeholderKey [32]byte
	// crumbBindsAddr is set once Jenkins has turned out to be of a version whose
	// crumbs depend on the client's address.
	crumbBindsAddr atomic.Bool
}

// New returns a gate, or an error that says which setting is wrong.
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
	broker, err := crumb.NewBroker(c.MaxSessions, c.CrumbTimeout)
	if err != nil {
		return nil, err
	}
	g := &Gate{Config: c, scrubber: newScrubber(&c), broker: broker, cors: http.NewCrossOriginProtection()}
	rand.Read(g.placeholderKey[:])
	return g, nil
}

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
	ReasonAmbiguous    Reason = "more than one credential"
	ReasonTokenInQuery Reason = "a token in the URL"
	ReasonPath         Reason = "a path that Jenkins could read otherwise"
	ReasonOutside      Reason = "a path outside of Jenkins' context path"
	ReasonCrossOrigin  Reason = "a request that a browser made for another site"
	ReasonUnavailable  Reason = "the token store is not open"
)

// A Decision is what Check makes of a request.
type Decision struct {
	// Reason is "" if the request goes on.
	Reason Reason
	// Token is the token that was presented, if it exists, also when it is refused.
	Token *token.Token
	// Err is the detail of a reason that has one. It holds no secret.
	Err error
	// route is the path as Jenkins dispatches it.
	route route
}

// Check decides on a request, from its method, path and headers alone, and
// changes nothing.
func (g *Gate) Check(r *http.Request) Decision {
	if tokenInQuery(r.URL.RawQuery, g.exists) {
		return Decision{Reason: ReasonTokenInQuery}
	}
	route, outside := dispatchPath(r, g.Prefix)
	if outside != nil && !errors.Is(outside, ErrOutside) {
		return Decision{Reason: ReasonPath, Err: outside}
	}
	presented, reason := presented(r.Header, g.TokenHeader)
	if reason != "" {
		return Decision{Reason: reason}
	}
	t, err := g.Lookup(presented.digest)
	switch {
	case err != nil:
		return Decision{Reason: ReasonUnavailable, Err: err}
	case t == nil:
		return Decision{Reason: ReasonUnknown}
	}
	d := Decision{Token: t, route: route}
	record := t.Record()
	if presented.named && !g.UserIDs.Equal(presented.user, record.Owner) {
		d.Reason = ReasonWrongUser
		return d
	}
	switch record.Admit(g.Now()) {
	case token.RefusedRevoked:
		d.Reason = ReasonRevoked
	case token.RefusedExpired:
		d.Reason = ReasonExpired
	}
	if d.Reason == "" && outside != nil {
		d.Reason = ReasonOutside
	}
	if d.Reason != "" {
		return d
	}
	// A browser that has been asked for a password sends it with every request that
	// any page makes. We give such a request a crumb, so we have to see to it that the
	// page is Jenkins' own. What is not a browser sends none of the headers that this
	// looks at.
	if presented.named {
		checked := r
		if _, upgrade := r.Header["Upgrade"]; upgrade {
			// Any page may open a WebSocket, by GET: to Jenkins' CLI, which does all that the
			// user may do. Old versions of Jenkins don't look at the Origin (SECURITY-3315).
			checked = &http.Request{Method: http.MethodPost, URL: r.URL, Host: r.Host, Header: r.Header}
		}
		if err := g.cors.Check(checked); err != nil {
			d.Reason, d.Err = ReasonCrossOrigin, err
		}
	}
	return d
}

func (g *Gate) exists(digest token.Digest) bool {
	t, err := g.Lookup(digest)
	return err == nil && t != nil
}

// Next is the handler behind the gate.
type Next func(http.ResponseWriter, *http.Request) error

// ServeHTTP passes a request on to next as the user that it is from, or answers
// it. It returns next's error.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next Next) error {
	g.scrubber.scrub(r)
	if !g.Trusted(r) {
		scrubForwarded(r.Header)
	}
	d := g.Check(r)
	if d.Reason != "" {
		g.Metrics.refused[d.Reason].Inc()
		g.logRefusal(r, d)
		g.Refused(r, d.Reason)
		refuse(w, r, d.Reason)
		return nil
	}
	g.Metrics.admitted.Inc()
	g.identify(r.Header, d.Token)
	addr := g.ClientAddr(r)
	g.Count(d.Token, addr)
	g.Admitted(r, d.Token)
	f := &forward{gate: g, token: d.Token, addr: addr, next: next}
	return f.serve(w, r, d.route)
}

func (g *Gate) logRefusal(r *http.Request, d Decision) {
	attrs := []slog.Attr{
		slog.String("reason", string(d.Reason)),
		slog.String("client_addr", g.ClientAddr(r)),
		slog.String("method", r.Method),
	}
	if d.Token != nil {
		record := d.Token.Record()
		attrs = append(attrs,
			slog.String("token_id", record.ID.String()),
			slog.String("owner", string(record.Owner)),
			slog.String("token_name", record.Name))
	}
	if d.Err != nil {
		attrs = append(attrs, slog.String("error", d.Err.Error()))
	}
	g.Log.LogAttrs(r.Context(), slog.LevelWarn, "request refused", attrs...)
}
