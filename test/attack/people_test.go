package attack_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// startSSO serves what a single sign-on tells Caddy's forward_auth: who the cookie
// sso=NAME is from, as Authelia does; whoever has none is sent to a log-in page.
// Only carol has groups, mail and a name.
func startSSO(t *testing.T) (address string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := r.Cookie("sso")
		if err != nil || len(r.CookiesNamed("sso")) != 1 {
			w.Header().Set("Location", "/log-in-here")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("Remote-User", who.Value)
		if who.Value == "carol" {
			w.Header().Set("Remote-Groups", "dev,ops")
			w.Header().Set("Remote-Email", "carol@example.org")
			w.Header().Set("Remote-Name", "Carol C.")
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

const webhookSecret = "attack-suite-webhook-secret"

// signedIn is a site for people who sign in by forward_auth, tokens and webhooks.
// more are further options of the directive.
func signedIn(more string) string {
	return site(`	crumbgate_sso_headers Remote-User Remote-Groups Remote-Email Remote-Name
	@people {
		not crumbgate_token
		not crumbgate_public {
			webhook github
		}
	}
	forward_auth @people {$SSO} {
		uri /verify
		copy_headers Remote-User Remote-Groups Remote-Email Remote-Name
	}
	crumbgate {
		session {
			user {http.request.header.Remote-User}
			groups {http.request.header.Remote-Groups}
			mail {http.request.header.Remote-Email}
			display_name {http.request.header.Remote-Name}
		}
		webhook github {
			secret ` + webhookSecret + `
			max_body 1MiB
		}
` + more + `	}`)
}

// people is a world in which bob, carol and eve have signed in.
func people(t *testing.T, caddyfile string) *world {
	t.Helper()
	return peopleOf(t, jenkinstest.Config{}, caddyfile)
}

// peopleOf is people before a Jenkins of another configuration.
func peopleOf(t *testing.T, config jenkinstest.Config, caddyfile string) *world {
	t.Helper()
	sso := startSSO(t)
	w := newWorldWith(t, config, caddyfile, func(w *world) {
		w.Env = append(w.Env, "SSO="+sso)
		w.people, w.sso = true, sso
	})
	return w
}

// A visit is a browser's session.
type visit struct {
	cookie string // the Cookie header: of the single sign-on and of Jenkins
	pair   string // that of Jenkins alone, name=value
	crumb  string // the gateway's
}

// signIn has Jenkins open a session, and fetches a crumb for it.
func (w *world) signIn(t *testing.T, user string) visit {
	t.Helper()
	v := visit{cookie: "sso=" + user}
	// With the cookie of a session that is over, which each browser has another of.
	w.visits++
	resp, _ := w.fetch(t, visit{cookie: fmt.Sprintf("%s; JSESSIONID.%d=node0over", v.cookie, w.visits)}, "/crumbIssuer/api/json")
	for _, c := range resp.Cookies() {
		if strings.HasPrefix(c.Name, "JSESSIONID") {
			v.pair = c.Name + "=" + c.Value
			v.cookie += "; " + v.pair
		}
	}
	if v.pair == "" {
		t.Fatalf("%s has no session of Jenkins", user)
	}
	v.crumb = w.issue(t, v)
	return v
}

func (w *world) issue(t *testing.T, v visit) string {
	t.Helper()
	resp, body := w.fetch(t, v, "/crumbIssuer/api/json")
	var issued struct{ Crumb string }
	if err := json.Unmarshal(body, &issued); err != nil || issued.Crumb == "" {
		t.Fatalf("no crumb: %s %s (%v)", resp.Status, body, err)
	}
	return issued.Crumb
}

func (w *world) fetch(t *testing.T, v visit, path string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", v.cookie)
	resp, err := gatewaytest.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s (%v) %.200s", path, resp.Status, err, body)
	}
	return resp, body
}

// asPerson is a browser of somebody who has signed in.
func asPerson(user string, identity http.Header, v visit) traffic {
	as := asToken(user, identity)
	as.name = "session of " + user
	as.auth = []field{{"Cookie", v.cookie}}
	as.postMore = []field{{"Jenkins-Crumb", v.crumb}, {"Sec-Fetch-Site", "same-origin"}}
	return as
}

// nobodyAtAll is a request for an open endpoint.
func nobodyAtAll() traffic {
	return traffic{
		name: "public", caller: caller{user: "anonymous"}, get: "/login",
		post: "/content-security-policy-reporting-endpoint/x", postStatus: []int{200, 404},
	}
}

func TestIdentityOfPeople(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn(""))
	bob := asPerson("bob", nil, w.signIn(t, "bob"))
	carol := asPerson("carol", http.Header{
		"X-Forwarded-Groups": {"dev|ops"}, "X-Forwarded-Mail": {"carol@example.org"}, "X-Forwarded-Displayname": {"Carol C."},
	}, w.signIn(t, "carol"))
	for _, as := range []traffic{bob, carol, nobodyAtAll()} {
		t.Run(as.name, func(t *testing.T) {
			w.run(t, as.caller, smuggling(as, pluginHeaders))
		})
	}
	// Bob has no groups, so that the client's would not be overwritten: CVE-2026-30851
	// and CVE-2026-52845 of Caddy.
	t.Run("headers of the single sign-on", func(t *testing.T) {
		w.run(t, bob.caller, smuggling(bob, []string{"Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name"}))
	})
}

// TestIdentityWithoutSignIn: nobody is who a header says, whatever else the request
// looks like.
func TestIdentityWithoutSignIn(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn(""))
	w.token(t, "alice")
	const get = "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nRemote-User: admin\nX-Forwarded-User: admin\nremote_user: admin\n"
	alice := asToken("alice", nil)
	w.run(t, alice.caller, []attack{
		{name: "nobody", h1: get + "\n", status: found},
		{name: "of a foreign scheme", h1: get + "Authorization: Negotiate YII=\n\n", status: found},
		{name: "of a foreign password", h1: get + "Authorization: Basic {ADMIN}\n\n", status: found},
		{name: "of a foreign bearer", h1: get + "Authorization: Bearer smuggled\n\n", status: found},
		{name: "with a session of Jenkins", h1: get + "Cookie: JSESSIONID.x=node0y\n\n", status: found},
		{name: "signed in twice", h1: get + "Cookie: sso=bob; sso=admin\n\n", status: found},
		// Past the sign-in, and then no further.
		{name: "looks like a token", h1: get + "Authorization: Bearer {FLIPPED}\n\n", status: unauthorized},
		{name: "looks like a token, of an admin", h1: get + "Authorization: Basic {FLIPPEDBASIC}\n\n", status: unauthorized},
		{name: "looks like a token, and is signed in", h1: get + "Authorization: Bearer {FLIPPED}\nCookie: sso=bob\n\n", status: unauthorized},
		{name: "two credentials", h1: get + "Authorization: Bearer x\nAuthorization: Bearer y\n\n", status: bad},
		{name: "two credentials, and is signed in", h1: get + "Authorization: Bearer x\nAuthorization: Bearer y\nCookie: sso=bob\n\n", status: bad},
		{name: "malformed, and is signed in", h1: get + "Authorization: Basic !!!\nCookie: sso=bob\n\n", status: []int{302, 400, 401}},
		{name: "a token in the URL", h1: strings.Replace(get, "json", "json?x={TOKEN}", 1) + "\n", status: bad},
		{name: "a token in the URL, and is signed in", h1: strings.Replace(get, "json", "json?x={TOKEN}", 1) + "Cookie: sso=bob\n\n", status: bad},
		{name: "a token of another", h1: get + "Authorization: Basic {BOB}\nCookie: sso=bob\n\n", status: unauthorized},
		{name: "a token and signed in as somebody else", h1: get + "Authorization: Basic {BASIC}\nCookie: sso=eve\n\n", status: ok, seen: "GET /whoAmI/api/json"},
		{name: "Connection takes the sign-in's header", h1: get + "Connection: Remote-User, Cookie\n\n", status: found},
	})
}

