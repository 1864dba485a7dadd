package blackbox_test

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// logged is a Caddyfile whose logs tell all that they can.
const logged = `{
	debug
	admin {$ADMIN}
	persist_config off
	log {
		format crumbgate
	}
	crumbgate {
		storage bbolt {$STORE}
	}
}
http://{$SITE} {
	log {
		format crumbgate
	}
	crumbgate
	reverse_proxy {$JENKINS}
}
`

// eavesdropper stands before Jenkins and remembers each session and crumb that it
// gives away.
type eavesdropper struct {
	jenkins http.Handler

	mu      sync.Mutex // guards secrets
	secrets map[string]string
}

func (e *eavesdropper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	issues := strings.Contains(r.URL.Path, "/crumbIssuer/")
	if !issues {
		e.jenkins.ServeHTTP(&cookieReader{w, e}, r)
		return
	}
	answer := httptest.NewRecorder()
	e.jenkins.ServeHTTP(&cookieReader{answer, e}, r)
	var issued struct{ Crumb string }
	if json.Unmarshal(answer.Body.Bytes(), &issued) == nil && issued.Crumb != "" {
		e.remember(issued.Crumb, "a crumb")
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

func (e *eavesdropper) remember(secret, what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secrets[secret] = what
}

type cookieReader struct {
	http.ResponseWriter
	heard *eavesdropper
}

func (c *cookieReader) WriteHeader(status int) {
	for _, line := range c.Header()["Set-Cookie"] {
		if cookie, err := http.ParseSetCookie(line); err == nil {
			c.heard.remember(strings.TrimSuffix(cookie.Value, ".node0"), "a session")
		}
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *cookieReader) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func TestNoSecretIsLogged(t *testing.T) {
	issuers := map[string]*jenkinstest.StrictIssuer{"default issuer": nil, "strict issuer": jenkinstest.DefaultStrictIssuer()}
	for name, strict := range issuers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jenkins := jenkinstest.New(jenkinstest.Config{Strict: strict})
			heard := &eavesdropper{jenkins: jenkins, secrets: make(map[string]string)}
			server := httptest.NewServer(heard)
			t.Cleanup(server.Close)
			t.Cleanup(jenkins.Close)
			g := gatewaytest.Start(t, server.URL, logged)
			secret := g.CreateToken(t, "alice", "ci")
			other := g.CreateToken(t, "bob", "ci", "--format", "jenkins")
			const clientCrumb, clientSession = "0123456789abcdefcrumbofclient", "node0sessionofclient0"
			heard.remember(secret, "a token")
			heard.remember(other, "a token")
			heard.remember(clientCrumb, "the client's crumb")
			heard.remember(clientSession, "the client's session")
			for _, pair := range []string{"alice:" + secret, "bob:" + other, "bob:" + secret} {
				heard.remember(base64.StdEncoding.EncodeToString([]byte(pair)), "a token in Basic")
			}
			mistyped := secret[:len(secret)-1] + "_"
			heard.remember(mistyped[:len(mistyped)-1], "a mistyped token")

			claims := http.Header{
				"Jenkins-Crumb": {clientCrumb}, ".crumb": {clientCrumb},
				"Cookie":  {"JSESSIONID.0a1b2c3d=" + clientSession + "; JSESSIONID=" + clientSession + "; remember-me=" + clientSession},
				"Referer": {strings.Replace(g.URL, "http://", "http://alice:"+secret+"@", 1) + "/?Jenkins-Crumb=" + clientCrumb},
			}
			post := call{method: "POST", path: "/quietDown?Jenkins-Crumb=" + clientCrumb, user: "alice", secret: secret, header: claims}
			call{user: "alice", secret: secret, header: claims}.want(t, g.URL, 200)
			call{user: "bob", secret: other}.want(t, g.URL, 200)
			call{secret: secret}.want(t, g.URL, 200)
			post.want(t, g.URL, 302)
			call{method: "POST", path: "/quietDown", user: "bob", secret: other}.want(t, g.URL, 302)
			jenkins.Restart()
			post.want(t, g.URL, 302)
			jenkins.ExpireSessions()
			post.want(t, g.URL, 302)
			call{path: "/crumbIssuer/api/json", user: "alice", secret: secret}.want(t, g.URL, 200)
			call{path: "/crumbIssuer/api/xml?xpath=//crumb", user: "alice", secret: secret}.want(t, g.URL, 200)
			call{user: "bob", secret: secret}.want(t, g.URL, 401)
			call{user: "alice", secret: mistyped}.want(t, g.URL, 401)
			call{secret: mistyped}.want(t, g.URL, 401)
			call{header: http.Header{"Authorization": {"Basic " + secret}}}.want(t, g.URL, 401)
			call{header: http.Header{"Authorization": {secret}}}.want(t, g.URL, 401)
			call{path: "/job/a/build?token=" + secret}.want(t, g.URL, 400)
			call{path: "/?x=" + url.QueryEscape("y="+secret), user: "alice", secret: secret}.want(t, g.URL, 400)
			call{path: "/?x=" + other}.want(t, g.URL, 400)
			jenkins.Fail(jenkinstest.Fault{Abort: true})
			call{user: "alice", secret: secret, header: claims}.want(t, g.URL, 502)
			server.Listener.Close()
			server.CloseClientConnections()
			call{user: "alice", secret: secret, header: claims}.want(t, g.URL, 502)
			post.want(t, g.URL, 502)
			g.Stop(t)

			log := g.Log()
			heard.mu.Lock()
			defer heard.mu.Unlock()
			counted := make(map[string]int)
			for secret, what := range heard.secrets {
				counted[what]++
				for _, spelling := range []string{secret, url.QueryEscape(secret)} {
					if at := strings.Index(log, spelling); at >= 0 {
						line := log[strings.LastIndexByte(log[:at], '\n')+1:]
						line, _, _ = strings.Cut(line, "\n")
						t.Errorf("%s (%s) is logged: %s", what, secret, line)
						break
					}
				}
			}
			if counted["a crumb"] < 3 || counted["a session"] < 3 {
				t.Errorf("only %d crumbs and %d sessions were given away, too few for this test to tell much", counted["a crumb"], counted["a session"])
			}
			checkAccessLog(t, g, log, "alice")
		})
	}
}

