package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// openPaths are open to requests without a user, unless the settings close them.
var openPaths = []string{
	"/login", "/favicon.ico", "/robots.txt", "/adjuncts/1a2b/x.js", "/static/1a2b3c4d/jsbundles/styles.css", "/static/1a2b3c4d/images/a.svg", "/css/a.css",
	"/scripts/a.js", "/images/a.png", "/jnlpJars/agent.jar", "/tcpSlaveAgentListener/", "/health", "/mcp-health",
}

// What is open without a credential is open with any that is valid, whatever the scopes of
// a token; and a password, which the gateway can't check there, is dropped.
func TestOpenEndpointsTakeEveryCredential(t *testing.T) {
	s := newSite(t, options{})
	for name, credential := range map[string]string{
		"nothing":                    "A: b",
		"a token":                    s.auth("alice"),
		"a token alone":              "Authorization: Bearer " + s.token("alice"),
		"a token with a scope":       s.scoped("build:x"),
		"a token with another scope": s.scoped("artifacts:team-a/**"),
		"a token that is observed":   "Authorization: " + basicAuth("alice", s.tokenAs(token.Request{User: "alice", Expires: "never", Limits: &token.Limits{Scopes: []string{"read:x"}, Observe: true}})),
		"a password":                 "Authorization: " + basicAuth("carol", "sesame"),
		"a password of 32 digits":    "Authorization: " + basicAuth("carol", strings.Repeat("0a", 16)),
		"another scheme":             "Authorization: Digest username=carol",
		"a bearer token of others":   "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.",
	} {
		for _, path := range openPaths {
			s.jenkins.ResetRequests()
			a := s.send("GET", path, "", credential, "Cookie: JSESSIONID.1=forged")
			if a.StatusCode == http.StatusUnauthorized || a.Header.Get("X-Crumbgate-Needs") != "" || !s.reached() {
				t.Errorf("GET %s with %s: %s", path, name, a.dump())
			}
			for _, r := range s.jenkins.Requests() {
				if r.Header["Authorization"] != nil || strings.HasPrefix(name, "a token") && strings.Contains(r.Header.Get("Cookie"), "forged") {
					t.Errorf("GET %s with %s: Jenkins got %v", path, name, r.Header)
				}
			}
			if strings.HasPrefix(name, "a token") && a.Header["Set-Cookie"] != nil {
				t.Errorf("GET %s with %s: the client got %q", path, name, a.Header["Set-Cookie"])
			}
		}
	}
	if strings.Contains(s.log.String(), "sesame") {
		t.Error("the log holds the password")
	}
}

// A token that is no good is told so everywhere.
func TestOpenEndpointsRefuseBadTokens(t *testing.T) {
	s := newSite(t, options{})
	good := s.token("alice")
	revoked := s.token("alice")
	all := s.directory.Select(token.Filter{Owner: "alice"})
	for _, made := range all {
		if digest, err := token.Parse(revoked); err != nil {
			t.Fatal(err)
		} else if s.directory.Find(digest) == made {
			if _, err := s.directory.Revoke(t.Context(), made.Record().ID, "test"); err != nil {
				t.Fatal(err)
			}
		}
	}
	damaged := []byte(good)
	damaged[len(damaged)-1] ^= 1
	for name, credential := range map[string]string{
		"revoked":             basicAuth("alice", revoked),
		"revoked, alone":      "Bearer " + revoked,
		"damaged":             basicAuth("alice", string(damaged)),
		"damaged, alone":      "Bearer " + string(damaged),
		"of another user":     basicAuth("bob", good),
		"unknown":             basicAuth("alice", "11"+strings.Repeat("0a", 16)),
		"no Base64":           "Basic !",
		"nothing after Basic": "Basic ",
	} {
		for _, path := range openPaths {
			if a := s.send("GET", path, "", "Authorization: "+credential); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("GET %s with a token that is %s: %s", path, name, a.dump())
			}
		}
	}
	s.untouched()
}

