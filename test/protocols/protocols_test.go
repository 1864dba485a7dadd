// Package protocols_test holds of all that Jenkins speaks, through the real
// program: each case by HTTP/1.1, HTTP/2 and HTTP/3 where that makes a difference.
package protocols_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// password is alice's, and the hash in caddyfile is of it, at the lowest cost.
const password = "not-a-secret"

// caddyfile serves one gateway with and without TLS. Who does not try to sign in is
// the gateway's to refuse.
const caddyfile = `{
	admin {$ADMIN}
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	servers {
		protocols h1 h2 h2c h3
	}
	crumbgate {
		storage bbolt {$STORE}
	}
}
(gateway) {
	@people {
		header Authorization "Basic *"
		not crumbgate_token
	}
	basic_auth @people {
		alice $2a$04$euj/Y9lnSah1NoPF84zDfO.7xHf5JkkZJlB.JdPg8hqPEHbk42Lym
	}
	crumbgate {
		session {
			user {http.auth.user.id}
		}
		trusted_origins http://{$SITE}
	}
	reverse_proxy {$JENKINS} {
		stream_close_delay 24h
	}
}
http://{$SITE} {
	import gateway
}
https://{$SECURE} {
	tls internal
	import gateway
}
`

// A site is a gateway before a stand-in Jenkins.
type site struct {
	*gatewaytest.Gateway
	jenkins *jenkinstest.Jenkins
	secure  string // URL
	roots   *x509.CertPool
	clients []client // one of each kind
}

// start runs a gateway by a Caddyfile, in which {$SECURE} stands for a second
// address.
func start(t *testing.T, caddyfile string) *site {
	t.Helper()
	return startGateway(t, gatewaytest.New(t, "", caddyfile))
}

func startGateway(t *testing.T, g *gatewaytest.Gateway) *site {
	t.Helper()
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{RootURL: g.URL})
	secure := gatewaytest.FreeAddress(t)
	g.Env = append(g.Env, "JENKINS="+strings.TrimPrefix(url, "http://"), "SECURE="+secure)
	g.Start(t)
	s := &site{Gateway: g, jenkins: jenkins, secure: "https://" + secure, roots: root(t, g)}
	gatewaytest.Eventually(t, "the certificate is there", func() error {
		conn, err := tls.Dial("tcp", secure, &tls.Config{RootCAs: s.roots})
		if err != nil {
			return err
		}
		return conn.Close()
	})
	s.clients = []client{
		{"token", http.Header{"Authorization": {"Bearer " + s.CreateToken(t, "alice", "ci")}}},
		{"session", s.signIn(t)},
	}
	return s
}

// signIn returns the header of alice's browser: with her password, which Caddy
// checks, a session of Jenkins and a crumb for it.
func (s *site) signIn(t *testing.T) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/crumbIssuer/api/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("alice", password)
	resp, err := gatewaytest.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var issued struct{ Crumb string }
	if err := json.NewDecoder(resp.Body).Decode(&issued); err != nil || issued.Crumb == "" {
		t.Fatalf("no crumb: %s (%v)", resp.Status, err)
	}
	header := req.Header.Clone()
	for _, c := range resp.Cookies() {
		if strings.HasPrefix(c.Name, "JSESSIONID.") {
			header.Add("Cookie", c.Name+"="+c.Value)
		}
	}
	if len(header["Cookie"]) != 1 {
		t.Fatalf("alice's sessions are %q", header["Cookie"])
	}
	header.Set("Jenkins-Crumb", issued.Crumb)
	return header
}

// root returns the certificate of the gateway's own authority.
func root(t *testing.T, g *gatewaytest.Gateway) *x509.CertPool {
	t.Helper()
	resp, err := gatewaytest.Client.Get("http://" + g.Admin + "/pki/ca/local")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var authority struct {
		Root string `json:"root_certificate"`
	}
	pool := x509.NewCertPool()
	if err := json.NewDecoder(resp.Body).Decode(&authority); err != nil || !pool.AppendCertsFromPEM([]byte(authority.Root)) {
		t.Fatalf("the local authority: %s, %v", resp.Status, err)
	}
	return pool
}

// A client is the header by which alice's requests are known.
type client struct {
	name   string
	header http.Header
}

// A version is a way to speak HTTP with the site.
type version struct {
	name      string
	major     int
	url       string
	transport http.RoundTripper
}

// versions returns them all. None decompresses or follows redirects.
func (s *site) versions(t *testing.T) []version {
	t.Helper()
	config := &tls.Config{RootCAs: s.roots}
	plain := func(set func(*http.Protocols, bool)) *http.Transport {
		protocols := new(http.Protocols)
		set(protocols, true)
		transport := &http.Transport{Protocols: protocols, TLSClientConfig: config.Clone(), DisableCompression: true}
		t.Cleanup(transport.CloseIdleConnections)
		return transport
	}
	overQUIC := &http3.Transport{TLSClientConfig: config.Clone(), DisableCompression: true}
	t.Cleanup(func() { overQUIC.Close() })
	// The transport forgets a connection on which an answer broke off, open as it is, and
	// the gateway's end would wait for it.
	overQUIC.Dial = func(ctx context.Context, address string, tls *tls.Config, config *quic.Config) (*quic.Conn, error) {
		conn, err := quic.DialAddrEarly(ctx, address, tls, config)
		if err == nil {
			t.Cleanup(func() { conn.CloseWithError(0, "") })
		}
		return conn, err
	}
	return []version{
		{"HTTP 1.1", 1, s.URL, plain((*http.Protocols).SetHTTP1)},
		{"HTTP 1.1 with TLS", 1, s.secure, plain((*http.Protocols).SetHTTP1)},
		{"HTTP 2 without TLS", 2, s.URL, plain((*http.Protocols).SetUnencryptedHTTP2)},
		{"HTTP 2", 2, s.secure, plain((*http.Protocols).SetHTTP2)},
		{"HTTP 3", 3, s.secure, overQUIC},
	}
}

// A caller is a client that speaks one version of HTTP.
type caller struct {
	*site
	client
	version
}

// each runs a test for every client and version.
func (s *site) each(t *testing.T, run func(t *testing.T, c caller)) {
	for _, who := range s.clients {
		for _, v := range s.versions(t) {
			t.Run(who.name+" by "+v.name, func(t *testing.T) { run(t, caller{s, who, v}) })
		}
	}
}

// request returns a request of the caller, which ends with the test.
func (c caller) request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	req, _ := c.cancellable(t, method, path, body)
	return req
}

// cancellable returns a request, and what ends it before.
func (c caller) cancellable(t *testing.T, method, path string, body io.Reader) (*http.Request, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), gatewaytest.Patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	return req, cancel
}

// open sends a request and returns the answer, of which the header has come.
func (c caller) open(t *testing.T, req *http.Request) *http.Response {
	t.Helper()
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.ProtoMajor != c.major {
		t.Fatalf("%s answers by %s", req.URL, resp.Proto)
	}
	return resp
}

// send sends a request and returns the whole answer.
func (c caller) send(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp := c.open(t, req)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	return resp, string(body)
}

// last returns the latest request that Jenkins knows.
func (s *site) last(t *testing.T) jenkinstest.Request {
	t.Helper()
	requests := s.jenkins.Requests()
	if len(requests) == 0 {
		t.Fatal("Jenkins has received nothing")
	}
	return requests[len(requests)-1]
}
