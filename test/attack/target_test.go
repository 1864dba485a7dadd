package attack_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// TestConnection: no header that means something to a single hop takes away what
// the gateway sets, or lets a client leave HTTP.
func TestConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	var attacks []attack
	for name, fields := range map[string][]field{
		"Connection takes the identity":      {{"Connection", "close, X-Forwarded-User"}},
		"in another case":                    {{"connection", "X-FORWARDED-USER"}},
		"Connection takes the crumb":         {{"Connection", "Jenkins-Crumb, Cookie, close"}},
		"in two lines":                       {{"Connection", "keep-alive"}, {"Connection", "X-Forwarded-User, Cookie, Jenkins-Crumb"}},
		"in two lines with an empty one":     {{"Connection", ""}, {"Connection", "X-Forwarded-User"}},
		"with blanks and empty options":      {{"Connection", " ,, \tX-Forwarded-User\t,Cookie ,"}},
		"in quotes":                          {{"Connection", `"X-Forwarded-User", close`}},
		"with underscores":                   {{"Connection", "X_Forwarded_User"}},
		"Connection takes itself":            {{"Connection", "Connection, X-Forwarded-User"}},
		"Connection takes Host":              {{"Connection", "Host, Content-Length, Content-Type"}},
		"Connection takes X-Forwarded-For":   {{"Connection", "X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, close"}},
		"Connection keeps Authorization":     {{"Connection", "Authorization"}},
		"Connection_":                        {{"Connection_", "X-Forwarded-User"}},
		"Proxy-Connection":                   {{"Proxy-Connection", "X-Forwarded-User, Cookie"}},
		"Keep-Alive":                         {{"Connection", "Keep-Alive"}, {"Keep-Alive", "timeout=1000, X-Forwarded-User"}},
		"TE trailers":                        {{"Connection", "TE"}, {"TE", "trailers"}},
		"TE of another coding":               {{"Connection", "TE, X-Forwarded-User"}, {"TE", "chunked, gzip"}},
		"Trailer":                            {{"Trailer", "X-Forwarded-User"}},
		"Proxy-Authorization":                {{"Proxy-Authorization", "Basic {ADMIN}"}},
		"Proxy-Authenticate":                 {{"Proxy-Authenticate", "Basic"}},
		"upgrade to h2c":                     {{"Connection", "Upgrade, HTTP2-Settings"}, {"Upgrade", "h2c"}, {"HTTP2-Settings", "AAMAAABkAAQAAP__"}},
		"upgrade to h2c and WebSocket":       {{"Connection", "Upgrade"}, {"Upgrade", "h2c, websocket"}},
		"upgrade to WebSocket and h2c":       {{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Upgrade", "h2c"}},
		"upgrade to TLS":                     {{"Connection", "Upgrade"}, {"Upgrade", "TLS/1.0"}},
		"upgrade without Connection":         {{"Upgrade", "h2c"}},
		"upgrade to HTTP/2.0":                {{"Connection", "upgrade"}, {"Upgrade", "HTTP/2.0"}},
		"upgrade_":                           {{"Connection", "Upgrade"}, {"Upgrade_", "h2c"}},
		"cookies":                            {{"Cookie", "JSESSIONID=smuggled"}, {"Cookie", "JSESSIONID.0a1b2c3d=smuggled; remember-me=smuggled"}},
		"cookies of old":                     {{"Cookie", `$Version=1; JSESSIONID="smuggled"; $Path=/`}, {"Cookie2", `$Version=1`}},
		"crumb":                              {{"Jenkins-Crumb", "smuggled"}},
		"crumbs":                             {{"jenkins-crumb", "smuggled"}, {"Jenkins-Crumb", "smuggled"}},
		"Forwarded":                          {{"Forwarded", "for=10.0.0.1;host=smuggled;proto=https"}},
		"X-Forwarded-For":                    {{"X-Forwarded-For", "smuggled"}},
		"X-Forwarded-Host":                   {{"X-Forwarded-Host", "smuggled"}},
		"X-Forwarded-Proto":                  {{"X-Forwarded-Proto", "smuggled"}},
		"X-Forwarded-Port, -Server":          {{"X-Forwarded-Port", "666"}, {"X-Forwarded-Server", "smuggled"}, {"X-Proxied-Https", "on"}},
		"a method in X-HTTP-Method-Override": {{"X-HTTP-Method-Override", "DELETE"}, {"X-Method-Override", "DELETE"}, {"X-HTTP-Method", "DELETE"}},
		"a path in X-Original-URL":           {{"X-Original-URL", "/script"}, {"X-Rewrite-URL", "/script"}, {"X-Forwarded-Uri", "/script"}, {"X-Forwarded-Prefix", "/script"}, {"X-Forwarded-Path", "/script"}},
		"a second Host":                      {{"X-Host", "elsewhere"}, {"X-Original-Host", "elsewhere"}},
	} {
		attacks = append(attacks, alice.attacks(name, fields...)...)
	}
	for i := range attacks {
		// RFC 9113, section 8.2.2: what belongs to a connection makes a request malformed.
		if s := attacks[i].h2; s != nil {
			for _, f := range s.fields {
				switch f.name {
				case "connection", "proxy-connection", "keep-alive", "upgrade":
					attacks[i].status, attacks[i].seen = badOrHungUp, ""
				case "te":
					if f.value != "trailers" {
						attacks[i].status, attacks[i].seen = badOrHungUp, ""
					}
				}
			}
		}
	}
	w.run(t, alice.caller, attacks)
}

// TestTarget: the form of the target, the host and the method.
func TestTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{Users: map[string]jenkinstest.User{"admin": {Password: "secret"}}}, site("\tcrumbgate"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	const (
		auth  = "Authorization: Basic {BASIC}\n"
		who   = "GET /whoAmI/api/json"
		get   = who + " HTTP/1.1\nHost: {HOST}\n"
		proto = " HTTP/1.1\nHost: {HOST}\n" + auth + "\n"
	)
	// Of a host that no site has, Caddy answers with nothing.
	elsewhere := []int{200, 400, 421}
	notForJenkins := func(method string) attack {
		return attack{name: "method " + method, h1: method + " /whoAmI/api/json" + proto, status: []int{200, 400, 403, 404, 405, 501}, seen: method + " /whoAmI/api/json"}
	}
	w.run(t, alice.caller, []attack{
		{name: "absolute form", h1: "GET http://{HOST}/whoAmI/api/json" + proto, status: ok, seen: who},
		{name: "absolute form of another host", h1: "GET http://elsewhere/whoAmI/api/json" + proto, status: elsewhere},
		{name: "absolute form, other Host", h1: "GET http://{HOST}/whoAmI/api/json HTTP/1.1\nHost: elsewhere\n" + auth + "\n", status: []int{200, 400}, seen: who, check: host(w)},
		{name: "absolute form with a user", h1: "GET http://admin:secret@{HOST}/whoAmI/api/json" + proto, status: []int{200, 400}, seen: who},
		{name: "absolute form with a user, no credential", h1: "GET http://admin:secret@{HOST}/whoAmI/api/json HTTP/1.1\nHost: {HOST}\n\n", status: []int{400, 401}},
		{name: "absolute form with the token", h1: "GET http://alice:{TOKEN}@{HOST}/whoAmI/api/json HTTP/1.1\nHost: {HOST}\n\n", status: []int{400, 401}},
		{name: "absolute form of https", h1: "GET https://{HOST}/whoAmI/api/json" + proto, status: []int{200, 400}, seen: who},
		{name: "absolute form of another scheme", h1: "GET file://{HOST}/whoAmI/api/json" + proto, status: []int{200, 400}, seen: who},
		{name: "absolute form without slashes", h1: "GET http:/whoAmI/api/json" + proto, status: []int{200, 400}, seen: who},
		{name: "absolute form, opaque", h1: "GET http:whoAmI/api/json" + proto, status: bad},
		{name: "absolute form without a path", h1: "GET http://{HOST}" + proto, status: []int{200, 400}, seen: "GET /"},
		{name: "absolute form with a query only", h1: "GET http://{HOST}?x" + proto, status: []int{200, 400}, seen: "GET /?x"},
		{name: "scheme of the network", h1: "GET //{HOST}/whoAmI/api/json" + proto, status: []int{200, 400, 404}, seen: "GET //{HOST}/whoAmI/api/json"},
		{name: "asterisk form", h1: "OPTIONS *" + proto, status: []int{200, 400}},
		{name: "asterisk form of a GET", h1: "GET *" + proto, status: bad},
		{name: "authority form", h1: "CONNECT {HOST}" + proto, status: []int{400, 405, 502}},
		{name: "CONNECT of another host", h1: "CONNECT elsewhere:443" + proto, status: []int{200, 400, 405, 421}},
		{name: "CONNECT with a path", h1: "CONNECT /whoAmI/api/json" + proto, status: []int{200, 400, 404, 405, 502}, seen: "CONNECT /whoAmI/api/json"},
		{name: "no slash", h1: "GET whoAmI/api/json" + proto, status: bad},
		{name: "dots for a slash", h1: "GET ../whoAmI/api/json" + proto, status: bad},
		{name: "at sign", h1: "GET @elsewhere/whoAmI/api/json" + proto, status: bad},
		{name: "colon", h1: "GET :80/whoAmI/api/json" + proto, status: bad},
		{name: "fragment", h1: "GET /whoAmI/api/json#/login" + proto, status: []int{200, 400, 404}, seen: "GET /whoAmI/api/json%23/login"},

		{name: "no Host", h1: "GET /whoAmI/api/json HTTP/1.1\n" + auth + "\n", status: bad},
		{name: "Host empty", h1: "GET /whoAmI/api/json HTTP/1.1\nHost:\n" + auth + "\n", status: elsewhere},
		{name: "Host twice", h1: get + "Host: elsewhere\n" + auth + "\n", status: bad},
		{name: "Host twice, equal", h1: get + "Host: {HOST}\n" + auth + "\n", status: bad},
		{name: "Host as a list", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}, elsewhere\n" + auth + "\n", status: []int{200, 400}},
		{name: "Host of another site", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: elsewhere\n" + auth + "\n", status: elsewhere},
		{name: "Host with a path", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}/login\n" + auth + "\n", status: bad},
		{name: "Host with a user", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: admin:secret@{HOST}\n" + auth + "\n", status: []int{200, 400}},
		{name: "Host with a bare LF", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}{LF}X-Forwarded-User: admin\n" + auth + "\n", status: []int{200, 400}, seen: who},
		{name: "Host with a blank before the colon", h1: "GET /whoAmI/api/json HTTP/1.1\nHost : {HOST}\n" + auth + "\n", status: bad},
		{name: "Host of no port", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: 127.0.0.1\n" + auth + "\n", status: ok, seen: who},
		{name: "Host of another port", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: 127.0.0.1:1\n" + auth + "\n", status: ok, seen: who},
		{name: "Host of no port but a colon", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: 127.0.0.1:\n" + auth + "\n", status: []int{200, 400}, seen: who},
		{name: "no Host in HTTP/1.0", h1: "GET /whoAmI/api/json HTTP/1.0\n" + auth + "\n", status: elsewhere},

		notForJenkins("get"), notForJenkins("gEt"), notForJenkins("post"), notForJenkins("Post"), notForJenkins("delete"),
		notForJenkins("TRACE"), notForJenkins("TRACK"), notForJenkins("DEBUG"), notForJenkins("PROPFIND"), notForJenkins("PATCH"),
		notForJenkins("PUT"), notForJenkins("ANY-THING"), notForJenkins("GETPOST"),
		{name: "method with a slash", h1: "GET/POST /whoAmI/api/json" + proto, status: bad},
		{name: "method with a colon", h1: "Host:elsewhere /whoAmI/api/json" + proto, status: bad},
		{name: "no method", h1: " /whoAmI/api/json" + proto, status: bad},
		{name: "method of 10 KiB", h1: strings.Repeat("A", 10<<10) + " /whoAmI/api/json" + proto, status: []int{400, 405, 431}, seen: strings.Repeat("A", 10<<10) + " /whoAmI/api/json"},

		{name: "two Authorizations", h1: get + auth + auth + "\n", status: bad},
		{name: "two Authorizations, one of Jenkins", h1: get + "Authorization: Basic {ADMIN}\n" + auth + "\n", status: bad},
		{name: "two Authorizations, one empty", h1: get + "Authorization:\n" + auth + "\n", status: bad},
		{name: "two Authorizations in one", h1: get + "Authorization: Basic {BASIC}, Basic {ADMIN}\n\n", status: bad},
		{name: "Basic and Bearer", h1: get + auth + "Authorization: Bearer {TOKEN}\n\n", status: bad},
		{name: "a password of Jenkins", h1: get + "Authorization: Basic {ADMIN}\n\n", status: unauthorized},
		{name: "nobody", h1: get + "\n", status: unauthorized},
		{name: "nobody with a session", h1: get + "Cookie: JSESSIONID=x\n\n", status: unauthorized},
		{name: "nobody with an identity", h1: get + "X-Forwarded-User: admin\n\n", status: unauthorized},
		{name: "the token of another", h1: get + "Authorization: Basic {BOB}\n\n", status: unauthorized},
		{name: "NUL in the user", h1: get + "Authorization: Basic {NULUSER}\n\n", status: unauthorized},
		{name: "NUL after the token", h1: get + "Authorization: Basic {NULTOKEN}\n\n", status: unauthorized},
		{name: "no colon in the credential", h1: get + "Authorization: Basic {TOKEN}\n\n", status: unauthorized},
		{name: "broken Base64", h1: get + "Authorization: Basic !!!\n\n", status: unauthorized},
		{name: "empty Authorization", h1: get + "Authorization:\n\n", status: unauthorized},
		{name: "token in the query", h1: "GET /whoAmI/api/json?t={TOKEN}" + proto, status: bad},
		{name: "token in the query, escaped", h1: "GET /whoAmI/api/json?t=%63g_{TAIL}" + proto, status: bad},
	})
}

// host checks that Jenkins is told the site's host.
func host(w *world) func(*testing.T, jenkinstest.Request) {
	return func(t *testing.T, seen jenkinstest.Request) {
		t.Helper()
		if seen.Host != w.host() && seen.Host != w.tlsHost {
			t.Errorf("Jenkins got Host %q", seen.Host)
		}
		for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"} {
			if v := seen.Header[http.CanonicalHeaderKey(name)]; len(v) != 1 {
				t.Errorf("Jenkins got %s: %q", name, v)
			}
		}
	}
}