// What an operator has opened a token reaches within its scopes as its user, and beyond
// them as anybody does: as nobody.
func TestOpenEndpointsBeyondTheScopes(t *testing.T) {
	s := newSite(t, options{gate: func(c *gateway.Config) { c.Public = []string{"generic-webhook-trigger", "/my-hook"} }})
	for _, row := range []struct {
		name, credential, method, path, user string
	}{
		{"covered", s.scoped("webhook"), "POST", "/generic-webhook-trigger/invoke", "alice"},
		{"covered by a wider one", s.scoped("build"), "GET", "/generic-webhook-trigger/invoke?token=x", "alice"},
		{"not covered", s.scoped("read"), "POST", "/generic-webhook-trigger/invoke", "anonymous"},
		{"a path of the operator", s.scoped("read"), "GET", "/my-hook", "anonymous"},
		{"without scopes", s.auth("alice"), "POST", "/generic-webhook-trigger/invoke", "alice"},
		{"a password", "Authorization: " + basicAuth("alice", "sesame"), "POST", "/generic-webhook-trigger/invoke", "anonymous"},
	} {
		s.jenkins.ResetRequests()
		a := s.send(row.method, row.path, "", row.credential)
		found := false
		for _, r := range s.jenkins.Requests() {
			if r.Path == "/crumbIssuer/api/json" {
				continue
			}
			found = true
			if r.User != row.user || r.Header["Authorization"] != nil {
				t.Errorf("%s: Jenkins got %s as %q with %v", row.name, r.Path, r.User, r.Header)
			}
		}
		if !found {
			t.Errorf("%s: %s", row.name, a.dump())
		}
	}
	// A plugin's own secret is passed on, and a token of ours never is.
	s.jenkins.ResetRequests()
	secret := s.tokenAs(token.Request{User: "alice", Expires: "never", Limits: &token.Limits{Scopes: []string{"read"}}})
	s.send("POST", "/generic-webhook-trigger/invoke", "", "Authorization: Bearer "+secret)
	s.send("POST", "/generic-webhook-trigger/invoke", "", "Authorization: Bearer secret-of-the-plugin")
	got := s.jenkins.Requests()
	if len(got) != 2 || got[0].Header["Authorization"] != nil || got[1].Header.Get("Authorization") != "Bearer secret-of-the-plugin" {
		t.Errorf("Jenkins got %+v", got)
	}
}

// A link on which Jenkins acts is followed from pages of this site alone: with a user's
// session as with a token that a browser keeps as a password.
func TestLinksThatAct(t *testing.T) {
	s := newPeopleSite(t, options{})
	links := []string{
		"/job/a/build?token=x", "/job/a/buildWithParameters?%74oken=x", "/job/a/polling?token=x", "/static/x/job/a/build?token=x",
		"/generic-webhook-trigger/invoke", "/generic-webhook-trigger/invoke?token=x", "/manage/generic-webhook-trigger/invoke", "/multibranch-webhook-trigger/invoke?token=x",
		"/git/notifyCommit?url=x", "/mercurial/notifyCommit?url=x", "/subversion/6a2b/notifyCommit", "/buildByToken/build?job=a&token=x", "/%67it/notifyCommit?url=x", "/job/a/1/rebuild/", "/job/a/1/rebuild", "/job/a/1/retry",
	}
	senders := map[string]string{"a user": ssoHeader + ": carol", "a token as a password": s.auth("alice")}
	// From other sites first: after a page, the gateway asks Jenkins for its crumb.
	for _, site := range []string{"cross-site", "same-site", "same-origin"} {
		for _, path := range links {
			for name, sender := range senders {
				for _, method := range []string{"GET", "HEAD"} {
					a := s.send(method, path, "", sender, "Sec-Fetch-Site: "+site, "Sec-Fetch-Mode: navigate")
					if site != "same-origin" {
						s.refusedWith(a, http.StatusForbidden, gateway.ReasonCrossOrigin)
						s.untouched()
					} else if a.StatusCode == http.StatusForbidden && strings.Contains(a.body, "another site") {
						t.Errorf("%s %s from this site by %s: %s", method, path, name, a.dump())
					}
				}
			}
		}
	}
	// What only shows something is followed from everywhere.
	for _, path := range []string{"/job/a/build?delay=0sec", "/job/a/", "/git/"} {
		if a := s.send("GET", path, "", ssoHeader+": carol", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"); strings.Contains(a.body, "another site") {
			t.Errorf("GET %s: %s", path, a.dump())
		}
	}
}

// Programs of assistants send no crumb, and Jenkins asks them for none. Pages of other
// sites can't do the same.
func TestAssistantsNeedNoCrumb(t *testing.T) {
	s := newPeopleSite(t, options{})
	const user = ssoHeader + ": carol"
	if a := s.send("POST", "/mcp-server/mcp", `{"jsonrpc":"2.0"}`, user, contentJSON); !s.reached() {
		t.Errorf("without a crumb: %s", a.dump())
	}
	s.jenkins.ResetRequests()
	a := s.send("POST", "/mcp-server/mcp", `{"jsonrpc":"2.0"}`, user, "Content-Type: text/plain", "Sec-Fetch-Site: cross-site", "Origin: https://evil.example")
	s.refusedWith(a, http.StatusForbidden, gateway.ReasonCrossOrigin)
	s.untouched()
	if a := s.send("POST", "/mcp-server/mcp", "{}", s.scoped("read", "build", "configure", "script"), contentJSON); a.Header.Get("X-Crumbgate-Needs") != "admin" {
		t.Errorf("with scopes: %s", a.dump())
	}
}
