package sso_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
	"github.com/crumbgate/crumbgate/internal/ssotest"
)

// startSite is start for a site of the test's own: what stands in the blocks of session
// and of crumbgate.
func startSite(t *testing.T, session, more string, users map[string]ssotest.User) *world {
	t.Helper()
	w := &world{t: t}
	jenkins, address := jenkinstest.Start(t, jenkinstest.Config{})
	if err := jenkins.AddJob("a", jenkinstest.FreestyleXML); err != nil {
		t.Fatal(err)
	}
	sso, ssoURL := ssotest.Start(t, ssotest.Config{Flavour: ssotest.Authelia, AllowedHosts: []string{"127.0.0.1"}, Users: users})
	w.jenkins, w.sso = jenkins, sso
	w.Gateway = gatewaytest.New(t, address, global+`http://{$SITE} {
	@people {
		not crumbgate_token
		not crumbgate_public
	}
	forward_auth @people {$SSO} {
		uri /api/authz/forward-auth
	}
	crumbgate {
		session {
			`+session+`
		}
		`+more+`
	}
	reverse_proxy {$JENKINS}
}
`)
	w.Env = append(w.Env, "SSO="+strings.TrimPrefix(ssoURL, "http://"))
	w.Start(t)
	return w
}

const wholeSession = `user {http.reverse_proxy.header.Remote-User}
			groups {http.reverse_proxy.header.Remote-Groups}
			mail {http.reverse_proxy.header.Remote-Email}
			display_name {http.reverse_proxy.header.Remote-Name}`

// numbered returns n texts made by a format.
func numbered(n int, format string) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf(format, i)
	}
	return texts
}

// headSize is the size in bytes of a request's head, as Jenkins counts it.
func headSize(r *jenkinstest.Request) int {
	n := len(r.Method+" "+r.RequestURI+" HTTP/1.1\r\n") + len("Host: \r\n"+r.Host) + len("\r\n")
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(": \r\n") + len(value)
		}
	}
	return n
}

func TestOnlyTheUserIDDecidesOnASignIn(t *testing.T) {
	t.Parallel()
	dn := "CN=" + strings.Repeat("x", 298)
	people := []struct {
		id           string
		user         ssotest.User
		groups       string // as Jenkins got them; "…" stands for any more
		mail, name   string
		inLog        string // of what is left out
		cookies      int    // bytes of the sign-in's
		isAdminGroup bool
	}{
		{id: "many", user: ssotest.User{Groups: numbered(300, "group-%03d")}, groups: "group-000|group-001|…"},
		{id: "guids", user: ssotest.User{Groups: numbered(150, "00000000-0000-4000-8000-%012d")}, groups: "00000000-0000-4000-8000-000000000000|…", inLog: "groups beyond max_bytes"},
		{id: "bar", user: ssotest.User{Groups: []string{"dev", "R|D", "ops"}}, groups: "dev|ops", inLog: "groups that Jenkins can't read", isAdminGroup: true},
		{id: "dn", user: ssotest.User{Groups: []string{dn, "ops"}}, groups: dn + "|ops"},
		{id: "joined", user: ssotest.User{Name: "Ali\u200dce", Groups: []string{"ops"}}, groups: "ops", name: "Alice", inLog: "display name"},
		{id: "emoji", user: ssotest.User{Name: "Alice \U0001F469\u200d\U0001F4BB", Mail: "ali\u200bce@example.org"}, name: "Alice", inLog: "mail"},
		{id: "greek", user: ssotest.User{Name: "Οδυσσεύς", Groups: []string{"Ομάδα", "Gruppe Ä"}}, groups: "Gruppe \xc4", inLog: "display name"},
		{id: "all", user: ssotest.User{Name: "\U0001F469\u200d\U0001F4BB", Groups: numbered(500, "a-department-with-a-name-%03d")}, groups: "a-department-with-a-name-000|…", cookies: 6000},
	}
	users := make(map[string]ssotest.User)
	for _, p := range people {
		users[p.id] = p.user
	}
	w := startSite(t, wholeSession, "admins group:R|D", users)
	for _, p := range people {
		headers := []string{acceptsPage, w.cookie(p.id)}
		if p.cookies > 0 {
			headers[1] += "; _sign_in_0=" + strings.Repeat("x", p.cookies/2) + "; _sign_in_1=" + strings.Repeat("x", p.cookies/2)
		}
		a, seen := w.ask("GET", "/", "", headers...)
		if a.StatusCode != http.StatusOK || seen == nil || seen.User != p.id {
			t.Errorf("%s: %s; Jenkins got %v\n%.300s", p.id, a.Status, seen, a.body)
			continue
		}
		t.Logf("%s: %d groups with %d bytes, %d bytes of cookies: a head of %d bytes reached Jenkins", p.id, len(p.user.Groups),
			len(strings.Join(p.user.Groups, "|")), p.cookies, headSize(seen))
		got := seen.Header.Get("X-Forwarded-Groups")
		if begin, any := strings.CutSuffix(p.groups, "…"); !strings.HasPrefix(got, begin) || !any && got != begin {
			t.Errorf("%s: Jenkins got the groups %.200q, want %q", p.id, got, p.groups)
		}
		if mail, name := seen.Header.Get("X-Forwarded-Mail"), seen.Header.Get("X-Forwarded-DisplayName"); mail != p.mail || name != p.name {
			t.Errorf("%s: Jenkins got the mail %q and the name %q, want %q and %q", p.id, mail, name, p.mail, p.name)
		}
		w.ask("GET", "/", "", headers...)
		if p.inLog != "" && w.logged("part of a user's identity not sent to Jenkins", `"user":"`+p.id+`"`, p.inLog) != 1 {
			t.Errorf("%s: the log does not say once that %q is left out", p.id, p.inLog)
		}
		want := http.StatusNotFound
		if p.isAdminGroup {
			want = http.StatusOK
		}
		if a, _ := w.ask("GET", "/crumbgate/admin/", "", headers...); a.StatusCode != want {
			t.Errorf("%s: the page of all tokens: %s, want %d", p.id, a.Status, want)
		}
	}
	if w.logged("groups are sent to Jenkins in a header") != 1 || w.logged("session sets groups") == 0 {
		t.Error("the log does not warn of groups")
	}
}

