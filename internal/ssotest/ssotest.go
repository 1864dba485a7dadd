// Package ssotest is a stand-in for the single sign-on service that Caddy's forward_auth asks: an [http.Handler] that
// answers as Authelia, oauth2-proxy or an outpost of authentik does, and remembers what it was asked.
//
// It has no passwords: who knows a user's name is that user. What the real services do for people beyond that (second
// factors, consent, identity providers) is left out; what a proxy in front can notice is kept.
package ssotest

import (
	"crypto/rand"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Flavour is the service to imitate.
type Flavour int

const (
	// Authelia answers at /api/authz/forward-auth with 200 and Remote-User, Remote-Groups (commas between them),
	// Remote-Name and Remote-Email. Who isn't signed in is led to its portal, which has an address of its own, if
	// text/html is accepted and no script asks; others get 401. A cookie counts for all ports of a host, so that on
	// loopback the portal and the gateway share it, as the parent domain does in earnest. In a Caddyfile:
	//
	//	forward_auth {$SSO} {
	//		uri /api/authz/forward-auth
	//		copy_headers Remote-User Remote-Groups Remote-Name Remote-Email
	//	}
	//
	// Unlike here, Authelia wants https.
	Authelia Flavour = iota

	// OAuth2Proxy answers at /oauth2/auth with 202 and X-Auth-Request-User, X-Auth-Request-Email,
	// X-Auth-Request-Groups (commas between them) and X-Auth-Request-Preferred-Username, as with --reverse-proxy and
	// --set-xauthrequest; else with 401, for people and machines alike. In a Caddyfile:
	//
	//	handle /oauth2/* {
	//		reverse_proxy {$SSO}
	//	}
	//	handle {
	//		forward_auth {$SSO} {
	//			uri /oauth2/auth
	//			copy_headers X-Auth-Request-User X-Auth-Request-Groups X-Auth-Request-Email X-Auth-Request-Preferred-Username
	//			@unknown status 401
	//			handle_response @unknown {
	//				redir * /oauth2/start?rd={scheme}://{hostport}{uri}
	//			}
	//		}
	//	}
	OAuth2Proxy

	// Authentik answers at /outpost.goauthentik.io/auth/caddy with 200 and X-Authentik-Username, X-Authentik-Groups
	// (bars between them), X-Authentik-Email, X-Authentik-Name and X-Authentik-Uid. All others it redirects to the
	// outpost under the application's own host. It lets requests for the outpost's own paths pass with 200 and no
	// identity: who trusts the status alone is open there. In a Caddyfile:
	//
	//	route {
	//		reverse_proxy /outpost.goauthentik.io/* {$SSO}
	//		forward_auth {$SSO} {
	//			uri /outpost.goauthentik.io/auth/caddy
	//			copy_headers X-Authentik-Username X-Authentik-Groups X-Authentik-Email X-Authentik-Name
	//		}
	//	}
	Authentik
)

// service is what the flavours differ in.
type service struct {
	cookie  string
	auth    string // path that forward_auth asks
	signIn  []string
	submit  string // path that the log-in form posts to
	signOut string
}

var services = [...]service{
	Authelia: {"authelia_session", "/api/authz/forward-auth", []string{"/"}, "/", "/logout"},
	OAuth2Proxy: {
		"_oauth2_proxy", "/oauth2/auth", []string{"/oauth2/start", "/oauth2/sign_in"}, "/oauth2/callback", "/oauth2/sign_out",
	},
	Authentik: {
		"authentik_proxy", outpost + "/auth/caddy", []string{outpost + "/start"}, outpost + "/callback", outpost + "/sign_out",
	},
}

const outpost = "/outpost.goauthentik.io"

// Config describes a service.
type Config struct {
	Flavour Flavour
	Users   map[string]User // by name
	// AllowedHosts are where people may be sent back to: "host:port", or a host alone for each of its ports.
	AllowedHosts []string
}

// User is what the service tells about somebody. What is empty is not sent.
type User struct {
	Groups []string
	Mail   string
	Name   string // display name
}

// Request is what the service was asked and what it answered.
type Request struct {
	Method     string
	RequestURI string
	Header     http.Header // a copy
	User       string      // who was signed in; empty for nobody
	Status     int
}

// maxRemembered bounds both the requests remembered and the people signed in; beyond it the oldest requests are
// forgotten, and nobody else can sign in.
const maxRemembered = 10_000

// SSO is the service. Its methods may be called at any time from any goroutine.
type SSO struct {
	cfg     Config
	service service
	portal  string // own address, without a trailing slash

	mu       sync.Mutex        // guards all below
	signedIn map[string]string // user by cookie
	requests []Request         // oldest first
}

// Start serves a new service on loopback until the test ends. The URL has no trailing slash; for Authelia it is the
// portal's, which browsers must reach.
func Start(tb testing.TB, cfg Config) (s *SSO, url string) {
	tb.Helper()
	s = &SSO{cfg: cfg, service: services[cfg.Flavour], signedIn: make(map[string]string)}
	server := httptest.NewUnstartedServer(s)
	s.portal = "http://" + server.Listener.Addr().String()
	server.Start()
	tb.Cleanup(server.Close)
	return s, s.portal
}

// Cookie signs a user in and returns the cookie of that, for tests without a browser. It panics if there is no such
// user.
func (s *SSO) Cookie(user string) *http.Cookie {
	if _, ok := s.cfg.Users[user]; !ok {
		panic(fmt.Sprintf("ssotest: no user %q", user))
	}
	secret := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.signedIn) >= maxRemembered {
		panic("ssotest: too many people are signed in")
	}
	s.signedIn[secret] = user
	return s.newCookie(secret)
}