// TestSignedEndpointsAreClosedToAllThatIsUnsigned: what a forge must sign takes nothing unsigned from a token, a signed-in
// user or a stranger, by any way on which Stapler comes back to Jenkins' root.
func TestSignedEndpointsAreClosedToAllThatIsUnsigned(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn(""))
	w.token(t, "alice")
	bob := w.signIn(t, "bob")
	alice := asToken("alice", nil)
	for _, way := range []string{
		"", "/static/1", "/manage", "/manage/manage", "/static/1/manage", "/%6danage", "/manage/.", "//manage/", "/job/a/parent", "/job/job/parent",
		"/view/all/owner", "/user/alice/x", "/me/my-views/itemGroup", "/computer/(built-in)/node", "/job/a/12/testReport/ws/x/run/parent/parent",
	} {
		for _, end := range []string{"/github-webhook/", "/github-webhook", "/github-webhook/index", "/%67hprbhook/"} {
			path := way + end
			methods := []string{"POST"}
			if end == "/github-webhook/" {
				methods = append(methods, "GET")
			}
			for _, method := range methods {
				head := method + " " + path + " HTTP/1.1\nHost: {HOST}\nX-GitHub-Event: push\nContent-Type: application/json\nContent-Length: 2\n"
				w.run(t, alice.caller, []attack{
					{name: method + " " + path + " by a token", h1: head + "Authorization: Basic {BASIC}\n\n{}", status: []int{403}},
					{name: method + " " + path + " by a signed-in user", h1: head + "Sec-Fetch-Site: same-origin\nCookie: " + bob.cookie + "\nJenkins-Crumb: " + bob.crumb + "\n\n{}", status: []int{403}},
					{name: method + " " + path + " by a stranger", h1: head + "\n{}", status: []int{302, 401, 403}},
				})
			}
		}
	}
}