// logged counts the lines of the log that hold all of the texts. The log arrives by a
// pipe, so it waits for the first one.
func (w *world) logged(texts ...string) (n int) {
	w.t.Helper()
	gatewaytest.Eventually(w.t, "a line of the log with "+strings.Join(texts, ", "), func() error {
		n = 0
		for line := range strings.SplitSeq(w.Log(), "\n") {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				n++
			}
		}
		if n == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	return n
}

func TestUserIDsAreSentAsJenkinsReadsThem(t *testing.T) {
	t.Parallel()
	const account = "system:serviceaccount:ci:builder"
	w := startSite(t, wholeSession, "", map[string]ssotest.User{"jörg": {Mail: "jörg@example.org"}, "łukasz": {}, "kube:admin": {}, account: {}})
	sent := func(what string, seen *jenkinstest.Request, want string) {
		t.Helper()
		if seen == nil || len(seen.Header["X-Forwarded-User"]) != 1 || seen.Header["X-Forwarded-User"][0] != want {
			t.Errorf("%s: Jenkins got %+v, want the user %q", what, seen, want)
		}
	}
	for id, want := range map[string]string{"jörg": "j\xf6rg", "kube:admin": "kube:admin", account: account} {
		_, seen := w.ask("GET", whoAmI, "", w.cookie(id))
		sent(id+", signed in", seen, want)
		secret := w.CreateToken(t, id, "ci")
		_, seen = w.ask("POST", "/job/a/build", "", "Authorization: Bearer "+secret)
		sent(id+", by Bearer", seen, want)
		r := &http.Request{Header: make(http.Header)}
		r.SetBasicAuth(id, secret)
		a, seen := w.ask("GET", whoAmI, "", "Authorization: "+r.Header.Get("Authorization"), acceptsJSON)
		if strings.Contains(id, ":") {
			if a.StatusCode != http.StatusUnauthorized || seen != nil {
				t.Errorf("%s, by Basic: %s; Jenkins got %v", id, a.Status, seen)
			}
			continue
		}
		sent(id+", by Basic", seen, want)
	}

	created := w.Token(t, "create", "--user", "łukasz", "--name", "ci")
	if !strings.Contains(created.Stderr, "Warning: ") || !strings.Contains(created.Stderr, "U+0142") {
		t.Errorf("token create does not warn of the user: %q", created.Stderr)
	}
	_, secret, _ := strings.Cut(created.Stdout, "TOKEN=")
	secret, _, _ = strings.Cut(secret, "\n")
	for what, header := range map[string]string{"signed in": w.cookie("łukasz"), "by Bearer": "Authorization: Bearer " + secret} {
		a, seen := w.ask("GET", whoAmI, "", header, acceptsPage)
		if a.StatusCode != http.StatusForbidden || seen != nil || !strings.Contains(a.body, "ISO-8859-1") || a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("łukasz, %s: %s; Jenkins got %v\n%s", what, a.Status, seen, a.body)
		}
		a, seen = w.ask("GET", "/login", "", header)
		if a.StatusCode != http.StatusOK || seen == nil || seen.User != "anonymous" {
			t.Errorf("łukasz on an open endpoint, %s: %s; Jenkins got %v", what, a.Status, seen)
		}
	}
	if w.logged("U+0142", "request refused") == 0 {
		t.Error("the log does not say what is wrong with the user")
	}
}

