package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/live"
	"github.com/crumbgate/crumbgate/gateway/selfservice"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/gateway/webhook"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler guards a Jenkins controller: it lets in who has a valid API token or has
// signed in, tells Jenkins who that is, and sees to Jenkins' crumbs. What comes behind it, usually
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
	// How many bytes of all bodies are kept at once. A body beyond that is not sent
	// again. Default: 64 MiB, or body_limit if that is larger.
	BodyMemory int64 `json:"body_memory,omitempty"`
	// How long Jenkins may take to give a crumb. Default: 10s.
	CrumbTimeout caddy.Duration `json:"crumb_timeout,omitempty"`
	// For how many users a Jenkins session is kept. Default: 10000.
	MaxSessions int `json:"max_sessions,omitempty"`
	// Where the sign-in of people leaves who they are. Default: there is none, and only
	// tokens are let in.
	Session *Session `json:"session,omitempty"`
	// What becomes of requests that nobody is known to be from: refuse or pass, as
	// Jenkins' anonymous. Default: refuse.
	Anonymous string `json:"anonymous,omitempty"`
	// The URL that Jenkins is configured with. WebSockets are presented to Jenkins as
	// coming from its pages, which it insists on. Default: as clients say.
	JenkinsURL string `json:"jenkins_url,omitempty"`
	// Further sites whose pages may make requests for people, such as
	// https://portal.example.com. Default: none.
	TrustedOrigins []string `json:"trusted_origins,omitempty"`
	// For which methods people need a crumb: unsafe (all but GET, HEAD and OPTIONS) or
	// post, as in Jenkins, where DELETE needs none. Default: unsafe.
	CrumbMethods string `json:"crumb_methods,omitempty"`
	// For how long the gateway's own crumbs are good. Default: 24h.
	CrumbLifetime caddy.Duration `json:"crumb_lifetime,omitempty"`
	// Whether a page that was opened before Jenkins forgot the session still works: on
	// or off. Default: on.
	RefreshCrumbs string `json:"refresh_crumbs,omitempty"`
	// Endpoints that are open without a user: names of the catalogue, with a minus to
	// close one, or paths. Default: what agents and the log-in page need.
	Public []string `json:"public,omitempty"`
	// Endpoints that need no crumb, in the same way. Default: those of Jenkins.
	CrumbExempt []string `json:"crumb_exempt,omitempty"`
	// The forges whose signed webhooks are let in: github, gitlab or bitbucket.
	// Default: none.
	Webhooks map[string]*Webhook `json:"webhooks,omitempty"`

	// What becomes of requests to Jenkins' own endpoints for API tokens: pass, refuse,
	// or answer, with tokens of the gateway. Default: pass.
	TokenAPI string `json:"token_api,omitempty"`
	// Whether Jenkins decides on its own tokens and on passwords, and the log tells
	// where the gateway would decide otherwise: on or off. Default: off.
	Shadow string `json:"shadow,omitempty"`
	// Where people who have signed in manage their tokens, or off. Default: /crumbgate/,
	// if there is a session.
	Pages string `json:"pages,omitempty"`
	// Who may manage everybody's tokens: ids of users, and groups as group:NAME.
	// Default: nobody.
	Admins []string `json:"admins,omitempty"`
	// Names of cookies that reach Jenkins beside its own. A * at the end of a name stands
	// for any text. Default: none.
	PassCookies []string `json:"pass_cookies,omitempty"`
	// Where /logout sends a browser once Jenkins has ended its session: the sign-out of
	// the sign-in. A path of this site or a URL. Default: where Jenkins says.
	SignOut string `json:"sign_out,omitempty"`

	// The headers about scheme, host and port that each proxy in trusted_proxies
	// overwrites: Forwarded, X-Forwarded-Host, X-Forwarded-Port, X-Forwarded-Proto,
	// X-Forwarded-Server or X-Proxied-Https. Only these are passed on, or with "none"
	// alone no header. Default: X-Forwarded-Proto.
	ProxySets []string `json:"proxy_sets,omitempty"`

	// How many failed credentials an IPv4 address or an IPv6 /64 may send in a minute
	// before it gets 429; -1 for no limit. Valid tokens always pass. Default: 600.
	FailedCredentials int `json:"failed_credentials,omitempty"`
	// What becomes of a configuration in which an upstream behind the gate can be reached
	// without one: refuse or allow. Then clients may reach Jenkins as any user. Default:
	// refuse.
	InsecureUnguardedUpstreams string `json:"insecure_unguarded_upstreams,omitempty"`

	gate *gateway.Gate
}

