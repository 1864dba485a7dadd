package caddymodule

import (
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler guards a Jenkins controller: it lets in who has a valid API token, tells
// Jenkins who that is, and sees to Jenkins' crumbs. What comes behind it, usually
// reverse_proxy, leads to Jenkins, which must not be reachable in another way.
//
// It sets the placeholders {http.auth.user.id}, the token's owner, and
// {http.crumbgate.token.id} and {http.crumbgate.token.name}, and adds the token's
// id to the access log.
type Handler struct {
	// Jenkins' context path, such as /jenkins. Default: none.
	Prefix string `json:"prefix,omitempty"`
	// The header in which Jenkins reads the user's id. Default: X-Forwarded-User.
	UserHeader string `json:"user_header,omitempty"`
	// The header in which Jenkins reads the user's groups, separated by |. Default:
	// X-Forwarded-Groups.
	GroupsHeader string `json:"groups_header,omitempty"`
	// The header in which Jenkins reads the user's mail address. Default:
	// X-Forwarded-Mail.
	MailHeader string `json:"mail_header,omitempty"`
	// The header in which Jenkins reads the user's display name. Default:
	// X-Forwarded-DisplayName.
	DisplayNameHeader string `json:"display_name_header,omitempty"`
	// A second header in which clients may send a token, for those that need
	// Authorization for something else. Default: none.
	TokenHeader string `json:"token_header,omitempty"`
	// The name that Jenkins must give to its crumb. Default: any; Jenkins says it.
	CrumbField string `json:"crumb_field,omitempty"`
	// Which spellings of a user id are the same: case_insensitive, case_sensitive or
	// case_sensitive_email. Default: case_insensitive, as in Jenkins.
	UserIDs string `json:"user_ids,omitempty"`
	// How many bytes of a request's body are kept to send it again when Jenkins has
	// forgotten the session. Default: 1 MiB.
	BodyLimit int64 `json:"body_limit,omitempty"`
	// How long Jenkins may take to give a crumb. Default: 10s.
	CrumbTimeout caddy.Duration `json:"crumb_timeout,omitempty"`
	// For how many users a Jenkins session is kept. Default: 10000.
	MaxSessions int `json:"max_sessions,omitempty"`

	gate *gateway.Gate
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.crumbgate", New: func() caddy.Module { return new(Handler) }}
}

// config returns the handler's settings as package gateway takes them.
func (h *Handler) config() (gateway.Config, error) {
	ids, err := user.ParseStrategy(h.UserIDs)
	if err != nil {
		return gateway.Config{}, fmt.Errorf("user_ids: %w", err)
	}
	return gateway.Config{
		Prefix:     h.Prefix,
		UserHeader: h.UserHeader, GroupsHeader: h.GroupsHeader, MailHeader: h.MailHeader, DisplayNameHeader: h.DisplayNameHeader,
		TokenHeader:  h.TokenHeader,
		CrumbField:   h.CrumbField,
		UserIDs:      ids,
		ReplayLimit:  h.BodyLimit,
		CrumbTimeout: time.Duration(h.CrumbTimeout),
		MaxSessions:  h.MaxSessions,
	}.Defaulted()
}

// Provision makes the gate. It touches no store.
func (h *Handler) Provision(ctx caddy.Context) error {
	config, err := h.config()
	if err != nil {
		return err
	}
	module, err := ctx.App("crumbgate")
	if err != nil {
		return fmt.Errorf("loading the crumbgate app: %w", err)
	}
	app := module.(*App)
	if err := app.useUserIDs(config.UserIDs); err != nil {
		return err
	}
	config.Log = ctx.Slogger()
	config.Metrics = app.metrics
	config.Lookup = func(digest token.Digest) (*token.Token, error) {
		d, err := app.directory()
		if err != nil {
			return nil, err
		}
		return d.Find(digest), nil
	}
	config.Count = func(t *token.Token, addr string) {
		if d, err := app.directory(); err == nil { // it was open when the token was found
			d.Count(t, addr)
		}
	}
	config.ClientAddr = func(r *http.Request) string {
		addr, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
		return addr
	}
	config.Trusted = func(r *http.Request) bool {
		trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
		return trusted
	}
	config.Admitted = admitted
	config.Refused = refused
	config.Fork = fork
	if h.gate, err = gateway.New(config); err != nil {
		return err
	}
	if ctx.Logger().Core().Enabled(zapcore.DebugLevel) && redactors.Load() == 0 {
		ctx.Logger().Warn("the debug log shows Jenkins crumbs: add \"log { format crumbgate }\" to the global options")
	}
	return nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return h.gate.ServeHTTP(w, r, next.ServeHTTP)
}

// admitted names the user and the token to the rest of Caddy.
func admitted(r *http.Request, t *token.Token) {
	record := t.Record()
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.auth.user.id", string(record.Owner))
	repl.Map(func(key string) (any, bool) {
		switch key {
		case "http.crumbgate.token.id":
			return record.ID.String(), true
		case "http.crumbgate.token.name":
			return record.Name, true
		}
		return nil, false
	})
	if r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server).Logs != nil { // else nobody reads it
		extra := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
		extra.Set(zap.Stringer("token_id", record.ID))
	}
}

// refused keeps a request with a token in its URL out of the access log, in which
// Caddy's own formats would show it. The gate has logged it, without the URL.
func refused(r *http.Request, reason gateway.Reason) {
	if reason == gateway.ReasonTokenInQuery {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
}

// fork gives a request what Caddy keeps for each: a replacer, variables, and the
// record of the routes that it has taken. Handlers behind us would otherwise see
// what they left there for the request before. Variables and placeholders that
// were set before us stay known.
func fork(w http.ResponseWriter, r *http.Request) *http.Request {
	ctx := r.Context()
	outer := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	vars := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)

	repl := caddy.NewReplacer()
	forked := caddyhttp.PrepareRequest(r, repl, w, ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server))
	inner := forked.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	trusted, addr := inner[caddyhttp.TrustedProxyVarKey], inner[caddyhttp.ClientIPVarKey]
	maps.Copy(inner, vars)
	inner[caddyhttp.TrustedProxyVarKey], inner[caddyhttp.ClientIPVarKey] = trusted, addr
	repl.Map(outer.Get)
	return forked
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