// TestUnguardedHeaders: a site that takes the identity from a header and forgets to
// have it removed from what clients send lets in nobody.
func TestUnguardedHeaders(t *testing.T) {
	t.Parallel()
	config := signedIn("")
	config = strings.Replace(config, "\tcrumbgate_sso_headers Remote-User Remote-Groups Remote-Email Remote-Name\n", "", 1)
	w := people(t, config)
	w.token(t, "alice")
	const get = "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\n"
	w.run(t, caller{user: "nobody"}, []attack{
		{name: "claimed", h1: get + "Remote-User: admin\n\n", status: found},
		{name: "claimed by what looks like a token", h1: get + "Remote-User: admin\nAuthorization: Bearer {FLIPPED}\n\n", status: unauthorized},
		{name: "claimed for an open path", h1: "GET /login HTTP/1.1\nHost: {HOST}\nRemote-User: admin\n\n", status: []int{401, 403, 500}},
		{name: "signed in", h1: get + "Cookie: sso=bob\n\n", status: []int{401, 403, 500}},
	})
}

// TestCookies: nobody gets into a session of Jenkins that is another's, and no
// spelling of a cookie means another session to Jenkins than to the gateway.
func TestCookies(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn(""))
	bob, eve := w.signIn(t, "bob"), w.signIn(t, "eve")
	session := func(v visit) string { // as Jenkins records it
		_, value, _ := strings.Cut(v.pair, "=")
		id, _, _ := strings.Cut(value, ".")
		return id
	}
	name, value, _ := strings.Cut(eve.pair, "=")
	id := session(eve)
	var attacks []attack
	for what, cookie := range map[string]string{
		"another's":                          eve.pair,
		"another's, own first":               bob.pair + "; " + eve.pair,
		"another's, own last":                eve.pair + "; " + bob.pair,
		"another's in another line":          bob.pair + "\nCookie: " + eve.pair,
		"another's twice":                    eve.pair + "; " + eve.pair,
		"another node":                       name + "=" + id + ".node1",
		"no node":                            name + "=" + id,
		"two nodes":                          name + "=" + value + ".node0",
		"an empty node":                      name + "=" + id + ".",
		"quoted":                             name + `="` + value + `"`,
		"quoted, own first":                  bob.pair + "; " + name + `="` + value + `"`,
		"quoted with an escape":              name + `="\n` + value[1:] + `"`,
		"in another's quotes":                `a="b; ` + eve.pair + `; c"`,
		"after an open quote":                `a="b; ` + eve.pair,
		"with a version":                     "$Version=1; " + eve.pair + "; $Path=/",
		"with a version, quoted":             `$Version=1; ` + name + `="` + value + `"; $Path="/"`,
		"with a comma":                       "a=b, " + eve.pair,
		"with a comma, no blank":             "a=b," + eve.pair,
		"blanks around":                      name + " = " + value,
		"a blank in the value":               name + "=" + value + " x",
		"a tab before":                       "a=b;\t" + eve.pair,
		"no blank after the semicolon":       "a=b;" + eve.pair,
		"an empty cookie before":             "; ; " + eve.pair,
		"lower case":                         strings.ToLower(name) + "=" + value,
		"under the old name":                 "JSESSIONID=" + value,
		"an attribute":                       eve.pair + "; Path=/; Domain=x",
		"a NUL-like escape":                  name + "=" + value + "%00",
		"escaped":                            name + "=%6eode0" + strings.TrimPrefix(value, "node0"),
		"100 others before":                  strings.Repeat("JSESSIONID.x=y; ", 100) + eve.pair,
		"17 names before":                    names(17) + eve.pair,
		"Jenkins' own log-in":                "remember-me=YWRtaW46MTox; ACEGI_SECURITY_HASHED_REMEMBER_ME_COOKIE=YWRtaW46MTox",
		"Jenkins' own log-in, quoted":        `"remember-me"=YWRtaW46MTox`,
		"another's, named in Connection":     eve.pair + "\nConnection: Cookie, close",
		"in Cookie2":                         "a=b\nCookie2: " + eve.pair,
		"longer than any":                    name + "=" + strings.Repeat("a", 5000),
		"another's with another's crumb too": eve.pair + "\nJenkins-Crumb: " + eve.crumb,
	} {
		for _, method := range []string{"GET", "POST"} {
			attacks = append(attacks, attack{
				optional: strings.Contains(cookie, "Connection: Cookie"), // the single sign-on does not get it either
				name:     what + ", " + method, h1: method + " /quietDown HTTP/1.1\nHost: {HOST}\nSec-Fetch-Site: same-origin\nCookie: sso=bob; " + cookie + "\n\n",
				status: []int{302, 400, 403, 405}, seen: method + " /quietDown",
				check: func(t *testing.T, seen jenkinstest.Request) {
					t.Helper()
					if seen.SessionID == session(eve) {
						t.Errorf("bob is in eve's session: %q", seen.Header["Cookie"])
					}
					if seen.Method == "POST" {
						t.Error("a POST without bob's crumb went through")
					}
					for _, line := range seen.Header["Cookie"] {
						if strings.Contains(line, "remember-me") || strings.Contains(line, "ACEGI") || strings.ContainsAny(line, `"$,`) {
							t.Errorf("Jenkins got Cookie: %q", line)
						}
					}
				},
			})
		}
	}
	w.run(t, asPerson("bob", nil, bob).caller, attacks)
}

func names(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "JSESSIONID.%d=node0x; ", i)
	}
	return b.String()
}

