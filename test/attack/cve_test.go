package attack_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestCVE is what went wrong in others, each class tried here; README.md says what
// that was. Nobody in these rows is a request without a credential: Jenkins may get
// nothing of it.
func TestCVE(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "alice", "--display-name", "{env.STORE} {http.request.host}")
	alice := asToken("alice", http.Header{"X-Forwarded-Displayname": {"{env.STORE} {http.request.host}"}})
	const (
		auth = "Authorization: Basic {BASIC}\n"
		who  = "GET /whoAmI/api/json"
		end  = " HTTP/1.1\nHost: {HOST}\n"
	)
	refused := []int{400, 401}
	nobody := func(method string, paths ...string) (attacks []attack) {
		for _, path := range paths {
			attacks = append(attacks,
				attack{name: path, h1: method + " " + path + end + "\n", status: refused},
				attack{name: path + ", h2", h2: h2(method, path), status: append([]int{0}, refused...)})
		}
		return attacks
	}
	nobodyWith := func(fields ...field) []attack {
		anybody := alice
		anybody.auth = nil
		attacks := anybody.attacks("nobody", fields...)
		for i := range attacks {
			attacks[i].status, attacks[i].seen = []int{0, 400, 401}, ""
		}
		return attacks
	}
	withToken := func(fields ...field) []attack { return alice.attacks("token", fields...) }
	// proto checks that Jenkins is told the scheme in which the request came.
	proto := func(attacks []attack) []attack {
		for i := range attacks {
			want := "http"
			if attacks[i].h2 != nil {
				want = "https"
			}
			attacks[i].check = func(t *testing.T, seen jenkinstest.Request) {
				t.Helper()
				if got := seen.Header["X-Forwarded-Proto"]; !slices.Equal(got, []string{want}) {
					t.Errorf("Jenkins got X-Forwarded-Proto %q, want %q", got, want)
				}
			}
		}
		return attacks
	}
	single := func(name, h1 string, status []int, seen string) []attack {
		return []attack{{name: name, h1: h1, status: status, seen: seen}}
	}

	for name, attacks := range map[string][]attack{
		"CVE-2025-64484 oauth2-proxy underscore aliases":   withToken(field{"x_forwarded_user", "admin"}, field{"x-forwarded_groups", "admins"}, field{"x_forwarded-mail", "admin@example.org"}),
		"CVE-2026-39858 Traefik underscore aliases":        append(proto(withToken(field{"x_forwarded_proto", "ftp"})), nobodyWith(field{"x_forwarded_proto", "https"}, field{"x_forwarded_host", "localhost"})...),
		"CVE-2026-52845 Caddy copied aliases":              slices.Concat(withToken(field{"X_Forwarded_User", "admin"}), nobodyWith(field{"Remote_User", "admin"}, field{"X_Forwarded_User", "admin"})),
		"CVE-2026-30851 Caddy what is unset stays set":     withToken(field{"x-forwarded-groups", "admins"}, field{"x-forwarded-mail", "admin@example.org"}),
		"CVE-2024-45410 Traefik Connection drops":          withToken(field{"Connection", "close, X-Forwarded-User, X-Forwarded-DisplayName, X-Forwarded-Host, X-Forwarded-Proto, X-Forwarded-For"})[:2],
		"CVE-2025-48865 Fabio Connection drops":            withToken(field{"Connection", "X-Forwarded-User, Jenkins-Crumb, Cookie, X-Forwarded-Host"})[:3],
		"CVE-2024-52003 Traefik X-Forwarded-Prefix":        nobodyWith(field{"x-forwarded-prefix", "/login"}),
		"CVE-2026-35051 Traefik X-Forwarded-Prefix":        nobodyWith(field{"x-forwarded-prefix", "/static/x"}, field{"x-forwarded-for", "127.0.0.1"}),
		"CVE-2026-40575 oauth2-proxy X-Forwarded-Uri":      nobodyWith(field{"x-forwarded-uri", "/login"}, field{"x-original-url", "/login"}, field{"x-original-uri", "/login"}, field{"x-rewrite-url", "/login"}, field{"x-forwarded-method", "GET"}),
		"CVE-2025-54576 oauth2-proxy open by query":        nobody("GET", "/script?/login", "/script?x=/login", "/script?x=/static/x/", "/script?/github-webhook/", "/script?.css", "/script?/../login"),
		"CVE-2026-41059 oauth2-proxy open by fragment":     nobody("GET", "/script#/login", "/script%23/login", "/script#/github-webhook/", "/script%23/adjuncts/x"),
		"CVE-2021-32779 Envoy fragment":                    nobody("GET", "/script#", "/script#x", "/whoAmI/api/json#"),
		"CVE-2026-34457 oauth2-proxy health-check agent":   nobodyWith(field{"user-agent", "GoogleHC/1.0"}),
		"GHSA-vhr5-ggp3-qq85 Oathkeeper X-Forwarded-Proto": slices.Concat(nobodyWith(field{"x-forwarded-proto", "https"}), proto(withToken(field{"x-forwarded-proto", "smuggled"}))),
		"GHSA-p224-6x5r-fjpm Oathkeeper dots":              nobody("GET", "/login/../script", "/static/x/../../script", "/adjuncts/../script", "/jnlpJars/../script"),
		"CVE-2025-32431 Traefik dots":                      nobody("GET", "/login/../script", "/login/./../script", "/github-webhook/../script", "/whoAmI/../../script"),
		"CVE-2025-47952 Traefik encoded dots":              nobody("GET", "/login/%2e%2e/script", "/login/.%2e/script", "/login/%2E./script", "/login%2f..%2fscript", "/%6cogin/../script"),
		"CVE-2025-66490 Traefik encoded characters":        nobody("GET", "/script%2F", "/login%2F..%2Fscript", "/login%5C..%5Cscript", "/login%00/../script", "/login%3B/../script", "/login%3F/../script", "/login%23/../script"),
		"CVE-2026-42274 Heimdall dots":                     nobody("GET", "/login/../user/whatever", "/login/%2e%2e/admin", "/login/%2e%2e%2fadmin"),
		"CVE-2019-9901 Envoy dots":                         nobody("GET", "/login/../script", "/../script"),
		"CVE-2021-29492 Envoy slashes":                     nobody("GET", "//script", "/%2Fscript", "/%5Cscript", "/login//..//script", "/login/..%2F/script"),
		"CVE-2026-27585 Caddy backslashes":                 nobody("GET", `/login\..\script`, "/login%5c..%5cscript", `\login`),
		"CVE-2026-27587 Caddy case of escaped paths":       nobody("GET", "/SCRIPT", "/%73cript", "/%53CRIPT", "/LOGIN%2f..%2fscript", "/%4cOGIN/../script"),
		"CVE-2026-88009 Traefik opaque targets":            slices.Concat(single("token", "GET http:http://elsewhere/script"+end+auth+"\n", bad, ""), single("rootless", "GET http:script"+end+auth+"\n", bad, ""), single("nobody", "GET http:http://{HOST}/script"+end+"\n", refused, "")),
		"CVE-2026-77281 Caddy placeholders are not expanded": slices.Concat(
			single("path", "GET /job/%7Benv.STORE%7D/"+end+auth+"\n", []int{404}, "GET /job/%7Benv.STORE%7D/"),
			single("query", "GET /whoAmI/api/json?{env.STORE}"+end+auth+"\n", ok, who+"?{env.STORE}"),
			[]attack{{name: "header", h1: "GET /whoAmI/api/json" + end + auth + "X-Any: {env.STORE}{http.auth.user.id}\n\n", status: ok, seen: who, check: func(t *testing.T, seen jenkinstest.Request) {
				t.Helper()
				if got := seen.Header.Get("X-Any"); got != "{env.STORE}{http.auth.user.id}" {
					t.Errorf("Jenkins got X-Any: %q", got)
				}
			}}}),
		"CVE-2019-16276 Go blank before the colon":    single("token", "GET /whoAmI/api/json"+end+auth+"X-Forwarded-User : admin\n\n", bad, ""),
		"CVE-2019-9900 Envoy NUL in a value":          single("token", "GET /whoAmI/api/json"+end+auth+"X-Any: a{NUL}b\n\n", bad, ""),
		"CVE-2023-25725 HAProxy empty name":           single("token", "POST /quietDown"+end+auth+": \nContent-Length: 60\n\n"+smuggled, bad, ""),
		"CVE-2021-40346 HAProxy long name":            single("token", "POST /quietDown"+end+auth+"Content-Length0"+strings.Repeat("a", 255)+":\nContent-Length: 0\n\n"+smuggled, []int{302, 400}, "POST /quietDown"),
		"CVE-2023-40225 HAProxy empty length":         single("token", "POST /quietDown"+end+auth+"Content-Length:\nContent-Length: 60\n\n"+smuggled, bad, ""),
		"CVE-2023-38697 Falcon numbers with a sign":   slices.Concat(single("length", "POST /quietDown"+end+auth+"Content-Length: +0\n\n"+smuggled, bad, ""), single("hex", "POST /quietDown"+end+auth+"Content-Length: 0x0\n\n"+smuggled, bad, "")),
		"CVE-2025-22871 Go bare LF in a chunk":        {{name: "token", half: true, h1: "POST /quietDown?cut" + end + auth + "Transfer-Encoding: chunked\n\n4;{LF}abcd\n0\n\n" + smuggled, status: []int{0, 400, 499, 502}, seen: "POST /quietDown?cut"}},
		"CVE-2023-39326 Go chunk extensions":          {{name: "token", half: true, h1: "POST /quietDown?cut" + end + auth + "Transfer-Encoding: chunked\n\n" + strings.Repeat("1;"+strings.Repeat("a", 3000)+"\na\n", 100) + "0\n\n", status: []int{0, 302, 400, 499, 502}, seen: "POST /quietDown?cut"}},
		"CVE-2023-27491 Envoy malformed HTTP/2 heads": {{name: "token", h2: h2("GET", "/whoAmI/api/json", field{"authorization", "Basic {BASIC}"}, field{"x-any", "a\r\nx-forwarded-user: admin"}), status: badOrHungUp}},
	} {
		t.Run(name, func(t *testing.T) { w.run(t, alice.caller, attacks) })
	}
}

