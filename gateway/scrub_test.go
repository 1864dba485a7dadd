package gateway_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// folded is a header name in the form in which all spellings are equal.
func folded(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}

// No spelling of an identity header passes, neither of the configured names nor
// of the plugin's.
func TestIdentityIsScrubbed(t *testing.T) {
	s := newSite(t, options{
		jenkins: jenkinstest.Config{UserHeader: "X-Remote-User"},
		gate:    func(c *gateway.Config) { c.UserHeader, c.GroupsHeader = "x-remote-user", "X-Remote.Groups" },
	})
	names := []string{"X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Mail", "X-Forwarded-DisplayName", "X-Remote-User", "X-Remote-Groups"}
	headers := []string{s.auth("alice"), "X-Forwarded-Userx: stays", "X-Remote: stays"}
	for _, name := range names {
		for _, spelling := range []string{
			name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", "."),
			strings.Replace(name, "-", "_", 1), strings.ToLower(strings.Replace(name, "-", ".", 1)), "x" + strings.ToUpper(name[1:]),
		} {
			headers = append(headers, spelling+": admin", spelling+": ", spelling+": root")
		}
	}
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		s.jenkins.ResetRequests()
		s.send(method, "/whoAmI/api/json", "", headers...)
		got := s.only(method)
		if got.User != "alice" {
			t.Errorf("%s: Jenkins saw %q", method, got.User)
		}
		for name, values := range got.Header {
			forbidden := slices.ContainsFunc(names, func(n string) bool { return folded(n) == folded(name) })
			if forbidden && (name != "X-Remote-User" || !slices.Equal(values, []string{"alice"})) {
				t.Errorf("%s: Jenkins got %s: %q", method, name, values)
			}
		}
		if got.Header.Get("X-Forwarded-Userx") != "stays" || got.Header.Get("X-Remote") != "stays" {
			t.Errorf("%s: other headers are gone: %v", method, got.Header)
		}
	}
}