// TestCrumbs: what may change something arrives only with the crumb of this user
// and session, from a page of this site. The reply is Jenkins' own.
func TestCrumbs(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn(""))
	bob, eve := w.signIn(t, "bob"), w.signIn(t, "eve")
	other := w.signIn(t, "bob") // in another browser
	// The same Jenkins behind a gateway with other keys.
	twin := gatewaytest.New(t, "http://"+w.wire.address, w.caddyfile)
	twin.Env = append(twin.Env, "TLSSITE="+gatewaytest.FreeAddress(t), "SSO="+w.sso)
	w.tls.write(t, twin.Dir)
	twin.Start(t)
	foreign := (&world{Gateway: twin}).issue(t, bob)

	as := asPerson("bob", nil, bob)
	const forbidden = 403
	refused := []int{400, forbidden}
	head := func(method, path string) string {
		return method + " " + path + " HTTP/1.1\nHost: {HOST}\nCookie: " + bob.cookie + "\n"
	}
	post := head("POST", "/quietDown")
	same := "Sec-Fetch-Site: same-origin\n"
	form := func(kind, body string) string {
		return fmt.Sprintf("Content-Type: %s\nContent-Length: %d\n\n", kind, len(crlf.Replace(body))) + body
	}
	const urlencoded = "application/x-www-form-urlencoded"
	multipart := func(name, value string) string {
		return "--b\nContent-Disposition: form-data; name=\"" + name + "\"\n\n" + value + "\n--b--\n"
	}
	good := "Jenkins-Crumb: " + bob.crumb + "\n"
	does := "POST /quietDown"

	attacks := []attack{
		// So that the others are refused for what is wrong with them.
		{name: "as it should be", h1: post + same + good + "\n", status: found, seen: does},
		{name: "as it should be, in a form", h1: post + same + form(urlencoded, "a=b&Jenkins-Crumb="+bob.crumb), status: found, seen: does},
		{name: "as it should be, in a multipart form", h1: post + same + form("multipart/form-data; boundary=b", multipart("Jenkins-Crumb", bob.crumb)), status: found, seen: does},
		{name: "as it should be, in the query", h1: head("POST", "/quietDown?Jenkins-Crumb="+bob.crumb) + same + "\n", status: found, seen: "POST /quietDown?Jenkins-Crumb=" + bob.crumb},
	}
	for what, crumb := range map[string]string{
		"no crumb": "", "of another user": eve.crumb, "of another gateway": foreign,
		"truncated": bob.crumb[:len(bob.crumb)-1], "half": bob.crumb[:len(bob.crumb)/2], "longer": bob.crumb + "0", "twice in one": bob.crumb + ", " + bob.crumb,
		"last changed": flip(bob.crumb), "first changed": flip(bob.crumb[:1]) + bob.crumb[1:], "middle changed": flip(bob.crumb[:40]) + bob.crumb[40:], "other case": swapCase(bob.crumb), "all zero": strings.Repeat("0", 64),
		"zeros of its length": strings.Repeat("0", len(bob.crumb)), "null": "null", "undefined": "undefined", "the session": bob.pair, "the user": "bob",
	} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "PROPPATCH", "post", "pOST", "BREW"} {
			attacks = append(attacks, attack{name: what + ", " + method, h1: head(method, "/quietDown") + same + "Jenkins-Crumb: " + crumb + "\n\n", status: refused})
			s := h2(method, "/quietDown", field{"cookie", bob.cookie}, field{"sec-fetch-site", "same-origin"}, field{"jenkins-crumb", crumb})
			attacks = append(attacks, attack{name: what + ", " + method + ", h2", h2: s, status: append([]int{0}, refused...)})
		}
		attacks = append(attacks,
			attack{name: what + ", in the query", h1: head("POST", "/quietDown?Jenkins-Crumb="+strings.ReplaceAll(crumb, " ", "%20")) + same + "\n", status: refused},
			attack{name: what + ", in a form", h1: post + same + form(urlencoded, "Jenkins-Crumb="+crumb), status: refused},
			attack{name: what + ", in a multipart form", h1: post + same + form("multipart/form-data; boundary=b", multipart("Jenkins-Crumb", crumb)), status: refused},
			// Jenkins takes the header alone if there is one.
			attack{name: what + ", before a right one in the query", h1: head("POST", "/quietDown?Jenkins-Crumb="+bob.crumb) + same + "Jenkins-Crumb: " + crumb + "\n\n", status: refused})
	}
	for what, fields := range map[string]string{
		"cross-site":                       "Sec-Fetch-Site: cross-site\n",
		"cross-site, Origin own":           "Sec-Fetch-Site: cross-site\nOrigin: http://{HOST}\n",
		"same-site":                        "Sec-Fetch-Site: same-site\n",
		"same-site, Origin of a sibling":   "Sec-Fetch-Site: same-site\nOrigin: http://sibling.example\n",
		"foreign Origin":                   "Origin: https://evil.example\n",
		"Origin null":                      "Origin: null\n",
		"Origin of another port":           "Origin: http://127.0.0.1:1\n",
		"Origin that begins like ours":     "Origin: http://{HOST}.evil.example\n",
		"Origin that ends like ours":       "Origin: http://evil{HOST}\n",
		"Origin with a user":               "Origin: http://{HOST}@evil.example\n",
		"two Sec-Fetch-Site, foreign 1st":  "Sec-Fetch-Site: cross-site\nSec-Fetch-Site: same-origin\n",
		"Sec-Fetch-Site unknown":           "Sec-Fetch-Site: same-originx\n",
		"Sec-Fetch-Site in capitals":       "Sec-Fetch-Site: CROSS-SITE\n",
		"Sec-Fetch-Site in a list":         "Sec-Fetch-Site: same-origin, cross-site\n",
		"foreign Origin, X-Forwarded-Host": "Origin: https://evil.example\nX-Forwarded-Host: evil.example\n",
	} {
		for _, method := range []string{"POST", "PUT", "DELETE", "post"} {
			attacks = append(attacks, attack{name: what + ", " + method, h1: head(method, "/quietDown") + fields + good + "\n", status: refused})
		}
	}
	// A crumb that was once this user's is renewed where the browser vouches for the page,
	// and nowhere else.
	for what, fields := range map[string]string{"nothing": "", "Origin": "Origin: http://{HOST}\n", "the user": "Sec-Fetch-Site: none\n", "Referer": "Referer: http://{HOST}/\n"} {
		attacks = append(attacks, attack{name: "of another session, vouched for by " + what, h1: post + fields + "Jenkins-Crumb: " + other.crumb + "\n\n", status: refused})
	}
	attacks = append(attacks,
		attack{name: "of another session, vouched for by the browser", h1: post + same + "Jenkins-Crumb: " + other.crumb + "\n\n", status: found, seen: does},
		attack{name: "header twice", h1: post + same + good + good + "\n", status: refused},
		attack{name: "header twice, wrong first", h1: post + same + "Jenkins-Crumb: x\n" + good + "\n", status: refused},
		attack{name: "header with underscores", h1: post + same + "Jenkins_Crumb: " + bob.crumb + "\n\n", status: refused},
		attack{name: "field in another case", h1: post + same + form(urlencoded, "jenkins-crumb="+bob.crumb), status: refused},
		attack{name: "form of another type", h1: post + same + form("text/plain", "Jenkins-Crumb="+bob.crumb), status: refused},
		attack{name: "form without a type", h1: post + same + fmt.Sprintf("Content-Length: %d\n\n", len("Jenkins-Crumb="+bob.crumb)) + "Jenkins-Crumb=" + bob.crumb, status: refused},
		attack{name: "form of two types", h1: post + same + "Content-Type: text/plain\n" + form(urlencoded, "Jenkins-Crumb="+bob.crumb), status: refused},
		attack{name: "form in JSON", h1: post + same + form("application/json", `{"Jenkins-Crumb":"`+bob.crumb+`"}`), status: refused},
		attack{name: "form encoded", h1: post + same + "Content-Encoding: gzip\n" + form(urlencoded, "Jenkins-Crumb="+bob.crumb), status: refused},
		attack{name: "form with the crumb too far", h1: post + same + form(urlencoded, "a="+strings.Repeat("a", 2<<20)+"&Jenkins-Crumb="+bob.crumb), status: append(refused, 0, 413)},
		attack{name: "multipart with two boundaries", h1: post + same + form("multipart/form-data; boundary=b; boundary=c", multipart("Jenkins-Crumb", bob.crumb)), status: refused},
		attack{name: "multipart without a boundary", h1: post + same + form("multipart/form-data", multipart("Jenkins-Crumb", bob.crumb)), status: refused},
		attack{name: "method override of a GET", h1: head("GET", "/quietDown") + "Sec-Fetch-Site: cross-site\nX-HTTP-Method-Override: POST\n\n", status: []int{403, 405}, seen: "GET /quietDown"},
		attack{name: "method override in the query", h1: head("GET", "/quietDown?_method=POST") + "Sec-Fetch-Site: cross-site\n\n", status: []int{403, 405}, seen: "GET /quietDown?_method=POST"},
		attack{name: "link with a trigger token, from elsewhere", h1: head("GET", "/job/x/build?token=t") + "Sec-Fetch-Site: cross-site\n\n", status: refused},
		attack{name: "link with a trigger token, of no known page", h1: head("GET", "/job/x/build?token=t") + "\n", status: refused},
		attack{name: "link with a trigger token, escaped", h1: head("GET", "/job/x/%62uild?%74oken=t") + "Sec-Fetch-Site: cross-site\n\n", status: refused},
		attack{name: "link with a trigger token, with a tail", h1: head("GET", "/static/x/job/x/buildWithParameters/y?a=b&token=t") + "Sec-Fetch-Site: cross-site\n\n", status: refused},
		attack{name: "image of a trigger link", h1: head("GET", "/buildByToken/build?job=x&token=t") + "Sec-Fetch-Site: cross-site\nSec-Fetch-Dest: image\n\n", status: refused},
	)
	// Paths that need no crumb are no way to others.
	for _, path := range []string{
		"/static/x/quietDown", "/cli/../quietDown", "/cli/%2e%2e/quietDown", "/cli%2f..%2fquietDown", "/cli;/../quietDown", "//quietDown", "/./quietDown", "/quietDown/cli", "/quietDown?/cli",
		"/quietDown?x=/github-webhook/", "/content-security-policy-reporting-endpoint/../quietDown", "/content-security-policy-reporting-endpointx", "/clix", "/CLI", "/manage/quietDown",
		"/static/cli/quietDown", "/static/x/static/cli/quietDown", "/github-webhook/../quietDown", "/quietDown%2fcli", "/%71uietDown", "/project/x", "/gitea-webhook/post", "/j_spring_security_check",
	} {
		attacks = append(attacks, attack{name: "no crumb, " + path, h1: head("POST", path) + same + "\n", status: []int{400, 401, 403, 404}})
	}
	const upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
	for what, origin := range map[string]string{
		"foreign": "Origin: https://evil.example\n", "none": "", "null": "Origin: null\n", "own, but cross-site": "Origin: http://{HOST}\nSec-Fetch-Site: cross-site\n",
		"empty": "Origin:\n", "two": "Origin: https://evil.example\nOrigin: http://{HOST}\n", "of a sibling": "Origin: http://127.0.0.1:1\nSec-Fetch-Site: same-site\n",
	} {
		for _, path := range []string{"/cli/ws", "/cli/ws/", "//cli//ws", "/static/x/cli/ws", "/%63li/ws"} {
			attacks = append(attacks, attack{name: "WebSocket, Origin " + what + ", " + path, h1: head("GET", path) + upgrade + origin + "\n", status: refused})
		}
	}
	w.run(t, as.caller, attacks)
}

