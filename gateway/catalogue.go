package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/crumbgate/crumbgate/gateway/webhook"
)

// An Entry is an endpoint of Jenkins or of a plugin that is open to requests
// without a user, or without a crumb.
type Entry struct {
	// Name is what the settings public and crumb_exempt call it.
	Name string

	// Paths are patterns below the context path. "/login" is that route alone, with
	// or without a slash at its end; "/adjuncts/*" is /adjuncts and all below it; a *
	// within stands for one segment. Case matters, as it does to Jenkins.
	Paths []string

	Plugin string // empty for Jenkins' core
	Why    string // why Jenkins leaves it open
	Guard  string // what protects it instead

	// Public and CrumbExempt are what holds unless the settings say otherwise.
	Public, CrumbExempt bool

	// ExemptWhenOpen marks what Jenkins exempts from crumbs and the gateway exempts
	// only once the entry is open: while it is closed, people alone reach it, and
	// their browsers should prove that they meant to.
	ExemptWhenOpen bool

	// Signed is the webhook whose signature or token a request must bear. Nothing but
	// the setting webhook opens such an entry. Empty for the others.
	Signed webhook.Kind

	// KeepsAuthorization marks a plugin that reads a secret of its own from an
	// Authorization header whose scheme isn't Basic.
	KeepsAuthorization bool

	// Query is a parameter that Jenkins wants before it leaves the path open, written
	// name=value. Empty for most.
	Query string
}