// newCookie is as the services make theirs on loopback, where there is no TLS.
func (s *SSO) newCookie(value string) *http.Cookie {
	c := &http.Cookie{Name: s.service.cookie, Value: value, Path: "/", HttpOnly: true} //nolint:gosec // G124: signIn adds Secure
	c.SameSite = http.SameSiteLaxMode
	return c
}

// Requests returns the remembered requests, oldest first. One is remembered once its answer begins.
func (s *SSO) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// exchange is one request and its answer.
type exchange struct {
	http.ResponseWriter
	s    *SSO
	r    *http.Request
	user string
}

// WriteHeader remembers the request before the client can see the answer.
func (x *exchange) WriteHeader(status int) {
	x.s.mu.Lock()
	if len(x.s.requests) == maxRemembered {
		x.s.requests = x.s.requests[1:]
	}
	x.s.requests = append(x.s.requests, Request{x.r.Method, x.r.RequestURI, x.r.Header.Clone(), x.user, status})
	x.s.mu.Unlock()
	x.ResponseWriter.WriteHeader(status)
}

// ServeHTTP answers what forward_auth asks and shows people the log-in page.
func (s *SSO) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, s: s, r: r, user: s.userOf(r)}
	w.Header().Set("Cache-Control", "no-store")
	switch path := r.URL.Path; {
	case path == s.service.auth:
		x.authorize()
	case path == s.service.submit && r.Method == http.MethodPost:
		x.signIn()
	case path == s.service.signOut:
		x.signOut()
	case slices.Contains(s.service.signIn, path) && r.Method == http.MethodGet:
		x.page(http.StatusOK, r.URL.Query().Get("rd"), "")
	default:
		http.Error(x, "not found", http.StatusNotFound)
	}
}

// userOf returns who sent the request, or "".
func (s *SSO) userOf(r *http.Request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range r.CookiesNamed(s.service.cookie) {
		if user := s.signedIn[c.Value]; user != "" {
			return user
		}
	}
	return ""
}