func TestOnlyCookiesOfJenkinsReachIt(t *testing.T) {
	t.Parallel()
	w := startSite(t, wholeSession, "pass_cookies theme dash-*", map[string]ssotest.User{"bob": {}})
	cookie := w.cookie("bob") + "; _oauth2_proxy_0=secret; screenResolution=1920x1080; theme=dark; themes=x; dash-1=a; jenkins-timestamper-offset=-3600000; iconSize=16x16; " +
		"remember-me=x; hudson.plugins.performance=a; JSESSIONID.0a1b2c3d=node0x.node0; screenresolution=x"
	for _, path := range []string{"/", "/login"} {
		_, seen := w.ask("GET", path, "", cookie)
		want := "screenResolution=1920x1080; theme=dark; dash-1=a; jenkins-timestamper-offset=-3600000; iconSize=16x16; hudson.plugins.performance=a"
		if path == "/" {
			want = strings.Replace(want, "performance=a", "performance=a; JSESSIONID.0a1b2c3d=node0x.node0", 1)
		}
		if seen == nil || seen.Header.Get("Cookie") != want {
			t.Errorf("%s: Jenkins got %+v, want the cookies %q", path, seen, want)
		}
	}
	w.ask("GET", "/", "", cookie)
	if w.logged("cookies not passed to Jenkins", "_oauth2_proxy_0", "authelia_session", "themes", "screenresolution") != 1 || strings.Contains(w.Log(), "secret") {
		t.Errorf("the log does not name the dropped cookies once, and no value:\n%s", w.Log())
	}
}

func TestAnOpenEndpointLeavesTheSessionOfAUserAlone(t *testing.T) {
	t.Parallel()
	w := startSite(t, wholeSession, "", map[string]ssotest.User{"bob": {}, "eve": {}})
	for _, bobs := range []string{"bob's", "unknown to the gateway"} {
		a, _ := w.ask("GET", "/job/a/", "", acceptsPage, w.cookie("bob"))
		found := pageCrumb.FindStringSubmatch(a.body)
		if len(a.Cookies()) != 1 || found == nil {
			t.Fatalf("the page gave the cookies %v and the crumb %v", a.Cookies(), found)
		}
		session := "Cookie: " + a.Cookies()[0].Name + "=" + a.Cookies()[0].Value
		if bobs != "bob's" {
			w.Stop(t)
			w.Start(t)
		}
		for _, path := range []string{"/login", "/images/none.png", "/static/0a1b2c3d/jsbundles/none.js", "/favicon.ico", "/loginError"} {
			for _, cookie := range []string{session, session + "; " + strings.TrimPrefix(session, "Cookie: "), "Cookie: JSESSIONID.ffffffff=node0old.node0; a=\"b"} {
				a, seen := w.ask("GET", path, "", cookie)
				if seen == nil || seen.User != "anonymous" || strings.Contains(seen.Header.Get("Cookie"), "JSESSIONID") || len(a.Header["Set-Cookie"]) > 0 && cookie != "Cookie: JSESSIONID.ffffffff=node0old.node0; a=\"b" {
					t.Errorf("%s, session %s: the client got %s with %q, Jenkins got %+v", path, bobs, a.Status, a.Header["Set-Cookie"], seen)
				}
			}
		}
		// The page that is still open goes on working.
		a, seen := w.ask("POST", "/job/a/build", "", session+"; "+strings.TrimPrefix(w.cookie("bob"), "Cookie: "), "Jenkins-Crumb: "+found[1], "Sec-Fetch-Site: same-origin")
		if a.StatusCode != http.StatusCreated || seen == nil || seen.User != "bob" {
			t.Errorf("session %s: the POST of the open page: %s; Jenkins got %+v", bobs, a.Status, seen)
		}
		// And a session alone is no user.
		if a, seen := w.ask("GET", whoAmI, "", session, acceptsJSON); a.StatusCode != http.StatusUnauthorized || seen != nil {
			t.Errorf("a session alone: %s; Jenkins got %+v", a.Status, seen)
		}
	}
	if a, _ := w.ask("GET", "/login", ""); len(a.Header["Set-Cookie"]) != 1 {
		t.Errorf("without a session /login sets the cookies %q, want one", a.Header["Set-Cookie"])
	}
}