// allow is a value of InsecureUnguardedUpstreams.
const allow = "allow"

// Webhook is what proves that a webhook comes from its forge.
type Webhook struct {
	// The secrets that are set at the forge, of which any may match, so that they can
	// be replaced one by one. Placeholders such as {env.WEBHOOK_SECRET} and
	// {file./run/secrets/webhook} are replaced; the admin endpoint shows all other text.
	Secrets []string `json:"secrets"`
	// How many bytes a body may have. Default: 25 MiB.
	MaxBody int64 `json:"max_body,omitempty"`
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
	choose := chooser{}
	anonymous := choose.bool("anonymous", h.Anonymous, "refuse", "pass")
	postOnly := choose.bool("crumb_methods", h.CrumbMethods, "unsafe", "post")
	keep := choose.bool("refresh_crumbs", h.RefreshCrumbs, "on", "off")
	shadow := choose.bool("shadow", h.Shadow, "off", "on")
	choose.bool("insecure_unguarded_upstreams", h.InsecureUnguardedUpstreams, "refuse", allow)
	if err = choose.err; err != nil {
		return gateway.Config{}, err
	}
	tokenAPI, err := gateway.ParseTokenAPI(h.TokenAPI)
	if err != nil {
		return gateway.Config{}, err
	}
	kinds := make(map[webhook.Kind]*webhook.Verifier)
	for name := range h.Webhooks {
		kind, wrong := webhook.ParseKind(name)
		if wrong != nil && err == nil {
			err = fmt.Errorf("webhook: %w", wrong)
		}
		kinds[kind] = nil
	}
	var groups gateway.GroupFilter
	if h.Session != nil && err == nil {
		if err = h.Session.provision(); err == nil {
			groups, err = h.Session.groupFilter()
		}
	}
	if err != nil {
		return gateway.Config{}, err
	}
	pages := ""
	switch {
	case h.Pages == "off":
	case h.Pages != "":
		pages = h.Pages
	case h.Session != nil:
		pages = selfservice.DefaultPrefix
	}
	return gateway.Config{
		PagesPrefix: pages,

		JenkinsOrigin:   h.JenkinsURL,
		TrustedOrigins:  h.TrustedOrigins,
		CrumbOnPostOnly: postOnly,
		CrumbLifetime:   time.Duration(h.CrumbLifetime),
		RefreshCrumbs:   !keep,
		Anonymous:       anonymous,
		Public:          h.Public,
		CrumbExempt:     h.CrumbExempt,
		Webhooks:        kinds,
		TokenAPI:        tokenAPI,
		Shadow:          shadow,
		Admins:          h.Admins,
		ProxySets:       h.ProxySets,
		MaxFailures:     h.FailedCredentials,
		Groups:          groups,
		PassCookies:     h.PassCookies,
		SignOut:         h.SignOut,

		Prefix:     h.Prefix,
		UserHeader: h.UserHeader, GroupsHeader: h.GroupsHeader, MailHeader: h.MailHeader, DisplayNameHeader: h.DisplayNameHeader,
		TokenHeader:  h.TokenHeader,
		CrumbField:   h.CrumbField,
		UserIDs:      ids,
		ReplayLimit:  h.BodyLimit,
		ReplayMemory: h.BodyMemory,
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
	config.Tokens = app.directory
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterConnContext(live.ConnContext)
		// The leftmost address of X-Forwarded-For is what the client claims. So Caddy's
		// client_ip, its log and the gateway agree on the rightmost that is no trusted proxy.
		server.TrustedProxiesStrict = 1
		app.useServer(server)
	}
	config.Live = func() *live.Registry {
		if shared := app.open.Load(); shared != nil {
			return shared.live
		}
		return nil
	}
	if config.PagesPrefix != "" {
		if h.Session == nil {
			return errors.New("pages: nobody can sign in to them without session: say who has signed in, or leave pages out")
		}
		pages, err := selfservice.New(selfservice.Config{
			Directory: app.directory, CrumbKeys: app.crumbKeys, Prefix: config.PagesPrefix, JenkinsPrefix: config.Prefix, SignOut: config.SignOut != "",
			Now: clock, Admin: config.IsAdmin, Audit: app.auditReader(), Log: ctx.Slogger(),
		})
		if err != nil {
			return fmt.Errorf("pages: %w", err)
		}
		config.Pages = pages.ServeHTTP
	}
	config.Now, config.ClientAddr, config.Trusted = clock, clientAddr, fromTrustedProxy
	config.CrumbKeys = app.crumbKeys
	if h.Session != nil {
		h.Session.log = ctx.Logger()
		config.Session = h.Session.person
	}
	for kind := range config.Webhooks {
		if config.Webhooks[kind], err = h.Webhooks[string(kind)].verifier(kind); err != nil {
			return err
		}
	}
	config.Admitted = admitted
	config.Refused = func(r *http.Request, d gateway.Decision) {
		refused(r, d)
		app.noteRequest(audit.RequestDenied, r, d, string(d.Reason), config.ClientAddr(r))
	}
	config.Observed = func(r *http.Request, d gateway.Decision) {
		app.noteRequest(audit.RequestObserved, r, d, "needs "+d.Need.Scope(), config.ClientAddr(r))
	}
	config.Shadowed = func(r *http.Request, d gateway.Decision, byJenkins bool) {
		reason := "Jenkins refuses it, the gateway would not"
		if byJenkins {
			reason = "Jenkins admits it, the gateway would not: " + string(d.Reason)
		}
		app.noteRequest(audit.RequestShadowed, r, d, reason, config.ClientAddr(r))
	}
	config.Fork = fork
	if err := checkUnguarded(ctx); err != nil {
		return err
	}
	if h.gate, err = gateway.New(config); err != nil {
		return err
	}
	h.warn(ctx)
	runningSecrets.addNames(h, config.SecretNames())
	return h.checkLogs(ctx)
}

