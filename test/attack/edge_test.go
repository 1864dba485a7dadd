package attack_test

import (
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

// behindProxies is a site whose peers, on the loopback interface, are trusted proxies.
func behindProxies(strict, directive string) string {
	options := "\t\ttrusted_proxies static 127.0.0.0/8 10.0.0.0/8 fd00::/8\n" + strict
	return strings.Replace(site(directive), "\tservers {\n", "\tservers {\n"+options, 1)
}

// get sends a request with header lines "Name: value".
func (w *world) get(t *testing.T, method, path string, lines ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, w.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	resp, err := gatewaytest.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

// A client writes to the left of X-Forwarded-For, proxies to the right. The address
// that counts is the rightmost that is no trusted proxy's, and the only one that
// Jenkins is told.
func TestClientAddressBehindProxies(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"", "\t\ttrusted_proxies_strict\n"} {
		w := newWorld(t, jenkinstest.Config{}, behindProxies(strict, "\tcrumbgate"))
		secret := w.token(t, "alice", "--source", "198.51.100.0/24", "--source", "2001:db8:1::/48")
		auth := "Authorization: Basic " + basic("alice", secret)
		for _, c := range []struct {
			name   string
			lines  []string
			status int
			told   string // X-Forwarded-For as Jenkins gets it
		}{
			{"from the source", []string{"X-Forwarded-For: 198.51.100.7"}, 302, "198.51.100.7"},
			{"from elsewhere", []string{"X-Forwarded-For: 203.0.113.7"}, 401, ""},
			{"claimed on the left", []string{"X-Forwarded-For: 198.51.100.7, 203.0.113.7"}, 401, ""},
			{"claimed in another line", []string{"X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 203.0.113.7"}, 401, ""},
			{"claimed before a proxy", []string{"X-Forwarded-For: 198.51.100.7, 203.0.113.7, 10.1.1.1"}, 401, ""},
			{"through two proxies", []string{"X-Forwarded-For: 203.0.113.7, 198.51.100.7, 10.1.1.1", "X-Forwarded-For: fd00::1"}, 302, "198.51.100.7"},
			{"with a port", []string{"X-Forwarded-For: 203.0.113.7, 198.51.100.7:4711"}, 302, "198.51.100.7"},
			{"IPv6", []string{"X-Forwarded-For: 203.0.113.7, 2001:db8:1::7"}, 302, "2001:db8:1::7"},
			{"IPv6 with a port", []string{"X-Forwarded-For: [2001:db8:1::7]:4711"}, 302, "2001:db8:1::7"},
			{"IPv6 with a zone", []string{"X-Forwarded-For: 2001:db8:1::7%eth0"}, 302, "2001:db8:1::7"},
			{"empty elements", []string{"X-Forwarded-For: 203.0.113.7,, 198.51.100.7, ,"}, 302, "198.51.100.7"},
			{"a hop that hides the client", []string{"X-Forwarded-For: 198.51.100.7, unknown"}, 401, ""},
			{"a hop in brackets", []string{"X-Forwarded-For: 198.51.100.7, [2001:db8:2::1]"}, 401, ""},
			{"a hop that is garbage", []string{"X-Forwarded-For: 198.51.100.7, 1.2.3", "X-Forwarded-For: 10.1.1.1"}, 401, ""},
			{"an address with more behind it", []string{"X-Forwarded-For: 198.51.100.7, 203.0.113.7 x"}, 401, ""},
			{"proxies alone", []string{"X-Forwarded-For: 10.1.1.1"}, 401, ""},
			{"no header", nil, 401, ""},
			{"other headers", []string{"X-Real-Ip: 198.51.100.7", "Forwarded: for=198.51.100.7", "True-Client-Ip: 198.51.100.7"}, 401, ""},
		} {
			t.Run(fmt.Sprintf("%s, strict %t", c.name, strict != ""), func(t *testing.T) {
				w.jenkins.ResetRequests()
				w.jenkins.Restart() // so that the crumb is fetched, and the POST replayed
				if resp := w.get(t, "POST", "/quietDown", append(c.lines, auth)...); resp.StatusCode != c.status {
					t.Errorf("status %d, want %d", resp.StatusCode, c.status)
				}
				seen := w.jenkins.Requests()
				if c.told == "" && len(seen) != 0 || c.told != "" && len(seen) < 2 {
					t.Errorf("Jenkins got %d requests", len(seen))
				}
				for _, r := range seen {
					if got := r.Header["X-Forwarded-For"]; !slices.Equal(got, []string{c.told}) {
						t.Errorf("%s %s: Jenkins is told %q, want %q alone", r.Method, r.RequestURI, got, c.told)
					}
				}
			})
		}
		for line := range strings.Lines(w.Log()) {
			if strings.Contains(line, `"reason"`) && strings.Contains(line, `"client_addr":"198.51.100.7"`) {
				t.Errorf("a denial is attributed to the address that the client has claimed: %s", line)
			}
		}
	}
}

// Jenkins hears of scheme, host and port only from a proxy that overwrites the header,
// and else from the gateway.
func TestForwardingHeadersOfProxies(t *testing.T) {
	t.Parallel()
	lies := []string{
		"Forwarded: host=evil.example", "X-Forwarded-Host: evil.example", "X-Forwarded-Port: 666", "X-Forwarded-Server: evil.example",
		"X-Proxied-Https: on", "Proxy-Auth-Cert: x", "Proxy-Ssl-Id: x", "X-Forwarded-Proto: https", "Idempotency-Key: a", "X-Idempotency-Key: a",
	}
	for _, c := range []struct {
		name, caddyfile string
		want            map[string]string
	}{
		{"no proxy", site("\tcrumbgate"), map[string]string{"X-Forwarded-Proto": "http", "X-Forwarded-Host": "{HOST}"}},
		{"a proxy", behindProxies("", "\tcrumbgate"), map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "{HOST}"}},
		{"a proxy that sets none", behindProxies("", "\tcrumbgate {\n\t\tproxy_sets none\n\t}"), map[string]string{"X-Forwarded-Proto": "http", "X-Forwarded-Host": "{HOST}"}},
		{"a proxy that sets some", behindProxies("", "\tcrumbgate {\n\t\tproxy_sets X-Forwarded-Host X-Forwarded-Port\n\t}"),
			map[string]string{"X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "666"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, jenkinstest.Config{}, c.caddyfile)
			secret := w.token(t, "alice")
			if resp := w.get(t, "POST", "/quietDown", append(lies, "Authorization: Basic "+basic("alice", secret))...); resp.StatusCode != 302 {
				t.Errorf("status %d", resp.StatusCode)
			}
			seen := w.jenkins.Requests()
			if len(seen) != 2 {
				t.Errorf("Jenkins got %d requests, want one for a crumb and one", len(seen))
			}
			for _, r := range seen {
				for _, line := range lies {
					name, _, _ := strings.Cut(line, ":")
					if got := strings.Join(r.Header[name], ", "); got != w.replace(c.want[name]) {
						t.Errorf("%s %s: Jenkins got %s: %q, want %q", r.Method, r.RequestURI, name, got, c.want[name])
					}
				}
			}
		})
	}
}

