package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/gateway/headerrealm"
	"github.com/crumbgate/crumbgate/gateway/live"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/gateway/webhook"
)

// Defaults of Config.
const (
	DefaultReplayLimit = 1 << 20
	// DefaultReplayMemory is the default of ReplayMemory, unless ReplayLimit is larger.
	DefaultReplayMemory = 64 << 20
	DefaultCrumbTimeout = 10 * time.Second
	DefaultMaxSessions  = 10_000
	// DefaultCrumbLifetime is how long a crumb of ours is good for.
	DefaultCrumbLifetime = crumb.DefaultLifetime
)

// NoMaxFailures in Config.MaxFailures sets no limit.
const NoMaxFailures = -1

// ProxySetsNone in Config.ProxySets says that trusted proxies overwrite no header.
const ProxySetsNone = "none"

// Config is what a Gate is made of. Lookup and Log are required; the zero value of
// everything else is its default.
type Config struct {
	// Lookup returns the token of a digest, nil if there is none. An error means
	// that nobody can tell, and the request is refused with 503.
	Lookup func(token.Digest) (*token.Token, error)
	Log    *slog.Logger
	Now    func() time.Time // time.Now
	// Live returns what ends the requests of a token when it is not admitted any more.
	// By default nothing does.
	Live func() *live.Registry
	// Tokens returns the directory in which tokens are managed, for TokenAPIAnswer.
	Tokens func() (*token.Directory, error)
	// Metrics count what the gate does; several gates can share them. By default
	// nobody sees them.
	Metrics *Metrics

	// ClientAddr returns the address that a request counts for, by default that of
	// its peer.
	ClientAddr func(*http.Request) string
	// Trusted tells whether the peer of a request is a proxy that may say where the
	// request comes from. By default none is.
	Trusted func(*http.Request) bool
	// ProxySets are the headers about scheme, host and port that each trusted proxy
	// overwrites, of those that Jenkins reads: they are passed on. By default
	// X-Forwarded-Proto alone; ProxySetsNone for no header.
	ProxySets []string
	// Session returns who has signed in before the gate, nil if nobody has, and an
	// error for an identity that is not to be believed (ErrUntrusted) or that Jenkins
	// can't be told. By default nobody has.
	Session func(*http.Request) (*token.Profile, error)
	// CrumbKeys returns the keys of our own crumbs. By default they are made anew, and
	// forgotten with the gate.
	CrumbKeys func() (*crumb.Keys, error)
	// Admitted is told of each request that goes on, before it does: for access
	// logs and placeholders.
	Admitted func(*http.Request, Decision)
	// Observed is told of each request that goes on although the scopes of its token
	// don't cover it.
	Observed func(*http.Request, Decision)
	// Shadowed is told of each request on whose credential Jenkins has decided otherwise
	// than the gateway would have.
	Shadowed func(r *http.Request, d Decision, byJenkins bool)
	// Refused is told of each request that does not go on, before it is answered.
	Refused func(*http.Request, Decision)
	// Fork returns a request ready to go through the next handler although another
	// has already, or will: for the crumb and for a replay. By default it is the
	// request itself.
	Fork func(http.ResponseWriter, *http.Request) *http.Request

	// Prefix is Jenkins' context path, such as "/jenkins"; "" is the root.
	Prefix string
	// Headers in which Jenkins reads the identity; the defaults are those of its
	// reverse-proxy-auth plugin.
	UserHeader, GroupsHeader, MailHeader, DisplayNameHeader string
	// TokenHeader is a second header in which a token may come, none by default.
	TokenHeader string
	// CrumbField is the name that Jenkins must give to its crumb; by default it may
	// give any.
	CrumbField string
	// JenkinsOrigin is the origin of the URL that Jenkins is configured with, such as
	// "https://jenkins.example.com". WebSockets are presented to Jenkins as coming from
	// there; by default as their clients say.
	JenkinsOrigin string
	// TrustedOrigins are further sites, such as "https://portal.example.com", whose
	// pages may make requests of those who have signed in.
	TrustedOrigins []string
	// CrumbOnPostOnly lets sessions do without a crumb what Jenkins does not ask one
	// for, such as DELETE of a job.
	CrumbOnPostOnly bool
	// CrumbLifetime is for how long a crumb of ours is good, and for how long it is
	// remembered that one of Jenkins was.
	CrumbLifetime time.Duration
	// RefreshCrumbs lets a page that was opened before Jenkins forgot the session go
	// on: its crumb was once the user's, and the browser vouches for the page.
	RefreshCrumbs bool
	// Anonymous lets requests go on that nobody is known to be from.
	Anonymous bool
	// Public and CrumbExempt open and close entries of endpoint.Catalogue, or open paths of
	// one's own: "name", "-name", "/path", "/path/*".
	Public, CrumbExempt []string
	// Webhooks open the endpoints of a forge to requests that it has signed.
	Webhooks map[webhook.Kind]*webhook.Verifier
	// TokenAPI says what becomes of requests to Jenkins' own endpoints for API tokens.
	TokenAPI TokenAPI
	// Admins may manage everybody's tokens: ids of users, and groups as "group:NAME".
	Admins []string
	// Pages answers requests below PagesPrefix, of people who have signed in, from an
	// address; nil if there are no such pages. It answers all of them.
	Pages func(w http.ResponseWriter, r *http.Request, person *token.Profile, addr string)
	// PagesPrefix is where the gateway's own pages are, such as "/crumbgate/".
	PagesPrefix string
	// Shadow has Jenkins decide on its own tokens and passwords, and reports where the
	// gateway would decide otherwise.
	Shadow bool
	// Groups selects which groups of a user Jenkins is sent.
	Groups GroupFilter
	// PassCookies are names of cookies that reach Jenkins beside its own. A * at the end
	// of a name stands for any text.
	PassCookies []string
	// SignOut is where /logout sends a browser once Jenkins has ended its session: the
	// sign-out of the sign-in. It is an http or https URL, or a path of this site.
	SignOut string
	// UserIDs tells which spellings of a user id are the same.
	UserIDs user.Strategy
	// ReplayLimit is how many bytes of a body are kept to send it again.
	ReplayLimit int64
	// ReplayMemory bounds the bytes that are kept of all bodies at once. A body beyond it
	// is not kept, and so not sent again.
	ReplayMemory int64
	// CrumbTimeout bounds how long Jenkins may take to give a crumb.
	CrumbTimeout time.Duration
	// MaxFailures is how many failed credentials an IPv4 address or an IPv6 /64 may send
	// in a minute before it gets 429; NoMaxFailures for no limit.
	MaxFailures int
	// MaxSessions bounds for how many users a Jenkins session is kept.
	MaxSessions int
}