// Catalogue is every endpoint that Jenkins' core and the widely used plugins leave
// open, sorted by what it is for. It isn't changed at run time. Sources are
// jenkins.model.Jenkins (ALWAYS_READABLE_PATHS and
// isSubjectToMandatoryReadPermissionCheck), the implementations of
// hudson.model.UnprotectedRootAction, and those of
// hudson.security.csrf.CrumbExclusion.
//
// An open path is no way to the rest of Jenkins. Routes are canonical, so neither dots
// nor /static/x lead out of a pattern. What Jenkins itself would make of a path that
// matches but names nothing (/images/none, /css/job) is a look-up in its root object
// and then in its primary view, and there Jenkins demands Overall/Read, since the path
// isn't on its own list: the gateway adds no user, so anonymous is denied. Jenkins
// compares that list, and its crumb exclusions, with the path as it is written, so
// /%6cogin is open to us and not to Jenkins. Where the two disagree, the stricter wins.
var Catalogue = []Entry{
	// Jenkins' core: what is open unless closed.
	{
		Name:   "login",
		Paths:  []string{"/login", "/loginError", "/logout"},
		Why:    "probes and agents ask for it to see whether Jenkins is up; people without a session log in and out there",
		Guard:  "shows nothing but the form",
		Public: true,
	},
	{
		Name: "assets",
		Paths: []string{
			"/adjuncts/*", "/css/*", "/images/*", "/scripts/*", "/jsbundles/*",
			"/favicon.ico", "/favicon.svg", "/robots.txt", "/apple-touch-icon.png",
		},
		Why:    "the login page loads its styles, scripts and images from there",
		Guard:  "the same files for everybody; other paths below need Overall/Read",
		Public: true,
	},
	{
		Name:   "agents",
		Paths:  []string{"/tcpSlaveAgentListener", "/wsagents", "/jnlpJars/*"},
		Why:    "agents find the port there, connect by WebSocket and fetch their program before they are known",
		Guard:  "the secret of the agent, in Secret-Key or within the agent protocol; the programs are public",
		Public: true,
	},
	{
		Name: "agent-jnlp",
		Paths: []string{
			"/computer/*/jenkins-agent.jnlp", "/computer/*/slave-agent.jnlp",
			"/manage/computer/*/jenkins-agent.jnlp", "/manage/computer/*/slave-agent.jnlp",
		},
		Why:    "agents fetch their settings by name",
		Guard:  "the answer is encrypted with the secret of the agent",
		Public: true,
		Query:  "encrypt=true",
	},
	{
		Name:   "health",
		Paths:  []string{"/health"},
		Why:    "probes ask for it",
		Guard:  "says up or down and no more",
		Public: true,
	},
	{
		Name:        "csp-report",
		Paths:       []string{"/content-security-policy-reporting-endpoint/*"},
		Why:         "browsers send reports of violated content security policies without cookies",
		Guard:       "the path holds a context that Jenkins made; a report only adds to a log, up to 20 KiB",
		Public:      true,
		CrumbExempt: true,
	},

	// Jenkins' core: closed unless opened.
	{
		Name:        "cli",
		Paths:       []string{"/cli/*"},
		Why:         "the client program knows no crumbs; it authenticates itself with each request",
		Guard:       "permissions of the user; Jenkins compares Origin for WebSocket",
		CrumbExempt: true,
	},
	{
		Name:  "who-am-i",
		Paths: []string{"/whoAmI/*"},
		Why:   "tells whoever asks how Jenkins sees the request, which finds mistakes in a set-up",
		Guard: "shows the asker's own name and groups",
	},
	{
		Name:  "instance-identity",
		Paths: []string{"/instance-identity/*"},
		Why:   "others learn the public key of this Jenkins",
		Guard: "a public key is no secret",
	},
	{
		Name:  "static-files",
		Paths: []string{"/static-files/*"},
		Why:   "the resource domain serves artifacts and workspaces without cookies",
		Guard: "the URL holds a user and a time, authenticated with a key of Jenkins'",
	},
	{
		Name:  "libraries",
		Paths: []string{"/assets/*"},
		Why:   "pages of plugins load scripts that the core brings",
		Guard: "the same files for everybody",
	},
	{
		Name:  "signup",
		Paths: []string{"/signup", "/securityRealm/createAccount"},
		Why:   "people make themselves an account in Jenkins' own user database",
		Guard: "works only where the database allows it; a gateway that names the users has no use for it",
	},

	// Other ways to log in to Jenkins.
	{
		Name:           "sso-callback",
		Paths:          []string{"/securityRealm/commenceLogin", "/securityRealm/finishLogin"},
		Plugin:         "saml, oic-auth",
		Why:            "the identity provider sends people back there, by POST from its own site",
		Guard:          "the provider's signature, and the state that the plugin kept in the session",
		ExemptWhenOpen: true,
	},
	{
		Name:           "escape-hatch",
		Paths:          []string{"/securityRealm/escapeHatch"},
		Plugin:         "oic-auth",
		Why:            "lets an administrator in while the identity provider is down",
		Guard:          "a name and a password, which anybody may guess at",
		ExemptWhenOpen: true,
	},

	// Webhooks that prove where they come from. Jenkins doesn't insist on that proof.
	{
		Name:           "github",
		Paths:          []string{"/github-webhook"},
		Plugin:         "github",
		Why:            "GitHub has neither user nor crumb",
		Guard:          "signature of the body in X-Hub-Signature-256, checked by the gateway",
		ExemptWhenOpen: true,
		Signed:         webhook.GitHub,
	},
	{
		Name:           "ghprb",
		Paths:          []string{"/ghprbhook"},
		Plugin:         "ghprb",
		Why:            "GitHub has neither user nor crumb",
		Guard:          "signature of the body in X-Hub-Signature-256, checked by the gateway",
		ExemptWhenOpen: true,
		Signed:         webhook.GitHub,
	},
	{
		Name:           "gitlab",
		Paths:          []string{"/project/*"},
		Plugin:         "gitlab-plugin",
		Why:            "GitLab has neither user nor crumb",
		Guard:          "X-Gitlab-Token or the signature of a signing token, checked by the gateway and, where a job has one, by the plugin",
		ExemptWhenOpen: true,
		Signed:         webhook.GitLab,
	},
	{
		Name:           "gitlab-branch-source",
		Paths:          []string{"/gitlab-webhook/post", "/gitlab-systemhook/post"},
		Plugin:         "gitlab-branch-source",
		Why:            "GitLab has neither user nor crumb",
		Guard:          "X-Gitlab-Token or the signature of a signing token, checked by the gateway and, where it knows one, by the plugin",
		ExemptWhenOpen: true,
		Signed:         webhook.GitLab,
	},
	{
		Name:           "bitbucket",
		Paths:          []string{"/bitbucket-hook"},
		Plugin:         "bitbucket, bitbucket-push-and-pull-request",
		Why:            "Bitbucket has neither user nor crumb",
		Guard:          "signature of the body in X-Hub-Signature, checked by the gateway",
		ExemptWhenOpen: true,
		Signed:         webhook.Bitbucket,
	},
	{
		Name:           "bitbucket-branch-source",
		Paths:          []string{"/bitbucket-scmsource-hook/notify"},
		Plugin:         "cloudbees-bitbucket-branch-source",
		Why:            "Bitbucket has neither user nor crumb",
		Guard:          "signature of the body in X-Hub-Signature, checked by the gateway and, where it knows the secret, by the plugin",
		ExemptWhenOpen: true,
		Signed:         webhook.Bitbucket,
	},

	// Webhooks that the gateway can't check.
	{
		Name:           "gitea",
		Paths:          []string{"/gitea-webhook/post"},
		Plugin:         "gitea",
		Why:            "Gitea has neither user nor crumb",
		Guard:          "nothing: the plugin checks no signature, but an event only makes it look at the repository",
		ExemptWhenOpen: true,
	},
	{
		Name:               "generic-webhook-trigger",
		Paths:              []string{"/generic-webhook-trigger/*"},
		Plugin:             "generic-webhook-trigger",
		Why:                "any service may call it",
		Guard:              "the token of a job, as parameter, token header, bearer token or X-Gitlab-Token; a job without token starts for whoever may build it; optional list of senders",
		ExemptWhenOpen:     true,
		KeepsAuthorization: true,
	},
	{
		Name:           "multibranch-scan-webhook-trigger",
		Paths:          []string{"/multibranch-webhook-trigger/*"},
		Plugin:         "multibranch-scan-webhook-trigger",
		Why:            "any service may have branches indexed",
		Guard:          "the token of a job, as parameter or token header",
		ExemptWhenOpen: true,
	},
	{
		Name:           "build-token-root",
		Paths:          []string{"/buildByToken/*"},
		Plugin:         "build-token-root",
		Why:            "scripts start builds where anonymous may read nothing",
		Guard:          "the trigger token of the job, as parameter",
		ExemptWhenOpen: true,
	},
	{
		Name:           "git-notify",
		Paths:          []string{"/git/notifyCommit"},
		Plugin:         "git",
		Why:            "hooks of repositories tell of commits",
		Guard:          "an access token of the plugin, as parameter (since 4.11.4)",
		ExemptWhenOpen: true,
	},
	{
		Name:           "mercurial-notify",
		Paths:          []string{"/mercurial/notifyCommit"},
		Plugin:         "mercurial",
		Why:            "hooks of repositories tell of commits",
		Guard:          "nothing: whoever knows a repository's URL has its jobs polled",
		ExemptWhenOpen: true,
	},
	{
		Name:           "subversion-notify",
		Paths:          []string{"/subversion/*/notifyCommit"},
		Plugin:         "subversion",
		Why:            "hooks of repositories tell of commits",
		Guard:          "the UUID of the repository, which is no secret: its jobs are polled",
		ExemptWhenOpen: true,
	},
	{
		Name:           "sonarqube",
		Paths:          []string{"/sonarqube-webhook"},
		Plugin:         "sonar",
		Why:            "SonarQube tells of quality gates",
		Guard:          "signature of the body, checked by the plugin where it knows the secret; else nothing",
		ExemptWhenOpen: true,
	},

	// What others read.
	{
		Name:               "metrics",
		Paths:              []string{"/metrics/*"},
		Plugin:             "metrics",
		Why:                "monitoring has no user",
		Guard:              "an access key of the plugin, in the path, as parameter or as Authorization: Jenkins-Metrics-Key",
		KeepsAuthorization: true,
	},
	{
		Name:   "prometheus",
		Paths:  []string{"/prometheus/*"},
		Plugin: "prometheus",
		Why:    "Prometheus has no user",
		Guard:  "nothing, unless the plugin is set to demand Metrics/View, which anonymous then needs; names every job",
	},
	{
		Name:   "badges",
		Paths:  []string{"/buildStatus/*", "/badge/*"},
		Plugin: "embeddable-build-status",
		Why:    "pages elsewhere show badges",
		Guard:  "permission Job/ViewStatus, which anonymous then needs",
	},
}