func TestLogOutEndsTheSessionOfJenkinsAndLeadsOn(t *testing.T) {
	t.Parallel()
	const target = "/oauth2/sign_out?rd=%2F"
	w := startSite(t, wholeSession, "sign_out "+target, map[string]ssotest.User{"bob": {}})
	for _, test := range []struct{ method, path, signedIn string }{
		{"GET", "/logout", ""}, {"GET", "/logout", "bob"}, {"GET", "/logout/", ""}, {"GET", "/logout?from=https://evil.example/&rd=//evil.example", ""},
	} {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: gatewaytest.Client.Transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		a := w.send(client, "GET", w.URL+"/", "", acceptsPage, w.cookie("bob"))
		if len(a.Cookies()) != 1 {
			t.Fatalf("the page gave the cookies %v", a.Cookies())
		}
		session := a.Cookies()[0]
		headers := []string{"Cookie: " + session.Name + "=" + session.Value}
		if test.signedIn != "" {
			headers[0] += "; " + strings.TrimPrefix(w.cookie(test.signedIn), "Cookie: ")
		}
		a, seen := w.ask(test.method, test.path, "", headers...)
		if a.StatusCode != http.StatusFound || a.Header.Get("Location") != target || a.body != "" {
			t.Errorf("%s %s: %s to %q\n%s", test.method, test.path, a.Status, a.Header.Get("Location"), a.body)
		}
		if again, _ := w.ask("GET", "/", "", acceptsPage, w.cookie("bob")+"; "+session.Name+"="+session.Value); seen == nil || len(again.Cookies()) != 1 {
			t.Errorf("%s %s: Jenkins got %+v; its session goes on", test.method, test.path, seen)
		}
		cleared := slices.ContainsFunc(a.Cookies(), func(c *http.Cookie) bool { return c.Name == session.Name && c.MaxAge < 0 })
		if !cleared {
			t.Errorf("%s %s: the session is not cleared: %q", test.method, test.path, a.Header["Set-Cookie"])
		}
	}
	// Jenkins wants a crumb for a POST, and has not ended the session.
	if a, _ := w.ask("POST", "/logout", ""); a.StatusCode != http.StatusForbidden || a.Header.Get("Location") != "" {
		t.Errorf("POST /logout without a crumb: %s to %q", a.Status, a.Header.Get("Location"))
	}
	secret := w.CreateToken(t, "bob", "ci")
	if a, _ := w.ask("GET", "/logout", "", "Authorization: Bearer "+secret); a.Header.Get("Location") == target {
		t.Error("a token client is sent to the sign-out")
	}
	if a, _ := w.ask("GET", "/crumbgate/", "", w.cookie("bob")); !strings.Contains(a.body, `href="/logout"`) {
		t.Error("the gateway's pages have no link to sign out")
	}
}

