package blackbox_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// behindSignIn asks a sign-in provider about all requests but those of token clients.
const behindSignIn = `{
	admin {$ADMIN}
	persist_config off
	crumbgate {
		storage bbolt {$STORE}
	}
}
http://{$SITE} {
	crumbgate_sso_headers Remote-User
	@people {
		not crumbgate_token
		not crumbgate_public
	}
	forward_auth @people {$SSO} {
		uri /verify
		copy_headers Remote-User
	}
	crumbgate {
		session {
			user {http.request.header.Remote-User}
		}
	}
	reverse_proxy {$JENKINS}
}
`

// exchange writes a request as it is given, which no client library would send, and
// returns the answer.
func exchange(t *testing.T, url, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// Neither a damaged token nor one in the URL reaches the sign-in provider or Jenkins:
// the client is told at once, and the log has a line.
func TestTokensStayAwayFromSignIn(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	sso := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, "https://sign-in.example/", http.StatusFound)
	}))
	t.Cleanup(sso.Close)
	jenkins := jenkinstest.New(jenkinstest.Config{})
	server := httptest.NewServer(jenkins)
	t.Cleanup(server.Close)
	t.Cleanup(jenkins.Close)
	g := gatewaytest.New(t, server.URL, behindSignIn)
	g.Env = append(g.Env, "SSO="+strings.TrimPrefix(sso.URL, "http://"))
	g.Start(t)

	native, old := g.CreateToken(t, "alice", "ci"), g.CreateToken(t, "alice", "old", "--format", "jenkins")
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	site := strings.TrimPrefix(g.URL, "http://")
	for name, attempt := range map[string]struct {
		target, authorization string
		status                int
	}{
		"cut by one":                    {"/", basic("alice:" + native[:len(native)-1]), 401},
		"trailing newline":              {"/", basic("alice:" + native + "\n"), 401},
		"quoted":                        {"/", `Bearer "` + native + `"`, 401},
		"scheme of another forge":       {"/", "token " + native, 401},
		"no scheme":                     {"/", native, 401},
		"Jenkins format, cut by one":    {"/", basic("alice:" + old[:len(old)-1]), 401},
		"query":                         {"/job/a?x=" + native, "", 400},
		"query, Jenkins format":         {"/job/a?x=" + old, "", 400},
		"query, Jenkins format, escape": {"/job/a?x=%31%31" + old[2:], "", 400},
		"path":                          {"/job/" + native + "/", "", 400},
		"path, Jenkins format":          {"/job/" + old + "/", "", 400},
		"userinfo":                      {"http://alice:" + native + "@" + site + "/", "", 400},
		"userinfo, Jenkins format":      {"http://alice:" + old + "@" + site + "/api/json", "", 400},
		"userinfo without a token":      {"http://alice@" + site + "/api/json", "", 400},
		"nothing (the control)":         {"/", "", 302},
	} {
		t.Run(name, func(t *testing.T) {
			before, lines := asked.Load(), strings.Count(g.Log(), "request refused")
			request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", attempt.target, site)
			if attempt.authorization != "" {
				request += "Authorization: " + attempt.authorization + "\r\n"
			}
			if strings.Contains(request, "\n\r\n") {
				t.Fatal("the request ends too early")
			}
			resp := exchange(t, g.URL, request+"\r\n")
			if resp.StatusCode != attempt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, attempt.status)
			}
			if reached := asked.Load() != before; reached != (attempt.status == 302) {
				t.Errorf("the sign-in provider was asked: %v", reached)
			}
			if attempt.status != 302 {
				gatewaytest.Eventually(t, "the log has a line", func() error {
					if strings.Count(g.Log(), "request refused") == lines {
						return fmt.Errorf("no line")
					}
					return nil
				})
			}
		})
	}
	for _, r := range jenkins.Requests() {
		t.Errorf("Jenkins got %s %s", r.Method, r.RequestURI)
	}
}

// A browser's question about a request from another site carries no cookie, so the
// sign-in provider is not asked: its redirect would answer nothing.
func TestPreflightsStayAwayFromSignIn(t *testing.T) {
	t.Parallel()
	sso := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the sign-in provider was asked about %s", r.Header.Get("X-Forwarded-Uri"))
		http.Redirect(w, r, "https://sign-in.example/", http.StatusFound)
	}))
	t.Cleanup(sso.Close)
	_, jenkins := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.New(t, jenkins, strings.Replace(behindSignIn, "\tcrumbgate {\n\t\tsession {", "\tcrumbgate {\n\t\ttrusted_origins https://portal.example.com\n\t\tsession {", 1))
	g.Env = append(g.Env, "SSO="+strings.TrimPrefix(sso.URL, "http://"))
	g.Start(t)
	for origin, status := range map[string]int{"https://portal.example.com": 204, "https://elsewhere.example.com": 401} {
		call{method: "OPTIONS", path: "/job/a/build", header: http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}}.want(t, g.URL, status)
	}
}
