package gateway

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/gateway/webhook"
)

var update = flag.Bool("update", false, "write docs/open-endpoints.md from the catalogue")

func mustOpen(t testing.TB, public, exempt []string, signed ...webhook.Kind) *endpoint.Openings {
	t.Helper()
	o, err := endpoint.Open(public, exempt, signed)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func routeOf(t testing.TB, target string) (route, string) {
	t.Helper()
	r := requestFor(target)
	if r == nil {
		t.Fatalf("%q isn't a request target", target)
	}
	p, err := dispatchPath(r, "")
	if err != nil {
		t.Fatal(err)
	}
	return p, r.URL.RawQuery
}

func entryName(e *endpoint.Entry) string {
	if e == nil {
		return ""
	}
	return e.Name
}

// signedName names the entry of a path that is open to signed requests.
func signedName(o *endpoint.Openings, p route) string {
	e, open := o.Signed(p.path)
	if !open {
		return ""
	}
	return e.Name
}

func TestOpenings(t *testing.T) {
	allKinds := []webhook.Kind{webhook.GitHub, webhook.GitLab, webhook.Bitbucket}
	tests := []struct {
		name           string
		public, exempt []string
		signed         []webhook.Kind
		target         string

		wantPublic, wantExempt, wantSigned string
	}{
		// What is open unless closed.
		{name: "login", target: "/login?from=%2F", wantPublic: "login"},
		{name: "login with a slash", target: "/login/", wantPublic: "login"},
		{name: "login error", target: "/loginError", wantPublic: "login"},
		{name: "logout", target: "/logout", wantPublic: "login"},
		{name: "style", target: "/static/1a2b3c4d/jsbundles/styles.css", wantPublic: "assets"},
		{name: "icon", target: "/favicon.ico", wantPublic: "assets"},
		{name: "robots", target: "/robots.txt", wantPublic: "assets"},
		{name: "adjunct", target: "/adjuncts/1a2b3c4d/lib/form/x.js", wantPublic: "assets"},
		{name: "agent's port", target: "/tcpSlaveAgentListener/", wantPublic: "agents"},
		{name: "agent's WebSocket", target: "/wsagents/", wantPublic: "agents"},
		{name: "agent's program", target: "/jnlpJars/agent.jar", wantPublic: "agents"},
		{name: "agent's settings", target: "/computer/n1/jenkins-agent.jnlp?encrypt=true", wantPublic: "agent-jnlp"},
		{name: "agent's settings, old name", target: "/computer/n%201/slave-agent.jnlp?encrypt=true", wantPublic: "agent-jnlp"},
		{name: "agent's settings below manage", target: "/manage/computer/n1/jenkins-agent.jnlp?x=y&encrypt=true", wantPublic: "agent-jnlp"},
		{name: "health", target: "/health", wantPublic: "health"},
		{name: "CSP report", target: "/content-security-policy-reporting-endpoint/abc", wantPublic: "csp-report", wantExempt: "csp-report"},
		{name: "CLI", target: "/cli?remoting=false", wantExempt: "cli"},
		{name: "CLI's WebSocket", target: "/cli/ws", wantExempt: "cli"},
		{name: "program of an assistant", target: "/mcp-server/mcp", wantExempt: "mcp"},
		{name: "health of the server for assistants", target: "/mcp-health", wantPublic: "mcp-health"},
		{name: "badge, at a path that no plugin has", public: []string{"badges"}, target: "/badge/icon"},
		{name: "badge", public: []string{"badges"}, target: "/buildStatus/icon?job=a", wantPublic: "badges"},
		{name: "reload of the configuration", target: "/reload-configuration-as-code/?casc-reload-token=x"},

		// Attacks on that.
		{name: "root", target: "/"},
		{name: "job", target: "/job/a/build"},
		{name: "out of an open path", target: "/login/../job/a/build"},
		{name: "out of an open folder", target: "/adjuncts/x/../../job/a/build"},
		{name: "behind static", target: "/static/login/job/a/build"},
		{name: "open name behind static", target: "/static/x/job/login"},
		{name: "static without a tail", target: "/static/x"},
		{name: "slashes only look like it", target: "//job//login"},
		{name: "escaped slash", target: "/adjuncts%2Fx"},
		{name: "escaped slash in login", target: "/login%2Fx"},
		{name: "escaped letters", target: "/%6cogin", wantPublic: "login"}, // Jenkins denies it
		{name: "below login", target: "/login/x"},
		{name: "below health", target: "/health/x"},
		{name: "below the agents' WebSocket", target: "/wsagents/x"},
		{name: "longer", target: "/loginx"},
		{name: "longer than a folder", target: "/cssx/a"},
		{name: "another case", target: "/Login"},
		{name: "view of that name", target: "/view/css/job/a"},
		{name: "job of that name", target: "/job/login"},
		{name: "through manage", target: "/manage/login"},
		{name: "settings unencrypted", target: "/computer/n1/jenkins-agent.jnlp"},
		{name: "settings, encrypt otherwise", target: "/computer/n1/jenkins-agent.jnlp?encrypt=false"},
		{name: "settings, encrypt twice", target: "/computer/n1/jenkins-agent.jnlp?encrypt=false&encrypt=true"},
		{name: "settings, encrypt thrice the same", target: "/computer/n1/jenkins-agent.jnlp?encrypt=true&encrypt=true"},
		{name: "settings, query unreadable", target: "/computer/n1/jenkins-agent.jnlp?encrypt=true;encrypt=false"},
		{name: "settings, query broken", target: "/computer/n1/jenkins-agent.jnlp?encrypt=true&%zz"},
		{name: "settings, another file", target: "/computer/n1/config.xml?encrypt=true"},
		{name: "settings, deeper", target: "/computer/n1/jenkins-agent.jnlp/x?encrypt=true"},
		{name: "settings, two segments", target: "/computer/a/b/jenkins-agent.jnlp?encrypt=true"},
		{name: "settings, one segment less", target: "/computer/jenkins-agent.jnlp?encrypt=true"},
		{name: "closed by default", target: "/whoAmI/api/json"},
		{name: "closed webhook", target: "/generic-webhook-trigger/invoke?token=x"},

		// The settings.
		{name: "closed", public: []string{"-login"}, target: "/login"},
		{name: "opened", public: []string{"who-am-i"}, target: "/whoAmI/api/json", wantPublic: "who-am-i"},
		{name: "opened CLI", public: []string{"cli"}, target: "/cli", wantPublic: "cli", wantExempt: "cli"},
		{name: "CLI with crumbs", exempt: []string{"-cli"}, target: "/cli"},
		{name: "opened webhook needs no crumb", public: []string{"gitea"}, target: "/gitea-webhook/post", wantPublic: "gitea", wantExempt: "gitea"},
		{name: "opened webhook with crumbs", public: []string{"gitea"}, exempt: []string{"-gitea"}, target: "/gitea-webhook/post", wantPublic: "gitea"},
		{name: "webhook for people alone", exempt: []string{"git-notify"}, target: "/git/notifyCommit?url=x", wantExempt: "git-notify"},
		{name: "one's own", public: []string{"/my-hook"}, target: "/my-hook/", wantPublic: "/my-hook"},
		{name: "one's own, below", public: []string{"/my-hook"}, target: "/my-hook/x"},
		{name: "one's own folder", public: []string{"/my/hook/*"}, target: "/my/hook/a/b", wantPublic: "/my/hook/*"},
		{name: "one's own folder itself", public: []string{"/my/hook/*"}, target: "/my/hook", wantPublic: "/my/hook/*"},
		{name: "beside one's own folder", public: []string{"/my/hook/*"}, target: "/my/hooks"},
		{name: "above one's own folder", public: []string{"/my/hook/*"}, target: "/my"},
		{name: "one's own with a space", public: []string{"/job/my job/badge"}, target: "/job/my%20job/badge", wantPublic: "/job/my job/badge"},
		{name: "one's own job of that name", public: []string{"/job/project/badge"}, target: "/job/project/badge", wantPublic: "/job/project/badge"},
		{name: "one's own crumb exemption", exempt: []string{"/my-hook"}, target: "/my-hook", wantExempt: "/my-hook"},

		// Webhooks with a signature.
		{name: "no secret", target: "/github-webhook/"},
		{name: "secret", signed: allKinds, target: "/github-webhook/", wantExempt: "github", wantSigned: "github"},
		{name: "not below", signed: allKinds, target: "/github-webhook/x"},
		{name: "not by another way", signed: allKinds, target: "/manage/github-webhook/"},
		{name: "secret of another", signed: []webhook.Kind{webhook.GitLab}, target: "/github-webhook/"},
		{name: "GitLab's project", signed: allKinds, target: "/project/folder/a", wantExempt: "gitlab", wantSigned: "gitlab"},
		{name: "Bitbucket", signed: allKinds, target: "/bitbucket-scmsource-hook/notify?server_url=x", wantExempt: "bitbucket-branch-source", wantSigned: "bitbucket-branch-source"},
		{name: "one plugin closed", public: []string{"-ghprb"}, signed: allKinds, target: "/ghprbhook/"},
		{name: "the other stays", public: []string{"-ghprb"}, signed: allKinds, target: "/github-webhook", wantExempt: "github", wantSigned: "github"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := mustOpen(t, tt.public, tt.exempt, tt.signed...)
			p, query := routeOf(t, tt.target)
			public, exempt, signed := entryName(o.Public(p.path, query)), entryName(o.CrumbExempt(p.path)), signedName(o, p)
			if public != tt.wantPublic || exempt != tt.wantExempt || signed != tt.wantSigned {
				t.Errorf("%s: public %q, exempt %q, signed %q; want %q, %q, %q", tt.target, public, exempt, signed, tt.wantPublic, tt.wantExempt, tt.wantSigned)
			}
		})
	}
}

