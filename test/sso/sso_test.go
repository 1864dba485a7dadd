// Package sso_test runs the recipes of docs/sso.md as they stand there, by the real
// program, between a stand-in for the single sign-on and one for Jenkins. The verdict
// is what Jenkins received.
package sso_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
	"github.com/crumbgate/crumbgate/internal/ssotest"
)

const global = `{
	admin {$ADMIN}
	persist_config off
	crumbgate {
		storage bbolt {$STORE}
	}
}
`

// recipe returns the Caddyfile below a heading of docs/sso.md, at addresses of the
// test's.
func recipe(t *testing.T, heading string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/sso.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, block, fenced := strings.Cut(section, "```caddyfile\n")
	block, _, closed := strings.Cut(block, "\n```")
	if !found || !fenced || !closed {
		t.Fatalf("docs/sso.md has no Caddyfile below %q", heading)
	}
	moved := strings.NewReplacer(
		"http://127.0.0.1:8000", "http://{$SITE}", "127.0.0.1:8080", "{$JENKINS}",
		"127.0.0.1:9091", "{$SSO}", "127.0.0.1:4180", "{$SSO}", "127.0.0.1:9000", "{$SSO}",
	).Replace(block)
	if strings.Contains(moved, "127.0.0.1") || !strings.Contains(moved, "{$SITE}") || !strings.Contains(moved, "{$JENKINS}") {
		t.Fatalf("the recipe has addresses that the test does not know:\n%s", block)
	}
	return global + moved + "\n"
}

// A world is a recipe that runs.
type world struct {
	*gatewaytest.Gateway
	t       *testing.T
	jenkins *jenkinstest.Jenkins
	sso     *ssotest.SSO
}

func start(t *testing.T, heading string, flavour ssotest.Flavour) *world {
	t.Helper()
	w := &world{t: t}
	jenkins, address := jenkinstest.Start(t, jenkinstest.Config{})
	if err := jenkins.AddJob("a", jenkinstest.FreestyleXML); err != nil {
		t.Fatal(err)
	}
	sso, ssoURL := ssotest.Start(t, ssotest.Config{
		Flavour: flavour, AllowedHosts: []string{"127.0.0.1"},
		Users: map[string]ssotest.User{
			"bob": {Groups: []string{"dev", "ops"}, Mail: "bob@example.org", Name: "Bob B."},
			"eve": {},
		},
	})
	w.jenkins, w.sso = jenkins, sso
	w.Gateway = gatewaytest.New(t, address, recipe(t, heading))
	w.Env = append(w.Env, "SSO="+strings.TrimPrefix(ssoURL, "http://"))
	w.Start(t)
	return w
}

// An answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

// send makes a request with headers as "Name: value" lines. A name is sent as it is
// written.
func (w *world) send(client *http.Client, method, target, body string, headers ...string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header[name] = append(r.Header[name], value)
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		r.Header.Set("User-Agent", "Mozilla/5.0") // a browser
	}
	resp, err := client.Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp, string(read)}
}

// ask sends one request and returns what Jenkins received of it, nil for nothing.
func (w *world) ask(method, path, body string, headers ...string) (answer, *jenkinstest.Request) {
	w.t.Helper()
	w.jenkins.ResetRequests()
	a := w.send(gatewaytest.Client, method, w.URL+path, body, headers...)
	for _, seen := range w.jenkins.Requests() {
		if seen.Path != "/crumbIssuer/api/json" {
			return a, &seen
		}
	}
	return a, nil
}

// cookie signs a user in.
func (w *world) cookie(user string) string {
	c := w.sso.Cookie(user)
	return "Cookie: " + c.Name + "=" + c.Value
}

