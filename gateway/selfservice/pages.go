// Package selfservice is the pages on which people who have signed in manage their
// own API tokens, and admins everybody's.
//
// It trusts its caller for who the person is, and for having refused requests that
// pages of other sites make. What may change something carries, on top of that, a
// crumb of its own in the form. It shows nobody a token of somebody else, unless
// they are an admin, and never a secret but once, in the answer to the request that
// made it. All pages work without a script, and load nothing from elsewhere.
package selfservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// DefaultPrefix is the path that all pages are under unless told otherwise.
const DefaultPrefix = "/crumbgate/"

// Config is what the pages need of the outside world. Directory, CrumbKeys and Log
// are required.
type Config struct {
	// Directory returns the directory, or the reason for which there is none now.
	Directory func() (*token.Directory, error)
	// CrumbKeys does the same for the keys by which the crumbs of forms are made.
	CrumbKeys func() (*crumb.Keys, error)
	// Prefix is the path that all pages are under, as browsers see it, with a slash at
	// both ends; DefaultPrefix if empty.
	Prefix string
	// JenkinsPrefix is Jenkins' context path, such as "/jenkins"; "" for none.
	JenkinsPrefix string
	// SignOut tells that Jenkins' /logout leads on to the sign-out of the sign-in, so that
	// the pages show a link to it.
	SignOut bool
	// Admin tells whether a person may see and change the tokens of all; nil: nobody may.
	Admin func(*token.Profile) bool
	// Audit returns entries of the audit log, the newest first; nil: no page shows it.
	Audit func(context.Context, AuditQuery) ([]AuditEntry, error)
	Now   func() time.Time // time.Now if nil
	Log   *slog.Logger
}

// Pages serves the pages. It is safe for concurrent use.
type Pages struct {
	Config
	look *look
}

