package jenkinstest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestCrumbRefusalForms(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	tests := []struct {
		name, accept, contentType string
		start                     string
	}{
		{"3.3 no Accept", "", "text/html;charset=iso-8859-1", "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n<title>Error 403 No valid crumb was included in the request</title>\n</head>\n<body><h2>HTTP ERROR 403 No valid crumb was included in the request</h2>\n<table>\n<tr><th>URI:</th><td>/a&amp;b</td></tr>\n<tr><th>STATUS:</th><td>403</td></tr>\n<tr><th>MESSAGE:</th><td>No valid crumb was included in the request</td></tr>\n<tr><th>SERVLET:</th><td>Stapler</td></tr>\n</table>\n<hr/><a href=\"https://jetty.org/\">Powered by Jetty:// "},
		{"3.3 anything", "*/*", "text/html;charset=iso-8859-1", "<html>"},
		{"3.3 JSON", "application/json", "application/json", "{\n\"servlet\":\"Stapler\",\n\"message\":\"No valid crumb was included in the request\",\n\"url\":\"/a"},
		{"3.3 text/json", "text/json", "text/json", "{\n\"servlet\""},
		{"3.3 text", "text/plain", "text/plain;charset=iso-8859-1", "HTTP ERROR 403 No valid crumb was included in the request\nURI: /a"},
		{"3.3 by quality", "text/html;q=0.5, application/json", "application/json", "{"},
		{"3.3 the specific one first", "*/*, application/json", "application/json", "{"},
		{"3.3 none of these", "application/xml", "", ""},
		{"3.3 quality 0", "text/html;q=0", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			headers := []string{alice}
			if tt.accept != "" {
				headers = append(headers, "Accept: "+tt.accept)
			}
			a := send(t, "POST", url+"/a&b", "", headers...)
			if a.StatusCode != 403 || a.Header.Get("Content-Type") != tt.contentType || !strings.HasPrefix(a.body, tt.start) || tt.start == "" && a.body != "" {
				t.Errorf("Accept %q: %d %q %q", tt.accept, a.StatusCode, a.Header.Get("Content-Type"), a.body)
			}
			if strings.HasSuffix(tt.contentType, "json") {
				var members map[string]string
				if err := json.Unmarshal([]byte(a.body), &members); err != nil || members["status"] != "403" || len(members) != 4 {
					t.Errorf("body %q: %v", a.body, err)
				}
			}
			want := map[string]string{
				"X-Content-Type-Options": "nosniff", "Cache-Control": "must-revalidate,no-cache,no-store",
				"Content-Security-Policy": "", "X-Jenkins": "", "Www-Authenticate": "", "X-Required-Permission": "", "Set-Cookie": "",
			}
			for name, value := range want {
				if got := a.Header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
			if a.Header.Get("Reporting-Endpoints") == "" || a.Header.Get("Content-Security-Policy-Report-Only") == "" {
				t.Errorf("11: no policy: %q", a.Header)
			}
			if !strings.HasPrefix(a.Header.Get("Server"), "Jetty(12.") || a.ContentLength < 0 {
				t.Errorf("Server %q, Content-Length %d", a.Header.Get("Server"), a.ContentLength)
			}
		})
	}
}