// checkAccessLog looks for a line that names the user and the token.
func checkAccessLog(t *testing.T, g *gatewaytest.Gateway, log, owner string) {
	t.Helper()
	g.Start(t)
	list, err := g.API().Tokens(t.Context(), owner, false)
	if err != nil || len(list.Tokens) != 1 {
		t.Fatalf("listing %s's one token: %+v, %v", owner, list, err)
	}
	named := 0
	for line := range strings.Lines(log) {
		var entry struct {
			Logger  string
			User    string `json:"user_id"`
			TokenID string `json:"token_id"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && strings.HasPrefix(entry.Logger, "http.log.access") && entry.User == owner {
			named++
			if entry.TokenID != list.Tokens[0].ID {
				t.Errorf("a line names %s, but the token %q: %s", owner, entry.TokenID, line)
			}
		}
	}
	if named < 5 {
		t.Errorf("%d lines of the access log name %s", named, owner)
	}
}

func TestWarningThatTheDebugLogShowsCrumbs(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	const warning = "the debug log shows Jenkins crumbs"
	bare := strings.Replace(gatewaytest.Smallest, "{\n", "{\n\tdebug\n", 1)
	tests := []struct {
		name, caddyfile string
		warns           bool
	}{
		{"debug alone", bare, true},
		{"debug with the format", logged, false},
		{"no debug", gatewaytest.Smallest, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := gatewaytest.Start(t, url, tt.caddyfile)
			g.Stop(t)
			if warns := strings.Contains(g.Log(), warning); warns != tt.warns {
				t.Errorf("warned: %v, want %v", warns, tt.warns)
			}
		})
	}
}

func TestJenkinsDown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()
	g := gatewaytest.Start(t, nobody, logged)
	secret := g.CreateToken(t, "alice", "ci")
	call{user: "alice", secret: secret}.want(t, g.URL, 502)
	call{method: "POST", path: "/quietDown", user: "alice", secret: secret}.want(t, g.URL, 502)
	g.Stop(t)
	if !strings.Contains(g.Log(), `"no crumb from Jenkins"`) || !strings.Contains(g.Log(), "connection refused") {
		t.Error("the log does not have the reason")
	}
	for line := range strings.Lines(g.Log()) {
		if strings.Count(line, `"token_id":`) > 1 {
			t.Errorf("a line names the token twice: %s", line)
		}
	}
}

// A token in the URL is not even in an access log of Caddy's own format, which the
// operator may have.
func TestTokenInURLIsNotInPlainAccessLog(t *testing.T) {
	_, jenkins := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, jenkins, strings.Replace(gatewaytest.Smallest, "\tcrumbgate\n", "\tlog\n\tcrumbgate\n", 1))
	secret := g.CreateToken(t, "alice", "ci")
	for _, target := range []string{"/whoAmI/api/json?logged=this", "/whoAmI/api/json?token=" + secret} {
		request, err := http.NewRequest(http.MethodGet, g.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("alice", secret)
		response, err := gatewaytest.Client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	g.Stop(t)
	log := g.Log()
	if !strings.Contains(log, "logged=this") {
		t.Fatal("there is no access log")
	}
	if strings.Contains(log, secret) || !strings.Contains(log, "a token in the URL") {
		t.Errorf("the log shows the token, or does not say that there was one:\n%s", log)
	}
}
