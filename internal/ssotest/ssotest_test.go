package ssotest_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/crumbgate/crumbgate/internal/ssotest"
)

// flavours are what the tests need to know of each.
var flavours = []struct {
	name                         string
	flavour                      ssotest.Flavour
	auth, signIn, submit, logout string
	status                       int               // for who is signed in
	headers                      map[string]string // for alice
	kept                         string            // first part of all identity headers
}{
	{
		"Authelia", ssotest.Authelia, "/api/authz/forward-auth", "/", "/", "/logout", 200,
		map[string]string{"Remote-User": "alice", "Remote-Groups": "dev,ops", "Remote-Name": "Alice L", "Remote-Email": "alice@example.com"},
		"Remote-",
	},
	{
		"oauth2-proxy", ssotest.OAuth2Proxy, "/oauth2/auth", "/oauth2/start", "/oauth2/callback", "/oauth2/sign_out", 202,
		map[string]string{"X-Auth-Request-User": "alice", "X-Auth-Request-Preferred-Username": "alice", "X-Auth-Request-Groups": "dev,ops", "X-Auth-Request-Email": "alice@example.com"},
		"X-Auth-Request-",
	},
	{
		"authentik", ssotest.Authentik, "/outpost.goauthentik.io/auth/caddy", "/outpost.goauthentik.io/start", "/outpost.goauthentik.io/callback", "/outpost.goauthentik.io/sign_out", 200,
		map[string]string{"X-Authentik-Username": "alice", "X-Authentik-Uid": "alice", "X-Authentik-Groups": "dev|ops", "X-Authentik-Name": "Alice L", "X-Authentik-Email": "alice@example.com"},
		"X-Authentik-",
	},
}

func start(t *testing.T, flavour ssotest.Flavour) (*ssotest.SSO, string) {
	t.Helper()
	return ssotest.Start(t, ssotest.Config{
		Flavour: flavour,
		Users: map[string]ssotest.User{
			"alice": {Groups: []string{"dev", "ops"}, Mail: "alice@example.com", Name: "Alice L"},
			"bob":   {},
		},
		AllowedHosts: []string{"ci.example.com:8443", "127.0.0.1"},
	})
}

// send makes a request and follows no redirect. Headers are "Name: value" lines; a Host among them isn't special.
func send(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read body: %v", method, url, err)
	}
	return resp, string(b)
}

// asked are the header lines that Caddy's forward_auth adds for a GET of a page.
func asked(uri string, more ...string) []string {
	return append([]string{"X-Forwarded-Method: GET", "X-Forwarded-Proto: https", "X-Forwarded-Host: ci.example.com:8443", "X-Forwarded-Uri: " + uri}, more...)
}

// identity returns the identity headers of an answer.
func identity(resp *http.Response, prefix string) map[string]string {
	found := make(map[string]string)
	for name := range resp.Header {
		if strings.HasPrefix(name, prefix) {
			found[name] = resp.Header.Get(name)
		}
	}
	return found
}

func TestSignedIn(t *testing.T) {
	for _, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			s, url := start(t, f.flavour)
			resp, _ := send(t, "GET", url+f.auth, "", asked("/job/a/?x=1", "Cookie: "+s.Cookie("alice").String(), "Remote-User: mallory")...)
			if got := identity(resp, f.kept); resp.StatusCode != f.status || !maps.Equal(got, f.headers) {
				t.Errorf("alice: %d %q, want %d %q", resp.StatusCode, got, f.status, f.headers)
			}
			resp, _ = send(t, "GET", url+f.auth, "", asked("/", "Cookie: "+s.Cookie("bob").String())...)
			for name, value := range identity(resp, f.kept) {
				if value != "bob" {
					t.Errorf("%s: %q for somebody without groups, mail or name", name, value)
				}
			}
			requests := s.Requests()
			if len(requests) != 2 || requests[0].User != "alice" || requests[0].Status != f.status || requests[0].RequestURI != f.auth ||
				requests[0].Header.Get("X-Forwarded-Uri") != "/job/a/?x=1" || requests[1].User != "bob" {
				t.Errorf("remembered %+v", requests)
			}
		})
	}
}