func TestDenials(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx", Readers: []string{"Reader"}})
	addJobs(t, j)
	const reader = "X-Forwarded-User: reader"
	crumb, session := crumbFor(t, url, "reader")
	t.Run("4.5 anonymous", func(t *testing.T) {
		a := send(t, "GET", url+"/job/a/?x=1", "")
		if a.StatusCode != 403 || a.Header.Get("Content-Type") != "text/html;charset=UTF-8" {
			t.Errorf("%d %q", a.StatusCode, a.Header.Get("Content-Type"))
		}
		for _, want := range []string{
			"<meta http-equiv='refresh' content='1;url=/ctx/login?from=%2Fctx%2Fjob%2Fa%2F%3Fx%3D1'/>",
			"data-redirect-url='/ctx/login?from=", "Authentication required", "You are authenticated as: anonymous",
			"Permission you need to have (but didn't): hudson.model.Hudson.Read",
		} {
			if !strings.Contains(a.body, want) {
				t.Errorf("body %q, want %q in it", a.body, want)
			}
		}
		for name, want := range map[string]string{
			"X-You-Are-Authenticated-As": "anonymous", "X-Required-Permission": "hudson.model.Hudson.Read",
			"X-Hudson": "1.395", "X-Jenkins": "2.578", "Www-Authenticate": "",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if sessionOf(a) == "" {
			t.Error("11: no session was opened")
		}
		if len(a.Header.Values("X-Permission-Implied-By")) != 2 {
			t.Errorf("X-Permission-Implied-By: %q", a.Header.Values("X-Permission-Implied-By"))
		}
	})
	t.Run("4.5 a script's request", func(t *testing.T) {
		a := send(t, "GET", url+"/api/json", "", "X-Requested-With: XMLHttpRequest")
		if a.StatusCode != 403 || a.Header.Get("X-Required-Permission") != "" || !strings.Contains(a.body, "HTTP ERROR 403") {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
	})
	t.Run("4.5 signed in", func(t *testing.T) {
		a := send(t, "POST", url+"/job/a/build", "", reader, crumb, session)
		if a.StatusCode != 403 || a.Header.Get("X-Required-Permission") != "hudson.model.Item.Build" ||
			a.Header.Get("X-You-Are-Authenticated-As") != "reader" || !strings.Contains(a.body, "Access Denied") || strings.Contains(a.body, jenkinstest.NoValidCrumb) {
			t.Errorf("%d %q %q", a.StatusCode, a.Header, a.body)
		}
		if a := send(t, "GET", url+"/job/a/config.xml", "", reader); a.StatusCode != 200 {
			t.Errorf("a reader's GET = %d", a.StatusCode)
		}
		if a := send(t, "DELETE", url+"/job/a/", "", reader); a.StatusCode != 403 {
			t.Errorf("a reader's DELETE = %d, want 403", a.StatusCode)
		}
	})
	for _, path := range []string{"/login", "/whoAmI/api/json", "/health/", "/static/0123abcd/images/x.svg", "/github-webhook/", "/jnlpJars/agent.jar", "/tcpSlaveAgentListener/", "/favicon.ico"} {
		if a := send(t, "GET", url+path, ""); a.StatusCode != 200 {
			t.Errorf("6.6: anonymous GET %s = %d, want 200", path, a.StatusCode)
		}
	}
	for _, path := range []string{"/", "/api/json", "/me/", "/crumbIssuer/api/json", "/static/x/job/a/", "/nowhere", "/loginx", "/images/none.png", "/static/x/scripts/none.js"} {
		if a := send(t, "GET", url+path, ""); a.StatusCode != 403 {
			t.Errorf("6.6: anonymous GET %s = %d, want 403", path, a.StatusCode)
		}
	}
}

func TestSessionsAndHeaders(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx"})
	addJobs(t, j)
	type kind struct{ session, hudson, jenkins bool }
	page, api, container := kind{true, true, true}, kind{false, false, true}, kind{}
	issuer := kind{true, false, true}
	tests := []struct {
		name, method, path string
		status             int
		want               kind
	}{
		{"4.1 front page", "GET", "/", 200, page},
		{"4.1 log-in page", "GET", "/login", 200, page},
		{"4.1 404 page", "GET", "/nowhere", 404, page},
		{"4.1 job page", "GET", "/job/a/", 200, page},
		{"4.4 api/json", "GET", "/api/json", 200, api},
		{"4.4 job api/json", "GET", "/job/a/api/json", 200, api},
		{"4.1 whoAmI", "GET", "/whoAmI/api/json", 200, api},
		{"3.4 json", "GET", "/crumbIssuer/api/json", 200, issuer},
		{"3.4 xml", "GET", "/crumbIssuer/api/xml", 200, issuer},
		{"3.4 python", "GET", "/crumbIssuer/api/python", 200, issuer},
		{"3.4 HEAD", "HEAD", "/crumbIssuer/api/json", 200, issuer},
		{"4.1 static file", "GET", "/static/x/images/a.svg", 200, container},
		{"7.3 config.xml", "GET", "/job/a/config.xml", 200, container},
		{"6.3 redirect", "GET", "/job/a", 302, container},
		{"7.3 wrong method", "GET", "/job/a/build", 405, page},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sessions := j.Sessions()
			a := send(t, tt.method, url+tt.path, "", alice)
			got := kind{sessionOf(a) != "", a.Header.Get("X-Hudson") != "", a.Header.Get("X-Jenkins") != "" && a.Header.Get("X-Jenkins-Session") != ""}
			if a.StatusCode != tt.status || got != tt.want {
				t.Errorf("%s %s = %d %+v, want %d %+v", tt.method, tt.path, a.StatusCode, got, tt.status, tt.want)
			}
			if made := j.Sessions() - sessions; (made == 1) != tt.want.session {
				t.Errorf("%d sessions made", made)
			}
			if a.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("4.4: no nosniff")
			}
		})
	}

	t.Run("4.1 cookie", func(t *testing.T) {
		a := send(t, "GET", url+"/crumbIssuer/api/json", "", alice)
		line := a.Header.Get("Set-Cookie")
		if ok := matches(`^JSESSIONID\.[0-9a-f]{8}=node0[0-9a-z]+0\.node0; Path=/ctx; HttpOnly; SameSite=Lax$`, line); !ok {
			t.Errorf("Set-Cookie: %q", line)
		}
		if got := a.Header.Get("Expires"); got != "Thu, 01 Jan 1970 00:00:00 GMT" {
			t.Errorf("Expires: %q", got)
		}
		if again := send(t, "GET", url+"/crumbIssuer/api/json", "", alice, sessionOf(a)); sessionOf(again) != "" || again.body != a.body {
			t.Error("a request with its cookie got another session or crumb")
		}
		if again := send(t, "GET", url+"/crumbIssuer/api/json", "", alice, strings.TrimSuffix(sessionOf(a), ".node0")); again.body != a.body {
			t.Error("the node's suffix matters")
		}
	})
	t.Run("4.1 cookie of older versions", func(t *testing.T) {
		_, url := jenkinstest.Start(t, jenkinstest.Config{Version: "2.479.3", RootURL: "https://ci.example.org/"})
		a := send(t, "GET", url+"/login", "")
		if line := a.Header.Get("Set-Cookie"); !matches(`;Path=/;Secure;HttpOnly$`, line) {
			t.Errorf("Set-Cookie: %q", line)
		}
	})
	t.Run("4.3 logout", func(t *testing.T) {
		crumb, session := crumbFor(t, url, "alice")
		a := send(t, "GET", url+"/logout", "", session)
		if a.StatusCode != 302 || a.Header.Get("Location") != "/ctx/" || len(a.Cookies()) != 1 || a.Cookies()[0].MaxAge >= 0 {
			t.Errorf("%d %q", a.StatusCode, a.Header)
		}
		if a := send(t, "POST", url+"/job/a/build", "", alice, crumb, session); a.StatusCode != 403 {
			t.Errorf("POST after logout = %d, want 403", a.StatusCode)
		}
	})
}