// TestCVE_2026_33433_ConfiguredInLowerCase: Traefik wrote the identity under the
// name as it was configured, beside the client's under the canonical one.
func TestCVE_2026_33433_ConfiguredInLowerCase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{UserHeader: "X-Remote-Id"}, site("\tcrumbgate {\n\t\tuser_header x-remote-id\n\t}"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	alice.identity = http.Header{"X-Remote-Id": {"alice"}}
	w.run(t, alice.caller, smuggling(alice, []string{"X-Remote-Id"}))
}

// TestCVE_2026_27588_HostsInAnotherCase: a site of Caddy with more than 100 hosts
// told the case of Host, so that a request took another way.
func TestCVE_2026_27588_HostsInAnotherCase(t *testing.T) {
	t.Parallel()
	var hosts []string
	for range 120 {
		hosts = append(hosts, "http://h"+strings.Repeat("a", len(hosts)%60)+string(rune('a'+len(hosts)/60))+".example")
	}
	config := strings.Replace(site("\tcrumbgate"), "http://{$SITE} {", "http://{$SITE}, "+strings.Join(hosts, ":{$PORT}, ")+":{$PORT} {", 1)
	w := newWorldWith(t, jenkinstest.Config{}, config, func(w *world) {
		w.Env = append(w.Env, "PORT="+w.host()[strings.LastIndexByte(w.host(), ':')+1:])
	})
	w.token(t, "alice")
	var attacks []attack
	for _, host := range hosts {
		name := strings.ToUpper(strings.TrimPrefix(host, "http://"))
		attacks = append(attacks, attack{name: name, h1: "GET /whoAmI/api/json HTTP/1.1\nHost: " + name + "\nX-Forwarded-User: admin\n\n", status: unauthorized})
	}
	w.run(t, asToken("alice", nil).caller, attacks)
}