// TestSignedEntriesNeedTheirSignature opens all that the settings can open, and finds no
// way around the signature.
func TestSignedEntriesNeedTheirSignature(t *testing.T) {
	var every []string
	for _, e := range endpoint.Catalogue {
		if e.Signed == "" {
			every = append(every, e.Name)
		}
	}
	o := mustOpen(t, every, every, webhook.GitHub, webhook.GitLab, webhook.Bitbucket)
	for i := range endpoint.Catalogue {
		e := &endpoint.Catalogue[i]
		for _, path := range e.Paths {
			p, _ := routeOf(t, strings.ReplaceAll(path, "*", "x"))
			public := o.Public(p.path, e.Query)
			signed, _ := o.Signed(p.path)
			if e.Signed != "" && (public != nil || signed != e) || e.Signed == "" && (public != e || signed != nil) {
				t.Errorf("%s of %s: public %q, signed %q", path, e.Name, entryName(public), entryName(signed))
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name           string
		public, exempt []string
		signed         []webhook.Kind
		want           string
	}{
		{"unknown name", []string{"nope"}, nil, nil, "git-notify, gitea, github"},
		{"unknown name closed", nil, []string{"-nope"}, nil, "no such entry"},
		{"empty", []string{""}, nil, nil, "no such entry"},
		{"signed", []string{"github"}, nil, nil, "webhook github { secret"},
		{"signed, of another name", []string{"ghprb"}, nil, nil, "webhook github { secret"},
		{"signed, even with its secret", []string{"gitlab"}, nil, []webhook.Kind{webhook.GitLab}, "webhook gitlab { secret"},
		{"signed, its crumbs", nil, []string{"bitbucket"}, nil, "webhook bitbucket { secret"},
		{"signed, by its path", []string{"/github-webhook"}, nil, nil, "webhook github { secret"},
		{"signed, by a folder", []string{"/gitlab-webhook/*"}, nil, nil, "webhook gitlab { secret"},
		{"signed, by a path below", []string{"/project/a"}, nil, nil, "webhook gitlab { secret"},
		{"signed, by a path below a web method", []string{"/gitlab-webhook/post/x"}, nil, nil, "webhook gitlab { secret"},
		{"signed, by manage", []string{"/manage/github-webhook"}, nil, nil, "webhook github { secret"},
		{"signed, by a parent", []string{"/job/a/parent/bitbucket-hook/*"}, nil, nil, "webhook bitbucket { secret"},
		{"signed, its crumbs by a parent", nil, []string{"/job/a/parent/ghprbhook"}, nil, "webhook github { secret"},
		{"signed, its crumbs by path", nil, []string{"/bitbucket-hook/*"}, nil, "webhook bitbucket { secret"},
		{"both ways", []string{"cli", "-cli"}, nil, nil, "both opened and closed"},
		{"both ways, turned", []string{"-cli", "cli"}, nil, nil, "both opened and closed"},
		{"closing a path", []string{"-/login"}, nil, nil, "by its name"},
		{"the root", []string{"/"}, nil, nil, "all of Jenkins"},
		{"all", []string{"/*"}, nil, nil, "all of Jenkins"},
		{"all, with slashes", []string{"//*"}, nil, nil, "empty segment"},
		{"slash at the end", []string{"/a/"}, nil, nil, "slash at its end"},
		{"dots", []string{"/a/../b"}, nil, nil, "dot segments"},
		{"escape", []string{"/a%2Fb"}, nil, nil, "decoded"},
		{"query", []string{"/a?b"}, nil, nil, "without query"},
		{"semicolon", []string{"/a;b"}, nil, nil, "decoded"},
		{"backslash", []string{`/a\b`}, nil, nil, "decoded"},
		{"control character", []string{"/a\nb"}, nil, nil, "decoded"},
		{"star within", []string{"/a/*/b"}, nil, nil, "last segment"},
		{"star in a name", []string{"/a*"}, nil, nil, "last segment"},
		{"two stars", []string{"/a/*/*"}, nil, nil, "last segment"},
		{"static", []string{"/static/*"}, nil, nil, "cut off"},
		{"manage", []string{"/manage/*"}, nil, nil, "below /manage"},
		{"webhook without a kind", nil, nil, []webhook.Kind{""}, "no webhook"},
		{"webhook of another kind", nil, nil, []webhook.Kind{"gitea"}, "no webhook"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := endpoint.Open(tt.public, tt.exempt, tt.signed)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("endpoint.Open(%q, %q, %q): %v, want %q", tt.public, tt.exempt, tt.signed, err, tt.want)
			}
		})
	}
}