// A pattern is one path of an entry, cut at its slashes.
type pattern struct {
	entry    *Entry
	segments []string // a * is any one segment
	below    bool     // the path ended in /*
}

// match looks at the decoded segments, the first of which is known to match.
func (p pattern) match(rest string) bool {
	for _, want := range p.segments[1:] {
		if rest == "" {
			return false
		}
		var segment string
		if segment, rest = cutSegment(rest); want != "*" && segment != want {
			return false
		}
	}
	return p.below || rest == ""
}

// cutSegment splits a canonical path after its first segment, which it decodes.
func cutSegment(path string) (segment, rest string) {
	path = path[1:]
	if slash := strings.IndexByte(path, '/'); slash >= 0 {
		path, rest = path[:slash], path[slash:]
	}
	return decode(path), rest
}

// patterns are found by their first segment, so that a path of none costs one look-up.
type patterns map[string][]pattern

func (ps patterns) add(e *Entry) {
	for _, path := range e.Paths {
		p := compile(path)
		p.entry = e
		ps[p.segments[0]] = append(ps[p.segments[0]], p)
	}
}

func (ps patterns) find(r route) *Entry {
	if r.path == "" {
		return nil
	}
	first, rest := cutSegment(r.path)
	for _, p := range ps[first] {
		if p.match(rest) {
			return p.entry
		}
	}
	return nil
}