func TestLoginForm(t *testing.T) { // 3.5, 4.3, 5.2
	_, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx"})
	if a := send(t, "GET", url+"/login?from=%2Fctx%2F", ""); !strings.Contains(a.body, `action="j_spring_security_check"`) || !strings.Contains(a.body, `value="/ctx/"`) {
		t.Errorf("log-in page %q", a.body)
	}
	if a := send(t, "POST", url+"/j_spring_security_check", "", alice); a.StatusCode != 302 || a.Header.Get("Location") != "/ctx/loginError" {
		t.Errorf("log-in = %d %q, want a redirect to /ctx/loginError and no crumb check", a.StatusCode, a.Header.Get("Location"))
	}
	if a := send(t, "GET", url+"/loginError", "", alice); a.StatusCode != 302 {
		t.Errorf("11: error page of a signed-in user = %d, want 302", a.StatusCode)
	}
	if a := send(t, "GET", url+"/loginError", ""); a.StatusCode != 401 || a.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("error page = %d", a.StatusCode)
	}
	if a := send(t, "GET", url+"/j_spring_security_check", ""); a.StatusCode != 404 {
		t.Errorf("log-in by GET = %d, want 404", a.StatusCode)
	}
}

func TestHeadLimit(t *testing.T) { // 6.4
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	a := send(t, "GET", url+"/login", "", "Cookie: x="+strings.Repeat("y", 8192))
	if a.StatusCode != http.StatusRequestHeaderFieldsTooLarge || a.Header.Get("X-Jenkins") != "" {
		t.Errorf("head over 8 KiB = %d, want 431", a.StatusCode)
	}
	if a := send(t, "GET", url+"/login", "", "Cookie: x="+strings.Repeat("y", 7900)); a.StatusCode != 200 {
		t.Errorf("head below 8 KiB = %d, want 200", a.StatusCode)
	}
}