// is fails the test unless Jenkins received a request from a user with groups, mail
// and display name as in its headers.
func (w *world) is(what string, seen *jenkinstest.Request, user, groups, mail, displayName string) {
	w.t.Helper()
	if seen == nil {
		w.t.Errorf("%s: nothing reached Jenkins", what)
		return
	}
	if seen.User != user {
		w.t.Errorf("%s: Jenkins takes the request for %q's, want %q", what, seen.User, user)
	}
	for name, want := range map[string]string{"X-Forwarded-Groups": groups, "X-Forwarded-Mail": mail, "X-Forwarded-Displayname": displayName} {
		if got := strings.Join(seen.Header[name], " and "); got != want {
			w.t.Errorf("%s: Jenkins got %s: %q, want %q", what, name, got, want)
		}
	}
	for name, values := range seen.Header {
		plain := http.CanonicalHeaderKey(strings.NewReplacer("_", "-", ".", "-").Replace(name))
		if name != plain && strings.HasPrefix(plain, "X-Forwarded-") {
			w.t.Errorf("%s: Jenkins got %s: %q", what, name, values)
		}
	}
	if got := seen.Header["Authorization"]; got != nil {
		w.t.Errorf("%s: Jenkins got Authorization: %q", what, got)
	}
}

const whoAmI = "/whoAmI/api/json"

var (
	action      = regexp.MustCompile(`action="([^"]+)"`)
	rd          = regexp.MustCompile(`name="rd" value="([^"]*)"`)
	pageCrumb   = regexp.MustCompile(`data-crumb-value="([^"]+)"`)
	acceptsPage = "Accept: text/html,application/xhtml+xml"
	acceptsJSON = "Accept: application/json"
)

// spellings are those of a header that some server takes for the same.
func spellings(name string) []string {
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"),
		strings.ToLower(strings.ReplaceAll(name, "-", "_")), strings.ReplaceAll(name, "-", "."), strings.Replace(name, "-", "_", 1),
	}
}