// A header that Connection names is dropped by the proxy, after we have set it.
func TestConnectionIsScrubbed(t *testing.T) {
	tests := []struct{ name, line string }{
		{"identity", "X-Forwarded-User"},
		{"crumb", "Jenkins-Crumb"},
		{"session", "Cookie"},
		{"all, with blanks and cases", "keep-alive ,\tx-forwarded-USER,JENKINS-crumb , cookie"},
		{"beside close", "close, X-Forwarded-User, X-Forwarded-Groups"},
		{"empty options", ",,X-Forwarded-User,,Cookie,"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, options{})
			groups := []string{"dev"}
			auth := "Authorization: " + basicAuth("alice", s.tokenAs(token.Request{User: "alice", Profile: &token.ProfileUpdate{Groups: &groups}}))
			a := s.send("POST", "/whoAmI/api/json", "", auth, "Connection: "+test.line, "Connection: "+test.line)
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"name":"alice"`) || !strings.Contains(a.body, `"dev"`) {
				t.Errorf("the client got\n%s", a.dump())
			}
			if got := s.only("POST"); got.Crumb != jenkinstest.CrumbValid || s.refusals() != 0 {
				t.Errorf("the crumb was %q, after %d refusals", got.Crumb, s.refusals())
			}
		})
	}
}

func TestNothingOfTheClientsPasses(t *testing.T) {
	s := newSite(t, options{gate: func(c *gateway.Config) { c.TokenHeader = "X-Api-Token" }})
	secret := s.token("alice")
	for _, header := range []string{"Authorization: Bearer " + secret, "X-Api-Token: " + secret} {
		for _, method := range []string{"GET", "POST"} {
			s.jenkins.ResetRequests()
			s.send(method, "/whoAmI/api/json", "", header, "Cookie: JSESSIONID.0=forged", "cookie: remember-me=forged", "jenkins-crumb: forged", "X-Mine: stays")
			got := s.only(method)
			for name, values := range got.Header {
				if text := strings.Join(values, " "); strings.Contains(text, "forged") || strings.Contains(text, secret) {
					t.Errorf("%s: Jenkins got %s: %q", method, name, values)
				}
			}
			if got.Header.Get("X-Mine") != "stays" {
				t.Errorf("%s: another header is gone", method)
			}
		}
	}
}

func TestProfile(t *testing.T) {
	s := newSite(t, options{})
	groups, mail, name := []string{"dev", "ops & co"}, "alice@example.org", "Alice Ä."
	full := "Authorization: " + basicAuth("alice", s.tokenAs(token.Request{User: "alice", Profile: &token.ProfileUpdate{Groups: &groups, Mail: &mail, DisplayName: &name}}))
	s.send("POST", "/whoAmI/api/json", "", full)
	for _, r := range s.jenkins.Requests() { // that for the crumb as well
		for header, want := range map[string]string{
			"X-Forwarded-User": "alice", "X-Forwarded-Groups": "dev|ops & co", "X-Forwarded-Mail": mail, "X-Forwarded-Displayname": "Alice \xc4.",
		} {
			if got := r.Header[header]; !slices.Equal(got, []string{want}) {
				t.Errorf("%s: Jenkins got %s: %q, want %q", r.Path, header, got, want)
			}
		}
	}
	s.jenkins.ResetRequests()
	s.send("GET", "/whoAmI/api/json", "", s.auth("bob"), "X-Forwarded-Groups: admins", "X-Forwarded-Mail: x")
	got := s.only("GET")
	for _, header := range []string{"X-Forwarded-Groups", "X-Forwarded-Mail", "X-Forwarded-Displayname"} {
		if values, set := got.Header[header]; set {
			t.Errorf("Jenkins got %s: %q of somebody of whom nothing is known", header, values)
		}
	}
	// Leaving a group holds from the next request on.
	none := []string{}
	if _, err := s.directory.SetProfile(t.Context(), "alice", token.ProfileUpdate{Groups: &none}, "test"); err != nil {
		t.Fatal(err)
	}
	s.jenkins.ResetRequests()
	s.send("GET", "/whoAmI/api/json", "", full)
	if values, set := s.only("GET").Header["X-Forwarded-Groups"]; set {
		t.Errorf("Jenkins got the groups %q", values)
	}
}

// A trailer arrives after everything has been checked.
func TestTrailersAreDropped(t *testing.T) {
	trailers := make(chan http.Header, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "x" {
			t.Errorf("the body is %q, %v", body, err)
		}
		trailers <- r.Trailer
	}))
	t.Cleanup(backend.Close)
	for _, method := range []string{"POST", "PUT"} {
		s := behind(t, newProxy(t, backend.URL).ServeHTTP)
		_, auth, _ := strings.Cut(s.auth("alice"), ": ")
		s.raw(method + " /x HTTP/1.1\r\nHost: x\r\nConnection: close, Trailer\r\nAuthorization: " + auth +
			"\r\nTE: trailers\r\nTrailer: X-Forwarded-User, X-Mine\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Forwarded-User: admin\r\nX-Mine: 1\r\n\r\n")
		if got := <-trailers; len(got) != 0 {
			t.Errorf("%s: the trailers %v went on", method, got)
		}
	}
}

func TestUpgrades(t *testing.T) {
	s := newSite(t, options{jenkins: jenkinstest.Config{RootURL: "http://jenkins.example.org/"}})
	_, auth, _ := strings.Cut(s.auth("alice"), ": ")
	const socket = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	handshake := func(lines string) string {
		return "GET /cli/ws HTTP/1.1\r\nHost: jenkins.example.org\r\nAuthorization: " + auth + "\r\n" + lines + "\r\n"
	}
	t.Run("WebSocket", func(t *testing.T) {
		s.jenkins.ResetRequests()
		conn := s.dial(handshake("Connection: keep-alive, X-Forwarded-User, Upgrade\r\nUpgrade: WebSocket\r\nOrigin: http://jenkins.example.org\r\n" + socket))
		defer conn.Close()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header["Set-Cookie"] != nil {
			t.Fatalf("the client got %v, %v", resp, err)
		}
		if user := s.only("GET").User; user != "alice" {
			t.Errorf("Jenkins saw %q", user)
		}
	})
	t.Run("WebSocket of a foreign page", func(t *testing.T) {
		s.jenkins.ResetRequests()
		got := s.raw(handshake("Connection: close, Upgrade\r\nUpgrade: websocket\r\nOrigin: http://evil.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" + socket))
		if !strings.HasPrefix(got, "HTTP/1.1 403 ") {
			t.Errorf("the client got %q", got)
		}
		s.untouched()
	})
	for _, upgrade := range []string{"h2c", "websocket, h2c", "TLS/1.0", "h2c\r\nUpgrade: websocket"} {
		t.Run(upgrade, func(t *testing.T) {
			s.jenkins.ResetRequests()
			s.raw("GET /whoAmI/api/json HTTP/1.1\r\nHost: x\r\nAuthorization: " + auth + "\r\nConnection: close, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: " + upgrade + "\r\n\r\n")
			got := s.only("GET")
			for _, name := range []string{"Upgrade", "Http2-Settings"} {
				if values, set := got.Header[name]; set {
					t.Errorf("Jenkins got %s: %q", name, values)
				}
			}
		})
	}
}

// A browser sends the Basic credentials that it keeps for whatever page asks.
func TestCrossOrigin(t *testing.T) {
	s := newSite(t, options{})
	secret := s.token("alice")
	basic, bearer := "Authorization: "+basicAuth("alice", secret), "Authorization: Bearer "+secret
	host := strings.TrimPrefix(s.url, "http://")
	tests := []struct {
		name    string
		method  string
		headers []string
		passes  bool
	}{
		{"cross-site POST", "POST", []string{basic, "Sec-Fetch-Site: cross-site"}, false},
		{"same-site POST of another host", "POST", []string{basic, "Sec-Fetch-Site: same-site"}, false},
		{"cross-site DELETE", "DELETE", []string{basic, "Sec-Fetch-Site: cross-site"}, false},
		{"cross-site POST, right Origin", "POST", []string{basic, "Sec-Fetch-Site: cross-site", "Origin: http://" + host}, false},
		{"foreign Origin", "POST", []string{basic, "Origin: http://evil.example"}, false},
		{"opaque Origin", "POST", []string{basic, "Origin: null"}, false},
		{"Origin with a longer name", "POST", []string{basic, "Origin: http://" + host + ".evil.example"}, false},
		{"same-origin POST", "POST", []string{basic, "Sec-Fetch-Site: same-origin", "Origin: http://" + host}, true},
		{"own Origin", "POST", []string{basic, "Origin: http://" + host}, true},
		{"typed by the user", "POST", []string{basic, "Sec-Fetch-Site: none"}, true},
		{"no browser", "POST", []string{basic}, true},
		{"cross-site GET", "GET", []string{basic, "Sec-Fetch-Site: cross-site"}, true},
		{"bearer, cross-site", "POST", []string{bearer, "Sec-Fetch-Site: cross-site", "Origin: http://evil.example"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.jenkins.ResetRequests()
			a := s.send(test.method, "/whoAmI/api/json", "", test.headers...)
			if test.passes {
				if a.StatusCode != http.StatusOK || len(s.received(test.method)) != 1 {
					t.Errorf("the client got\n%s", a.dump())
				}
				return
			}
			if a.StatusCode != http.StatusForbidden {
				t.Errorf("status %d, want 403", a.StatusCode)
			}
			s.untouched()
			if line := s.log.last(); !strings.Contains(line, string(gateway.ReasonCrossOrigin)) || !strings.Contains(line, "token_id") {
				t.Errorf("the log says %s", line)
			}
		})
	}
}