// An error route, and what Caddy keeps of a request, have neither what the gateway has
// added for Jenkins nor the client's own credential. Placeholders mean what they meant.
func TestNoCredentialsAfterTheGate(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	errors := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Clone(t.Context())
		w.WriteHeader(http.StatusTeapot)
	}))
	defer errors.Close()
	directive := `	crumbgate_sso_headers X-Person
	crumbgate {
		session {
			user {http.request.header.X-Person}
		}
		token_header X-Token
		public /open/*
	}
	@person header X-Is-Person *
	request_header @person X-Person carol
	handle_errors {
		header X-Placeholders "{http.request.remote.host} {http.request.method} {http.request.uri} [{http.request.header.Authorization}{http.request.header.Cookie}{http.request.header.X-Forwarded-User}{http.request.header.X-Token}{http.request.header.Jenkins-Crumb}]"
		reverse_proxy {$ERRORS}
	}`
	caddyfile := behindProxies("", directive)
	w := newWorldWith(t, jenkinstest.Config{}, caddyfile, func(w *world) {
		w.Env = append(w.Env, "ERRORS="+strings.TrimPrefix(errors.URL, "http://"))
	})
	secret := w.token(t, "alice")
	auth := "Authorization: Basic " + basic("alice", secret)
	const cookie = "Cookie: JSESSIONID.0a=node0abc.node0; sign_in=secret"
	if resp := w.get(t, "POST", "/quietDown", auth); resp.StatusCode != 302 { // the gateway holds a session and a crumb
		t.Fatalf("status %d", resp.StatusCode)
	}
	for _, c := range []struct {
		name, method, path string
		lines              []string
	}{
		{"GET with a token", "GET", "/job/a/", []string{auth, cookie}},
		{"POST with a token", "POST", "/quietDown", []string{auth, cookie, "Jenkins-Crumb: mine"}},
		{"token in another header", "GET", "/job/a/", []string{"X-Token: " + secret, "Authorization: Digest x"}},
		{"GET of a signed-in user", "GET", "/job/a/", []string{"X-Is-Person: 1", cookie, "Authorization: Basic " + basic("carol", "password")}},
		{"open endpoint", "GET", "/open/x", []string{cookie}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.jenkins.Fail(jenkinstest.Fault{Abort: true})
			defer w.jenkins.ClearFaults()
			resp := w.get(t, c.method, c.path, append(c.lines, "X-Forwarded-For: 198.51.100.7")...)
			if resp.StatusCode != http.StatusTeapot {
				t.Fatalf("status %d, want that of the error route", resp.StatusCode)
			}
			r := <-seen
			for name, values := range r.Header {
				switch name {
				case "Accept-Encoding", "User-Agent", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Is-Person", "X-Person", "Content-Length":
				default:
					t.Errorf("the error route got %s: %q", name, values)
				}
			}
			want := "127.0.0.1 " + c.method + " " + c.path + " []"
			if got := resp.Header.Get("X-Placeholders"); got != want {
				t.Errorf("after the gate the placeholders are %q, want %q", got, want)
			}
		})
	}
}