func TestNotSignedIn(t *testing.T) {
	const html = "Accept: text/html,*/*;q=0.8"
	target := url.QueryEscape("https://ci.example.com:8443/job/a/?x=1")
	portal := "{portal}/?rd=" + target + "&rm="
	outpost := "https://ci.example.com:8443/outpost.goauthentik.io/start?rd=" + target
	tests := []struct {
		name     string
		flavour  int
		headers  []string
		status   int
		location string
	}{
		{"Authelia, browser", 0, asked("/job/a/?x=1", html), 302, portal + "GET"},
		{"Authelia, form", 0, []string{"X-Forwarded-Method: POST", "X-Forwarded-Proto: https", "X-Forwarded-Host: ci.example.com:8443", "X-Forwarded-Uri: /job/a/?x=1", html}, 303, portal + "POST"},
		{"Authelia, anything", 0, asked("/job/a/?x=1", "Accept: */*"), 302, portal + "GET"},
		{"Authelia, JSON", 0, asked("/job/a/?x=1", "Accept: application/json, */*"), 401, ""},
		{"Authelia, no Accept", 0, asked("/job/a/?x=1"), 401, ""},
		{"Authelia, script", 0, asked("/job/a/?x=1", html, "X-Requested-With: XMLHttpRequest"), 401, ""},
		{"Authelia, nothing forwarded", 0, []string{html}, 400, ""},
		{"Authelia, foreign host", 0, []string{"X-Forwarded-Method: GET", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example", "X-Forwarded-Uri: /", html}, 400, ""},
		{"Authelia, host in the URI", 0, asked("@evil.example/", html), 400, ""},
		{"Authelia, a cookie of nobody", 0, asked("/job/a/?x=1", html, "Cookie: authelia_session=guessed"), 302, portal + "GET"},
		{"Authelia, an empty cookie", 0, asked("/job/a/?x=1", html, "Cookie: authelia_session="), 302, portal + "GET"},
		{"Authelia, identity sent along", 0, asked("/job/a/?x=1", "Remote-User: alice"), 401, ""},
		{"oauth2-proxy, browser", 1, asked("/job/a/?x=1", html), 401, ""},
		{"oauth2-proxy, a cookie of nobody", 1, asked("/job/a/?x=1", "Cookie: _oauth2_proxy=guessed"), 401, ""},
		{"authentik, browser", 2, asked("/job/a/?x=1", html), 302, outpost},
		{"authentik, script", 2, asked("/job/a/?x=1"), 302, outpost},
		{"authentik, the outpost itself", 2, asked("/outpost.goauthentik.io/start"), 200, ""},
		{"authentik, foreign host", 2, []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example", "X-Forwarded-Uri: /"}, 400, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := flavours[tt.flavour]
			_, url := start(t, f.flavour)
			resp, _ := send(t, "GET", url+f.auth, "", tt.headers...)
			location := strings.Replace(tt.location, "{portal}", url, 1)
			if resp.StatusCode != tt.status || resp.Header.Get("Location") != location {
				t.Errorf("%q: %d %q, want %d %q", tt.headers, resp.StatusCode, resp.Header.Get("Location"), tt.status, location)
			}
			if got := identity(resp, f.kept); len(got) > 0 {
				t.Errorf("%q: identity %q of nobody", tt.headers, got)
			}
		})
	}
}

func TestSignInAndOut(t *testing.T) {
	for _, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			_, base := start(t, f.flavour)
			const back = "https://ci.example.com:8443/job/a/"
			resp, page := send(t, "GET", base+f.signIn+"?rd="+url.QueryEscape(back+`"><script>`), "")
			if resp.StatusCode != 200 || !strings.Contains(page, `action="`+f.submit+`"`) || !strings.Contains(page, `id="username"`) || strings.Contains(page, "<script>") {
				t.Fatalf("log-in page: %d %q", resp.StatusCode, page)
			}

			form := url.Values{"username": {"alice"}, "rd": {back}}
			const urlencoded = "Content-Type: application/x-www-form-urlencoded"
			resp, _ = send(t, "POST", base+f.submit, form.Encode(), urlencoded, "X-Forwarded-Proto: https")
			if resp.StatusCode != 303 || resp.Header.Get("Location") != back || len(resp.Cookies()) != 1 {
				t.Fatalf("sign in: %d %v", resp.StatusCode, resp.Header)
			}
			cookie := resp.Cookies()[0]
			if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || !cookie.Secure || cookie.Path != "/" {
				t.Errorf("cookie %q", cookie)
			}
			line := "Cookie: " + cookie.Name + "=" + cookie.Value
			if resp, _ = send(t, "GET", base+f.auth, "", asked("/", line)...); resp.StatusCode != f.status {
				t.Errorf("signed in: %d", resp.StatusCode)
			}
			if _, page := send(t, "GET", base+f.signIn, "", line); !strings.Contains(page, `<p id="signed-in">alice</p>`) {
				t.Errorf("page of who is signed in: %q", page)
			}

			resp, _ = send(t, "GET", base+f.logout+"?rd="+url.QueryEscape(back), "", line)
			if resp.StatusCode != 303 || resp.Header.Get("Location") != back || len(resp.Cookies()) != 1 || resp.Cookies()[0].MaxAge >= 0 {
				t.Errorf("sign out: %d %v", resp.StatusCode, resp.Header)
			}
			if resp, _ = send(t, "GET", base+f.auth, "", asked("/", line)...); len(identity(resp, f.kept)) > 0 {
				t.Errorf("signed out: %d %v", resp.StatusCode, resp.Header)
			}

			for name, tt := range map[string]struct {
				body    string
				headers []string
				status  int
			}{
				"unknown user":   {"username=mallory", []string{urlencoded}, 401},
				"no user":        {"", []string{urlencoded}, 401},
				"too long":       {"username=" + strings.Repeat("a", 1<<20), []string{urlencoded}, 401},
				"foreign page":   {form.Encode(), []string{urlencoded, "Sec-Fetch-Site: cross-site"}, 403},
				"foreign origin": {form.Encode(), []string{urlencoded, "Origin: https://evil.example"}, 403},
			} {
				resp, _ := send(t, "POST", base+f.submit, tt.body, tt.headers...)
				if resp.StatusCode != tt.status || len(resp.Cookies()) > 0 {
					t.Errorf("%s: %d %v, want %d and no cookie", name, resp.StatusCode, resp.Header, tt.status)
				}
			}
			if resp, _ := send(t, "GET", base+"/elsewhere", ""); resp.StatusCode != 404 {
				t.Errorf("unknown path: %d", resp.StatusCode)
			}
		})
	}
}