func compile(path string) pattern {
	path, below := strings.CutSuffix(path, "/*")
	return pattern{segments: strings.Split(path[1:], "/"), below: below}
}

// overlaps tells whether some path matches both patterns.
func (p pattern) overlaps(q pattern) bool {
	shared := min(len(p.segments), len(q.segments))
	for i := range shared {
		a, b := p.segments[i], q.segments[i]
		if a != b && a != "*" && b != "*" {
			return false
		}
	}
	return (len(p.segments) == shared || q.below) && (len(q.segments) == shared || p.below)
}

// openings are the catalogue with the settings applied. They don't change.
type openings struct {
	publics, exempts, webhooks patterns
}

// newOpenings applies the settings public and crumb_exempt to the catalogue, and the
// kinds of webhook that have a secret. In the settings a name opens an entry, -name
// closes it, and /path or /path/* adds a path of one's own; the first two may name any
// entry, except that one which needs a signature is opened by its kind alone.
func newOpenings(public, exempt []string, signed []webhook.Kind) (*openings, error) {
	opened, ownPublic, err := choose(public, "public")
	if err != nil {
		return nil, err
	}
	exempted, ownExempt, err := choose(exempt, "crumb_exempt")
	if err != nil {
		return nil, err
	}
	for _, kind := range signed {
		if !slices.ContainsFunc(Catalogue, func(e Entry) bool { return kind != "" && e.Signed == kind }) {
			return nil, fmt.Errorf("no webhook is called %q", kind)
		}
	}
	o := &openings{publics: patterns{}, exempts: patterns{}, webhooks: patterns{}}
	for i := range Catalogue {
		e := &Catalogue[i]
		open, set := opened[e.Name]
		switch {
		case e.Signed != "":
			// -name closes one plugin's endpoint while the kind's others stay open.
			if open = slices.Contains(signed, e.Signed) && !set; open {
				o.webhooks.add(e)
			}
		case !set:
			open = e.Public
		}
		if open && e.Signed == "" {
			o.publics.add(e)
		}
		free, set := exempted[e.Name]
		if !set {
			free = e.CrumbExempt || open && e.ExemptWhenOpen
		}
		if free {
			o.exempts.add(e)
		}
	}
	for _, e := range ownPublic {
		o.publics.add(e)
	}
	for _, e := range ownExempt {
		o.exempts.add(e)
	}
	return o, nil
}