// verifier makes what checks the webhooks of a forge.
func (w *Webhook) verifier(kind webhook.Kind) (*webhook.Verifier, error) {
	repl := caddy.NewReplacer()
	secrets := make([]string, len(w.Secrets))
	for i, text := range w.Secrets {
		var err error
		if secrets[i], err = repl.ReplaceOrErr(text, true, true); err != nil {
			return nil, fmt.Errorf("webhook %s: secret: %w", kind, err)
		}
	}
	limit := w.MaxBody
	if limit == 0 {
		limit = webhook.DefaultLimit
	}
	v, err := webhook.New(kind, secrets, limit)
	if err != nil {
		return nil, fmt.Errorf("webhook %s: %w", kind, err)
	}
	return v, nil
}

// Cleanup waits for what the gate does in the background.
func (h *Handler) Cleanup() error {
	runningSecrets.removeNames(h)
	if h.gate != nil {
		h.gate.Close()
	}
	return nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if fromTrustedProxy(r) {
		settleClientAddr(r)
		defer keepPeer(r)()
	}
	return h.gate.ServeHTTP(w, r, next.ServeHTTP)
}

// admitted names the user, and the token if there is one, to the rest of Caddy.
func admitted(r *http.Request, d gateway.Decision) {
	if d.User() == "" {
		return
	}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.auth.user.id", string(d.User()))
	if d.Token == nil {
		return
	}
	record := d.Token.Record()
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
func refused(r *http.Request, d gateway.Decision) {
	if d.Reason == gateway.ReasonTokenInURL {
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
	// The client's address and whether a trusted proxy stands before us among them: r no
	// longer has the headers from which these were determined.
	maps.Copy(forked.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	if fromTrustedProxy(forked) {
		for _, name := range peerPlaceholders {
			if value, found := outer.Get(name); found {
				repl.Set(name, value)
			}
		}
	}
	repl.Map(outer.Get)
	return forked
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