// TestRedirectTargets: nobody is sent where AllowedHosts doesn't lead.
func TestRedirectTargets(t *testing.T) {
	tests := []struct {
		rd      string
		allowed bool
		path    bool // a path: allowed by those under the application's host
	}{
		{"https://ci.example.com:8443/job/a/?x=1#y", true, false},
		{"https://CI.example.com:8443/", true, false},
		{"http://127.0.0.1:1234/", true, false},
		{"/job/a/", false, true},
		{"https://ci.example.com/", false, false},
		{"https://ci.example.com:8444/", false, false},
		{"https://ci.example.com:8443.evil.example/", false, false},
		{"https://ci.example.com:8443@evil.example/", false, false},
		{"https://user@ci.example.com:8443/", false, false},
		{"https://evil.example/?ci.example.com:8443", false, false},
		{`https://evil.example\@ci.example.com:8443/`, false, false},
		{`https://ci.example.com:8443\.evil.example/`, false, false},
		{"https:ci.example.com:8443", false, false},
		{"https:///ci.example.com:8443", false, false},
		{"javascript://ci.example.com:8443/%0aalert(1)", false, false},
		{"data:text/html,x", false, false},
		{"//evil.example/", false, false},
		{"//ci.example.com:8443/", false, false},
		{`/\evil.example/`, false, false},
		{"/\t/evil.example/", false, false},
		{" https://ci.example.com:8443/", false, false},
		{"job/a/", false, false},
		{"", false, false},
	}
	for _, f := range flavours {
		s, base := start(t, f.flavour)
		for _, tt := range tests {
			want := "/"
			if tt.allowed || tt.path && f.flavour != ssotest.Authelia {
				want = tt.rd
			}
			form := url.Values{"username": {"alice"}, "rd": {tt.rd}}
			in, _ := send(t, "POST", base+f.submit, form.Encode(), "Content-Type: application/x-www-form-urlencoded")
			out, _ := send(t, "GET", base+f.logout+"?rd="+url.QueryEscape(tt.rd), "", "Cookie: "+s.Cookie("alice").String())
			if in.Header.Get("Location") != want || out.Header.Get("Location") != want {
				t.Errorf("%s: rd %q leads to %q and %q, want %q", f.name, tt.rd, in.Header.Get("Location"), out.Header.Get("Location"), want)
			}
		}
	}
}