// TestCatalogueFollowsJenkins posts to what the stand-in exempts from crumbs or shows to
// anybody: the catalogue must know all of it, and exempt nothing that is not.
func TestCatalogueFollowsJenkins(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	var every []string
	for _, e := range endpoint.Catalogue {
		if e.Signed == "" {
			every = append(every, e.Name)
		}
	}
	o := mustOpen(t, every, nil, webhook.GitHub, webhook.GitLab, webhook.Bitbucket)
	for target, want := range map[string]string{
		"/cli": "cli",
		"/content-security-policy-reporting-endpoint/x": "csp-report",
		"/github-webhook/":                    "github",
		"/ghprbhook/":                         "ghprb",
		"/project/a":                          "gitlab",
		"/gitlab-webhook/post":                "gitlab-branch-source",
		"/gitlab-systemhook/post":             "gitlab-branch-source",
		"/bitbucket-hook/":                    "bitbucket",
		"/bitbucket-scmsource-hook/notify":    "bitbucket-branch-source",
		"/gitea-webhook/post":                 "gitea",
		"/generic-webhook-trigger/invoke":     "generic-webhook-trigger",
		"/multibranch-webhook-trigger/invoke": "multibranch-scan-webhook-trigger",
		"/buildByToken/build":                 "build-token-root",
		"/git/notifyCommit":                   "git-notify",
		"/mercurial/notifyCommit":             "mercurial-notify",
		"/login":                              "",
		"/wsagents/":                          "",
		"/whoAmI/":                            "",
		"/job/a/build":                        "",
		"/git/other":                          "",
		"/static/x/job/a/build":               "",
	} {
		jenkins.ResetRequests()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		got := jenkins.Requests()
		if len(got) != 1 {
			t.Fatalf("POST %s: Jenkins got %d requests", target, len(got))
		}
		p, _ := routeOf(t, target)
		exempt := entryName(o.CrumbExempt(p.path))
		if exempt != want || (got[0].Crumb == jenkinstest.CrumbExempt) != (want != "") {
			t.Errorf("POST %s: exempt as %q, want %q; to Jenkins its crumb is %q", target, exempt, want, got[0].Crumb)
		}
	}
}