func TestASignInThatNamesNoUserIsToldSo(t *testing.T) {
	t.Parallel()
	const session = `user {http.reverse_proxy.header.Remote-Preferred-Username}
			mail {http.reverse_proxy.header.Remote-Email}`
	for name, user := range map[string]ssotest.User{"with another attribute": {Mail: "bob@example.org"}, "with nothing": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startSite(t, session, "", map[string]ssotest.User{"bob": user})
			for _, accept := range []string{acceptsPage, acceptsJSON, "Accept: */*"} {
				for _, path := range []string{"/", "/job/a/build", "/crumbgate/"} {
					a, seen := w.ask("GET", path, "", w.cookie("bob"), accept)
					isPage := strings.HasPrefix(a.Header.Get("Content-Type"), "text/html")
					if a.StatusCode != http.StatusForbidden || seen != nil || a.Header.Get("WWW-Authenticate") != "" || isPage != (accept == acceptsPage) || !strings.Contains(a.body, "you have signed in, but") {
						t.Errorf("%s, %s: %s, header %v; Jenkins got %v\n%s", path, accept, a.Status, a.Header, seen, a.body)
					}
				}
			}
			if w.logged("request refused", "a sign-in that named no user", "{http.reverse_proxy.header.Remote-Preferred-Username}") == 0 {
				t.Error("the log does not name the empty placeholder")
			}
			if a, seen := w.ask("GET", "/login", "", w.cookie("bob")); a.StatusCode != http.StatusOK || seen == nil {
				t.Errorf("an open endpoint: %s; Jenkins got %v", a.Status, seen)
			}
		})
	}
	t.Run("by a password", func(t *testing.T) {
		t.Parallel()
		_, address := jenkinstest.Start(t, jenkinstest.Config{})
		w := &world{t: t, Gateway: gatewaytest.New(t, address, global+`http://{$SITE} {
	basic_auth bcrypt {
		bob $2a$04$W0N/xCHsoI7LpHCVGKKZ.uG1zxsWeLJfY95beaG0C44Bbun284ML2
	}
	crumbgate {
		session {
			user {http.auth.user.mail}
		}
	}
	reverse_proxy {$JENKINS}
}
`)}
		w.Start(t)
		r := &http.Request{Header: make(http.Header)}
		r.SetBasicAuth("bob", "hiccup")
		a := w.send(gatewaytest.Client, "GET", w.URL+"/", "", "Authorization: "+r.Header.Get("Authorization"))
		if a.StatusCode != http.StatusForbidden || a.Header.Get("WWW-Authenticate") != "" || w.logged("request refused", "{http.auth.user.mail} is empty") == 0 {
			t.Errorf("%s with the header %v\n%s", a.Status, a.Header, w.Log())
		}
	})
	t.Run("where anonymous requests pass", func(t *testing.T) {
		t.Parallel()
		w := startSite(t, session, "anonymous pass", map[string]ssotest.User{"bob": {}})
		if _, seen := w.ask("GET", whoAmI, "", w.cookie("bob")); seen == nil || seen.User != "anonymous" {
			t.Errorf("Jenkins got %v, want an anonymous request", seen)
		}
	})
}

func TestOnlyAWebSocketIsAnUpgrade(t *testing.T) {
	t.Parallel()
	w := startSite(t, wholeSession, "", map[string]ssotest.User{"bob": {}})
	r := &http.Request{Header: make(http.Header)}
	r.SetBasicAuth("carol", w.CreateToken(t, "carol", "ci"))
	for _, upgrade := range [][]string{{"Upgrade: h2c"}, {"Upgrade: websocket, h2c"}, {"Upgrade: websocket", "Upgrade: h2c"}, {"Upgrade: TLS/1.0"}, {"Upgrade: "}} {
		for user, credential := range map[string]string{"bob": w.cookie("bob"), "carol": "Authorization: " + r.Header.Get("Authorization")} {
			headers := append([]string{credential, "Connection: Upgrade, HTTP2-Settings", "Http2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"}, upgrade...)
			a, seen := w.ask("GET", whoAmI, "", headers...)
			if a.StatusCode != http.StatusOK || seen == nil || seen.User != user || seen.Header["Upgrade"] != nil {
				t.Errorf("%q of %s: %s; Jenkins got %+v", upgrade, user, a.Status, seen)
			}
		}
	}
	// A WebSocket still has to say for which page it is.
	if a, seen := w.ask("GET", "/cli/ws", "", w.cookie("bob"), "Connection: Upgrade", "Upgrade: WebSocket"); a.StatusCode != http.StatusForbidden || seen != nil {
		t.Errorf("a WebSocket without Origin: %s; Jenkins got %+v", a.Status, seen)
	}
}

func TestGroupsAreFilteredThenSentInTheirOrder(t *testing.T) {
	t.Parallel()
	w := startSite(t, `user {http.reverse_proxy.header.Remote-User}
			groups {http.reverse_proxy.header.Remote-Groups} , {
				prefix jenkins-
				pattern team-*-admins a?c
				regexp `+"`ops(-(dev|prod))?`"+`
				max_bytes 40B
			}`, "admins group:hidden", map[string]ssotest.User{"bob": {Groups: []string{
		"hidden", "ops", "xjenkins-a", "jenkins-b", "ops-test", "team-a-admins", "team-a-admins2", "ops-prod", "jenkins-too-long-for-what-is-left", "abc", "abbc",
	}}})
	_, seen := w.ask("GET", "/", "", w.cookie("bob"))
	if want := "ops|jenkins-b|team-a-admins|ops-prod|abc"; seen == nil || seen.Header.Get("X-Forwarded-Groups") != want {
		t.Errorf("Jenkins got %+v, want the groups %q", seen, want)
	}
	if a, _ := w.ask("GET", "/crumbgate/admin/", "", w.cookie("bob")); a.StatusCode != http.StatusOK {
		t.Errorf("the page of all tokens: %s: a group that is not sent does not count for admins", a.Status)
	}
}
