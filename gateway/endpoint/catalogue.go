package endpoint

import "github.com/crumbgate/crumbgate/gateway/webhook"

// An Entry is an endpoint of Jenkins or of a plugin that Jenkins leaves open to
// requests without a user, or without a crumb.
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

	// Signed is the forge whose signature or token a request must bear, once the setting
	// webhook has a secret for it. Nothing but that setting opens such an entry. Empty
	// for the others.
	Signed webhook.Kind

	// SignedQuery is the one query parameter that a signed request may have: it is a part
	// of the URL that the forge was given. Empty for most.
	SignedQuery string

	// KeepsAuthorization marks a plugin that reads a secret of its own from an
	// Authorization header whose scheme isn't Basic.
	KeepsAuthorization bool

	// Query is a parameter that Jenkins wants before it leaves the path open, written
	// name=value. Empty for most.
	Query string

	// Secrets are headers and parameters of the endpoint whose values are secret, and SecretParameters those whose names
	// mean something else in JSON. SecretPath tells of a secret in the path.
	Secrets, SecretParameters []string
	SecretPath                SecretPath

	// SameForAll marks what is the same for every user, so that a token's scopes don't
	// matter there.
	SameForAll bool

	// Pages are the permissions that a scoped token needs. A path without one needs Admin.
	Pages []Page
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
		Name:       "login",
		Paths:      []string{"/login", "/loginError", "/logout"},
		Why:        "probes and agents ask for it to see whether Jenkins is up; people without a session log in and out there",
		Guard:      "shows nothing but the form",
		Public:     true,
		SameForAll: true,
		Secrets:    []string{"j_password"},
	},
	{
		Name: "assets",
		Paths: []string{
			"/adjuncts/*", "/css/*", "/images/*", "/scripts/*", "/jsbundles/*",
			"/favicon.ico", "/favicon.svg", "/robots.txt", "/apple-touch-icon.png",
		},
		Why:        "the login page loads its styles, scripts and images from there",
		Guard:      "the same files for everybody; other paths below need Overall/Read",
		Public:     true,
		SameForAll: true,
	},
	{
		Name:    "agents",
		Paths:   []string{"/tcpSlaveAgentListener", "/wsagents", "/jnlpJars/*"},
		Why:     "agents find the port there, connect by WebSocket and fetch their program before they are known",
		Guard:   "the secret of the agent, in Secret-Key or within the agent protocol; the programs are public",
		Public:  true,
		Pages:   []Page{{TheRoot, Called, Agents, "/tcpSlaveAgentListener /wsagents"}, {TheRoot, Shown, Any, "/jnlpJars /jnlpJars/*"}},
		Secrets: []string{"Secret-Key"},
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
		Name:       "health",
		Paths:      []string{"/health"},
		Why:        "probes ask for it",
		Guard:      "says up or down and no more",
		Public:     true,
		Pages:      []Page{{TheRoot, Shown, Any, "/health"}},
		SameForAll: true,
	},
	{
		Name:        "csp-report",
		Paths:       []string{"/content-security-policy-reporting-endpoint/*"},
		Why:         "browsers send reports of violated content security policies without cookies",
		Guard:       "the path holds a context that Jenkins made; a report only adds to a log, up to 20 KiB",
		Public:      true,
		CrumbExempt: true,
		SameForAll:  true,
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
		Name:       "instance-identity",
		Paths:      []string{"/instance-identity/*"},
		Why:        "others learn the public key of this Jenkins",
		Guard:      "a public key is no secret",
		SameForAll: true,
	},
	{
		Name:       "static-files",
		Paths:      []string{"/static-files/*"},
		Why:        "the resource domain serves artifacts and workspaces without cookies",
		Guard:      "the URL holds a user and a time, authenticated with a key of Jenkins'",
		SecretPath: SecretPath{Before: "/static-files/"},
	},
	{
		Name:       "libraries",
		Paths:      []string{"/assets/*"},
		Why:        "pages of plugins load scripts that the core brings",
		Guard:      "the same files for everybody",
		SameForAll: true,
	},
	{
		Name:    "signup",
		Paths:   []string{"/signup", "/securityRealm/createAccount"},
		Why:     "people make themselves an account in Jenkins' own user database",
		Guard:   "works only where the database allows it; a gateway that names the users has no use for it",
		Secrets: []string{"password1", "password2"},
	},

	// Other ways to log in to Jenkins.
	{
		Name:             "sso-callback",
		Paths:            []string{"/securityRealm/commenceLogin", "/securityRealm/finishLogin"},
		Plugin:           "saml, oic-auth",
		Why:              "the identity provider sends people back there, by POST from its own site",
		Guard:            "the provider's signature, and the state that the plugin kept in the session",
		ExemptWhenOpen:   true,
		SecretParameters: []string{"code", "state", "SAMLResponse"},
	},
	{
		Name:           "escape-hatch",
		Paths:          []string{"/securityRealm/escapeHatch"},
		Plugin:         "oic-auth",
		Why:            "lets an administrator in while the identity provider is down",
		Guard:          "a name and a password, which anybody may guess at",
		ExemptWhenOpen: true,
	},

	// Plugins that answer programs.
	{
		Name:        "mcp",
		Paths:       []string{"/mcp-server/*"},
		Plugin:      "mcp-server",
		Why:         "programs of AI assistants know no crumbs; they authenticate themselves with each request",
		Guard:       "permissions of the user; the plugin compares Origin. A scoped token needs `admin`, since what is asked for is in the body",
		CrumbExempt: true,
	},
	{
		Name:       "mcp-health",
		Paths:      []string{"/mcp-health"},
		Plugin:     "mcp-server",
		Why:        "probes ask for it",
		Guard:      "says up or down and no more",
		Public:     true,
		SameForAll: true,
	},
	{
		Name:           "casc-reload",
		Paths:          []string{"/reload-configuration-as-code"},
		Plugin:         "configuration-as-code",
		Why:            "the sidecar of the Helm chart has the configuration reloaded",
		Guard:          "a token of the plugin, as parameter",
		ExemptWhenOpen: true,
		Secrets:        []string{"casc-reload-token"},
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
		Pages:          []Page{{TheRoot, Posted, Webhook, "/github-webhook"}},
	},
	{
		Name:           "ghprb",
		Paths:          []string{"/ghprbhook"},
		Plugin:         "ghprb",
		Why:            "GitHub has neither user nor crumb",
		Guard:          "signature of the body in X-Hub-Signature-256, checked by the gateway",
		ExemptWhenOpen: true,
		Signed:         webhook.GitHub,
		Pages:          []Page{{TheRoot, Posted, Webhook, "/ghprbhook"}},
	},
	{
		Name:           "gitlab",
		Paths:          []string{"/project/*"},
		Plugin:         "gitlab-plugin",
		Why:            "GitLab has neither user nor crumb",
		Guard:          "X-Gitlab-Token or the signature of a signing token, checked by the gateway and, where a job has one, by the plugin",
		ExemptWhenOpen: true,
		Signed:         webhook.GitLab,
		Secrets:        []string{"X-Gitlab-Token"},
	},
	{
		Name:           "gitlab-branch-source",
		Paths:          []string{"/gitlab-webhook/post", "/gitlab-systemhook/post"},
		Plugin:         "gitlab-branch-source",
		Why:            "GitLab has neither user nor crumb",
		Guard:          "X-Gitlab-Token or the signature of a signing token, checked by the gateway and, where it knows one, by the plugin",
		ExemptWhenOpen: true,
		Signed:         webhook.GitLab,
		Pages:          []Page{{TheRoot, Posted, Webhook, "/gitlab-webhook/post /gitlab-systemhook/post"}},
	},
	{
		Name:           "bitbucket",
		Paths:          []string{"/bitbucket-hook"},
		Plugin:         "bitbucket, bitbucket-push-and-pull-request",
		Why:            "Bitbucket has neither user nor crumb",
		Guard:          "signature of the body in X-Hub-Signature, checked by the gateway",
		ExemptWhenOpen: true,
		Signed:         webhook.Bitbucket,
		Pages:          []Page{{TheRoot, Posted, Webhook, "/bitbucket-hook"}},
	},
	{
		Name:           "bitbucket-branch-source",
		Paths:          []string{"/bitbucket-scmsource-hook/notify"},
		Plugin:         "cloudbees-bitbucket-branch-source",
		Why:            "Bitbucket has neither user nor crumb",
		Guard:          "signature of the body in X-Hub-Signature, checked by the gateway and, where it knows the secret, by the plugin",
		ExemptWhenOpen: true,
		Signed:         webhook.Bitbucket,
		SignedQuery:    "server_url",
		Pages:          []Page{{TheRoot, Posted, Webhook, "/bitbucket-scmsource-hook/notify"}},
	},

	// Webhooks that the gateway can't check.
	{
		Name:           "gitea",
		Paths:          []string{"/gitea-webhook/post"},
		Plugin:         "gitea",
		Why:            "Gitea has neither user nor crumb",
		Guard:          "nothing: the plugin checks no signature, but an event only makes it look at the repository",
		ExemptWhenOpen: true,
		Pages:          []Page{{TheRoot, Posted, Webhook, "/gitea-webhook/post"}},
	},
	{
		Name:               "generic-webhook-trigger",
		Paths:              []string{"/generic-webhook-trigger/*"},
		Plugin:             "generic-webhook-trigger",
		Why:                "any service may call it",
		Guard:              "the token of a job, as parameter, token header, bearer token or X-Gitlab-Token; a job without token starts for whoever may build it; optional list of senders",
		ExemptWhenOpen:     true,
		KeepsAuthorization: true,
		Pages:              []Page{{TheRoot, Acting, Webhook, "/generic-webhook-trigger/invoke"}},
	},
	{
		Name:           "multibranch-scan-webhook-trigger",
		Paths:          []string{"/multibranch-webhook-trigger/*"},
		Plugin:         "multibranch-scan-webhook-trigger",
		Why:            "any service may have branches indexed",
		Guard:          "the token of a job, as parameter or token header",
		ExemptWhenOpen: true,
		Pages:          []Page{{TheRoot, Acting, Webhook, "/multibranch-webhook-trigger/invoke"}},
	},
	{
		Name:           "build-token-root",
		Paths:          []string{"/buildByToken/*"},
		Plugin:         "build-token-root",
		Why:            "scripts start builds where anonymous may read nothing",
		Guard:          "the trigger token of the job, as parameter",
		ExemptWhenOpen: true,
		Pages:          []Page{{TheRoot, Acting, Build, "/buildByToken/build /buildByToken/buildWithParameters /buildByToken/polling"}},
	},
	{
		Name:           "git-notify",
		Paths:          []string{"/git/notifyCommit"},
		Plugin:         "git",
		Why:            "hooks of repositories tell of commits",
		Guard:          "an access token of the plugin, as parameter (since 4.11.4)",
		ExemptWhenOpen: true,
		Pages:          []Page{{TheRoot, Acting, Webhook, "/git/notifyCommit"}},
	},
	{
		Name:           "mercurial-notify",
		Paths:          []string{"/mercurial/notifyCommit"},
		Plugin:         "mercurial",
		Why:            "hooks of repositories tell of commits",
		Guard:          "nothing: whoever knows a repository's URL has its jobs polled",
		ExemptWhenOpen: true,
		Pages:          []Page{{TheRoot, Acting, Webhook, "/mercurial/notifyCommit"}},
	},
	{
		Name:           "subversion-notify",
		Paths:          []string{"/subversion/*/notifyCommit"},
		Plugin:         "subversion",
		Why:            "hooks of repositories tell of commits",
		Guard:          "the UUID of the repository, which is no secret: its jobs are polled",
		ExemptWhenOpen: true,
		Pages:          []Page{{TheRoot, Acting, Webhook, "/subversion/*/notifyCommit"}},
	},
	{
		Name:           "sonarqube",
		Paths:          []string{"/sonarqube-webhook"},
		Plugin:         "sonar",
		Why:            "SonarQube tells of quality gates",
		Guard:          "signature of the body, checked by the plugin where it knows the secret; else nothing",
		ExemptWhenOpen: true,
		Pages:          []Page{{TheRoot, Posted, Webhook, "/sonarqube-webhook"}},
	},

	// What others read.
	{
		Name:               "metrics",
		Paths:              []string{"/metrics/*"},
		Plugin:             "metrics",
		Why:                "monitoring has no user",
		Guard:              "an access key of the plugin, in the path, as parameter or as Authorization: Jenkins-Metrics-Key",
		KeepsAuthorization: true,
		Pages:              []Page{{TheRoot, Shown, Read, "/metrics/healthcheckOk"}},
		SecretParameters:   []string{"key"},
		SecretPath:         SecretPath{"/metrics/", []string{"currentUser", "healthcheck", "healthcheckOk", "metrics", "metricsHistory", "ping", "threads"}},
	},
	{
		Name:   "prometheus",
		Paths:  []string{"/prometheus/*"},
		Plugin: "prometheus",
		Why:    "Prometheus has no user",
		Guard:  "nothing, unless the plugin is set to demand Metrics/View, which anonymous then needs; names every job",
		Pages:  []Page{{TheRoot, Shown, Read, "/prometheus"}},
	},
	{
		Name:   "badges",
		Paths:  []string{"/buildStatus/*"},
		Plugin: "embeddable-build-status",
		Why:    "pages elsewhere show badges",
		Guard:  "permission Job/ViewStatus, which anonymous then needs",
		Pages:  []Page{{TheRoot, Shown, Read, "/buildStatus/icon /buildStatus/icon.svg /buildStatus/text"}},
	},
}