// prefixPattern is of paths that are the same in a header, in HTML, and to
// everything that compares paths.
var prefixPattern = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/$`)

// New returns pages, or an error that says which setting is wrong.
func New(cfg Config) (*Pages, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Prefix == "/" || !prefixPattern.MatchString(cfg.Prefix) {
		return nil, fmt.Errorf("the prefix %q of the pages is not a path such as %s", cfg.Prefix, DefaultPrefix)
	}
	if !prefixPattern.MatchString(cfg.JenkinsPrefix + "/") {
		return nil, fmt.Errorf("the prefix %q of Jenkins is not a path such as /jenkins", cfg.JenkinsPrefix)
	}
	if cfg.Directory == nil || cfg.CrumbKeys == nil || cfg.Log == nil {
		return nil, errors.New("the pages need a directory, the keys of crumbs, and a log")
	}
	if cfg.Admin == nil {
		cfg.Admin = func(*token.Profile) bool { return false }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Pages{Config: cfg, look: newLook(cfg.Prefix)}, nil
}

// A visit is one request of a person.
type visit struct {
	*Pages
	w         http.ResponseWriter
	r         *http.Request
	person    *token.Profile
	admin     bool
	now       time.Time
	ctx       context.Context // says where changes come from
	directory *token.Directory
	keys      *crumb.Keys
	id        uuid.UUID  // that the path names
	form      url.Values // of a POST, whose crumb has been verified
	// stale is that the crumb of a form that makes a token is too old, or from before
	// the last one was made.
	stale bool
}

// A route is what is at one path.
type route struct {
	get, post func(*visit) error
	query     []string // names of the parameters that get knows
	fields    []string // names of the fields that post knows, beside the crumb
	admin     bool     // not there for others
	once      bool     // post makes a token, which sending it again must not
}

// routes are by what follows the prefix; {id} stands for a token's.
var routes = map[string]route{
	"":                   {get: (*visit).own, query: []string{"done"}},
	"new":                {get: (*visit).askNew, post: (*visit).create, fields: newFields, once: true},
	"token/{id}":         {get: (*visit).show, query: []string{"done"}},
	"token/{id}/rename":  {post: (*visit).rename, fields: []string{"name"}},
	"token/{id}/limits":  {post: (*visit).limit, fields: limitFields},
	"token/{id}/rotate":  {post: (*visit).rotate, fields: []string{"overlap", "life"}},
	"token/{id}/suspend": {post: (*visit).suspend, fields: []string{"why"}},
	"token/{id}/resume":  {post: (*visit).resume},
	"token/{id}/revoke":  {get: (*visit).askRevoke, post: (*visit).revoke},
	"admin/":             {admin: true, get: (*visit).all, query: append([]string{"done", "page"}, token.FilterFields...)},
	"admin/preview":      {admin: true, post: (*visit).preview, fields: []string{"action", "which", "filter", "id"}},
	"admin/apply":        {admin: true, post: (*visit).apply, fields: []string{"action", "id", "why"}},
	"admin/user":         {admin: true, get: (*visit).showUser, query: []string{"done", "id"}},
	"admin/user/disable": {admin: true, post: (*visit).disable, fields: []string{"user"}},
	"admin/user/enable":  {admin: true, post: (*visit).enable, fields: []string{"user"}},
	"admin/audit":        {admin: true, get: (*visit).audit, query: []string{"owner", "token", "kind"}},
}

// find returns the route of what follows the prefix in a path, and the id in it.
func find(rest string) (found route, id uuid.UUID, ok bool) {
	if after, named := strings.CutPrefix(rest, "token/"); named {
		text, action, acts := strings.Cut(after, "/")
		var err error
		if id, err = uuid.Parse(text); err != nil || id.String() != text {
			return route{}, uuid.Nil, false
		}
		if rest = "token/{id}"; acts {
			rest += "/" + action
		}
	}
	found, ok = routes[rest]
	return found, id, ok
}

// ServeHTTP answers a request of a person for a path under the prefix. Addr is the
// network address that it came from, for the audit log; it may be empty.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request, person *token.Profile, addr string) {
	setHeaders(w.Header())
	v := &visit{Pages: p, w: w, r: r, person: person, now: p.Now(), ctx: token.From(r.Context(), "page", addr)}
	if err := v.serve(); err != nil {
		v.fail(err)
	}
}

func (v *visit) serve() error {
	if v.person == nil || v.person.User == "" {
		return &problem{http.StatusForbidden, "Nobody has signed in", "These pages are for people who have signed in."}
	}
	if v.r.URL.Path+"/" == v.Prefix && (v.r.Method == http.MethodGet || v.r.Method == http.MethodHead) {
		v.w.Header().Set("Location", v.Prefix)
		v.w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	rest, under := strings.CutPrefix(v.r.URL.Path, v.Prefix)
	if !under || v.r.URL.RawPath != "" {
		return errNotFound
	}
	if name, isAsset := strings.CutPrefix(rest, assetPath); isAsset {
		return v.asset(name)
	}
	if fromScript(v.r.Header) {
		v.Log.Warn("a script has asked for a page of tokens", "user", string(v.person.User))
		return &problem{http.StatusForbidden, "Only for people", "These pages are only opened as a whole, and not by scripts or in frames."}
	}
	found, id, ok := find(rest)
	if !ok {
		return errNotFound
	}
	v.id = id
	var err error
	if v.directory, err = v.Directory(); err == nil {
		v.keys, err = v.CrumbKeys()
	}
	if err != nil {
		v.Log.Error("the pages of tokens can't be served", "error", err)
		return &problem{http.StatusServiceUnavailable, "Not ready", "The gateway can't reach its tokens at the moment. Try again in a minute."}
	}
	// What the directory knows decides: the gate may let a person in who is disabled.
	known, err := v.directory.Profile(string(v.person.User))
	if err != nil {
		return err
	}
	v.admin = known.Disabled == 0 && v.Config.Admin(v.person)
	if found.admin && !v.admin {
		return errNotFound
	}
	switch act, allowed := found.get, found.allowed(); v.r.Method {
	case http.MethodPost:
		if found.post == nil {
			return v.notAllowed(allowed)
		}
		if known.Disabled != 0 {
			return &problem{http.StatusForbidden, "You are disabled", "A disabled user can’t change anything here. Ask your administrators."}
		}
		if err := v.readForm(found); err != nil {
			return err
		}
		return found.post(v)
	case http.MethodGet, http.MethodHead:
		if act == nil {
			return v.notAllowed(allowed)
		}
		if v.form, err = parseValues(v.r.URL.RawQuery, found.query); err != nil {
			return err
		}
		return act(v)
	default:
		return v.notAllowed(allowed)
	}
}

// fromScript tells whether a browser says that a request is not for a page in a tab
// of its own (Fetch Metadata). Jenkins' pages are of the same site, and a script in
// one, from an artifact or a plugin, must neither read the crumb of a form here nor
// make itself a token. What it can do is open a tab; Cross-Origin-Opener-Policy keeps
// it from looking inside. Over plain HTTP browsers say nothing.
func fromScript(h http.Header) bool {
	mode, dest := h.Get("Sec-Fetch-Mode"), h.Get("Sec-Fetch-Dest")
	return mode != "" && mode != "navigate" || dest != "" && dest != "document"
}

func (r route) allowed() string {
	methods := make(map[string]bool)
	if r.get != nil {
		methods["GET"], methods["HEAD"] = true, true
	}
	if r.post != nil {
		methods["POST"] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
}

func (v *visit) notAllowed(allowed string) error {
	v.w.Header().Set("Allow", allowed)
	return &problem{http.StatusMethodNotAllowed, "Not possible here", "This address does not take requests of this kind."}
}

// redirect leads to another page after a change, which tells what was done.
func (v *visit) redirect(to, done string) error {
	if strings.Contains(to, "?") {
		to += "&done=" + done
	} else {
		to += "?done=" + done
	}
	v.w.Header().Set("Location", v.Prefix+to)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// actor is the person as changes name them.
func (v *visit) actor() string { return string(v.person.User) }

// mine returns the person's own tokens.
func (v *visit) mine() []*token.Token { return v.directory.Owned(v.person.User) }

// named returns the token that the path names, if it is the person's own or, for
// admins, anybody's.
func (v *visit) named() (t *token.Token, own bool, err error) {
	for _, t := range v.mine() {
		if t.Record().ID == v.id {
			return t, true, nil
		}
	}
	if !v.admin {
		return nil, false, errNotFound
	}
	t, err = v.directory.Get(v.ctx, v.id)
	return t, false, err
}