// choose reads the list of a setting: which entries it opens (true) or closes (false),
// and entries made for paths of one's own.
func choose(list []string, setting string) (chosen map[string]bool, own []*Entry, err error) {
	chosen = map[string]bool{}
	for _, item := range list {
		name, closes := strings.CutPrefix(item, "-")
		if strings.HasPrefix(name, "/") {
			if closes {
				return nil, nil, fmt.Errorf("%s %q: only an entry of the catalogue can be closed, by its name", setting, item)
			}
			e, err := ownEntry(name, setting)
			if err != nil {
				return nil, nil, fmt.Errorf("%s %q: %w", setting, item, err)
			}
			own = append(own, e)
			continue
		}
		at := slices.IndexFunc(Catalogue, func(e Entry) bool { return e.Name == name })
		if at < 0 {
			return nil, nil, fmt.Errorf("%s %q: no such entry; there are %s, and paths that start with /", setting, item, strings.Join(entryNames(), ", "))
		}
		if kind := Catalogue[at].Signed; kind != "" && !closes {
			return nil, nil, fmt.Errorf("%s %q: %w", setting, item, needsWebhook(kind))
		}
		if before, set := chosen[name]; set && before == closes {
			return nil, nil, fmt.Errorf("%s %q: both opened and closed", setting, name)
		}
		chosen[name] = !closes
	}
	return chosen, own, nil
}

func needsWebhook(kind webhook.Kind) error {
	return fmt.Errorf("opened only with a signature or token: use webhook %s { secret … }", kind)
}

func entryNames() []string {
	var names []string
	for _, e := range Catalogue {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

// ownEntry makes an entry of a path in the settings. It refuses what would open more
// than it seems to, or what no route could match.
func ownEntry(path, setting string) (*Entry, error) {
	if path == "/" || path == "/*" {
		return nil, errors.New("all of Jenkins is no single path")
	}
	p := compile(path)
	for _, segment := range p.segments {
		switch {
		case segment == "":
			return nil, errors.New("a path must name something, have no empty segment and no slash at its end")
		case segment == "." || segment == "..":
			return nil, errors.New("a path must have no dot segments")
		case strings.ContainsAny(segment, `*%;\?#`) || strings.ContainsFunc(segment, unicode.IsControl):
			return nil, errors.New("a path is written decoded, without query, and has no * but as its last segment")
		}
	}
	switch {
	case p.segments[0] == "static":
		return nil, errors.New("/static/x is cut off before anything is decided: name the path behind it")
	case p.segments[0] == "manage" && p.below:
		return nil, errors.New("everything in Jenkins lies below /manage too: name what is meant")
	}
	for i := range Catalogue {
		if kind := Catalogue[i].Signed; kind != "" {
			for _, signed := range Catalogue[i].Paths {
				if p.overlaps(compile(signed)) {
					return nil, needsWebhook(kind)
				}
			}
		}
	}
	return &Entry{Name: path, Paths: []string{path}, Why: "named in the setting " + setting, Guard: "unknown to the gateway"}, nil
}

// public returns the entry that opens a route to requests without a user; nil if none
// does. A path of the settings has an Entry made for it.
func (o *openings) public(p route, rawQuery string) *Entry {
	e := o.publics.find(p)
	if e == nil || e.Query != "" && !hasQuery(rawQuery, e.Query) {
		return nil
	}
	return e
}

// crumbExempt returns the entry that frees a route from crumbs; nil if none does.
func (o *openings) crumbExempt(p route) *Entry { return o.exempts.find(p) }

// signed returns the entry of a route that is open to requests whose signature or token
// is valid; nil if it is none.
func (o *openings) signed(p route) *Entry { return o.webhooks.find(p) }

// hasQuery tells whether a query holds a parameter, name=value, once and no other of
// that name: which of two counts is for the server to choose.
func hasQuery(rawQuery, want string) bool {
	name, value, _ := strings.Cut(want, "=")
	query, err := url.ParseQuery(rawQuery)
	return err == nil && slices.Equal(query[name], []string{value})
}