// TestCrumbsOfTheStrictIssuer: what Jenkins does not check arrives only with a crumb that the
// gateway has verified itself, although the issuer masks its crumbs.
func TestCrumbsOfTheStrictIssuer(t *testing.T) {
	t.Parallel()
	w := peopleOf(t, jenkinstest.Config{Strict: jenkinstest.DefaultStrictIssuer()}, signedIn(""))
	bob, eve := w.signIn(t, "bob"), w.signIn(t, "eve")
	inPage := func(v visit) string {
		_, body := w.fetch(t, v, "/whoAmI/")
		_, rest, _ := strings.Cut(string(body), `data-crumb-value="`)
		text, _, _ := strings.Cut(rest, `"`)
		if len(text) != 128 {
			t.Fatalf("no masked crumb in the page: %.300s", body)
		}
		w.issue(t, v) // so that the gateway has asked for it
		return text
	}
	page, evesPage := inPage(bob), inPage(eve)
	head := func(method, path, crumb string) string {
		return method + " " + path + " HTTP/1.1\nHost: {HOST}\nCookie: " + bob.cookie + "\nSec-Fetch-Site: same-origin\nJenkins-Crumb: " + crumb + "\n\n"
	}
	attacks := []attack{
		{name: "as it should be, POST", h1: head("POST", "/quietDown", page), status: found, seen: "POST /quietDown"},
		{name: "as it should be, DELETE", h1: head("DELETE", "/job/none/", page), status: []int{404}, seen: "DELETE /job/none/"},
	}
	for what, crumb := range map[string]string{
		"junk": "junk", "another user's": evesPage, "another user's, of the gateway": eve.crumb, "zeros": strings.Repeat("0", 128), "cut": page[1:],
		"one digit changed": flip(page[:1]) + page[1:], "halves swapped twice over": page + page, "seed alone": page[:64],
	} {
		for _, method := range []string{"DELETE", "PUT", "PATCH", "PROPPATCH", "post", "BREW"} {
			attacks = append(attacks, attack{name: what + ", " + method, h1: head(method, "/job/none/", crumb), status: []int{400, 403}})
		}
		for _, path := range []string{"/gitea-webhook/post", "/project/x", "/generic-webhook-trigger/invoke", "/bitbucket-hook/", "/buildByToken/build?job=x&token=t"} {
			attacks = append(attacks, attack{name: what + ", POST " + path, h1: head("POST", path, crumb), status: []int{400, 403}})
		}
	}
	w.run(t, asPerson("bob", nil, bob).caller, attacks)
}