// authorize answers forward_auth, which copies headers from a 2xx and hands any other answer to the client.
func (x *exchange) authorize() {
	switch x.s.cfg.Flavour {
	case Authelia:
		x.authelia()
	case OAuth2Proxy:
		x.oauth2Proxy()
	case Authentik:
		x.authentik()
	}
}

// target is the URL that the client asked for, by what Caddy tells of it. It is empty if that is incomplete or leads
// to a host that is not allowed.
func (x *exchange) target() string {
	h := x.r.Header
	uri := h.Get("X-Forwarded-Uri")
	if !strings.HasPrefix(uri, "/") {
		return ""
	}
	target := h.Get("X-Forwarded-Proto") + "://" + h.Get("X-Forwarded-Host") + uri
	if !x.s.allowed(target) {
		return ""
	}
	return target
}

// tell sets a header unless there is nothing to tell.
func (x *exchange) tell(name, value string) {
	if value != "" {
		x.Header().Set(name, value)
	}
}

// authelia is Authelia's ForwardAuth implementation (internal/handlers/handler_authz_impl_forwardauth.go).
func (x *exchange) authelia() {
	target, method := x.target(), x.r.Header.Get("X-Forwarded-Method")
	if target == "" || method == "" {
		http.Error(x, "400 Bad Request", http.StatusBadRequest)
		return
	}
	if x.user != "" {
		user := x.s.cfg.Users[x.user]
		x.tell("Remote-User", x.user)
		x.tell("Remote-Groups", strings.Join(user.Groups, ","))
		x.tell("Remote-Name", user.Name)
		x.tell("Remote-Email", user.Mail)
		x.WriteHeader(http.StatusOK)
		return
	}
	script := strings.EqualFold(x.r.Header.Get("X-Requested-With"), "XMLHttpRequest")
	if script || !acceptsHTML(x.r.Header.Get("Accept")) {
		http.Error(x, "401 Unauthorized", http.StatusUnauthorized)
		return
	}
	status := http.StatusSeeOther
	if method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions {
		status = http.StatusFound
	}
	query := url.Values{"rd": {target}, "rm": {method}}
	http.Redirect(x, x.r, x.s.portal+"/?"+query.Encode(), status)
}

// acceptsHTML is AutheliaCtx.AcceptsMIME: anything at all counts only as the first wish.
func acceptsHTML(accept string) bool {
	for i, wish := range strings.Split(accept, ",") {
		name, _, _ := strings.Cut(wish, ";")
		name = strings.TrimSpace(name)
		if name == "text/html" || i == 0 && name == "*/*" {
			return true
		}
	}
	return false
}

// oauth2Proxy is AuthOnly of oauth2-proxy's oauthproxy.go.
func (x *exchange) oauth2Proxy() {
	if x.user == "" {
		http.Error(x, "Unauthorized", http.StatusUnauthorized)
		return
	}
	user := x.s.cfg.Users[x.user]
	x.tell("X-Auth-Request-User", x.user)
	x.tell("X-Auth-Request-Preferred-Username", x.user)
	x.tell("X-Auth-Request-Groups", strings.Join(user.Groups, ","))
	x.tell("X-Auth-Request-Email", user.Mail)
	x.WriteHeader(http.StatusAccepted)
}

// authentik is the forward mode of authentik's proxy outpost (internal/outpost/proxyv2/application/mode_forward.go).
func (x *exchange) authentik() {
	target := x.target()
	switch {
	case x.user != "":
		user := x.s.cfg.Users[x.user]
		x.tell("X-Authentik-Username", x.user)
		x.tell("X-Authentik-Uid", x.user)
		x.tell("X-Authentik-Groups", strings.Join(user.Groups, "|"))
		x.tell("X-Authentik-Email", user.Mail)
		x.tell("X-Authentik-Name", user.Name)
		x.WriteHeader(http.StatusOK)
	case target == "":
		http.Error(x, "400 Bad Request", http.StatusBadRequest)
	case strings.HasPrefix(x.r.Header.Get("X-Forwarded-Uri"), outpost):
		x.WriteHeader(http.StatusOK)
	default:
		host := x.r.Header.Get("X-Forwarded-Proto") + "://" + x.r.Header.Get("X-Forwarded-Host")
		http.Redirect(x, x.r, host+outpost+"/start?"+url.Values{"rd": {target}}.Encode(), http.StatusFound)
	}
}