func TestRecipes(t *testing.T) {
	authelia := []string{"Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name"}
	for _, test := range []struct {
		heading string
		flavour ssotest.Flavour
		headers []string // of the single sign-on
		// what Jenkins is told of bob
		groups, mail, name string
		machine            int // the status for one that sends nothing
	}{
		{"Authelia", ssotest.Authelia, authelia, "dev|ops", "bob@example.org", "Bob B.", http.StatusUnauthorized},
		{
			"oauth2-proxy", ssotest.OAuth2Proxy,
			[]string{"X-Auth-Request-User", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Groups", "X-Auth-Request-Email"},
			"dev|ops", "bob@example.org", "", http.StatusUnauthorized,
		},
		{
			"authentik", ssotest.Authentik,
			[]string{"X-Authentik-Username", "X-authentik-username", "X-Authentik-Groups", "X-Authentik-Email", "X-Authentik-Name", "X-Authentik-Uid"},
			"dev|ops", "bob@example.org", "Bob B.", http.StatusFound,
		},
		{"Two ways to take an identity", ssotest.Authelia, authelia, "dev|ops", "", "", http.StatusUnauthorized},
		{"Webhooks beside it", ssotest.Authelia, authelia, "", "", "", http.StatusUnauthorized},
	} {
		t.Run(test.heading, func(t *testing.T) {
			t.Parallel()
			w := start(t, test.heading, test.flavour)
			secret := w.CreateToken(t, "alice", "ci")

			t.Run("a person signs in", func(t *testing.T) {
				w := &world{w.Gateway, t, w.jenkins, w.sso}
				w.person(test.groups, test.mail, test.name)
			})
			t.Run("a person without a session", func(t *testing.T) {
				w := &world{w.Gateway, t, w.jenkins, w.sso}
				for _, path := range []string{"/", "/job/a/", whoAmI} {
					if a, seen := w.ask("GET", path, "", acceptsPage); a.StatusCode != http.StatusFound || a.Header.Get("Location") == "" || seen != nil {
						t.Errorf("GET %s: %s to %q", path, a.Status, a.Header.Get("Location"))
					}
				}
				// Of Jenkins' session alone nobody is anybody.
				if a, seen := w.ask("GET", whoAmI, "", acceptsPage, "Cookie: JSESSIONID.x=node0x.node0"); a.StatusCode != http.StatusFound || seen != nil {
					t.Errorf("with a session of Jenkins: %s", a.Status)
				}
				if a, seen := w.ask("GET", whoAmI, "", acceptsJSON); a.StatusCode != test.machine || seen != nil {
					t.Errorf("a machine: %s, want %d", a.Status, test.machine)
				}
				if a, seen := w.ask("POST", "/job/a/build", "x=1", acceptsJSON); a.StatusCode != test.machine || seen != nil {
					t.Errorf("a POST: %s, want %d", a.Status, test.machine)
				}
			})
			t.Run("a token", func(t *testing.T) {
				w := &world{w.Gateway, t, w.jenkins, w.sso}
				w.token(secret)
			})
			t.Run("headers that a client sends itself", func(t *testing.T) {
				w := &world{w.Gateway, t, w.jenkins, w.sso}
				w.spoof(secret, test.headers, test.machine)
			})
		})
	}
}

// person is a browser that gets to Jenkins by way of the log-in page.
func (w *world) person(groups, mail, name string) {
	t := w.t
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Its cookies are for all ports of a host, as those of one domain are for its hosts.
	browser := &http.Client{Jar: jar, Timeout: gatewaytest.Patience, Transport: gatewaytest.Client.Transport}
	page := w.send(browser, "GET", w.URL+"/job/a/", "", acceptsPage)
	to, back := action.FindStringSubmatch(page.body), rd.FindStringSubmatch(page.body)
	if page.StatusCode != http.StatusOK || to == nil || back == nil {
		t.Fatalf("no log-in page: %s\n%s", page.Status, page.body)
	}
	form, err := page.Request.URL.Parse(html.UnescapeString(to[1]))
	if err != nil {
		t.Fatal(err)
	}
	w.jenkins.ResetRequests()
	const urlencoded = "Content-Type: application/x-www-form-urlencoded"
	page = w.send(browser, "POST", form.String(), url.Values{"username": {"bob"}, "rd": {html.UnescapeString(back[1])}}.Encode(), urlencoded, acceptsPage)
	if page.StatusCode != http.StatusOK || page.Request.URL.String() != w.URL+"/job/a/" {
		t.Fatalf("after the log-in: %s at %s\n%s", page.Status, page.Request.URL, page.body)
	}
	seen := w.jenkins.Requests()[0]
	w.is("the page", &seen, "bob", groups, mail, name)

	text := pageCrumb.FindStringSubmatch(page.body)
	if text == nil {
		t.Fatalf("the page has no crumb\n%s", page.body)
	}
	browser.CheckRedirect = gatewaytest.Client.CheckRedirect
	w.jenkins.ResetRequests()
	a := w.send(browser, "POST", w.URL+"/job/a/build", "x=1", urlencoded, "Jenkins-Crumb: "+text[1], "Sec-Fetch-Site: same-origin")
	if a.StatusCode != http.StatusCreated {
		t.Errorf("POST with the page's crumb: %s\n%s", a.Status, a.body)
	}
	for _, seen := range w.jenkins.Requests() {
		w.is(seen.Method+" "+seen.Path, &seen, "bob", groups, mail, name)
		if seen.Method == "POST" && (seen.Crumb != jenkinstest.CrumbValid || string(seen.Body) != "x=1") {
			t.Errorf("Jenkins got a POST with the crumb %q and the body %q", seen.Crumb, seen.Body)
		}
	}
	for what, headers := range map[string][]string{
		"no crumb":     {"Sec-Fetch-Site: same-origin"},
		"another site": {"Jenkins-Crumb: " + text[1], "Sec-Fetch-Site: cross-site"},
	} {
		w.jenkins.ResetRequests()
		if a := w.send(browser, "POST", w.URL+"/job/a/build", "x=1", append(headers, urlencoded)...); a.StatusCode != http.StatusForbidden || len(w.jenkins.Requests()) != 0 {
			t.Errorf("POST, %s: %s", what, a.Status)
		}
	}
}

// token is a machine, which the single sign-on is not asked about.
func (w *world) token(secret string) {
	t := w.t
	asked := len(w.sso.Requests())
	basic := func(user, password string) string {
		r := &http.Request{Header: make(http.Header)}
		r.SetBasicAuth(user, password)
		return "Authorization: " + r.Header.Get("Authorization")
	}
	for what, credential := range map[string]string{"Basic": basic("alice", secret), "Bearer": "Authorization: Bearer " + secret} {
		_, seen := w.ask("GET", whoAmI, "", credential)
		w.is(what, seen, "alice", "", "", "")
		a, seen := w.ask("POST", "/job/a/build", "x=1", credential)
		w.is(what+", POST", seen, "alice", "", "", "")
		if a.StatusCode != http.StatusCreated || seen != nil && seen.Crumb != jenkinstest.CrumbValid {
			t.Errorf("%s, POST: %s", what, a.Status)
		}
	}
	// Somebody who is signed in comes with another's token: the token decides.
	_, seen := w.ask("GET", whoAmI, "", basic("alice", secret), w.cookie("bob"))
	w.is("a token and a person", seen, "alice", "", "", "")

	flipped := []byte(secret)
	if i := len(flipped) / 2; flipped[i] == 'a' {
		flipped[i] = 'b'
	} else {
		flipped[i] = 'a'
	}
	for what, credential := range map[string]string{
		"a damaged token":              basic("alice", string(flipped)),
		"a damaged token, Bearer":      "Authorization: Bearer " + string(flipped),
		"a token of another":           basic("bob", secret),
		"a damaged token of an unseen": basic("admin", string(flipped)),
	} {
		for _, cookie := range []string{"Cookie: a=b", w.cookie("bob")} {
			for _, method := range []string{"GET", "POST"} {
				a, seen := w.ask(method, whoAmI, "", credential, cookie, acceptsPage)
				if a.StatusCode != http.StatusUnauthorized || seen != nil || !strings.Contains(strings.ToLower(a.body), "send a valid api token") {
					t.Errorf("%s, %s, %s: %s %q; Jenkins got %v", method, what, cookie, a.Status, a.body, seen)
				}
			}
		}
	}
	if n := len(w.sso.Requests()); n != asked {
		t.Errorf("the single sign-on was asked %d times about tokens", n-asked)
	}
}

// spoof sends headers in which the single sign-on or the gateway names a user.
func (w *world) spoof(secret string, headers []string, machine int) {
	t := w.t
	bearer, eve := "Authorization: Bearer "+secret, w.cookie("eve")
	headers = append(headers, "X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Mail", "X-Forwarded-DisplayName")
	var all []string
	for _, name := range headers {
		all = append(all, spellings(name)...)
	}
	lines := func(names []string) []string {
		var lines []string
		for _, name := range names {
			lines = append(lines, name+": admin")
		}
		return lines
	}
	claims := map[string][]string{"all": lines(headers), "all, in every spelling": lines(all)}
	for _, name := range all {
		claims[name] = lines([]string{name})
		claims[name+", twice"] = lines([]string{name, name})
	}
	for what, claim := range claims {
		with := func(more ...string) []string { return append(more, claim...) }
		_, seen := w.ask("GET", whoAmI, "", with(eve)...)
		w.is(what+", signed in", seen, "eve", "", "", "")
		_, seen = w.ask("GET", whoAmI, "", with(bearer)...)
		w.is(what+", token", seen, "alice", "", "", "")
		_, seen = w.ask("GET", "/login", "", claim...)
		w.is(what+", open to all", seen, "anonymous", "", "", "")
		if a, seen := w.ask("GET", whoAmI, "", with(acceptsJSON)...); a.StatusCode != machine || seen != nil {
			t.Errorf("%s, nobody: %s; Jenkins got %v", what, a.Status, seen)
		}
		if a, seen := w.ask("GET", whoAmI, "", with("Authorization: Bearer "+secret[:len(secret)-1]+"~")...); a.StatusCode/100 == 2 || seen != nil {
			t.Errorf("%s, nearly a token: %s; Jenkins got %v", what, a.Status, seen)
		}
	}
}

// TestAuthentikPaths: for paths of its own, authentik says 200 and names nobody.
func TestAuthentikPaths(t *testing.T) {
	t.Parallel()
	w := start(t, "authentik", ssotest.Authentik)
	for _, path := range []string{
		"/outpost.goauthentik.io", "/outpost.goauthentik.iox", "/outpost.goauthentik.io.x/whoAmI/api/json", "/outpost.goauthentik.iox/../whoAmI/api/json",
		"/outpost.goauthentik.iox%2f..%2fwhoAmI/api/json", "/outpost.goauthentik.iox//../../whoAmI/api/json",
	} {
		for _, method := range []string{"GET", "POST"} {
			if a, seen := w.ask(method, path, "", "X-Authentik-Username: admin"); a.StatusCode/100 == 2 || seen != nil {
				t.Errorf("%s %s: %s; Jenkins got %v", method, path, a.Status, seen)
			}
		}
	}
	if _, seen := w.ask("GET", "/outpost.goauthentik.iox", "", w.cookie("bob")); seen == nil || seen.User != "bob" {
		t.Errorf("bob's request reached Jenkins as %v", seen)
	}
}

func TestWebhooksBesideIt(t *testing.T) {
	t.Parallel()
	w := start(t, "Webhooks beside it", ssotest.Authelia)
	const payload = "{ \"ref\":\t\"main\" }\n"
	sign := func(key, body string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(body))
		return "X-Hub-Signature-256: sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	const secret = "a-secret-that-is-set-at-GitHub"
	a, seen := w.ask("POST", "/github-webhook/", payload, sign(secret, payload), "Content-Type: application/json", "Remote-User: admin", "X-Forwarded-User: admin")
	w.is("signed", seen, "anonymous", "", "", "")
	if seen == nil || string(seen.Body) != payload || a.StatusCode == http.StatusForbidden {
		t.Errorf("signed: %s; Jenkins got %v", a.Status, seen)
	}
	for what, header := range map[string]string{
		"unsigned": "A: b", "by another key": sign("another-secret", payload), "of another body": sign(secret, payload+" "), "not GitHub's": "X-Hub-Signature: sha1=00",
	} {
		if a, seen := w.ask("POST", "/github-webhook/", payload, header, "Remote-User: admin"); a.StatusCode != http.StatusForbidden || seen != nil {
			t.Errorf("%s: %s; Jenkins got %v", what, a.Status, seen)
		}
	}
	for _, path := range []string{"/gitlab-webhook/post", "/project/a", "/bitbucket-hook/", "/job/a/build"} {
		if a, seen := w.ask("POST", path, payload, sign(secret, payload), acceptsJSON); a.StatusCode != http.StatusUnauthorized || seen != nil {
			t.Errorf("%s, signed: %s; Jenkins got %v", path, a.Status, seen)
		}
	}
	if n := len(w.sso.Requests()); n != 4 {
		t.Errorf("the single sign-on was asked %d times, want for the last four alone", n)
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	w := start(t, "Passwords in the Caddyfile", ssotest.Authelia)
	secret := w.CreateToken(t, "carol", "ci")
	// Few requests: each costs a hash that is made to be slow.
	request := &http.Request{Header: make(http.Header)}
	request.SetBasicAuth("alice", "hiccup")
	password := "Authorization: " + request.Header.Get("Authorization")
	_, seen := w.ask("GET", whoAmI, "", password, "X-Forwarded-User: admin", "X-Forwarded-Groups: admins", "Remote_User: admin")
	w.is("a password", seen, "alice", "", "", "")
	if a, seen := w.ask("POST", "/job/a/build", "", password, "Sec-Fetch-Site: same-origin"); a.StatusCode != http.StatusForbidden || seen != nil {
		t.Errorf("a POST without a crumb: %s; Jenkins got %v", a.Status, seen)
	}
	request.SetBasicAuth("alice", "wrong")
	for what, header := range map[string]string{"nothing": "A: b", "a wrong password": "Authorization: " + request.Header.Get("Authorization")} {
		a, seen := w.ask("GET", whoAmI, "", header, "X-Forwarded-User: admin")
		if a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" || seen != nil {
			t.Errorf("%s: %s; Jenkins got %v", what, a.Status, seen)
		}
	}
	request.SetBasicAuth("carol", secret)
	a, seen := w.ask("POST", "/job/a/build", "x=1", "Authorization: "+request.Header.Get("Authorization"), "X-Forwarded-User: admin")
	w.is("a token", seen, "carol", "", "", "")
	if a.StatusCode != http.StatusCreated {
		t.Errorf("a token: %s", a.Status)
	}
	request.SetBasicAuth("alice", secret)
	if a, seen := w.ask("GET", whoAmI, "", "Authorization: "+request.Header.Get("Authorization")); a.StatusCode != http.StatusUnauthorized || seen != nil {
		t.Errorf("another's token: %s; Jenkins got %v", a.Status, seen)
	}
}

// TestChallenge: a browser is led to the sign-in with its page and query, a program is asked for a password, and a script in
// a page is not, since the browser would ask its user.
func TestChallenge(t *testing.T) {
	t.Parallel()
	w := start(t, "oauth2-proxy", ssotest.OAuth2Proxy)
	const target = "/job/a/?x=1&y=%26z"
	a, _ := w.ask("GET", target, "", acceptsPage)
	to, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.StatusCode != http.StatusFound || to.Path != "/oauth2/start" || to.Query().Get("rd") != target {
		t.Errorf("a browser: %s to %q, want rd=%s", a.Status, a.Header.Get("Location"), target)
	}
	for _, test := range []struct {
		name      string
		headers   []string
		challenge string
	}{
		{"a script in a page", []string{acceptsJSON, "Sec-Fetch-Mode: cors", "User-Agent: Mozilla/5.0"}, ""},
		{"a program", []string{"Accept: */*"}, `Basic realm="Jenkins"`},
		{"Java", []string{"Accept: text/html, image/gif, image/jpeg, */*; q=0.2", "User-Agent: Java/17.0.15"}, `Basic realm="Jenkins"`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", w.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range test.headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		resp, err := gatewaytest.Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != test.challenge {
			t.Errorf("%s: %s with the challenge %q, want %q", test.name, resp.Status, resp.Header.Get("WWW-Authenticate"), test.challenge)
		}
	}
}

// TestSignInInFront: a proxy in front of Caddy names the user in a header, and nobody else can.
func TestSignInInFront(t *testing.T) {
	t.Parallel()
	const heading = "A sign-in in front of Caddy"
	for _, test := range []struct {
		name, proxies string
		headers       []string
		user          string // "" for nobody
	}{
		{"by the proxy", "127.0.0.1/32", []string{"X-Auth-Request-User: bob"}, "bob"},
		{"by an address that is no proxy", "192.0.2.0/24", []string{"X-Auth-Request-User: bob"}, ""},
		{"added to the client's", "127.0.0.1/32", []string{"X-Auth-Request-User: admin", "X-Auth-Request-User: bob"}, ""},
		{"in another spelling", "127.0.0.1/32", []string{"X_Auth_Request_User: admin"}, ""},
		{"in another spelling beside the proxy's", "127.0.0.1/32", []string{"X_Auth_Request_User: admin", "X-Auth-Request-User: bob"}, "bob"},
		{"nobody", "127.0.0.1/32", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			jenkins, address := jenkinstest.Start(t, jenkinstest.Config{})
			servers := "servers {\n\t\ttrusted_proxies static " + test.proxies + "\n\t}\n\tcrumbgate {"
			w := &world{Gateway: gatewaytest.New(t, address, strings.Replace(recipe(t, heading), "crumbgate {", servers, 1)), t: t, jenkins: jenkins}
			w.Start(t)
			a, seen := w.ask("GET", whoAmI, "", test.headers...)
			if test.user == "" {
				if a.StatusCode != http.StatusUnauthorized || seen != nil {
					t.Errorf("%s; Jenkins got %v", a.Status, seen)
				}
				return
			}
			w.is(test.name, seen, test.user, "", "", "")
		})
	}
}