func swapCase(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		}
		return c
	}, s)
}

// TestCrumbsNotRefreshed: with that switched off, a crumb is its session's and no
// other's.
func TestCrumbsNotRefreshed(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn("\t\trefresh_crumbs off\n"))
	bob, other := w.signIn(t, "bob"), w.signIn(t, "bob")
	const post = "POST /quietDown HTTP/1.1\nHost: {HOST}\nSec-Fetch-Site: same-origin\n"
	w.run(t, asPerson("bob", nil, bob).caller, []attack{
		{name: "own", h1: post + "Cookie: " + bob.cookie + "\nJenkins-Crumb: " + bob.crumb + "\n\n", status: found, seen: "POST /quietDown"},
		{name: "of another session", h1: post + "Cookie: " + bob.cookie + "\nJenkins-Crumb: " + other.crumb + "\n\n", status: []int{403}},
		{name: "without its session", h1: post + "Cookie: sso=bob\nJenkins-Crumb: " + bob.crumb + "\n\n", status: []int{403}},
		{name: "with both sessions", h1: post + "Cookie: " + bob.cookie + "; " + other.pair + "\nJenkins-Crumb: " + other.crumb + "\n\n", status: []int{403}},
	})
}

// TestExpiredCrumbs: time alone ends a crumb.
func TestExpiredCrumbs(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn("\t\tcrumb_lifetime 1s\n"))
	bob := w.signIn(t, "bob")
	send := func() int {
		raw := "POST /quietDown HTTP/1.1\nHost: {HOST}\nCookie: " + bob.cookie + "\nSec-Fetch-Site: same-origin\nJenkins-Crumb: " + bob.crumb + "\n\n"
		return w.sendH1(t, w.replace(crlf.Replace(raw)), false)
	}
	gatewaytest.Eventually(t, "the crumb expires", func() error {
		if status := send(); status != http.StatusForbidden {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	w.jenkins.ResetRequests()
	tally.tried.Add(1)
	if status := send(); status != http.StatusForbidden {
		t.Errorf("status %d of an expired crumb", status)
	}
	for _, seen := range w.jenkins.Requests() {
		if seen.Method == http.MethodPost {
			t.Errorf("Jenkins got %s %s", seen.Method, seen.RequestURI)
		}
	}
	tally.refused.Add(1)
}

// TestWebhooks: a webhook arrives as it was signed, or not at all.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn(""))
	const payload = `{"ref":"refs/heads/main"}`
	mac := hmac.New(sha256.New, []byte(webhookSecret))
	mac.Write([]byte(payload))
	signature := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	hook := func(path, head, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\nHost: {HOST}\nContent-Type: application/json\nX-GitHub-Event: push\nContent-Length: %d\n", path, len(body)) + head + "\n" + body
	}
	signed := "X-Hub-Signature-256: " + signature + "\n"
	refused := []int{400, 401, 403}
	does := "POST /github-webhook/"
	eve := w.signIn(t, "eve")
	w.token(t, "alice")
	w.run(t, caller{user: "anonymous"}, []attack{
		{name: "as it should be", h1: hook("/github-webhook/", signed, payload), status: ok, seen: does, check: body(payload)},
		{name: "with an identity", h1: hook("/github-webhook/", signed+"X-Forwarded-User: admin\nRemote-User: admin\nX_Forwarded_User: admin\n", payload), status: ok, seen: does, check: body(payload)},
		{name: "no signature", h1: hook("/github-webhook/", "", payload), status: refused},
		{name: "empty signature", h1: hook("/github-webhook/", "X-Hub-Signature-256:\n", payload), status: refused},
		{name: "of another body", h1: hook("/github-webhook/", signed, `{"ref":"refs/heads/evil"}`), status: refused},
		{name: "of a longer body", h1: hook("/github-webhook/", signed, payload+" "), status: refused},
		{name: "of a shorter body", h1: hook("/github-webhook/", signed, payload[1:]), status: refused},
		{name: "of no body", h1: hook("/github-webhook/", signed, ""), status: refused},
		{name: "truncated", h1: hook("/github-webhook/", signed[:len(signed)-2]+"\n", payload), status: refused},
		{name: "twice", h1: hook("/github-webhook/", signed+signed, payload), status: refused},
		{name: "wrong first", h1: hook("/github-webhook/", "X-Hub-Signature-256: sha256="+strings.Repeat("0", 64)+"\n"+signed, payload), status: refused},
		{name: "by SHA-1", h1: hook("/github-webhook/", "X-Hub-Signature: sha1="+strings.Repeat("0", 40)+"\n", payload), status: refused},
		{name: "in another header", h1: hook("/github-webhook/", "X-Hub-Signature: "+signature+"\n", payload), status: refused},
		{name: "with underscores", h1: hook("/github-webhook/", "X_Hub_Signature_256: "+signature+"\n", payload), status: refused},
		{name: "as GitLab's token", h1: hook("/github-webhook/", "X-Gitlab-Token: "+webhookSecret+"\n", payload), status: refused},
		{name: "on another's path", h1: hook("/project/x", signed, payload), status: []int{302, 400, 401, 403}},
		{name: "on a path of Jenkins", h1: hook("/quietDown", signed, payload), status: []int{302, 400, 401, 403}},
		{name: "out of its path", h1: hook("/github-webhook/../quietDown", signed, payload), status: []int{302, 400, 401, 403}},
		{name: "out of its path, escaped", h1: hook("/github-webhook/%2e%2e/quietDown", signed, payload), status: []int{302, 400, 401, 403}},
		{name: "below its path", h1: hook("/github-webhook/x", signed, payload), status: []int{302, 400, 401, 403}},
		{name: "with a query", h1: hook("/github-webhook/?payload=%7B%7D", signed, payload), status: refused},
		{name: "with an empty parameter", h1: hook("/github-webhook/?x", signed, payload), status: refused},
		{name: "as a form", h1: strings.Replace(hook("/github-webhook/", signed, payload), "application/json", "application/x-www-form-urlencoded", 1), status: refused},
		{name: "as a form of parts", h1: strings.Replace(hook("/github-webhook/", signed, payload), "application/json", "multipart/form-data; boundary=x", 1), status: refused},
		{name: "in another charset", h1: strings.Replace(hook("/github-webhook/", signed, payload), "application/json", "application/json; charset=utf-7", 1), status: refused},
		{name: "with two types", h1: strings.Replace(hook("/github-webhook/", signed, payload), "Content-Type: application/json\n", "Content-Type: application/json\nContent-Type: application/x-www-form-urlencoded\n", 1), status: refused},
		{name: "below static", h1: hook("/static/x/github-webhook/", "", payload), status: refused},
		{name: "with an escape", h1: hook("/%67ithub-webhook/", "", payload), status: refused},
		{name: "unsigned, by somebody who has signed in", h1: hook("/github-webhook/", "Cookie: "+eve.cookie+"\n", payload), status: refused},
		{name: "unsigned, with a password", h1: hook("/github-webhook/", "Authorization: Basic {ADMIN}\n", payload), status: refused},
		{name: "unsigned, with a token", h1: hook("/github-webhook/", "Authorization: Basic {BASIC}\n", payload), status: refused},
		{name: "unsigned, with a token alone", h1: hook("/ghprbhook/", "Authorization: Bearer {TOKEN}\n", payload), status: refused},
		{name: "by GET", h1: "GET /github-webhook/ HTTP/1.1\nHost: {HOST}\n\n", status: []int{400, 401, 403, 405}},
		{name: "by GET, signed", h1: "GET /github-webhook/ HTTP/1.1\nHost: {HOST}\n" + signed + "\n", status: []int{400, 401, 403, 405}},
		{name: "chunked, of another body", h1: "POST /github-webhook/ HTTP/1.1\nHost: {HOST}\nContent-Type: application/json\nTransfer-Encoding: chunked\n" + signed + "\n3\nabc\n0\n\n", status: refused},
		{name: "chunked, with a request behind", h1: "POST /github-webhook/ HTTP/1.1\nHost: {HOST}\nContent-Type: application/json\nTransfer-Encoding: chunked\n" + signed + fmt.Sprintf("\n%x\n%s\n0\n\n", len(payload), payload) + "GET /smuggled HTTP/1.1\nHost: {HOST}\n\n", status: ok, seen: does, check: body(payload)},
		{name: "cookies of somebody", h1: hook("/github-webhook/", signed+"Cookie: JSESSIONID.x=node0y\n", payload), status: ok, seen: does, check: body(payload)},
	})
}

// TestPublicPaths: what is open without a user is open to nobody in particular, and
// nothing else is.
func TestPublicPaths(t *testing.T) {
	t.Parallel()
	w := people(t, signedIn("\t\tpublic generic-webhook-trigger\n"))
	eve := w.signIn(t, "eve")
	w.token(t, "admin")
	public := nobodyAtAll()
	const end = " HTTP/1.1\nHost: {HOST}\n"
	notIn := func(session string) func(*testing.T, jenkinstest.Request) {
		return func(t *testing.T, seen jenkinstest.Request) {
			t.Helper()
			if seen.SessionID != "" && strings.HasPrefix(strings.SplitN(session, "=", 2)[1], seen.SessionID) {
				t.Errorf("nobody is in eve's session")
			}
		}
	}
	attacks := []attack{
		{name: "session of another", h1: "GET /login" + end + "Cookie: " + eve.pair + "\n\n", status: ok, seen: "GET /login", check: notIn(eve.pair)},
		{name: "session of another, other node", h1: "GET /login" + end + "Cookie: " + strings.TrimSuffix(eve.pair, ".node0") + ".node7\n\n", status: ok, seen: "GET /login", check: notIn(eve.pair)},
		{name: "a password of Jenkins", h1: "GET /login" + end + "Authorization: Basic {ADMIN}\n\n", status: ok, seen: "GET /login"},
		{name: "a token that is none", h1: "GET /login" + end + "Authorization: Basic {FLIPPEDBASIC}\n\n", status: []int{400, 401}},
		{name: "a secret of the plugin and a password", h1: "POST /generic-webhook-trigger/invoke" + end + "Authorization: Bearer x\nAuthorization: Basic {ADMIN}\n\n", status: bad},
		{name: "a password beside a comma", h1: "POST /generic-webhook-trigger/invoke" + end + "Authorization: Basic {ADMIN}, Bearer x\n\n", status: []int{302, 400, 401}},
		{name: "a password with a tab", h1: "POST /generic-webhook-trigger/invoke" + end + "Authorization: Basic\t{ADMIN}\n\n", status: []int{200, 302, 400, 401}, seen: ""},
	}
	for _, path := range odd {
		attacks = append(attacks,
			attack{name: path, h1: "GET " + path + end + "Remote-User: admin\nX-Forwarded-User: admin\n\n", status: []int{200, 302, 400, 401, 404}, seen: "GET " + escaped(path), optional: true},
			attack{name: path + ", POST", h1: "POST " + path + end + "Remote-User: admin\n\n", status: []int{200, 302, 400, 401, 403, 404}, seen: "POST " + escaped(path), optional: true})
	}
	for i := range attacks {
		a := &attacks[i]
		if a.check == nil {
			a.check = func(t *testing.T, seen jenkinstest.Request) {
				t.Helper()
				first := strings.Split(strings.TrimPrefix(seen.Path, "/"), "/")[0]
				if !slices.Contains([]string{"login", "github-webhook", "generic-webhook-trigger"}, first) {
					t.Errorf("open to all: %s, which is %s", seen.RequestURI, seen.Path)
				}
			}
		}
	}
	w.run(t, public.caller, attacks)
}