// allowed reports whether people may be sent to rd: an absolute URL of an allowed host, spelled so that no browser
// reads another host in it.
func (s *SSO) allowed(rd string) bool {
	u, err := url.Parse(rd)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" || strings.Contains(rd, `\`) {
		return false
	}
	return slices.ContainsFunc(s.cfg.AllowedHosts, func(host string) bool {
		return strings.EqualFold(u.Host, host) || strings.EqualFold(u.Hostname(), strings.Trim(host, "[]"))
	})
}

// back is where to send people after they signed in or out: home unless rd is allowed. Only oauth2-proxy and authentik,
// which are under the application's host, know paths without a host.
func (x *exchange) back(rd string) string {
	local := x.s.cfg.Flavour != Authelia && strings.HasPrefix(rd, "/") && !strings.HasPrefix(rd, "//") &&
		!strings.ContainsAny(rd, "\\\t\r\n")
	if local || x.s.allowed(rd) {
		return rd
	}
	return "/"
}

// maxForm bounds the log-in form in bytes.
const maxForm = 64 << 10

// signIn takes in the log-in form. In place of passwords, it must come from this very page: a foreign one could
// otherwise sign people in as somebody else.
func (x *exchange) signIn() {
	if err := http.NewCrossOriginProtection().Check(x.r); err != nil {
		http.Error(x, "403 Forbidden", http.StatusForbidden)
		return
	}
	x.r.Body = http.MaxBytesReader(x, x.r.Body, maxForm)
	name, rd := x.r.PostFormValue("username"), x.r.PostFormValue("rd")
	if _, ok := x.s.cfg.Users[name]; !ok {
		x.page(http.StatusUnauthorized, rd, "There is no such user.")
		return
	}
	cookie := x.s.Cookie(name) //nolint:gosec // G124: Secure follows
	cookie.Secure = x.r.Header.Get("X-Forwarded-Proto") == "https"
	http.SetCookie(x, cookie)
	x.redirect(x.back(rd))
}

func (x *exchange) signOut() {
	x.s.mu.Lock()
	for _, c := range x.r.CookiesNamed(x.s.service.cookie) {
		delete(x.s.signedIn, c.Value)
	}
	x.s.mu.Unlock()
	gone := x.s.newCookie("") //nolint:gosec // G124: it holds nothing
	gone.MaxAge = -1
	http.SetCookie(x, gone)
	x.redirect(x.back(x.r.URL.Query().Get("rd")))
}

// redirect leads on with a GET.
func (x *exchange) redirect(target string) {
	x.Header().Set("Location", target)
	x.WriteHeader(http.StatusSeeOther)
}

// logIn is the log-in page. Its element ids are for tests.
var logIn = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html><head><title>Sign in</title></head><body id="sso">
{{with .User}}<p id="signed-in">{{.}}</p>
{{end}}{{with .Problem}}<p id="problem">{{.}}</p>
{{end}}<form id="form-sign-in" method="post" action="{{.Action}}"><input id="username" name="username" autofocus><input type="hidden" name="rd" value="{{.RD}}"><button id="sign-in">Sign in</button></form>
<a id="sign-out" href="{{.SignOut}}">Sign out</a>
</body></html>
`))

func (x *exchange) page(status int, rd, problem string) {
	x.Header().Set("Content-Type", "text/html; charset=utf-8")
	x.WriteHeader(status)
	data := struct{ User, Problem, Action, RD, SignOut string }{x.user, problem, x.s.service.submit, rd, x.s.service.signOut}
	_ = logIn.Execute(x.ResponseWriter, data) // the client may have left
}