// TestCVE_2026_27589_AdminFromAPage: a page in the operator's browser reaches
// Caddy's admin endpoint on loopback. It must not get a token.
func TestCVE_2026_27589_AdminFromAPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	const body = `{"user":"admin","name":"stolen"}`
	post := func(path string, header http.Header, host string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.Admin+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header, req.Host = header, host
		return req
	}
	for name, req := range map[string]*http.Request{
		"a form":              post("/crumbgate/tokens", http.Header{"Content-Type": {"text/plain"}, "Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}}, ""),
		"a form of old":       post("/crumbgate/tokens", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://evil.example"}}, ""),
		"without a type":      post("/crumbgate/tokens", http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}, ""),
		"a fetch":             post("/crumbgate/tokens", http.Header{"Content-Type": {"application/json"}, "Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"cors"}}, ""),
		"a rebound name":      post("/crumbgate/tokens", http.Header{"Content-Type": {"application/json"}, "Origin": {"http://evil.example"}, "Sec-Fetch-Site": {"same-origin"}}, "evil.example"),
		"a new configuration": post("/load", http.Header{"Content-Type": {"text/caddyfile"}, "Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}}, ""),
	} {
		t.Run(name, func(t *testing.T) {
			tally.tried.Add(1)
			resp, err := gatewaytest.Client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("status %d", resp.StatusCode)
			} else {
				tally.refused.Add(1)
			}
		})
	}
	if tokens := w.Token(t, "list", "--json"); strings.Contains(tokens.Stdout, "stolen") {
		t.Errorf("a page has made a token: %s", tokens.Stdout)
	}
}