func TestCookieOfNobody(t *testing.T) {
	s, _ := start(t, ssotest.Authelia)
	defer func() {
		if recover() == nil {
			t.Error("a cookie for a user who doesn't exist")
		}
	}()
	s.Cookie("mallory")
}

// TestTogether: each of many at once is told about themselves. It is for the race detector.
func TestTogether(t *testing.T) {
	s, base := start(t, ssotest.Authelia)
	var wg sync.WaitGroup
	for _, user := range []string{"alice", "bob", "alice", "bob"} {
		wg.Go(func() {
			line := "Cookie: " + s.Cookie(user).String()
			for range 20 {
				resp, _ := send(t, "GET", base+"/api/authz/forward-auth", "", asked("/", line)...)
				if got := resp.Header.Get("Remote-User"); got != user {
					t.Errorf("%s is told to be %q", user, got)
				}
			}
		})
	}
	wg.Wait()
	if got := len(s.Requests()); got != 80 {
		t.Errorf("%d requests remembered, want 80", got)
	}
}

// FuzzRedirectTarget: what a browser makes of any target that is let through is an allowed host, or the own one.
func FuzzRedirectTarget(f *testing.F) {
	for _, seed := range []string{"https://ci.example.com:8443/", "/job/a/", "//evil.example", `/\evil.example`, "https://a@b/", "\x00", "https://[::1]/", "http://127.0.0.1:x/"} {
		f.Add(seed)
	}
	s, base := ssotest.Start(f, ssotest.Config{
		Flavour: ssotest.OAuth2Proxy, Users: map[string]ssotest.User{"alice": {}}, AllowedHosts: []string{"ci.example.com:8443"},
	})
	home, err := url.Parse(base + "/oauth2/callback")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, rd string) {
		w := httptest.NewRecorder()
		r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/oauth2/sign_out?rd="+url.QueryEscape(rd), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		s.ServeHTTP(w, r)
		location := w.Header().Get("Location")
		// Browsers drop tabs and line ends, and read a backslash as a slash.
		read := strings.NewReplacer("\t", "", "\r", "", "\n", "", `\`, "/").Replace(location)
		u, err := home.Parse(read)
		if err != nil {
			return // no browser goes there either
		}
		if u.Host != home.Host && !strings.EqualFold(u.Host, "ci.example.com:8443") {
			t.Errorf("rd %q leads to %q at %q", rd, location, u.Host)
		}
	})
}