// maxGroupsBytes bounds the setting Groups.MaxBytes.
const maxGroupsBytes = 7168

// defaultIdentity are the headers that the reverse-proxy-auth plugin offers, in
// the order of Config's fields.
var defaultIdentity = [4]string{"X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Mail", "X-Forwarded-DisplayName"}

// reserved are headers that a gateway or a proxy uses itself: none of them can be
// taken for an identity, a token or a crumb.
var reserved = slices.Concat(endpoint.CredentialHeaders, []string{
	"Connection", "Content-Encoding", "Content-Length", "Content-Type", "Early-Data", "Expect", "Host",
	"Keep-Alive", "Origin", "Proxy-Connection", "Range", "Referer", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Via", forwardedFor,
}, forwardedBy, tlsAttributes, retryHints)

// Defaulted returns c with its defaults filled in and its header names in
// canonical form, or an error that names the setting and says what to do.
func (c Config) Defaulted() (Config, error) {
	headers := []struct {
		setting  string
		name     *string
		fallback string
	}{
		{"user_header", &c.UserHeader, defaultIdentity[0]},
		{"groups_header", &c.GroupsHeader, defaultIdentity[1]},
		{"mail_header", &c.MailHeader, defaultIdentity[2]},
		{"display_name_header", &c.DisplayNameHeader, defaultIdentity[3]},
		{"token_header", &c.TokenHeader, ""},
		{"crumb_field", &c.CrumbField, ""},
	}
	used := make(map[string]string)
	for _, h := range headers {
		if *h.name == "" {
			*h.name = h.fallback
		}
		if *h.name == "" {
			continue
		}
		if !httpguts.ValidHeaderFieldName(*h.name) || len(*h.name) > 128 {
			return c, fmt.Errorf("%s %q is not a name for a header (RFC 9110, section 5.1)", h.setting, *h.name)
		}
		*h.name = textproto.CanonicalMIMEHeaderKey(*h.name)
		// Headers of the plugin are scrubbed under any configuration.
		identity := h.fallback == "" && slices.ContainsFunc(defaultIdentity[:], func(d string) bool { return folded(d) == folded(*h.name) })
		if identity || slices.Contains(reserved, *h.name) {
			return c, fmt.Errorf("%s can't be %s, which has another meaning: choose another name", h.setting, *h.name)
		}
		if other, taken := used[folded(*h.name)]; taken {
			return c, fmt.Errorf("%s and %s are both %s: give them different names", other, h.setting, *h.name)
		}
		used[folded(*h.name)] = h.setting
	}
	var err error
	if c.ProxySets, err = checkProxySets(c.ProxySets); err != nil {
		return c, err
	}
	if c.Prefix != "" {
		if !strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") || !plainPath(c.Prefix) {
			return c, fmt.Errorf("prefix %q is not a context path: it begins with a slash, does not end with one, and is plain, such as /jenkins", c.Prefix)
		}
	}
	switch {
	case c.ReplayLimit < 0:
		return c, errors.New("body_limit is negative: use 0 for the default of 1 MiB")
	case c.CrumbTimeout < 0:
		return c, errors.New("crumb_timeout is negative: use 0 for the default of 10s")
	case c.CrumbLifetime < 0:
		return c, errors.New("crumb_lifetime is negative: use 0 for the default of 24h")
	case c.MaxFailures < NoMaxFailures:
		return c, errors.New("failed_credentials is below 0: use a number above 0, or off")
	case c.MaxSessions < 0:
		return c, errors.New("max_sessions is negative: use 0 for the default of 10000")
	}
	if c.ReplayLimit == 0 {
		c.ReplayLimit = DefaultReplayLimit
	}
	switch {
	case c.ReplayMemory < 0:
		return c, errors.New("body_memory is negative: use 0 for the default of 64 MiB")
	case c.ReplayMemory == 0:
		c.ReplayMemory = max(DefaultReplayMemory, c.ReplayLimit)
	case c.ReplayMemory < c.ReplayLimit:
		return c, fmt.Errorf("body_memory %d is less than body_limit %d, so that no body of that size could be kept: raise body_memory, or lower body_limit", c.ReplayMemory, c.ReplayLimit)
	}
	if c.CrumbTimeout == 0 {
		c.CrumbTimeout = DefaultCrumbTimeout
	}
	if c.MaxFailures == 0 {
		c.MaxFailures = DefaultMaxFailures
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = DefaultMaxSessions
	}
	if c.CrumbLifetime == 0 {
		c.CrumbLifetime = DefaultCrumbLifetime
	}
	if c.PagesPrefix != "" {
		if !plainPath(c.PagesPrefix) || !strings.HasPrefix(c.PagesPrefix, "/") || !strings.HasSuffix(c.PagesPrefix, "/") || c.PagesPrefix == "/" {
			return c, fmt.Errorf("pages %q is no place for pages: it begins and ends with a slash, and is plain, such as /crumbgate/", c.PagesPrefix)
		}
		if strings.HasPrefix(c.Prefix+"/", c.PagesPrefix) {
			return c, fmt.Errorf("pages %q would hide Jenkins: take another place, such as /crumbgate/", c.PagesPrefix)
		}
	}
	for _, admin := range c.Admins {
		if group, isGroup := strings.CutPrefix(admin, groupPrefix); isGroup {
			if strings.TrimSpace(group) == "" {
				return c, fmt.Errorf("admins: %q names an empty group: write group:NAME", admin)
			}
		} else if _, err := user.ParseID(admin); err != nil {
			return c, fmt.Errorf("admins: %w", err)
		}
	}
	if c.Groups.MaxBytes < 0 || c.Groups.MaxBytes > maxGroupsBytes {
		return c, fmt.Errorf("groups: max_bytes %d is out of range: use 1 to %d, as Jenkins refuses a request head over 8192 bytes", c.Groups.MaxBytes, maxGroupsBytes)
	}
	if c.Groups.MaxBytes == 0 {
		c.Groups.MaxBytes = headerrealm.DefaultMaxGroupsBytes
	}
	for _, name := range c.PassCookies {
		if err := checkPassedCookie(name); err != nil {
			return c, fmt.Errorf("pass_cookies: %w", err)
		}
	}
	if err := c.checkSignOut(); err != nil {
		return c, err
	}
	if c.TokenAPI == TokenAPIAnswer && c.Shadow {
		return c, errors.New("token_api answer and shadow contradict each other: while Jenkins decides on tokens, it has to make them")
	}
	if c.JenkinsOrigin != "" {
		u, err := url.Parse(c.JenkinsOrigin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return c, fmt.Errorf("jenkins_url %q is not a URL such as https://jenkins.example.com/", c.JenkinsOrigin)
		}
		c.JenkinsOrigin = u.Scheme + "://" + u.Host
	}
	if _, err := endpoint.Open(c.Public, c.CrumbExempt, slices.Collect(maps.Keys(c.Webhooks))); err != nil {
		return c, err
	}
	for _, origin := range c.TrustedOrigins {
		if err := new(http.CrossOriginProtection).AddTrustedOrigin(origin); err != nil {
			return c, fmt.Errorf("trusted_origins: %q is not an origin such as https://portal.example.com: %w", origin, err)
		}
		if err := checkOrigin(origin); err != nil {
			return c, fmt.Errorf("trusted_origins: %q would match no browser's origin: %w", origin, err)
		}
	}
	if c.Session == nil {
		c.Session = func(*http.Request) (*token.Profile, error) { return nil, nil }
	}
	if c.CrumbKeys == nil {
		keys := crumb.NewKeys()
		c.CrumbKeys = func() (*crumb.Keys, error) { return keys, nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.ClientAddr == nil {
		c.ClientAddr = peerAddr
	}
	if c.Trusted == nil {
		c.Trusted = func(*http.Request) bool { return false }
	}
	if c.Admitted == nil {
		c.Admitted = func(*http.Request, Decision) {}
	}
	if c.Refused == nil {
		c.Refused = func(*http.Request, Decision) {}
	}
	if c.Live == nil {
		c.Live = func() *live.Registry { return nil }
	}
	if c.Shadowed == nil {
		c.Shadowed = func(*http.Request, Decision, bool) {}
	}
	if c.Observed == nil {
		c.Observed = func(*http.Request, Decision) {}
	}
	if c.Fork == nil {
		c.Fork = func(_ http.ResponseWriter, r *http.Request) *http.Request { return r }
	}
	return c, nil
}

// checkSignOut returns an error for a SignOut to which no browser can be sent.
func (c *Config) checkSignOut() error {
	if c.SignOut == "" {
		return nil
	}
	u, err := url.Parse(c.SignOut)
	strange := strings.ContainsAny(c.SignOut, "\\{}") || strings.ContainsFunc(c.SignOut, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	switch {
	case err != nil || strange:
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		if u.Path == c.Prefix+"/logout" {
			return fmt.Errorf("sign_out %q is Jenkins' own /logout, which would lead to itself: name the sign-out of the sign-in", c.SignOut)
		}
		return nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil:
		return nil
	}
	return fmt.Errorf("sign_out %q is neither a path of this site, such as /oauth2/sign_out?rd=%%2F, nor a URL such as https://sso.example.com/logout", c.SignOut)
}

// checkOrigin returns why no browser sends an origin, which net/http compares as a text
// (RFC 6454, section 6.2).
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	switch {
	case err != nil:
		return err
	case strings.Contains(origin, "*"):
		return errors.New("there are no wildcards: name each origin")
	case u.User != nil || strings.HasSuffix(u.Host, "."):
		return errors.New("use scheme, host and port only")
	case origin != strings.ToLower(origin):
		return errors.New("browsers send it in lower case")
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return errors.New("browsers leave out the port of the scheme")
	case strings.ContainsFunc(origin, func(r rune) bool { return r >= 0x80 }):
		return errors.New("browsers send the host in Punycode, as in https://xn--bcher-kva.example")
	}
	return nil
}

// plainPath tells whether a path means the same to everybody.
func plainPath(path string) bool {
	escaped := (&url.URL{Path: path}).EscapedPath() != path
	return !escaped && !strings.Contains(path, ";") && !strings.Contains(path, "//") && !strings.Contains(path, "/.")
}

func peerAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