func TestOpeningsAllocateNothing(t *testing.T) {
	o := mustOpen(t, nil, nil, webhook.GitHub)
	for _, target := range []string{"/", "/job/m/job/feature%2Fx/build", "/computer/n1/api/json", "/static/x/css/a.css", "/github-webhook/"} {
		p, query := routeOf(t, target)
		if n := testing.AllocsPerRun(100, func() { o.Public(p.path, query); o.CrumbExempt(p.path); o.Signed(p.path) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", target, n)
		}
	}
}

func BenchmarkOpenings(b *testing.B) {
	o := mustOpen(b, nil, nil, webhook.GitHub)
	for _, target := range []string{"/job/folder/job/deploy/build", "/computer/n1/api/json", "/static/x/css/a.css"} {
		p, query := routeOf(b, target)
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				o.Public(p.path, query)
				o.CrumbExempt(p.path)
				o.Signed(p.path)
			}
		})
	}
}

// TestCatalogueDocs keeps docs/open-endpoints.md as the catalogue is.
func TestCatalogueDocs(t *testing.T) {
	const file = "../docs/open-endpoints.md"
	want := catalogueDocs()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s differs from the catalogue: run go test ./gateway -run TestCatalogueDocs -update", file)
	}
}

func catalogueDocs() string {
	var b strings.Builder
	b.WriteString(`<!-- Written from gateway/endpoint by go test ./gateway -run TestCatalogueDocs -update. -->

# Open endpoints

Jenkins leaves some of its paths open to anybody, or to requests without a crumb:
agents, probes and webhooks have neither. The gateway knows them by name and opens few
of them by itself. The rest is opened in the settings:

- ` + "`public`" + ` opens entries to requests without a user: ` + "`public prometheus -login /my-hook`" + `
  opens the entry prometheus, closes login, and adds a path of your own. ` + "`/path/*`" + ` is that
  path and all below it. Paths are written decoded, without Jenkins' context path.
- ` + "`crumb_exempt`" + ` does the same for requests without a crumb. An entry marked
  "no crumb once open" needs none as soon as it is open.
- ` + "`webhook github { secret … }`" + ` opens what GitHub sends to, if it bears a valid signature; likewise
  gitlab and bitbucket. Nothing else opens these: with this setting, requests of API tokens and of signed-in
  users must be signed as well, below these paths and on any way on which Jenkins comes back to its root, such as
  ` + "`/manage/github-webhook/` and `/job/x/parent/github-webhook/`" + `. A request without a user must use the path in the table.
  A signed request has no query and the Content-Type that the forge sends, since a signature covers the body alone.

An endpoint that is open is open to every valid credential too. A request of an API token whose scopes
don't cover it goes on as anonymous. A password is dropped there, because the gateway can't check it. A
revoked, expired or damaged token is still answered by 401.

The patterns are compared with the path that Jenkins dispatches, so neither ` + "`..`" + ` nor
` + "`/static/x`" + ` leads out of them. A single ` + "`*`" + ` within a path stands for one name.

| name | paths | plugin | default | why it is open | what protects it |
|---|---|---|---|---|---|
`)
	for _, e := range endpoint.Catalogue {
		paths := "`" + strings.Join(e.Paths, "`, `") + "`"
		if e.Query != "" {
			paths += " with `" + e.Query + "`"
		}
		plugin := e.Plugin
		if plugin == "" {
			plugin = "(core)"
		}
		state := "closed"
		switch {
		case e.Signed != "":
			state = fmt.Sprintf("closed; `webhook %s` opens it", e.Signed)
		case e.Public:
			state = "open"
		}
		switch {
		case e.CrumbExempt:
			state += "; no crumb"
		case e.ExemptWhenOpen:
			state += "; no crumb once open"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", e.Name, paths, plugin, state, e.Why, e.Guard)
	}
	return b.String()
}
